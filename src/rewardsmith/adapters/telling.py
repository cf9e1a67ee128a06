"""What the callers of adapters are told: of options that there are not, and of rows that broke."""

import logging
import re
from collections.abc import Iterable

from ..core.catalog import nearest
from .scorer import Options, Scored

_MOST = 50
"""Reasons that are told: who makes more has the same text with something of each row in it."""


def check_options(who: str, given: Iterable[str], further: Iterable[str] = ()) -> None:
    """Refuse what is neither one of :class:`~.scorer.Options` nor a ``further`` name.

    Raises:
        TypeError: with the nearest name.
    """
    known = [*further, *Options.__annotations__]
    for name in given:
        if name not in known:
            raise TypeError(f"{who} takes no option {name!r}{nearest(name, known)}")


class Unscored:
    """Logs why rows get a number that nobody gave them: each kind of reason once in a process.

    A kind is a status, a part, and what went wrong without what differs from row to row.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.log = log
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, scored: Scored, number: float) -> None:
        """Say why, where a row has no score and its kind of reason was not told before."""
        if scored.value is not None or len(self._told) >= _MOST:
            return
        status, place = scored.status.name.lower(), f" {scored.part}:" if scored.part else ""
        # Sets and their adding are whole under threads; at worst two tell the same.
        kind = (status, scored.part, re.sub(r"\d+", "", scored.message.partition(": ")[0]))
        if kind not in self._told:
            self._told.add(kind)
            self.log.warning(
                "a row without a score gets %g: %s:%s %s (others like it are not told)",
                number,
                status,
                place,
                scored.message or "there is none",
            )
