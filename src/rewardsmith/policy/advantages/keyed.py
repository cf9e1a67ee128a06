"""Estimators that remember: something for each key, which outlives the batch.

A key is the value of a column, or of several: a task, a game and a role. ``forward`` reads what is
remembered and changes nothing; ``update`` alone writes.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...core.advantages import Advantages
from ...core.bases import Estimator
from ...core.rollouts import Rollouts
from ...core.rowcall import MISSING
from ...core.scores import Scores


class Keyed(Estimator):
    """Advantages by what is remembered of each key.

    Call ``update`` once for each batch that the policy trains on, after ``forward``, and never in
    evaluation. What is remembered is saved with ``state_dict``; a key that a restored state does
    not have begins anew. It grows by one entry for each key and forgets none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[Hashable, Any] = {}

    def forward(self, rollouts: Rollouts, scores: Scores) -> Advantages:
        return self.both(rollouts, scores)[0]

    def update(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """Take a batch into what is remembered. Rows without a score are left out.

        Returns:
            ``keys``, how many are remembered, and ``new_keys``, how many of them are new.
        """
        known = len(self.memory)
        self.memory |= self.both(rollouts, scores)[1]
        return {"keys": float(len(self.memory)), "new_keys": float(len(self.memory) - known)}

    def both(self, rollouts: Rollouts, scores: Scores) -> tuple[Advantages, dict[Hashable, Any]]:
        """Advantages, and what is then to be remembered of the keys of this batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define both")

    def get_extra_state(self) -> dict[Hashable, Any]:
        return dict(self.memory)

    def set_extra_state(self, state: Mapping[Hashable, Any]) -> None:
        self.memory = dict(state)


def keys_of(method: str, rollouts: Rollouts, columns: Sequence[str]) -> list[Hashable]:
    """Each row's key: its value in the column, or the tuple of those in several.

    Raises:
        MissingColumn: there is no such column.
        ValueError: a row has no value there, or one that cannot be a key.
    """
    by_column = []
    for name in columns:
        values = rollouts.column(name, needed_by=method)
        # Numbers that compare equal are one key, also after they were saved and read again.
        plain = values.tolist() if isinstance(values, Tensor | np.ndarray) else values
        by_column.append([v.item() if isinstance(v, np.generic) else v for v in plain])
        for row, value in enumerate(by_column[-1]):
            known = value is not None and value is not MISSING and isinstance(value, Hashable)
            # NaN is not found again.
            if not known or value != value:
                raise ValueError(
                    f"{method}: row {row} has {value!r} in the column {name!r}; what is remembered "
                    "needs a text or a number to be found by"
                )
    return by_column[0] if len(by_column) == 1 else list(zip(*by_column, strict=True))
