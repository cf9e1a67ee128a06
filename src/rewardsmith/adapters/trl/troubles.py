"""Why rows have no score, for the reader of a run's output."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.outcome import Status

_log = logging.getLogger(__name__)
_MOST = 100
"""Kinds that are told; who makes more has texts in which all differs."""


@dataclass(frozen=True)
class Trouble:
    """Why a row has no score."""

    status: Status
    part: str
    """The path of the part that broke, "" for the root."""
    message: str
    """What went wrong there; abstaining says nothing."""

    @property
    def error(self) -> str | None:
        """What went wrong, with its place; None where nothing did."""
        return (
            f"{self.part}: {self.message}" if self.part and self.message else self.message or None
        )

    @property
    def kind(self) -> tuple[str, ...]:
        """What it has in common with others: without what differs from row to row."""
        start = " ".join(self.message.split()[:2])
        return self.status.name, self.part, re.sub(r"\d+", "#", start)


@dataclass
class Troubles:
    """Logs why rows broke: each kind once, and the first of any batch in which every row did."""

    told: set[tuple[str, ...]] = field(default_factory=set)

    def __call__(self, troubles: Mapping[int, Trouble], n: int) -> None:
        """Take in a batch of n rows, by row those without a score."""
        broke = {row: t for row, t in troubles.items() if t.status > Status.ABSTAINED}
        if n and len(broke) == n:
            row, first = next(iter(broke.items()))
            _log.warning("every row of this batch (%d) broke; %s", n, _said(row, first))
            self.told.add(first.kind)
        elif n and len(troubles) == n and self._new(("every row",)):
            _log.warning(
                "no row of this batch (%d) has a score; %d abstained (this is told once)",
                n,
                n - len(broke),
            )
        for row, trouble in broke.items():
            if self._new(trouble.kind):
                _log.warning("a row broke; %s (others like it are not told)", _said(row, trouble))

    def _new(self, kind: tuple[str, ...]) -> bool:
        """Whether it was not told before; it is taken to be told from here on."""
        # Adding to a set is whole under threads; at worst two tell the same.
        if kind in self.told or len(self.told) >= _MOST:
            return False
        self.told.add(kind)
        return True


def _said(row: int, trouble: Trouble) -> str:
    return f"row {row}: {trouble.status.name.lower()}: {trouble.error or 'nothing else is known'}"
