"""The completion inside OpenRLHF's query, which is prompt and completion in one text.

The query is what the tokenizer decodes of the prompt's tokens and the generated ones, with special
tokens. So it begins with the prompt, but a tokenizer may have composed its letters or moved its
spaces, and OpenRLHF cuts a long one on the left.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
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
)
"""With what the models of the larger families end a completion, and what nobody writes.

``</s>`` and ``<eos>`` are not among them: HTML ends so as well. They stay, with a warning, unless
``special_tokens`` or the tokenizer says that they end a completion."""
_ALSO_TEXT = ("</s>", "<eos>")
_MARK = re.compile(r"(<\|[^\s<>|]{1,40}\|>|</s>|<eos>)\Z")
_LEAST, _LEAST_DARK = 16, 8
"""Letters of a cut prompt that have to be there, and how many that are no space, or a chance
likeness would pass for one."""


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
            ValueError: the query does not begin with the prompt, or may do so in several ways.
        """
        return self.ended(_after(query, self._as_decoded(prompt)))

    def ended(self, completion: str) -> str:
        """A completion without the special tokens at its end."""
        completion = without_ends(completion, self._ends())
        unsaid = self.special_tokens is None and self.tokenizer is None
        if (end := _MARK.search(completion)) and (unsaid or end[0] not in _ALSO_TEXT):
            _note_end(end[0])
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
    """What follows the prompt, which may have been composed, spaced otherwise, or cut on the left.

    Raises:
        ValueError: nothing does, or one way of reading it gives another completion than another.
    """
    # Some tokenizers, Qwen's among them, compose letters; SentencePiece's move spaces.
    composed = unicodedata.normalize("NFC", prompt)
    whole = [query[len(p) :] for p in (prompt, composed) if query.startswith(p)]
    found = set(whole[:1])
    for completion in _after_spaced(query, composed, may_be_whole=not whole):
        found.add(completion)
        if len(found) > 1:
            raise ValueError(
                "the prompt was cut on the left, or its end repeats its beginning, so that nobody "
                "can tell where the completion begins; raise --data.max_len, or use agent_executor"
            )
    if not found:
        raise ValueError(
            f"the query does not begin with its prompt: it begins {_start(query)}, the prompt "
            f"{_start(prompt)}; give tokenizer=, or use agent_executor, which needs no search"
        )
    return found.pop()


def _after_spaced(query: str, prompt: str, may_be_whole: bool) -> Iterator[str]:
    """What follows a prompt, whatever its spaces, whole or cut on the left."""
    places = [i for i, letter in enumerate(prompt) if not letter.isspace()]
    dark, tail = "".join(prompt.split()), prompt[len(prompt.rstrip()) :]
    # A cut between the bytes of a letter leaves these.
    cut = query.lstrip("\ufffd")
    for text, at in ((query, 0), *((cut, at) for at in _cuts("".join(cut.split()), dark))):
        if at == 0 and not (may_be_whole and "".join(text.split()).startswith(dark)):
            continue
        if at and (len(prompt) - places[at - 1] <= _LEAST or len(dark) - at < _LEAST_DARK):
            continue
        yield _without(text, len(dark) - at).removeprefix(tail)


def _cuts(query: str, prompt: str) -> Iterator[int]:
    """Where a prompt without spaces may have been cut, so that a query begins with the rest."""
    head = query[:_LEAST_DARK]
    at = prompt.find(head, 1) if len(head) == _LEAST_DARK else -1
    while at >= 0:
        if query.startswith(prompt[at:]):
            yield at
        at = prompt.find(head, at + 1)


def _without(text: str, dark: int) -> str:
    """A text without so many letters that are no spaces, and the spaces before and among them."""
    at = 0
    while dark:
        dark -= not text[at].isspace()
        at += 1
    return text[at:]


def _start(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


@cache
def _note_end(end: str) -> None:
    warnings.warn(
        f"a completion ends with {end!r}, which may be a special token: it is read as text unless "
        f"special_tokens or tokenizer tells otherwise",
        stacklevel=2,
    )
