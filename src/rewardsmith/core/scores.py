"""Scores: what a reward says of rollouts, and why a row has no score.

A wrong answer is a score; a broken scorer is a status. No status but ``SCORED`` ever becomes a
number by itself: the caller decides once, with :meth:`Scores.resolve`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float32, Int8, Int64
from torch import Tensor

from .columns import taken
from .errors import ScoreError
from .outcome import Status
from .rollouts import Rollouts

Missing: TypeAlias = Literal["missing", "raise"] | float
"""What a row without a score gets: nothing, an error, or this number."""


@dataclass(eq=False)
class Scores:
    """One number per rollout (outcome) or per step (dense), with statuses and named parts.

    Values of rows and steps that are not scored are 0.0 in storage and never read.
    """

    values: Float32[Tensor, "n"] | Float32[Tensor, "n t"]
    status: Int8[Tensor, " n"]
    at: Bool[Tensor, "n t"] | None = None
    """Dense scores only: which steps were scored."""
    failed_at: Bool[Tensor, "n t"] | None = None
    """Dense scores only: which steps' scorer broke."""
    errors: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Row -> (path of the part, what went wrong)."""
    parts: "dict[str, Scores]" = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    """Per-row diagnostics by name."""

    def __post_init__(self) -> None:
        dense = self.values.ndim == 2
        if dense and self.at is None:
            raise ValueError("dense scores need `at`: which steps were scored")
        if not dense and (self.at is not None or self.failed_at is not None):
            raise ValueError("outcome scores have no `at` and no `failed_at`")
        if self.values.shape[0] != self.status.shape[0]:
            raise ValueError(
                f"{self.values.shape[0]} rows of values, {self.status.shape[0]} statuses"
            )
        if dense and self.failed_at is None:
            self.failed_at = torch.zeros_like(self.values, dtype=torch.bool)

    @classmethod
    def outcome(
        cls,
        values: Tensor,
        status: Tensor | None = None,
        *,
        errors: Mapping[int, tuple[str, str]] | None = None,
        **rest: Any,
    ) -> "Scores":
        """Scores [N]. What is not scored is stored as 0; what is not finite is a bad value."""
        status = _all_scored(values) if status is None else status
        # What is stored has to be finite, and float32 overflows where float64 does not.
        values = values.to(torch.float32)
        bad = (status == Status.SCORED) & ~values.isfinite()
        status, told = _void(status, bad, values, errors)
        values = torch.where(status == Status.SCORED, values, 0.0)
        return cls(values, status, errors=told, **rest)

    @classmethod
    def dense(
        cls,
        values: Tensor,
        at: Tensor,
        status: Tensor | None = None,
        *,
        errors: Mapping[int, tuple[str, str]] | None = None,
        **rest: Any,
    ) -> "Scores":
        """Scores [N, T] at the steps ``at``. What is not scored is stored as 0.

        A step that is not finite makes its row a bad value; a row without a scored step abstains.
        """
        status = _all_scored(values) if status is None else status
        values = values.to(torch.float32)
        broken = at & ~values.isfinite() & (status == Status.SCORED)[:, None]
        step = broken.to(torch.int8).argmax(dim=1)
        status, told = _void(
            status, broken.any(dim=1), values.gather(1, step[:, None])[:, 0], errors
        )
        nothing = (status == Status.SCORED) & ~at.any(dim=1)
        status = torch.where(nothing, int(Status.ABSTAINED), status).to(torch.int8)
        at = at & (status == Status.SCORED)[:, None]
        values = torch.where(at, values, 0.0)
        return cls(values, status, at=at, errors=told, **rest)

    def __len__(self) -> int:
        return int(self.status.shape[0])

    @property
    def granularity(self) -> Literal["outcome", "dense"]:
        return "outcome" if self.values.ndim == 1 else "dense"

    @property
    def scored(self) -> Bool[Tensor, " n"]:
        """The rows that have a score."""
        return self.status == Status.SCORED

    def total(self) -> Float32[Tensor, " n"]:
        """Each row's score, summed over steps where it is dense (undiscounted)."""
        return self.values if self.values.ndim == 1 else self.values.sum(dim=1)

    def walk(self, path: str = "") -> "Iterator[tuple[str, Scores]]":
        """Every part under its path, the root ("") first."""
        yield path, self
        for name, part in self.parts.items():
            yield from part.walk(f"{path}/{name}" if path else name)

    def part(self, path: str) -> "Scores":
        """The part at ``path``, such as ``dense/key``; "" is the root."""
        scores = self
        for name in filter(None, path.split("/")):
            scores = scores.parts[name]
        return scores

    def stack(self, names: Sequence[str]) -> Tensor:
        """The named parts side by side: [N, K], or [N, T, K] where they are dense.

        Raises:
            ValueError: the parts are not all of one granularity.
        """
        kinds = {self.parts[name].granularity for name in names}
        if len(kinds) != 1:
            raise ValueError(f"parts {list(names)} mix granularities {sorted(kinds)}")
        return torch.stack([self.parts[name].values for name in names], dim=-1)

    def resolve(
        self,
        missing: Missing = "missing",
        rollouts: Rollouts | None = None,
    ) -> "Scores":
        """Apply the caller's policy to rows without a score, once.

        Args:
            missing: ``"missing"`` leaves them out (they keep their status), ``"raise"`` raises at
                the first one that broke (abstaining is not breaking), a finite number scores the
                row with it (a dense row: on its last action step, where outcomes are paid).
            rollouts: what was scored; needed for a number where the scores are dense.

        Raises:
            ScoreError: with the row, the part and what went wrong.
            ValueError: the number is not finite, or dense scores came without their rollouts.
        """
        if missing == "missing":
            return self
        missing = as_missing(missing)
        broken = self.status > Status.ABSTAINED
        if missing == "raise":
            for row in broken.nonzero().flatten().tolist():
                name = Status(int(self.status[row])).name.lower()
                part, message = self.errors.get(row, ("", name))
                raise ScoreError(f"{name}: {message}", row=row, part=part)
            return self
        number = float(missing)
        status = torch.zeros_like(self.status)
        if self.at is None:
            values = torch.where(self.scored, self.values, number)
            return Scores(values, status, errors=self.errors, parts=self.parts, info=self.info)
        if rollouts is None:
            raise ValueError("dense scores: resolve(number, rollouts) says where rows end")
        rows = (~self.scored).nonzero().flatten()
        last = rollouts.last_action()[rows]
        values, at = self.values.clone(), self.at.clone()
        values[rows, last], at[rows, last] = number, True
        return Scores(
            values, status, at, self.failed_at, errors=self.errors, parts=self.parts, info=self.info
        )

    def onto(self, rollouts: Rollouts, span: str) -> "Scores":
        """Put the scores of ``rollouts.segments(span)`` on each span's last action step.

        A span that is not scored leaves its step unscored; a row takes the worst status of its
        spans, where a span that abstained does not abstain the row.
        """
        segments = rollouts.segments(span)
        if len(segments) != len(self):
            raise ValueError(
                f"{len(self)} scores for {len(segments)} segments of span {span!r}: score "
                f"rollouts.segments({span!r}) of the same rollouts"
            )
        row: Int64[Tensor, " m"] = segments["rollout"]
        inside = (rollouts.spans[span][row] == segments["segment"][:, None]) & rollouts.action_mask[
            row
        ]
        index = torch.arange(rollouts.n_steps)
        last = torch.where(inside, index, -1).amax(dim=1)
        usable = self.scored & (last >= 0)
        values = torch.zeros(len(rollouts), rollouts.n_steps)
        at = torch.zeros(len(rollouts), rollouts.n_steps, dtype=torch.bool)
        values = values.index_put((row[usable], last[usable]), self.total()[usable])
        at[row[usable], last[usable]] = True
        broken = torch.where(self.status > Status.ABSTAINED, self.status, 0)
        status = torch.zeros(len(rollouts), dtype=torch.int8).scatter_reduce(0, row, broken, "amax")
        worst_last = sorted(self.errors, key=lambda i: (int(self.status[i]), -i))
        errors = {int(row[i]): self.errors[i] for i in worst_last}
        return Scores.dense(values, at, status, errors=errors)

    def select(self, index: Sequence[int] | Tensor) -> "Scores":
        """The rows at ``index`` (int64 indices or a bool mask), in that order, of every part."""
        index = torch.as_tensor(index)
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        rows = enumerate(index.tolist())
        return Scores(
            self.values[index],
            self.status[index],
            at=None if self.at is None else self.at[index],
            failed_at=None if self.failed_at is None else self.failed_at[index],
            errors={new: self.errors[old] for new, old in rows if old in self.errors},
            parts={name: part.select(index) for name, part in self.parts.items()},
            info={name: taken(column, index) for name, column in self.info.items()},
        )

    def __repr__(self) -> str:
        counts = {s.name.lower(): int((self.status == s).sum()) for s in Status}
        told = ", ".join(f"{name}={count}" for name, count in counts.items() if count)
        return (
            f"Scores({self.granularity} {list(self.values.shape)}, {told}, parts={[*self.parts]})"
        )


