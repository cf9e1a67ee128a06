"""The router: each row is scored by the part that its task names (159, Mixed-R1; 093, VaseVL)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..core.algebra import check_parts
from ..core.catalog import Paper, method
from ..core.combination import weighted_sum
from ..core.errors import SpecError
from ..core.outcome import Status, shown
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.rowcall import MISSING
from ..core.scores import Scores

_NOWHERE = -1


@method(
    "router",
    kind="combine",
    seed=(159, 93),
    paper=Paper(
        "2505.24164",
        "Mixed-R1: Unified Reward Perspective For Reasoning Capability in Multimodal Large "
        "Language Models",
        2025,
    ),
)
class Router(Reward):
    """``w_k r_k``, where k is the part that the row's tag in the column ``by`` names.

    A part is evaluated on its own rows only; in ``scores.parts`` the others are abstained and
    nobody reads them. A row takes the value and the status of its part. A tag that no part answers
    to fails its row, with the tags that are known, unless there is a ``default``.

    Parts that score steps and parts that score rollouts may stand beside each other: an outcome
    then lies on its rollout's last action step. A part that compares the rows of a group gets whole
    groups: where a group's rows are split over parts, those that such a part should have scored
    fail. A part of scope "batch" or "dataset" sees its rows of either. Parts that learn are updated
    with all rows, of which the others' have abstained. ``info`` of rows that a part did not see is
    NaN, -1, False or "".

    Weights of the parts change their relative sizes, as :func:`gap_weights` does; none equals 1
    each. How the sources pick a verifier is not published: this is our reading of "type-specific".

    Args:
        parts: the rewards by name.
        by: the column, one tag per rollout: text or whole numbers.
        default: the part for rows whose tag no part answers to, and for those whose tag is None; a
            row without the column fails in any case.
        weights: a factor per part; default 1 each.
        routes: tag -> part, for tags that are no names of parts, such as ``openai/gsm8k``. A tag
            that is a part's name needs none. 7 and "7" are one tag.

    Raises:
        ValueError: ``default``, ``routes`` or ``weights`` name other parts, a weight is not
            finite, ``routes`` lead a part's own name to another part, or hold a tag twice.
        SpecError: when it scores: the column has one entry per step.
    """

    def __init__(
        self,
        parts: Mapping[str, Reward],
        by: str = "task",
        default: str | None = None,
        weights: Mapping[str, float] | None = None,
        routes: Mapping[str | int, str] | None = None,
    ) -> None:
        super().__init__()
        check_parts(parts)
        given = dict.fromkeys(parts, 1.0) if weights is None else dict(weights)
        if given.keys() != parts.keys():
            raise ValueError(
                f"weights are for {sorted(given)}, parts are {sorted(parts)}: give each part one"
            )
        for name, weight in given.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of part {name!r} is {weight}")
        for name in (*(routes or {}).values(), *([] if default is None else [default])):
            if name not in parts:
                raise ValueError(f"there is no part {name!r} to route to; there are {[*parts]}")
        self.by, self.default = by, default
        self.parts = torch.nn.ModuleDict(dict(parts))
        self.weights = {name: float(given[name]) for name in parts}
        _check_routes(routes or {}, parts)
        # Numbers as text: a spec's keys are sorted, which numbers and text together cannot be.
        self.routes = None if routes is None else {str(tag): routes[tag] for tag in routes}
        self._table = {name: name for name in parts} | (self.routes or {})
        self.declare(needs=(by,))

    @property
    def always_needs(self) -> frozenset[str]:
        return frozenset([self.by])

    def forward(self, rollouts: Rollouts) -> Scores:
        branch, faults = self._branches(rollouts)
        parts = {
            name: _scored(part, rollouts, (branch == k).nonzero().flatten())
            for k, (name, part) in enumerate(self.children_by_name())
        }
        # Rows that are not a part's are abstained in it, and a sum leaves those out.
        scores = weighted_sum(parts, self.weights, rollouts)
        scores.status = torch.where(
            branch == _NOWHERE, int(Status.FAILED), scores.status.to(torch.int64)
        ).to(torch.int8)
        scores.errors |= {row: ("", message) for row, message in faults.items()}
        return scores

    def survey(self, rollouts: Rollouts) -> None:
        branch, _ = self._branches(rollouts)
        for k, (_, part) in enumerate(self.children_by_name()):
            rows = (branch == k).nonzero().flatten()
            if len(rows):
                part.survey(rollouts.select(rows))

    def coefficients(self) -> dict[str, float]:
        return dict(self.weights)

    def _branches(self, rollouts: Rollouts) -> tuple[Int64[Tensor, " n"], dict[int, str]]:
        """The number of each row's part, or -1; and why it has none."""
        numbers = {name: k for k, name in enumerate(self.parts)}
        tags = self._tags(rollouts)
        names = [None if tag is MISSING else self._part_of(tag) for tag in tags]
        branch = torch.tensor([numbers.get(name or "", _NOWHERE) for name in names])
        known = ", ".join(map(repr, self._table))
        faults = {
            row: f"this row has no column {self.by!r}"
            if tags[row] is MISSING
            else f"no part for {shown(tags[row])} in column {self.by!r}; known tags: {known}"
            for row, name in enumerate(names)
            if name is None
        }
        split = self._split(rollouts.group, branch)
        faults |= {
            row: f"the rows of its group have different {self.by!r}, and part {names[row]!r} "
            "compares the rows of a group"
            for row in split.nonzero().flatten().tolist()
        }
        return torch.where(split, _NOWHERE, branch.long()), faults

    def _tags(self, rollouts: Rollouts) -> list[Any]:
        column = rollouts.column(self.by, needed_by=self.label())
        if isinstance(column, Tensor | np.ndarray):
            column = column.tolist() if column.ndim == 1 else None
        if column is None or isinstance(column, Mapping):
            raise SpecError(f"router: column {self.by!r} is per step; a row needs one tag")
        return [tag.item() if isinstance(tag, np.generic | Tensor) else tag for tag in column]

    def _part_of(self, tag: Any) -> str | None:
        # True and 1.0 are no tags, though they are written as some.
        known = type(tag) in (str, int)
        return self._table.get(str(tag), self.default) if known else self.default

    def _split(self, group: Tensor, branch: Tensor) -> Tensor:
        """The rows whose part compares a group that does not all belong to it."""
        split = torch.zeros(len(branch), dtype=torch.bool)
        for k, (_, part) in enumerate(self.children_by_name()):
            if part.scope == "group":
                own = branch == k
                split |= own & torch.isin(group, group[~own])
        return split


