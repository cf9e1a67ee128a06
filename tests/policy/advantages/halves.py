"""What ``gathered`` gives where two ranks would send what is said here, and nothing is wrong."""

from collections.abc import Callable
from typing import Any


def replayed(halves: list[Any]) -> Callable[..., list[Any]]:
    def gathered(thing: tuple[str, Any], ranks: object) -> list[Any]:
        # Of local checks, ranks only send that all is well.
        return [thing] * len(halves) if thing[1] is None else [("", half) for half in halves]

    return gathered
