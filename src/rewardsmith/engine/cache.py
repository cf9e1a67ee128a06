"""A cache on disk of what rows were found to be worth.

A row's key is what decides its outcome: the code of the function (not its name), its options, and
the columns that it reads. Only what came out well is kept: a broken scorer is asked again.
"""

import hashlib
import json
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diskcache

from ..core.errors import SpecError
from ..core.execution import Row
from ..core.outcome import Outcome, Status
from ..core.rowcall import RowCall
from ..core.source import code_digest

_PICKLED = 4
"""How diskcache marks what it would unpickle."""
_BROKEN = (sqlite3.Error, OSError, diskcache.Timeout)
"""What the files may do: they are damaged, full, or held by another process for too long."""


class _Texts(diskcache.Disk):  # type: ignore[misc]
    """Files of text alone: what is unpickled could do anything, and folders are passed around."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        return None if mode == _PICKLED else super().fetch(mode, filename, value, read)


class DiskCache:
    """Outcomes in a folder, which several processes may share.

    Files that fail later (a full disk, say) cost what they would have saved, and no results: there
    is one warning.

    Args:
        folder: where; it is made if it is not there.
        size: bytes that it may hold; the oldest go first.

    Raises:
        SpecError: what is there is no cache, or cannot be made one.
    """

    def __init__(self, folder: Path | str, size: int = 4 << 30) -> None:
        self.folder = Path(folder)
        self._warned = False
        try:
            self._cache = diskcache.Cache(str(folder), disk=_Texts, size_limit=size)
        except _BROKEN as error:
            raise SpecError(
                f"it is no cache ({error}); remove it or name another folder", file=str(folder)
            ) from error

    def close(self) -> None:
        """Close the files."""
        self._cache.close()

    def get(self, call: RowCall, rows: Sequence[Row]) -> list[Outcome | None]:
        """What is known of each row."""
        keys = _keys(call, rows)
        try:
            return [None if key is None else _read(self._cache.get(key)) for key in keys]
        except _BROKEN as error:
            self._warn(error)
            return [None] * len(rows)

    def put(self, call: RowCall, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Remember rows."""
        keys = _keys(call, rows)
        try:
            with self._cache.transact():
                for key, (value, status, remark) in zip(keys, outcomes, strict=True):
                    if key is not None:
                        self._cache.set(key, json.dumps([value, int(status), remark]))
        except _BROKEN as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"cache {self.folder}: {type(error).__name__}: {error}; rows are scored without it",
                RuntimeWarning,
                stacklevel=2,
            )


def _read(text: Any) -> Outcome | None:
    try:
        value, status, remark = json.loads(text)
        return float(value), Status(status), str(remark)
    except (TypeError, ValueError):
        return None  # nothing, or nothing of ours


def _keys(call: RowCall, rows: Sequence[Row]) -> list[str | None]:
    """The key of each row; None of what has no lasting identity: it is not cached."""
    code = code_digest(call.call)
    if code is None:
        return [None] * len(rows)
    names = call.names if call.keyword else ()
    facts = _text([code, names, call.options, call.text, sys.version_info[:2]])
    if facts is None:
        return [None] * len(rows)
    start = hashlib.sha256(facts)
    return [_key(start, row) for row in rows]


def _key(start: Any, row: Row) -> str | None:
    try:
        text = _text(row) if all(map(_is_json, row)) else None
    except RecursionError:
        text = None
    if text is None:
        return None
    digest = start.copy()
    digest.update(text)
    return str(digest.hexdigest())


def _is_json(value: Any) -> bool:
    """Whether JSON tells it apart from all else; it writes (1,) as [1], and {1: 2} as {"1": 2}."""
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return type(value) in (str, int, float, bool, type(None))


def _text(data: Any) -> bytes | None:
    try:
        # As they are: by their numbers, two lone surrogates are written like the letter of a pair.
        return json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return None
