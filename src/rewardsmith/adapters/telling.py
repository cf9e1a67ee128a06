"""What the callers of adapters are told: of options that there are not, and of rows that broke."""

import logging
import re
from collections.abc import Iterable
from typing import NamedTuple

from ..core.catalog import nearest
from ..core.outcome import Status
from .scorer import Options, Scored

_MOST = 50
"""Reasons that are told: who makes more has the same text with something of each row in it."""


class Reason(NamedTuple):
    """Why a row has no score."""

    status: Status
    part: str
    """The path of the part that broke, "" for the root."""
    message: str
    """What went wrong there; abstaining says nothing."""

    @property
    def error(self) -> str:
        """What went wrong, with its place; "" where nothing did."""
        return f"{self.part}: {self.message}" if self.part and self.message else self.message

    @property
    def kind(self) -> tuple[str, ...]:
        """What it has in common with others: without what differs from row to row."""
        start = " ".join(self.message.split()[:2])
        return self.status.name, self.part, re.sub(r"\d+", "#", start)

    def __str__(self) -> str:
        told = self.error or "there is no score"
        return f"{self.status.name.lower()}: {told}"


class Told:
    """What was told already; each kind is told once."""

    def __init__(self) -> None:
        self._kinds: set[tuple[str, ...]] = set()

    def new(self, kind: tuple[str, ...]) -> bool:
        """Whether it was not told before; it is taken to be told from here on."""
        # Adding to a set is whole under threads; at worst two tell the same.
        if kind in self._kinds or len(self._kinds) >= _MOST:
            return False
        self._kinds.add(kind)
        return True


class Unscored:
    """Logs why rows get a number that nobody gave them: each kind of reason once."""

    def __init__(self, log: logging.Logger) -> None:
        self.log, self.told = log, Told()

    def __call__(self, scored: Scored, number: float) -> None:
        """Say why, where a row has no score and its kind of reason was not told before."""
        if scored.value is not None:
            return
        reason = Reason(scored.status, scored.part, scored.message)
        if self.told.new(reason.kind):
            self.log.warning(
                "a row without a score gets %g: %s (others like it are not told)", number, reason
            )


def check_options(who: str, given: Iterable[str], further: Iterable[str] = ()) -> None:
    """Refuse what is neither one of :class:`~.scorer.Options` nor a ``further`` name.

    Raises:
        TypeError: with the nearest name.
    """
    known = [*further, *Options.__annotations__]
    for name in given:
        if name not in known:
            raise TypeError(f"{who} takes no option {name!r}{nearest(name, known)}")
