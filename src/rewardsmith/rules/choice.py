"""Which letter of a multiple choice a completion names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .extraction import AUTO, find_answer
from .forms import canonical
from .numbers import read
from .verdict import Verdict

PHRASES = ("option is", "choice is", "option:", "choice:")

_LETTER = r"(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])(?![\w'’])[)\]]?)"
_LEAD = re.compile(r"(?:(?:the\s+)?(?:option|choice|answer|letter)s?\s*:?\s+)?", re.IGNORECASE)
_ONE = re.compile(_LETTER)
_NEXT = re.compile(
    rf"\s*(?:,\s*(?:and|or)?|/|&|\+|\band\b|\bor\b)\s*{_LETTER}(?=\s*(?:$|[,.;/&+]|and\b|or\b|is\b|are\b|both\b))"
)
# What may follow a bare letter; anything else makes it a word of a sentence, as in "A dog".
_REST = re.compile(
    r"\s*(?:$|[.:,;]\s*(?P<text>.*)|[-–—]\s+(?P<dash>.*)|=\s*(?P<equals>.*)"
    r"|(?:because|since|as|is\s+(?:the\s+)?(?:correct|right|best|true))\b.*)\Z",
    re.DOTALL | re.IGNORECASE,
)
_BRACKETED = re.compile(r"\s*[-–—:.,;]?\s*(?P<text>.*)\Z", re.DOTALL)


def grade(
    completion: str, gold: Any, options: Any = None, *, answer: str = AUTO
) -> float | Verdict:
    r"""1 if a completion names the right choice and no other, else 0.

    The final answer, found by :func:`~.extraction.find_answer`, names a choice if it is

    - a letter: ``B``, ``(B)``, ``B.``, ``Option B``, ``\text{B}``; small ones only alone;
    - a letter and a text behind ``.``, ``:``, ``)``, ``,`` or a dash: ``B: 42``;
    - a letter and a reason or a judgement: ``B because ...``, ``B is correct``;
    - the text of exactly one of ``options``.

    Two letters (``B or C``) name none, and neither does a letter with the text of another option.

    Args:
        completion: the text.
        gold: the letter of the right choice; with ``options`` also its text, or its index from 0.
        options: the texts of the choices, by letter or in order; or None.
        answer: where the answer stands.

    Raises:
        ValueError: ``gold`` is no choice.
    """
    texts = _texts(options)
    right = _right(gold, texts)
    found = find_answer(completion, answer, phrases=PHRASES)
    if found is None and answer == AUTO:
        found = _alone(completion)
    if found is None:
        return Verdict(0.0, "no answer found")
    named, why = _named(found, texts)
    if named is None:
        return Verdict(0.0, why)
    return 1.0 if named == right else Verdict(0.0, f"chose {named}")


def _alone(completion: str) -> str | None:
    """A completion that is nothing but a short answer."""
    start = completion.rfind("</think>") + 1
    text = completion[start + 7 if start else 0 :].strip()
    return text.strip("*_` ") if 0 < len(text) <= 200 and "\n" not in text else None


def _texts(options: Any) -> dict[str, str]:
    if options is None:
        return {}
    if isinstance(options, Mapping):
        pairs = [(str(letter).strip().upper(), str(text)) for letter, text in options.items()]
    elif isinstance(options, Sequence) and not isinstance(options, str):
        pairs = [(chr(65 + i), str(text)) for i, text in enumerate(options)]
    else:
        raise ValueError(f"options are {type(options).__name__}, not texts")
    if not pairs or len(pairs) > 26 or any(len(letter) != 1 for letter, _ in pairs):
        raise ValueError("options need letters from A to Z")
    return dict(pairs)


def _right(gold: Any, texts: dict[str, str]) -> str:
    """The letter of the right choice."""
    if isinstance(gold, int) and not isinstance(gold, bool) and 0 <= gold < len(texts):
        return list(texts)[gold]
    if isinstance(gold, str):
        letter = gold.strip().strip("()[].:").strip().upper()
        if len(letter) == 1 and "A" <= letter <= "Z" and (not texts or letter in texts):
            return letter
        same = _of_text(gold, texts)
        if same:
            return same
    raise ValueError(f"gold {gold!r} is no choice" + (f" of {list(texts)}" if texts else ""))


def _named(found: str, texts: dict[str, str]) -> tuple[str | None, str]:
    """The letter that an answer names, or None and why."""
    letter = _of_text(found, texts)
    if letter:
        return letter, ""
    text = canonical_letter(found)
    text = text[_LEAD.match(text).end() :]  # type: ignore[union-attr]
    first = _ONE.match(text)
    if not first:
        return None, f"{found[:80]!r} names no choice"
    letter = next(group for group in first.groups() if group)
    following, rest = _NEXT.match(text, first.end()), text[first.end() :]
    while following:
        other = next(group for group in following.groups() if group)
        if other.upper() != letter.upper():
            return None, "it names two choices"
        rest = text[following.end() :]
        following = _NEXT.match(text, following.end())
    bare = first.group()[-1] not in ")]"
    said = (_REST if bare else _BRACKETED).match(rest)
    if not said or (letter.islower() and rest.strip(" .")):
        return None, f"{found[:80]!r} names no choice"
    own = next((group for group in said.groups() if group), "")
    other_text = _of_text(own, texts) if own else None
    if other_text and other_text != letter.upper():
        return None, "its letter and its text are of different choices"
    return letter.upper(), ""


_WRAPPING = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}")


def canonical_letter(text: str) -> str:
    """A text without LaTeX and emphasis around its letter."""
    return _WRAPPING.sub(r"\1", text).replace("**", "").replace("$", "").strip(" *_`")


def _of_text(text: str, texts: dict[str, str]) -> str | None:
    """The only option with this text."""
    if not texts:
        return None
    given = _folded(text)
    found = [letter for letter, option in texts.items() if _folded(option) == given]
    if not found:
        number = read(text)
        found = [
            letter
            for letter, option in texts.items()
            if number is not None and read(option) == number
        ]
    return found[0] if len(found) == 1 else None


def _folded(text: str) -> str:
    return canonical(text).casefold().rstrip(".")
