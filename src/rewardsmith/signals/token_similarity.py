"""Closeness of two texts by the embeddings of their tokens (159, Mixed-R1)."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.catalog import Paper, method
from ..core.errors import SpecError
from ..core.execution import Execution, Inline
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.rowcall import RowCall
from ..core.rows import evaluate_columns, scores_of
from ..core.scores import Scores
from ..rules.text import text_of
from ..rules.verdict import Verdict
from ..rules.views import view

Embed: TypeAlias = Callable[[str], Any]
"""Text -> the embeddings of its tokens, an array [m, d]."""

_CHUNK = 1024


def bmas(x: Any, y: Any) -> float:
    """Bidirectional max-average similarity of two sets of vectors, in [-1, 1].

    With ``C_ij = cos(x_i, y_j)``::

        BMAS = ((1/m) sum_i max_j C_ij + (1/n) sum_j max_i C_ij) / 2

    The formula is our reading of the name; it is that of greedy token matching. It is symmetric, 1
    for equal sets and blind to the order of tokens and to repetition: **the words of a reference in
    any order score 1**, so that it needs a check of form or fluency beside it.

    Args:
        x: vectors [m, d].
        y: vectors [n, d].

    Returns:
        The similarity; 0 where one side has no vector. Vectors of length 0 are left out, with a
        warning.

    Raises:
        ValueError: they are no matrices of one width, or hold numbers that are not finite.
    """
    (x, blank_x), (y, blank_y) = _directions(x), _directions(y)
    if blank_x + blank_y:
        warnings.warn(f"{blank_x + blank_y} vectors of length 0 are left out", stacklevel=2)
    return _bmas(x, y)


def _bmas(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"vectors of widths {x.shape[1]} and {y.shape[1]} have no cosines")
    if not len(x) or not len(y):
        return 0.0
    total, best_of_y = 0.0, np.full(len(y), -1.0)
    # In pieces, so that a long text costs time and no memory.
    for start in range(0, len(x), _CHUNK):
        cosines = np.clip(x[start : start + _CHUNK] @ y.T, -1.0, 1.0)
        total += float(cosines.max(axis=1).sum())
        best_of_y = np.maximum(best_of_y, cosines.max(axis=0))
    return (total / len(x) + float(best_of_y.mean())) / 2


def _directions(vectors: Any) -> tuple[NDArray[np.float64], int]:
    """Vectors of length 1, without those of length 0; and how many these were."""
    matrix = np.asarray(vectors, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"embeddings have shape {list(matrix.shape)}, expected [tokens, width]")
    if not np.isfinite(matrix).all():
        raise ValueError("embeddings hold numbers that are not finite")
    # Scaled first: the square of a tiny number is 0 and that of a huge one infinite.
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    kept = largest > 0
    matrix = matrix[kept] / largest[kept, None]
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True), int((~kept).sum())


@method(
    "token_similarity",
    kind="signal",
    seed=159,
    paper=Paper(
        "2505.24164",
        "Mixed-R1: Unified Reward Perspective For Reasoning Capability in Multimodal Large "
        "Language Models",
        2025,
    ),
)
class TokenSimilarity(Reward):
    """:func:`bmas` of the tokens of a completion and of its reference, in [0, 1].

    Tokens are embedded without their context, in the source by the input embeddings of the model
    that is trained: a reward for open-ended text that needs no judge. Similarities below 0 count as
    0. What a completion thinks, up to ``</think>``, does not count. The words of the reference in
    any order score 1; see :func:`bmas`.

    A completion without a token scores 0, as does one that is longer than ``longest``, and a
    reference of either kind fails its row. ``info["why"]``
    tells of tokens left out because their embedding is 0. It runs in this process, whatever the
    executor: the table is large and the work is one product of matrices.

    Args:
        gold: the column of reference texts.
        completion: the column of text or chat messages.
        table: the folder of a model as transformers saves it (``tokenizer.json`` and
            ``*.safetensors``), of which the tokenizer and the input embeddings are read and nothing
            else; needs the packages ``tokenizers`` and ``safetensors``.
        embed: a function instead: text -> array [tokens, width]. :func:`one_hot_words` needs no
            model.
        longest: characters of the longest text that is embedded: memory grows with them.

    Raises:
        ValueError: not exactly one of ``table`` and ``embed``, or ``longest`` is not positive.
        SpecError: when it scores: the folder holds no such files, or a package is missing.
    """

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        table: str | None = None,
        embed: Embed | None = None,
        longest: int = 20_000,
    ) -> None:
        super().__init__()
        if (table is None) == (embed is None):
            raise ValueError("token_similarity: give either `table`, a model's folder, or `embed`")
        if longest < 1:
            raise ValueError(f"token_similarity: longest is {longest}, not at least 1")
        self.gold, self.completion, self.table, self.embed = gold, completion, table, embed
        self.longest = longest
        self.declare(needs=(completion, gold), granularity="outcome")

    def forward(self, rollouts: Rollouts) -> Scores:
        names = (self.completion, self.gold)
        columns = [rollouts.column(name, needed_by=self.label()) for name in names]
        embed = self.embed or of_model(str(self.table))

        def grade(completion: str, gold: Any) -> float | Verdict:
            return _similarity(view(completion), text_of(gold), embed, self.longest)

        call = RowCall(grade, names, text=True)
        return scores_of(evaluate_columns(call, columns, Execution(Inline())))


def _similarity(text: str, gold: str, embed: Embed, longest: int) -> float | Verdict:
    if len(gold) > longest:
        raise ValueError(f"the reference has more than {longest} characters")
    wanted, blank_wanted = _embedded("the reference", gold, embed)
    if not len(wanted):
        raise ValueError("the reference has no token with an embedding")
    if len(text) > longest:
        return Verdict(0.0, f"the completion has more than {longest} characters")
    found, blank = _embedded("the completion", text, embed)
    if not len(found):
        return Verdict(0.0, "the completion has no token with an embedding")
    value = max(0.0, _bmas(found, wanted))
    left_out = blank + blank_wanted
    return Verdict(value, f"{left_out} tokens without an embedding") if left_out else value


def _embedded(what: str, text: str, embed: Embed) -> tuple[NDArray[np.float64], int]:
    vectors = embed(text) if text.strip() else np.zeros((0, 1))
    try:
        return _directions(vectors)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


# --- embeddings -----------------------------------------------------------------------------------


def one_hot_words(text: str, width: int = 1024) -> NDArray[np.float64]:
    """Each word its own direction [m, width]: with it, ``bmas`` compares words for equality.

    Words are separated by space, in lower case; one in 1024 pairs of them shares a direction.
    """
    words = text.lower().split()
    vectors = np.zeros((len(words), width))
    for i, word in enumerate(words):
        vectors[i, crc32(word.encode("utf-8", "replace")) % width] = 1.0
    return vectors


_NAMES = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
)
"""What the input embeddings are called in the models of transformers."""


@lru_cache(maxsize=4)
def of_model(folder: str) -> Embed:
    """The input embeddings of a model's tokens, as a function of text.

    Raises:
        SpecError: as for :class:`TokenSimilarity`.
    """
    try:
        tokenizers, safetensors = import_module("tokenizers"), import_module("safetensors")
    except ImportError as error:
        raise SpecError(
            "token_similarity: a model's folder needs tokenizers and safetensors: "
            "pip install tokenizers safetensors"
        ) from error
    path = Path(folder)
    if not (path / "tokenizer.json").is_file():
        raise SpecError(f"token_similarity: there is no {path / 'tokenizer.json'}")
    tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    weights = _weights(path, safetensors)

    def embed(text: str) -> NDArray[np.float64]:
        # Lone surrogates, which models can produce, cannot be tokenized.
        valid = text.encode("utf-8", "replace").decode("utf-8")
        ids = tokenizer.encode(valid, add_special_tokens=False).ids
        return np.asarray(weights[ids].double().numpy(), dtype=np.float64)

    return embed


def _weights(path: Path, safetensors: Any) -> Any:
    for file in sorted(path.glob("*.safetensors")):
        # Through torch, which knows bfloat16.
        with safetensors.safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                if name.endswith(_NAMES):
                    return tensors.get_tensor(name)
    raise SpecError(f"token_similarity: no *.safetensors in {path} holds input embeddings")
