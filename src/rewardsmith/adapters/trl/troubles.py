"""Why rows have no score, for the reader of a run's output."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.outcome import Status
from ..telling import Reason, Told

_log = logging.getLogger(__name__)


@dataclass
class Troubles:
    """Logs why rows broke: each kind once, and the first of any batch in which every row did."""

    told: Told = field(default_factory=Told)

    def __call__(self, troubles: Mapping[int, Reason], n: int) -> None:
        """Take in a batch of n rows, by row those without a score."""
        broke = {row: t for row, t in troubles.items() if t.status > Status.ABSTAINED}
        if n and len(broke) == n:
            row, first = next(iter(broke.items()))
            _log.warning("every row of this batch (%d) broke; row %d: %s", n, row, first)
            self.told.new(first.kind)
        elif n and len(troubles) == n and self.told.new(("every row",)):
            _log.warning(
                "no row of this batch (%d) has a score; %d abstained (this is told once)",
                n,
                n - len(broke),
            )
        for row, reason in broke.items():
            if self.told.new(reason.kind):
                _log.warning("a row broke; row %d: %s (others like it are not told)", row, reason)
