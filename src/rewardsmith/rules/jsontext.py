"""JSON in a completion: where it stands, and what it says."""

import json
import math
import re
import sys
from collections.abc import Callable
from typing import Any

from .tags import check_tags, content

MAX_DEPTH = 64
"""The deepest nesting that is read: parsers and validators recurse."""

# The closing quote is optional, so that an open string is read once and not from each of its
# quotes again.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_OPENING = "```json"
_CLOSING = re.compile(r"\n[ \t]*```")


def check_extract(extract: str) -> None:
    """See that ``extract`` says where the JSON stands.

    Raises:
        ValueError: it is none of ``whole``, ``fence``, ``last`` and ``tag:NAME``.
    """
    if extract.startswith("tag:"):
        check_tags([extract.removeprefix("tag:")])
    elif extract not in _PLACES:
        raise ValueError(f"extract is {extract!r}, not 'whole', 'fence', 'last' or 'tag:NAME'")


def extracted(text: str, extract: str) -> str | None:
    """The JSON text of a completion; None where there is none.

    ``whole`` is all of it; ``fence`` the last block fenced with three backticks and marked
    ``json``; ``tag:NAME`` what the last closed ``<NAME>...</NAME>`` holds; ``last`` what the last
    closing bracket closes.
    """
    if extract.startswith("tag:"):
        return content(text, extract.removeprefix("tag:"))
    return _PLACES[extract](text)


def parsed(text: str, *, unique_keys: bool = True) -> Any:
    """The value of a JSON text, as RFC 8259 has it.

    Raises:
        ValueError: it is no JSON; NaN and Infinity are none. Or it holds a number too large for a
            float, an integer of more than 4300 digits, a key twice in one object (with
            ``unique_keys``), or nests deeper than 64.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(text):
        raise ValueError(_DEEP)
    try:
        return json.loads(
            text,
            parse_constant=_refused,
            parse_float=_finite,
            object_pairs_hook=_unique if unique_keys else None,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def parsed_at(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at a place of a text, and where it ends.

    What follows it does not matter, so that a value may hold whatever marks its end elsewhere.

    Raises:
        ValueError: as for :func:`parsed`.
    """
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError(_DEEP) from None
    if text.count("[", at, end) + text.count("{", at, end) > MAX_DEPTH and _too_deep(text, at, end):
        raise ValueError(_DEEP)
    return value, end


_DEEP = f"it nests deeper than {MAX_DEPTH}"


def _too_deep(text: str, start: int = 0, end: int = sys.maxsize) -> bool:
    depth = 0
    for token in _TOKENS.finditer(text, start, end):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in "]}":
            depth -= 1
    return False


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:40]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        # The first that is not the last of its kind.
        last = {key: i for i, key in enumerate(keys)}
        again = next(key for i, key in enumerate(keys) if last[key] != i)
        raise ValueError(f"the key {again[:40]!r} stands twice in one object")
    return made


_DECODER = json.JSONDecoder(parse_constant=_refused, parse_float=_finite, object_pairs_hook=_unique)


def _whole(text: str) -> str | None:
    return text


def _fenced(text: str) -> str | None:
    end = len(text)
    while (start := text.rfind(_OPENING, 0, end)) >= 0:
        line_end = text.find("\n", start, end)
        # ```json5 is something else, and so are backticks within a line.
        marked = line_end >= 0 and not text[start + len(_OPENING) : line_end].strip()
        if marked and not text[text.rfind("\n", 0, start) + 1 : start].strip():
            close = _CLOSING.search(text, line_end)
            return text[line_end : close.start()] if close else None
        end = start
    return None


def _last(text: str) -> str | None:
    """Read backwards from the last closing bracket to the one that opens it.

    In valid JSON a quote ends or begins a string unless an odd number of backslashes precedes it.
    """
    end = i = max(text.rfind("}"), text.rfind("]"))
    depth = 0
    while i >= 0:
        if text[i] == '"':
            i = _string_start(text, i)
        elif text[i] in "]}":
            depth += 1
        elif text[i] in "[{":
            depth -= 1
            if depth == 0:
                return text[i : end + 1]
        i -= 1
    return None


def _string_start(text: str, end: int) -> int:
    """Where the string that ends with the quote at ``end`` begins; -1 if nowhere."""
    start = text.rfind('"', 0, end)
    while start >= 0:
        first = start
        while first > 0 and text[first - 1] == "\\":
            first -= 1
        if (start - first) % 2 == 0:
            return start
        start = text.rfind('"', 0, first)
    return -1


_PLACES: dict[str, Callable[[str], str | None]] = {
    "whole": _whole,
    "fence": _fenced,
    "last": _last,
}
