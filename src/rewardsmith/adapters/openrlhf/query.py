"""The completion inside OpenRLHF's query, which is prompt and completion in one text.

The query is what the tokenizer decodes of the prompt's tokens and the generated ones, with special
tokens. So it begins with the prompt, but a tokenizer may have composed its letters or moved its
spaces, and OpenRLHF cuts a long one on the left.
"""

import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
"""With what the models of the larger families end a completion."""
_LEAST = 16
"""Letters of a cut prompt that have to be there, or a chance likeness would pass for one."""


class Completions:
    """Finds completions in queries; pickles.

    Args:
        special_tokens: what is removed at the end of a completion, over and over; None for those of
            the tokenizer, or :data:`END_TOKENS` where there is none.
        tokenizer: the one that OpenRLHF trains with (its name or path, or itself). With it, the
            prompt is looked for as it decodes it; without, as the text that it is.
    """

    def __init__(self, special_tokens: Sequence[str] | None = None, tokenizer: Any = None) -> None:
        if isinstance(special_tokens, str):
            raise TypeError(f"special_tokens is one text; give a list: [{special_tokens!r}]")
        self.special_tokens, self.tokenizer = special_tokens, tokenizer

    def within(self, query: str, prompt: str) -> str:
        """The completion of a query, without special tokens at its end.

        Raises:
            ValueError: the query does not begin with the prompt.
        """
        return self.ended(_after(query, self._as_decoded(prompt)))

    def ended(self, completion: str) -> str:
        """A completion without the special tokens at its end."""
        completion = without_ends(completion, self._ends())
        if completion.endswith("|>"):
            _note_end(completion[completion.rfind("<|") :])
        return completion

    def _ends(self) -> Sequence[str]:
        if self.special_tokens is not None:
            return self.special_tokens
        if self.tokenizer is not None:
            return [str(token) for token in self._loaded().all_special_tokens]
        return END_TOKENS

    def _as_decoded(self, prompt: str) -> str:
        if self.tokenizer is None:
            return prompt
        tokens = self._loaded()(text=prompt, add_special_tokens=False)["input_ids"]
        return str(self._loaded().decode(tokens, skip_special_tokens=False))

    def _loaded(self) -> Any:
        if isinstance(self.tokenizer, str):
            from transformers import AutoTokenizer

            self.tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
        return self.tokenizer


def without_ends(text: str, ends: Sequence[str]) -> str:
    """A text without what it ends with, over and over."""
    while found := [end for end in ends if end and text.endswith(end)]:
        text = text.removesuffix(max(found, key=len))
    return text


def _after(query: str, prompt: str) -> str:
    if query.startswith(prompt):
        return query[len(prompt) :]
    # Some tokenizers, Qwen's among them, compose letters.
    composed = unicodedata.normalize("NFC", prompt)
    if query.startswith(composed):
        return query[len(composed) :]
    found = _after_spaced(query, composed)
    if found is None:
        found = _after_cut(query, composed)
    if found is None:
        raise ValueError(
            f"the query does not begin with its prompt: it begins {_start(query)}, the prompt "
            f"{_start(prompt)}; give tokenizer=, or use agent_executor, which needs no search"
        )
    return found


def _after_spaced(query: str, prompt: str) -> str | None:
    """What follows a prompt whose spaces the tokenizer moved, as SentencePiece's do."""
    at = 0
    for letter in prompt:
        if letter.isspace():
            continue
        while at < len(query) and query[at].isspace():
            at += 1
        if at == len(query) or query[at] != letter:
            return None
        at += 1
    return query[at:].removeprefix(prompt[len(prompt.rstrip()) :])


def _after_cut(query: str, prompt: str) -> str | None:
    """What follows a prompt that was cut on the left.

    Raises:
        ValueError: it could have been cut at several places.
    """
    # A cut between the bytes of a letter leaves these.
    query = query.lstrip("\ufffd")
    head, found = query[:_LEAST], []
    at = prompt.find(head) if len(head) == _LEAST else -1
    while at >= 0:
        if query.startswith(prompt[at:]):
            found.append(query[len(prompt) - at :])
        at = prompt.find(head, at + 1)
    if len(found) > 1:
        raise ValueError(
            "the prompt was cut on the left, and its end repeats itself, so that nobody can tell "
            "where the completion begins; raise --data.max_len, or use agent_executor"
        )
    return found[0] if found else None


def _start(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


@cache
def _note_end(end: str) -> None:
    warnings.warn(
        f"a completion ends with {end!r}, which may be a special token: it is read as text unless "
        f"special_tokens or tokenizer tells otherwise",
        stacklevel=2,
    )
