"""Plain data on its way between processes: exact built-in types, written as JSON.

What comes out of :func:`decode` is built anew from text, whoever wrote that: an object of a class
that says it equals everything does not travel, and nothing in the text is run.
"""

import json
import time
from collections import deque
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import GeneratorType
from typing import Any

_DEEPEST = 100
_LONG = 8192
"""Bits of integers that are written in base 16, which takes no time to read."""
_ITERATED: tuple[type, ...] = (range, map, filter, zip, enumerate, reversed, deque, GeneratorType)
_ITERATED += (type({}.keys()), type({}.values()), type({}.items()))
_MOST = 100_000
"""Items of what may have no end."""
_SLICE, _SECONDS = 500, 0.3
"""Keys that are put in between two looks at the clock, and processor time for all of them."""


class NotPlainError(ValueError):
    """Data that is not made of exact built-in types, or that is too deep or too large."""


def encode(value: Any) -> bytes:
    """None, numbers, str, bytes, list, tuple, dict, set and frozenset as JSON.

    A subclass of one (Counter, a named tuple) is written as that one; ranges, generators, views of
    dicts and the like as lists.

    Raises:
        NotPlainError: another type, or data that is too deep.
    """
    try:
        return json.dumps(_tagged(value, 0)).encode("ascii")
    except NotPlainError:
        raise
    except (
        ValueError,
        TypeError,
        RecursionError,
    ) as error:  # an integer of too many digits, for one
        raise NotPlainError(str(error)) from None


def decode(text: bytes) -> Any:
    """What :func:`encode` wrote.

    Raises:
        NotPlainError: it did not write this.
    """
    try:
        return _Reader().untagged(json.loads(text), 0)
    except NotPlainError:
        raise
    # What a tag holds may be anything: a set of lists, say.
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise NotPlainError(f"it cannot be read: {error}") from None


def _tagged(value: Any, depth: int) -> Any:
    """What is of a class of the program's own goes as the built-in type that it extends."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if issubclass(kind, str):
        return str.__getitem__(value, slice(None))
    if issubclass(kind, int):
        whole = int.__add__(value, 0)
        return {"i": hex(whole)} if whole.bit_length() > _LONG else whole
    if issubclass(kind, float):
        return float.__mul__(value, 1.0)
    if issubclass(kind, bytes):
        return {"b": bytes.decode(value, "latin-1")}
    if issubclass(kind, complex):
        number = complex.__add__(value, 0)
        return {"c": [number.real, number.imag]}
    if depth > _DEEPEST:
        raise NotPlainError(f"it is nested more than {_DEEPEST} deep")
    if issubclass(kind, list):
        return [_tagged(item, depth + 1) for item in list.__iter__(value)]
    if issubclass(kind, tuple):
        return {"t": [_tagged(item, depth + 1) for item in tuple.__iter__(value)]}
    if issubclass(kind, dict):
        pairs = dict.items(value)
        return {"d": [[_tagged(k, depth + 1), _tagged(v, depth + 1)] for k, v in pairs]}
    if issubclass(kind, set):
        return {"s": [_tagged(item, depth + 1) for item in set.__iter__(value)]}
    if issubclass(kind, frozenset):
        return {"f": [_tagged(item, depth + 1) for item in frozenset.__iter__(value)]}
    if issubclass(kind, Decimal | Fraction):
        return {"n": [kind.__name__, str(value)]}
    if issubclass(kind, _ITERATED):
        items = list(islice(value, _MOST + 1))
        if len(items) > _MOST:
            raise NotPlainError(f"it is a {kind.__name__} of more than {_MOST:,} items")
        return [_tagged(item, depth + 1) for item in items]
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _tagged(value.tolist(), depth + 1)
    raise NotPlainError(f"it holds a {kind.__module__}.{kind.__qualname__}, which is no plain data")


class _Reader:
    """Builds values from tagged ones; numbers can be chosen so that keys take quadratic time."""

    def __init__(self) -> None:
        self.spent = 0.0
        """Seconds for keys."""

    def untagged(self, value: Any, depth: int) -> Any:
        """A value, and those in it."""
        if type(value) not in (list, dict):
            return value
        if depth > _DEEPEST:
            raise NotPlainError(f"it is nested more than {_DEEPEST} deep")
        if type(value) is list:
            return [self.untagged(item, depth + 1) for item in value]
        ((tag, held),) = value.items()
        if tag == "i":
            return int(held, 16)
        if tag == "b":
            return held.encode("latin-1")
        if tag == "c":
            return complex(*held)
        if tag == "n":
            return {"Decimal": Decimal, "Fraction": Fraction}[held[0]](held[1][:10_000])
        if tag == "d":
            below = depth + 1
            pairs = [(self.untagged(k, below), self.untagged(v, below)) for k, v in held]
            return self._filled({}, pairs)
        items = [self.untagged(item, depth + 1) for item in held]
        if tag == "t":
            return tuple(items)
        return {"s": set, "f": frozenset}[tag](self._filled(set(), items))

    def _filled(self, container: Any, items: list[Any]) -> Any:
        for start in range(0, len(items), _SLICE):
            began = time.thread_time()
            container.update(items[start : start + _SLICE])
            self.spent += time.thread_time() - began
            if self.spent > _SECONDS:
                raise NotPlainError("its keys have been chosen so that they take no end of time")
        return container