def as_missing(value: Any) -> Missing:
    """What a row without a score is to get, checked.

    Raises:
        ValueError: it is neither ``"missing"``, ``"raise"`` nor a finite number.
    """
    if value in ("missing", "raise"):
        return value  # type: ignore[no-any-return]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"missing is 'missing', 'raise' or a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"rows without a score cannot be given {number}: it is not finite")
    return number


def worst(statuses: Iterable[Tensor]) -> Int8[Tensor, " n"]:
    """The worst status of each row over several [N] statuses."""
    return torch.stack(list(statuses)).amax(dim=0)


def first_errors(parts: Mapping[str, Scores], status: Tensor) -> dict[int, tuple[str, str]]:
    """Why each broken row has the status that it has, with the child's name before its path.

    A child with another status explains nothing: it was not read, or something worse happened.
    """
    errors: dict[int, tuple[str, str]] = {}
    for row in (status > Status.ABSTAINED).nonzero().flatten().tolist():
        for name, part in parts.items():
            if part.status[row] == status[row] and row in part.errors:
                path, message = part.errors[row]
                errors[row] = (f"{name}/{path}" if path else name, message)
                break
    return errors


def _all_scored(values: Tensor) -> Int8[Tensor, " n"]:
    return torch.full((values.shape[0],), int(Status.SCORED), dtype=torch.int8)


def _void(
    status: Tensor,
    bad: Bool[Tensor, " n"],
    values: Tensor,
    errors: Mapping[int, tuple[str, str]] | None,
) -> tuple[Int8[Tensor, " n"], dict[int, tuple[str, str]]]:
    """Mark rows whose value is not finite; they tell the value unless they already tell more."""
    told = dict(errors or {})
    for row in bad.nonzero().flatten().tolist():
        told.setdefault(row, ("", f"{float(values[row].detach())} is not a finite number"))
    return torch.where(bad, int(Status.BAD_VALUE), status).to(torch.int8), told
