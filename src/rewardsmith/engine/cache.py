"""A cache on disk of what rows were found to be worth.

A row's key is what decides its outcome: the code of the function (not its name), its options, and
the columns that it reads. Only what came out well is kept: a broken scorer is asked again.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diskcache

from ..core.execution import Row
from ..core.outcome import Outcome, Status
from ..core.rowcall import RowCall
from ..core.source import code_digest


class DiskCache:
    """Outcomes in a folder, which several processes may share.

    Args:
        folder: where; it is made if it is not there.
        size: bytes that it may hold; the oldest go first.
    """

    def __init__(self, folder: Path | str, size: int = 4 << 30) -> None:
        self.folder = Path(folder)
        self._cache = diskcache.Cache(str(folder), size_limit=size)

    def close(self) -> None:
        """Close the files."""
        self._cache.close()

    def get(self, call: RowCall, rows: Sequence[Row]) -> list[Outcome | None]:
        """What is known of each row."""
        return [None if key is None else _read(self._cache.get(key)) for key in _keys(call, rows)]

    def put(self, call: RowCall, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Remember rows."""
        with self._cache.transact():
            for key, (value, status, remark) in zip(_keys(call, rows), outcomes, strict=True):
                if key is not None:
                    # Text, for what is unpickled could do anything.
                    self._cache.set(key, json.dumps([value, int(status), remark]))


def _read(text: str | None) -> Outcome | None:
    if text is None:
        return None
    value, status, remark = json.loads(text)
    return value, Status(status), remark


def _keys(call: RowCall, rows: Sequence[Row]) -> list[str | None]:
    """The key of each row; None of what has no lasting identity: it is not cached."""
    code = code_digest(call.call)
    if code is None:
        return [None] * len(rows)
    names = call.names if call.keyword else ()
    facts = _text([code, names, call.options, call.text])
    if facts is None:
        return [None] * len(rows)
    start = hashlib.sha256(facts.encode())
    return [_key(start, row) for row in rows]


def _key(start: Any, row: Row) -> str | None:
    try:
        text = _text(row) if all(map(_is_json, row)) else None
    except RecursionError:
        text = None
    if text is None:
        return None
    digest = start.copy()
    digest.update(text.encode())
    return str(digest.hexdigest())


def _is_json(value: Any) -> bool:
    """Whether JSON tells it apart from all else; it writes (1,) as [1], and {1: 2} as {"1": 2}."""
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return type(value) in (str, int, float, bool, type(None))


def _text(data: Any) -> str | None:
    try:
        return json.dumps(data, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None
