"""Whether a completion's final answer is the right one."""

import math
import struct
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from numbers import Integral, Rational, Real
from typing import Any, NamedTuple

from .expressions import case_differs, is_maths, outgrows, unwrapped
from .extraction import AUTO, clean, find_answer
from .forms import (
    LIST,
    ONE,
    Form,
    ascending,
    canonical,
    equation,
    form_of,
    is_name,
    names_of,
    set_of,
    spread,
)
from .glyphs import plain
from .numbers import Number, read
from .units import same_unit, without_unit
from .verdict import Verdict

_DEEPEST = 6
"""Brackets within brackets that are compared item by item."""


class Gold(NamedTuple):
    """A reference answer, read once."""

    text: str
    number: Number | None


def grade(completion: str, gold: Any, *, answer: str = AUTO, fast: bool = True) -> float | Verdict:
    r"""1 if a completion's answer equals the gold one, else 0.

    Args:
        completion: the text.
        gold: the right answer: a number, or a text, of which only what follows the last ``####``
            or stands in the last ``\boxed{...}`` counts, if there is one.
        answer: where the answer stands, see :func:`~.extraction.find_answer`.
        fast: whether numbers are compared exactly before math-verify is asked.

    Raises:
        ValueError: ``gold`` is no answer.
    """
    right = gold_answer(gold if type(gold) is str else written(gold))
    found = find_answer(completion, answer)
    if found is None:
        return Verdict(0.0, "no answer found")
    if found == right.text:
        return 1.0
    if fast and right.number is not None:
        number = read(found)
        if number is not None:
            return 1.0 if same(right.number, number) else Verdict(0.0, f"answered {found[:80]!r}")
    if equal(right.text, found, fast=fast):
        return 1.0
    return Verdict(0.0, f"answered {found[:80]!r}")


@lru_cache(maxsize=4096)
def gold_answer(text: str) -> Gold:
    """What a reference says.

    Raises:
        ValueError: nothing.
    """
    if "####" in text:
        text = text[text.rindex("####") + 4 :]
    elif "\\boxed" in text:
        text = find_answer(text, "boxed") or ""
    text = clean(text)
    if not text:
        raise ValueError("gold is empty")
    return Gold(text, read(text))


def written(gold: Any) -> str:
    """A reference as text: itself, or a number as it is written.

    Numbers are those of Python, fractions, decimals, and numpy's and torch's scalars; a float is
    its shortest decimal, so 0.1 in single precision is ``0.1``.

    Raises:
        ValueError: it is neither a text nor a finite number.
    """
    if isinstance(gold, str):
        return str(gold)
    if not isinstance(gold, bool):
        if isinstance(gold, Integral):
            return str(int(gold))
        if isinstance(gold, Rational):
            return f"{int(gold.numerator)}/{int(gold.denominator)}"
        if isinstance(gold, Real | Decimal) and math.isfinite(gold):
            return str(gold)
        if getattr(gold, "ndim", None) == 0 and hasattr(gold, "item"):
            return _scalar(gold)
    raise ValueError(f"gold is {type(gold).__name__} {gold!r}, not a text or a finite number")


def _scalar(array: Any) -> str:
    """What stands in an array without dimensions."""
    value = array.item()
    if isinstance(value, float) and math.isfinite(value) and array.dtype.itemsize == 4:
        for digits in range(1, 9):
            if struct.pack("f", shorter := float(f"{value:.{digits}g}")) == struct.pack("f", value):
                return str(shorter)
    return written(value)


def same(gold: Number, answer: Number) -> bool:
    """Whether two numbers are the same: ``18%`` is 18 and 0.18, and units differ if both have one.

    Without percent signs this is an equivalence.
    """
    if gold.unit and answer.unit and not same_unit(gold.unit, answer.unit):
        return False
    if gold.percent == answer.percent:
        return gold.value == answer.value
    value, percent = (answer.value, gold) if gold.percent else (gold.value, answer)
    return value in (percent.value, percent.value / 100)


def equal(gold: str, answer: str, *, fast: bool = True, depth: int = 0) -> bool:
    """Whether two answers are the same, by their form and then item by item."""
    gold, answer = unwrapped(plain(gold)), unwrapped(plain(answer))
    if canonical(gold) == canonical(answer):
        return True
    numbers = (read(gold), read(answer)) if fast else (None, None)
    if numbers[0] is not None and numbers[1] is not None:
        return same(numbers[0], numbers[1])
    if depth > _DEEPEST:
        return False
    alike = _alike(gold, answer)
    if alike != (gold, answer):
        return equal(*alike, fast=fast, depth=depth + 1)
    forms = form_of(gold), form_of(answer)
    if forms[0].kind == forms[1].kind == ONE:
        return _same_one(gold, answer, numbers[0], fast, depth)
    names = names_of(forms[0]), names_of(forms[1])
    if (names[0] is None) != (names[1] is None):
        return _same_in_order(*forms, fast=fast, depth=depth)
    if _comparable(*forms):
        return _same_items(*forms, fast=fast, depth=depth)
    if forms[0].kind in _INTERVALS and _relation(answer):
        return _symbolic(gold, answer)
    if forms[1].kind in _INTERVALS and _relation(gold):
        return _symbolic(gold, answer)
    both = _both_signs(gold), _both_signs(answer)
    if any(both):
        return equal(both[0] or gold, both[1] or answer, fast=fast, depth=depth + 1)
    return False


