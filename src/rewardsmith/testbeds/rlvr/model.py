"""One tokenizer for all tasks, a token for each character, and a small Llama made from a seed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

CHARACTERS = "0123456789+-*/()=,%.#| abcdefghijklmnopqrstuvwxyz"
"""What a prompt or an answer may hold."""
PAD, END = 0, 1
"""Token ids: what fills a short row, and what ends an answer."""
VOCABULARY = len(CHARACTERS) + 2


def tokenizer() -> "PreTrainedTokenizerFast":
    """A token for each of :data:`CHARACTERS`, padding on the left.

    Text with another character is refused by an error of ``tokenizers``: there is no unknown token.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *CHARACTERS]
    characters = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}))
    characters.pre_tokenizer = Split(Regex("."), behavior="isolated")
    characters.decoder = Fuse()
    kind: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = kind(
        tokenizer_object=characters,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    return wrapped


def tiny_model(
    seed: int,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    positions: int = 64,
    **settings: Any,
) -> "LlamaForCausalLM":
    """A Llama with random weights that a seed decides; 89,000 of them at the default sizes.

    Weights start with a standard deviation of ``0.8 / sqrt(hidden)``, 0.1 at 64: with the 0.02 that
    is usual at large sizes, a model this narrow learns a sum several times slower. ``hidden=512,
    layers=6, heads=8`` has 16 million weights, for a GPU.

    Args:
        seed: of the weights. The global random state is left as it was.
        hidden: the width; the feed-forward layers are twice as wide.
        layers: how many.
        heads: of attention; divides ``hidden``.
        positions: the longest prompt and answer together.
        settings: more of ``LlamaConfig``.

    Raises:
        ValueError: ``heads`` does not divide ``hidden``.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if hidden % heads:
        raise ValueError(f"tiny_model: hidden is {hidden}, it must be a multiple of heads, {heads}")
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "max_position_embeddings": positions,
            "initializer_range": 0.8 / hidden**0.5,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": END,
            **settings,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
