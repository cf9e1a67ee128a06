"""Regular expressions in linear time, and keywords."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, TypeAlias
from unicodedata import normalize

from .verdict import Verdict

PatternMode: TypeAlias = Literal["search", "fullmatch", "count"]
KeywordMode: TypeAlias = Literal["all", "any", "fraction"]
_SURROGATE = re.compile("[\ud800-\udfff]")


def grade(
    completion: str,
    *,
    pattern: str,
    mode: PatternMode = "search",
    most: int = 1,
    case: bool = True,
) -> float | Verdict:
    """Whether an RE2 expression matches; with ``count``, ``min(matches, most) / most``.

    Args:
        completion: what the model wrote. A surrogate, which no UTF-8 can hold, is read as
            U+FFFD.
        pattern: the expression.
        mode: it matches somewhere (``search``), matches the whole text (``fullmatch``), or how
            often without overlap (``count``). No more than ``most`` matches are looked for, so that
            the time stays linear.
        most: how many matches earn 1.
        case: whether upper and lower case differ.
    """
    expression, text = compiled(pattern, case), encodable(completion)
    if mode == "count":
        found = sum(1 for _ in islice(expression.finditer(text), most))
        return 1.0 if found == most else Verdict(found / most, f"{found} matches of {most}")
    match = expression.search(text) if mode == "search" else expression.fullmatch(text)
    return Verdict(0.0, "the pattern does not match") if match is None else 1.0


def keywords(
    completion: str,
    *,
    words: Sequence[str],
    mode: KeywordMode = "all",
    case: bool = False,
    whole_words: bool = True,
) -> float | Verdict:
    """Whether all or any of some words occur, or which fraction of them.

    Args:
        completion: what the model wrote.
        words: the words, or phrases.
        mode: ``all`` or ``any`` of them give 1, or each its share (``fraction``).
        case: whether upper and lower case differ.
        whole_words: a letter, digit or underscore right before or after makes it another word: 1 is
            not in 21, nor "art" in "part".

    A letter with its accent is one, in Unicode's form NFC, however it is written.
    """
    form = composed if case else folded
    text = form(completion)
    missing = [word for word in words if not _occurs(form(word), text, whole_words)]
    found = 1.0 - len(missing) / len(words)
    value = found if mode == "fraction" else float(found == 1.0 if mode == "all" else found > 0.0)
    if value == 1.0:
        return value
    return Verdict(value, f"missing: {', '.join(missing)}"[:200])


def _occurs(word: str, text: str, whole: bool) -> bool:
    if not whole or word not in text:
        return word in text
    # A literal: nothing in it can backtrack.
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


@lru_cache(maxsize=256)
def compiled(pattern: str, case: bool = True) -> Any:
    """An RE2 expression.

    Raises:
        ValueError: RE2 does not take it.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = case
    try:
        return re2.compile(pattern, options)
    except (re2.error, TypeError, UnicodeEncodeError) as error:
        why = error.args[0] if isinstance(error, re2.error) else error
        why = why.decode("utf-8", "replace") if isinstance(why, bytes) else why
        raise ValueError(
            f"RE2 does not take the pattern {pattern!r}: {why}. It matches in linear time, and so "
            "has no backreferences, lookahead and lookbehind; a Python function may use `re`"
        ) from None


# A letter and what may be composed with it. Bounded: a long run of marks takes quadratic time.
_ACCENTED = re.compile("[\\s\\S][\u0300-\U0010ffff]{1,63}")


def composed(text: str) -> str:
    """The text in Unicode's form NFC, where a letter and its accent are one character."""
    if text.isascii():
        return text
    return _ACCENTED.sub(lambda found: normalize("NFC", found[0]), text)


def folded(text: str) -> str:
    """The text as it is compared where upper and lower case are the same."""
    return composed(text.casefold())


def encodable(text: str) -> str:
    """The text with U+FFFD for every surrogate, which UTF-8 cannot hold and RE2 not read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text
