"""Calling a reward function of verl's on one row; light, for worker processes import it."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ...core.reference import ByName, Reference, resolve
from ...rules.text import text_of
from ...rules.verdict import Verdict


def ask(*, _verl: Mapping[str, Any], **row: Any) -> Any:
    """What a function says of a row.

    Args:
        _verl: ``call``, the function; ``columns``, its argument -> our column; ``given``, further
            arguments; ``spare``, arguments to give as an empty dict where the column is not there.
        row: the columns.
    """
    return judged(_function(_verl["call"])(**_arguments(_verl, row)))


async def ask_async(*, _verl: Mapping[str, Any], **row: Any) -> Any:
    """:func:`ask` for a coroutine function."""
    return judged(await _function(_verl["call"])(**_arguments(_verl, row)))


def judged(said: Any) -> Any:
    """The score in what verl's functions return: a number, a dict's ``score``, a sequence's first.

    What else a dict holds becomes the row's reason, as JSON. A dict without a score is returned as
    it is, and is no value.
    """
    if isinstance(said, Mapping) and "score" in said:
        score = judged(said["score"])
        score = score.item() if getattr(score, "ndim", None) == 0 else score
        rest = {str(key): value for key, value in said.items() if key != "score"}
        if rest and (score is None or isinstance(score, bool | int | float)):
            return Verdict(score, json.dumps(rest, default=str, skipkeys=True))
        return score
    return said[0] if isinstance(said, list | tuple) and said else said


def _arguments(verl: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {name: {} for name in verl["spare"]}
    for name, column in verl["columns"].items():
        if column in row:
            given[name] = row[column]
    answer = verl["answer"]
    try:
        given[answer] = text_of(given[answer])
    except TypeError as error:
        raise TypeError(f"column {verl['columns'][answer]!r}: {error}") from None
    if isinstance(given.get("extra_info"), Mapping):
        # verl's functions may write into it; a row that came as another's equal must not see that.
        given["extra_info"] = dict(given["extra_info"])
    given.update(verl["given"])
    return given


def _function(call: Any) -> Callable[..., Any]:
    if isinstance(call, ByName):
        return call.call
    return call if callable(call) else _resolved(*call)


@cache
def _resolved(where: str, qualname: str) -> Callable[..., Any]:
    found = resolve(Reference(where, qualname))
    # A function that `@reward` made a reward of stands under its name.
    call: Callable[..., Any] = getattr(found, "call", found)
    return call