def _alike(gold: str, answer: str) -> tuple[str, str]:
    """Two answers without a name or a unit that only one of them has."""
    gold, answer = ascending(spread(gold)), ascending(spread(answer))
    left, right = equation(gold), equation(answer)
    if len(left) == 1 and len(right) == 2 and is_name(right[0]):
        answer = right[1]
    elif len(right) == 1 and len(left) == 2 and is_name(left[0]):
        gold = left[1]
    sets = set_of(gold), set_of(answer)
    if sets != (gold, answer) and (sets[0] == gold or sets[1] == answer or gold[:1] == answer[:1]):
        gold, answer = sets
    bare = without_unit(gold), without_unit(answer)
    if (bare[0] == gold) != (bare[1] == answer):
        gold, answer = bare
    return gold, answer


_INTERVALS = frozenset(["()", "(]", "[)", "[]", "union"])
_SETS = frozenset([LIST, "{}"])


def _comparable(gold: Form, answer: Form) -> bool:
    return gold.kind == answer.kind or {gold.kind, answer.kind} == _SETS


def _same_items(gold: Form, answer: Form, *, fast: bool, depth: int) -> bool:
    """In brackets the order counts; in lists, sets and unions it does not."""
    if len(gold.items) > 64 or len(answer.items) > 64:
        return False

    def same(a: str, b: str) -> bool:
        return equal(a, b, fast=fast, depth=depth + 1)

    if "{}" not in (gold.kind, answer.kind) and len(gold.items) != len(answer.items):
        return False
    if gold.kind == answer.kind == LIST:
        # Each item once: 1, 2, 2 is not 1, 1, 2.
        left = list(answer.items)
        for item in gold.items:
            found = next((i for i, other in enumerate(left) if same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True
    if gold.kind not in _SETS and gold.kind != "union":
        return all(map(same, gold.items, answer.items))
    # Each way round: a set may say a thing twice.
    return all(any(same(a, b) for b in answer.items) for a in gold.items) and all(
        any(same(a, b) for a in gold.items) for b in answer.items
    )


def _same_in_order(gold: Form, answer: Form, *, fast: bool, depth: int) -> bool:
    """Whether ``x = 5, y = 6`` is ``5, 6`` or ``(5, 6)``: only one of them has names."""
    if {gold.kind, answer.kind} - {LIST, "()"} or len(gold.items) != len(answer.items):
        return False
    values = [[equation(item)[-1] for item in form.items] for form in (gold, answer)]
    return all(equal(a, b, fast=fast, depth=depth + 1) for a, b in zip(*values, strict=True))


def _same_one(gold: str, answer: str, number: Number | None, fast: bool, depth: int) -> bool:
    left, right = equation(gold), equation(answer)
    if len(left) == 1 and len(right) > 1:
        # 10 + 8 = 18: true, and its value is the answer.
        sides = [read(side) for side in right]
        values = [side.value for side in sides if side is not None]
        if number is not None and len(values) == len(right):
            return all(value == number.value for value in values)
        return False
    if len(left) > len(right):
        return False
    if (
        len(left) == len(right) == 2
        and left[0] == right[0]
        and is_name(left[0])
        and equal(left[1], right[1], fast=fast, depth=depth + 1)
    ):
        return True
    if "\\pm" in gold or "\\pm" in answer:
        both = _both_signs(gold), _both_signs(answer)
        return all(both) and equal(str(both[0]), str(both[1]), fast=fast, depth=depth + 1)
    if number is not None:
        gold = f"\\frac{{{number.value.numerator}}}{{{number.value.denominator}}}"
    return _symbolic(gold, answer)


def _both_signs(text: str) -> str | None:
    r"""``a \pm b`` as a list; None if there is no such sign, or more than one."""
    if text.count("\\pm") != 1 or form_of(text).kind != ONE:
        return None
    return text.replace("\\pm", "+") + " , " + text.replace("\\pm", "-")


def _relation(text: str) -> bool:
    return any(sign in text for sign in ("<", ">", "\\le", "\\ge", "\\in "))


def _symbolic(gold: str, answer: str) -> bool:
    if not is_maths(gold) or not is_maths(answer):
        return " ".join(gold.casefold().split()) == " ".join(answer.casefold().split())
    if case_differs(gold, answer) or outgrows(answer, gold):
        return False
    # Imported late: it loads sympy, which most answers do not need.
    return bool(import_module(f"{__package__}.symbolic").equal(gold, answer))
