"""The contract of a reward that scores rows of text: cases that it ships, and the check of them."""

import copy
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ScoreError
from .outcome import Status
from .reward import Reward
from .rollouts import Rollouts
from .rows import RowReward
from .scores import Scores


@dataclass(frozen=True)
class Contract:
    """Rows whose scores a reward promises; ``Kind.contract`` of the built-in ones.

    A row is a mapping column -> value.
    """

    full: Mapping[str, Any]
    """Earns the largest score."""
    zero: Mapping[str, Any]
    """Earns the least score, and is well-formed."""
    malformed: Mapping[str, Any]
    """Cannot be read as the reward expects it: the least score, or ``malformed_status``."""
    malformed_status: Status = Status.SCORED
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the reward is made with."""


def check_contract(reward: RowReward, contract: Contract) -> None:
    """See that a reward keeps its contract.

    The full row earns the largest score and the zero row the least; the malformed row earns the
    least or has its status, and raises nothing; every score is finite and within ``bounds``; scores
    do not depend on the neighbors, and are the same again and of a copy.

    Raises:
        ScoreError: with the row and the promise that is broken.
    """
    names = {**contract.full, **contract.zero, **contract.malformed}
    rows = [
        {name: row.get(name) for name in names}
        for row in (contract.full, contract.zero, contract.malformed)
    ]
    if not isinstance(reward, RowReward):
        raise ValueError(f"{reward.label()} is no RowReward: only those have bounds to promise")
    scores = _scores(reward, rows)
    low, high = reward.bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ScoreError(f"bounds are {low} and {high}, not two finite numbers in order")
    expected = [
        (high, Status.SCORED),
        (low, Status.SCORED),
        (low if contract.malformed_status == Status.SCORED else 0.0, contract.malformed_status),
    ]
    for i, (value, status) in enumerate(expected):
        found, verdict = float(scores.values[i]), Status(int(scores.status[i]))
        if verdict != status or not math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-6):
            name = ("full", "zero", "malformed")[i]
            raise ScoreError(
                f"the {name} row is {found:g} and {verdict.name.lower()}, promised were {value:g} "
                f"and {status.name.lower()} {scores.errors.get(i, ('', ''))[1]}",
                row=i,
            )
    for i, row in enumerate(rows):
        others = [reward, copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))]
        for other in others:
            alone = _scores(other, [row])
            if (alone.values[0], alone.status[0]) != (scores.values[i], scores.status[i]):
                raise ScoreError("alone, or of a copy, it has another score", row=i)


def _scores(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> Scores:
    return reward(Rollouts({name: [row[name] for row in rows] for name in rows[0]}))