def _check_routes(routes: Mapping[str | int, str], parts: Mapping[str, Reward]) -> None:
    found = set()
    for tag, name in routes.items():
        if str(tag) in found:
            raise ValueError(f"routes hold the tag {str(tag)!r} twice, as text and as a number")
        found.add(str(tag))
        if str(tag) in parts and str(tag) != name:
            raise ValueError(f"routes lead {tag!r}, which is a part's own name, to part {name!r}")


def gap_weights(accuracy: Mapping[str, float], kappa: float = 1.0) -> dict[str, float]:
    """Weights that move training towards the types a model is weak in (093).

    ``w_t = 1 + kappa (1 - acc_t)``, divided by their mean over types, so that the reward keeps its
    average size where types are equally frequent. For :class:`Router`'s ``weights``; ``kappa = 0``
    gives 1 each. That the paper amplifies weak types is told; the formula is our reading.

    Args:
        accuracy: type -> the accuracy of the model before this training, in [0, 1].
        kappa: how far; at least 0.

    Raises:
        ValueError: no type, an accuracy outside [0, 1], or a kappa that is negative or not finite.
    """
    if not accuracy:
        raise ValueError("gap_weights needs the accuracy of at least one type")
    for name, value in accuracy.items():
        if not 0 <= value <= 1:
            raise ValueError(f"the accuracy of {name!r} is {value}, not within 0 and 1")
    if not (math.isfinite(kappa) and kappa >= 0):
        raise ValueError(f"kappa is {kappa}, it must be a number of at least 0")
    raw = {name: 1.0 + kappa * (1.0 - value) for name, value in accuracy.items()}
    mean = sum(raw.values()) / len(raw)
    return {name: value / mean for name, value in raw.items()}


def _scored(part: Reward, rollouts: Rollouts, rows: Int64[Tensor, " k"]) -> Scores:
    """A part's scores of its rows, at their places among all."""
    n = len(rollouts)
    if len(rows) == n:
        return part(rollouts)
    # Not every reward can be asked about no rows at all: some load a model for it.
    if len(rows) == 0:
        return _unread(part, n, rollouts.n_steps)
    return _spread(part(rollouts.select(rows)), rows, n)


def _unread(part: Reward, n: int, steps: int) -> Scores:
    """What a part has for rows that it never saw, in the shape of what it would have scored."""
    status = torch.full((n,), int(Status.ABSTAINED), dtype=torch.int8)
    below = {name: _unread(child, n, steps) for name, child in part.children_by_name()}
    if part.granularity == "outcome":
        return Scores(torch.zeros(n), status, parts=below)
    nowhere = torch.zeros(n, steps, dtype=torch.bool)
    return Scores(torch.zeros(n, steps), status, nowhere, parts=below)


def _spread(scores: Scores, rows: Tensor, n: int) -> Scores:
    """Scores of some rows among n; the others are abstained."""

    def placed(values: Tensor, fill: float = 0) -> Tensor:
        whole = values.new_full((n, *values.shape[1:]), fill)
        return whole.index_put((rows,), values)

    where = rows.tolist()
    return Scores(
        placed(scores.values),
        placed(scores.status, int(Status.ABSTAINED)),
        None if scores.at is None else placed(scores.at),
        None if scores.failed_at is None else placed(scores.failed_at),
        errors={where[row]: told for row, told in scores.errors.items()},
        parts={name: _spread(part, rows, n) for name, part in scores.parts.items()},
        info={name: _told(told, where, n) for name, told in scores.info.items()},
    )


def _told(told: Any, rows: list[int], n: int) -> Any:
    """Diagnostics of some rows among n."""
    if not isinstance(told, np.ndarray | Tensor):
        whole: list[Any] = [None] * n
        for row, value in zip(rows, told, strict=True):
            whole[row] = value
        return whole
    array = np.asarray(told)
    fill: Any = {"f": math.nan, "i": -1, "b": False, "u": 0}.get(array.dtype.kind, "")
    filled = np.full((n, *array.shape[1:]), fill, dtype=array.dtype)
    filled[rows] = array
    return filled
