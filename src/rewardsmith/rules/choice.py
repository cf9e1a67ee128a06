"""Which letter of a multiple choice a completion names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .extraction import AUTO, find_answer
from .forms import canonical
from .glyphs import plain
from .numbers import read
from .verdict import Verdict

PHRASES = ("option is", "choice is", "option:", "choice:")

_LEAD = re.compile(
    r"(?:I\s+(?:choose|pick|select)\s+)?(?:(?:the\s+)?(?:option|choice|answer|letter)s?\s*:?\s+)?",
    re.IGNORECASE,
)
_ONE = re.compile(
    r"\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|[\"'“‘]([A-Za-z])[\"'”’]"
    r"|([A-Za-z])[)\]]|([A-Za-z])(?![\w'’])"
)
# What may follow a bare letter; anything else makes it a word of a sentence, as in "A dog".
_REST = re.compile(
    r"\s*(?:$|[.,;]\s*(?P<text>.*)|(?::|[-–—]\s|=)\s*(?P<own>.*)|\((?P<bracketed>.*)\)\.?"
    r"|(?P<reason>(?:because|since|as)\b.*)|(?P<judged>is\s+(?:the\s+)?(?:correct|right|best|true|answer)\b.*))\Z",
    re.DOTALL | re.IGNORECASE,
)
_BRACKETED = re.compile(
    r"\s*(?:(?:(?::|[-–—]\s|=)\s*(?P<own>.+))|[.,;]?\s*(?P<reason>(?:because|since|as)\b.*)"
    r"|[.,;]?\s*(?P<text>.*))\Z",
    re.DOTALL | re.IGNORECASE,
)
_REASON = re.compile(r"(?:because|since|as)\b", re.IGNORECASE)
# Another choice behind the first: (C), c), or a capital by itself.
_OTHER = re.compile(
    r"(?<!\w)[(\[]\s*([A-Za-z])\s*[)\]]|(?<![\w'’\\])([A-Za-z])\)"
    r"|(?<![\w'’\\])(?<!circ )([A-Z])(?![\w'’])"
)
_ARTICLE = re.compile(r"A\s+(?!(?:is|was|are|and|or|also|too|both|as|if|because|since)\b)[a-z]")
_LETTERS = frozenset("ABCDEFGHJ")
_DENIED = re.compile(
    r"\b(?:not|no|nor|or|wrong|incorrect|false|neither|either|never|both|also|maybe|perhaps|wait"
    r"|actually|instead|unless|\w+n['’]t)\b",
    re.IGNORECASE,
)
_JUDGED = re.compile(r"\b(?:correct|right|true|best)\b", re.IGNORECASE)


def grade(
    completion: str, gold: Any, options: Any = None, *, answer: str = AUTO
) -> float | Verdict:
    r"""1 if a completion names the right choice and no other, else 0.

    The final answer, found by :func:`~.extraction.find_answer`, names a choice if it is

    - a letter: ``B``, ``(B)``, ``B.``, ``"B"``, ``Option B``, ``I choose B``, ``\text{B}``; small
      ones only alone or in brackets;
    - a letter and a text behind ``.``, ``,`` or ``;``: ``B. 42``. In brackets and behind ``:``,
      ``=`` or a dash it has to be the text of this choice, if there are ``options``;
    - a letter and a reason or a judgment: ``B because ...``, ``B is correct``;
    - the text of exactly one of ``options``.

    Nothing is named where another letter follows (A to H, J, or those of ``options``), but in a
    reason; or a word such as *or*, *not*, *wrong*, *also*, *maybe*; or the text of another option.

    Args:
        completion: the text.
        gold: the letter of the right choice, perhaps with its text; with ``options`` also its text
            alone, or its index from 0.
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
    if not isinstance(options, Mapping) and hasattr(options, "tolist"):
        options = options.tolist()
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
    if getattr(gold, "ndim", None) == 0 and hasattr(gold, "item"):
        gold = gold.item()
    if isinstance(gold, int) and not isinstance(gold, bool) and 0 <= gold < len(texts):
        return list(texts)[gold]
    if isinstance(gold, str):
        letter = gold.strip().strip("()[].:").strip().upper()
        if len(letter) == 1 and "A" <= letter <= "Z" and (not texts or letter in texts):
            return letter
        named = _named(gold, texts)[0]
        if named and (not texts or named in texts):
            return named
    raise ValueError(f"gold {gold!r} is no choice" + (f" of {list(texts)}" if texts else ""))


def _named(found: str, texts: dict[str, str]) -> tuple[str | None, str]:
    """The letter that an answer names, or None and why."""
    text = canonical_letter(found)
    text = text[_LEAD.match(text).end() :]  # type: ignore[union-attr]
    first = _ONE.match(text)
    alone = first is not None and not text[first.end() :].strip(" .:)")
    letter = None if alone else _of_text(found, texts)
    if letter:
        return letter, ""
    if not first:
        return None, f"{found[:80]!r} names no choice"
    letter, rest = next(group for group in first.groups() if group), text[first.end() :]
    bare = first[5] is not None
    said = (_REST if bare else _BRACKETED).match(rest)
    if not said or (bare and letter.islower() and rest.strip(" .")):
        two = _others(rest, texts) - {letter.upper()}
        return None, "it names two choices" if two else f"{found[:80]!r} names no choice"
    why = _against(letter.upper(), rest, said.groupdict(), texts)
    return (None, why) if why else (letter.upper(), "")


def _against(letter: str, rest: str, said: dict[str, str | None], texts: dict[str, str]) -> str:
    """Why what follows a letter makes it no answer; nothing if it does not."""
    own = said.get("own") or said.get("bracketed")
    text = own or said.get("text") or ""
    if text and texts:
        if letter in texts and _same_text(text, texts[letter]):
            return ""
        if own or _of_text(text, texts):
            return "its text is not that of its letter"
    reason = said.get("reason") or (_REASON.match(text) and text)
    others = _others(rest, texts) - {letter}
    if others and not reason:
        return "it names two choices"
    if _DENIED.search(rest) or (reason and others and _JUDGED.search(rest)):
        return "its letter is in doubt"
    return ""


def _others(rest: str, texts: dict[str, str]) -> frozenset[str]:
    """The letters of choices in a text."""
    found = frozenset(
        str(match[1] or match[2] or match[3]).upper()
        for match in _OTHER.finditer(rest)
        if not _ARTICLE.match(rest, match.start())
    )
    return found & (frozenset(texts) or _LETTERS)


_WRAPPING = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}")


def canonical_letter(text: str) -> str:
    """A text in ASCII, without LaTeX and emphasis around its letter."""
    text = _WRAPPING.sub(r"\1", plain(text))
    return text.replace("**", "").replace("$", "").strip(" *_`")


def _of_text(text: str, texts: dict[str, str]) -> str | None:
    """The only option with this text."""
    if not texts:
        return None
    given = _folded(text)
    found = [letter for letter, option in texts.items() if _folded(option) == given]
    if not found:
        found = [letter for letter, option in texts.items() if _same_text(text, option)]
    return found[0] if len(found) == 1 else None


def _same_text(text: str, option: str) -> bool:
    """Whether a text is an option's, or the same number."""
    if _folded(text) == _folded(option):
        return True
    number = read(text)
    return number is not None and read(option) == number


def _folded(text: str) -> str:
    return canonical(text).casefold().rstrip(".")
