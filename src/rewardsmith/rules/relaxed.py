"""Answers that may be a little off: numbers within a tolerance, words in part (159, 093)."""

import re
from fractions import Fraction
from typing import Any

from .extraction import AUTO, clean, find_answer
from .maths import written
from .numbers import Number, read
from .pattern import folded
from .verdict import Verdict


def relaxed_match(
    completion: str, gold: Any, *, answer: str = AUTO, tolerance: float = 0.05
) -> float | Verdict:
    """1 if a completion's answer is the reference up to a relative tolerance, else 0.

    Numbers match if ``|answer - gold| <= tolerance |gold|``, computed exactly; 0 only matches 0. A
    percent sign on one side only may be meant either way (``12%`` is 12 and 0.12). What is no
    number has to be the same text, up to case and spaces.

    A relative tolerance is meant for quantities: of the year 2000 it lets 1900 pass.

    Args:
        completion: the text.
        gold: a text or a number.
        answer: where the answer stands, see :func:`~.extraction.find_answer`.
        tolerance: the share of the reference that an answer may be off.

    Raises:
        ValueError: the reference is empty, or neither text nor a finite number.
    """
    right = _reference(gold)
    found = find_answer(completion, answer)
    if found is None:
        return Verdict(0.0, "no answer found")
    wanted, number = read(right), read(found)
    if wanted is not None and number is not None:
        matches = any(
            abs(value - target) <= abs(target) * _exact(tolerance)
            for value, target in _readings(number, wanted)
        )
    else:
        matches = _plain(found) == _plain(right)
    return 1.0 if matches else Verdict(0.0, f"answered {found[:80]!r}")


def keyword_f1(completion: str, gold: Any, *, answer: str = AUTO) -> float | Verdict:
    """The F1 of the words of a completion's answer: ``2 |A and B| / (|A| + |B|)``.

    A and B are the sets of words, in lower case, of the answer and of the reference.

    Raises:
        ValueError: the reference holds no word.
    """
    wanted = _words(_reference(gold))
    if not wanted:
        raise ValueError("the reference holds no word")
    found = find_answer(completion, answer)
    if found is None:
        return Verdict(0.0, "no answer found")
    words = _words(found)
    return 2 * len(words & wanted) / (len(words) + len(wanted))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", folded(text)))


def _plain(text: str) -> str:
    return " ".join(folded(text).split())


def _exact(number: float) -> Fraction:
    # 0.05 as it is written, and not as the float nearest to it: 5 % of 100 is 5.
    return Fraction(repr(number))


def _readings(answer: Number, gold: Number) -> list[tuple[Fraction, Fraction]]:
    """The pairs of values that the two may mean."""
    pairs = [(answer.value, gold.value)]
    if answer.percent and not gold.percent:
        pairs.append((answer.value / 100, gold.value))
    if gold.percent and not answer.percent:
        pairs.append((answer.value, gold.value / 100))
    return pairs


def _reference(gold: Any) -> str:
    text = clean(written(gold))
    if not text:
        raise ValueError("the reference is empty")
    return text
