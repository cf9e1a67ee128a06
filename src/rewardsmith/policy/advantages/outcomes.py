"""One reward per rollout, checked, with who is compared with whom: what group estimators share.

N numbers are little beside N times T tokens. They are worked on where the ids are, on the host, in
float64: every device gives the same advantages, rewards such as 1e6 + 0.1 keep their digits, and
the result is a column that is spread over tokens where it is used.
"""

import itertools
import math
import reprlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.warn import warn_caller
from ...ops.groups import Groups, Ids, listed
from ...ops.ranks import Ranks, gathered, rank_of

Numbers: TypeAlias = Float64[np.ndarray, " n"]
Baseline: TypeAlias = Literal["group", "others"]
Scale: TypeAlias = Literal["group", "others", "batch", "none"]
Singleton: TypeAlias = Literal["zero", "reward"]
Made = TypeVar("Made")

_RESIDUE = 1e-14
"""What rounding leaves of a sum of squares from which the others' was taken, as a part of it."""


class Outcomes:
    """Rewards [N], their groups, and which of them count.

    Args:
        method: who asks; errors and warnings begin with it.
        rewards: one number per rollout. Those that are not kept may be anything.
        group: who is compared with whom: one id per rollout.
        keep: the rows that have a score; the others neither count in moments nor train.
        ranks: a process group whose processes hold parts of one batch. Rewards and ids of all are
            gathered, so that a group may lie on several; rows of other ranks come before and after.
        columns: further numbers per rollout, such as lengths.
        whole: nobody is compared with anybody: ``group`` is not read, and messages name none.

    Raises:
        ValueError: what is no tensor [N], flags that are not bool, lengths that disagree, or a kept
            number that is not finite; row and group are named. Of ranks, all raise what one does.
    """

    def __init__(
        self,
        method: str,
        rewards: Float[Tensor, " n"],
        group: Ids,
        keep: Bool[Tensor, " n"] | None = None,
        ranks: Ranks = None,
        columns: Mapping[str, Tensor] | None = None,
        whole: bool = False,
    ) -> None:
        self.method, self._like, self._whole = method, rewards, whole
        self._own, self._starts = slice(None), [0]

        def local() -> tuple[Ids, np.ndarray | None, dict[str, np.ndarray]]:
            numbers = {"rewards": _host(_one_each(method, rewards))}
            for name, column in (columns or {}).items():
                numbers[name] = _host(column)
            n = len(numbers["rewards"])
            kept = None if keep is None else flags(method, "keep", keep, n, "rewards")
            ids: Ids = [0] * n if whole else group
            if ranks is not None or not isinstance(ids, Tensor | np.ndarray):
                ids = listed(ids, method)
            if len(ids) != n:
                raise ValueError(f"{method}: {n} rewards, group has {len(ids)} rows")
            for name, values in numbers.items():
                if len(values) != n:
                    raise ValueError(f"{method}: {n} rewards, {name} has {len(values)} rows")
            return ids, kept, numbers

        if ranks is None:
            ids, kept, numbers = local()
        else:
            parts = from_all(local, ranks)
            self._starts = [0, *itertools.accumulate(len(part[0]) for part in parts)]
            rank = rank_of(ranks)
            self._own = slice(self._starts[rank], self._starts[rank + 1])
            names = {name: None for part in parts for name in part[2]}
            for r, part in enumerate(parts):
                if len(part[2]) != len(names):
                    told = f"{', '.join(part[2])}; all have {', '.join(names)}"
                    raise ValueError(f"{method}: rank {r} has the columns {told}")
            ids = [i for part in parts for i in part[0]]
            flagged = (np.ones(len(p[0]), dtype=bool) if p[1] is None else p[1] for p in parts)
            kept = np.concatenate([*flagged])
            numbers = {name: np.concatenate([part[2][name] for part in parts]) for name in names}
        self._kind = numbers["rewards"].dtype
        self.groups = Groups(ids, method)
        self.index = self.groups.index
        self.everything = kept is None or bool(kept.all())
        """Whether all rows count."""
        self.keep: Bool[np.ndarray, " n"] = np.ones(len(self), dtype=bool) if kept is None else kept
        """The rows that count."""
        self.columns = {
            name: self._checked(name, column.astype(np.float64)) for name, column in numbers.items()
        }
        self.rewards: Numbers = self.columns["rewards"]
        self.count: Numbers = self.groups.count(None if self.everything else self.keep)
        """[K] how many rows of each group are kept."""
        self._singles = int(np.count_nonzero(self.count == 1.0))
        self.deviations: Numbers = self._deviations()
        """``R - mean_g``; exactly 0 throughout a group whose rewards are all the same."""
        self.squares: Numbers = self.groups.sum(self.deviations * self.deviations)
        """[K] the sum of each group's squared deviations."""
        self._told: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.index)

    # --- moments ----------------------------------------------------------------------------------

    def kept(self, values: Numbers) -> Numbers:
        """The same, 0 in rows that are not kept."""
        return values if self.everything else np.where(self.keep, values, 0.0)

    def group_mean(self, values: Numbers) -> Float64[np.ndarray, " k"]:
        """Each group's mean over the rows that are kept; 0 where none is."""
        count = self.count if self.everything else np.maximum(self.count, 1.0)
        return np.asarray(self.groups.sum(self.kept(values)) / count)

    def _deviations(self) -> Numbers:
        # Counted from one of the group, rewards that are the same are 0, and so is their mean.
        origin = np.zeros(len(self.groups))
        rows = slice(None) if self.everything else self.keep
        origin[self.index[rows]] = self.rewards[rows]
        away = self.kept(self.rewards - origin[self.index])
        beyond = self.group_mean(away)
        self._origin = origin, beyond
        return self.kept(away - beyond[self.index])

    @property
    def means(self) -> Float64[np.ndarray, " k"]:
        """Each group's mean reward: exactly the reward where all are the same; 0 of no row."""
        origin, beyond = self._origin
        return np.asarray(origin + beyond)

    @property
    def constant(self) -> Bool[np.ndarray, " k"]:
        """The groups whose kept rewards are all the same, as are those of one row or none."""
        return np.asarray(self.squares == 0.0)

    def above(self, threshold: float) -> Bool[np.ndarray, " n"]:
        """The kept rows with a greater reward, compared in the rewards' own type.

        A reward of 0.1 in float32 is more than the 0.1 that Python has.
        """
        if self._like.is_floating_point():
            threshold = float(torch.tensor(threshold, dtype=self._like.dtype))
        return np.asarray(self.keep & (self.rewards > threshold))

    def alone(self) -> Bool[np.ndarray, " n"]:
        """The kept rows that are the only ones of their group."""
        return np.asarray((self.count == 1.0)[self.index] & self.keep)

    def centered(self, baseline: Baseline = "group", singleton: Singleton = "zero") -> Numbers:
        """Rewards without their baseline.

        Args:
            baseline: ``"group"``, the mean of the group; or ``"others"``, the mean of the others
                in it: ``R_i - mean_{j != i} R_j = (R_i - mean_g) n / (n - 1)``.
            singleton: what a rollout gets that is alone in its group, where there is nothing to
                compare with: 0, or its reward. A warning tells that there are such.
        """
        self.check("baseline", baseline, ("group", "others"))
        values = self.deviations
        if baseline == "others":
            values = values * (self.count / np.maximum(self.count - 1.0, 1.0))[self.index]
        return self.alone_get(self.rewards, values, singleton)

    def alone_get(self, rewards: Numbers, values: Numbers, singleton: Singleton) -> Numbers:
        """Values, of which those of rollouts that are alone in their group are 0 or their reward.

        A warning tells of them, always in the same words; the metric ``alone`` counts them.
        """
        self.check("singleton", singleton, ("zero", "reward"))
        self._told["alone"] = self._singles
        if not self._singles:
            return values
        alone = self.alone()
        told = "an advantage of 0" if singleton == "zero" else "their reward as the advantage"
        warn_caller(
            f"{self.method}: rollouts that are alone in their group get {told}; sample several "
            "for each prompt and give them one group (the metric `alone` counts them)"
        )
        return np.where(alone, rewards if singleton == "reward" else 0.0, values)

    def scaled(self, values: Numbers, scale: Scale, eps: float, ddof: int = 1) -> Numbers:
        """``values / (std + eps)``; a row whose spread is exactly 0 is not divided.

        The spread is 0 where all the rewards that it is of are the same. That of a row which is
        alone in its group is 1.

        Args:
            values: to divide.
            scale: whose standard deviation: of the ``"group"``, the ``"others"`` in it, the whole
                ``"batch"``; or ``"none"``, which divides nothing.
            eps: added to it, finite and at least 0.
            ddof: taken from the count: 1 for the sample's, 0 for the population's.
        """
        self.check("scale", scale, ("group", "others", "batch", "none"))
        if not 0.0 <= eps < math.inf:
            raise ValueError(f"{self.method}: eps is {eps}, it must be at least 0 and finite")
        if ddof not in (0, 1):
            raise ValueError(f"{self.method}: ddof is {ddof}, it must be 0 or 1")
        if scale == "none":
            return values
        if scale == "batch":
            kept = self.rewards[self.keep]
            constant = len(kept) <= ddof or bool((kept == kept[0]).all())
            return values if constant else values / (kept.std(ddof=ddof) + eps)
        spread = self._spread(scale, ddof)
        divisor = spread + eps
        if np.count_nonzero(spread) < len(spread):
            divisor[spread == 0.0] = 1.0
        return values / (divisor[self.index] if scale == "group" else divisor)

    def _spread(self, scale: Scale, ddof: int) -> Numbers:
        """[K] of the groups, or [N] of the others of each row."""
        count, squares = self.count, self.squares
        if scale == "others":
            count, total = count[self.index], squares[self.index]
            # Without one of them, the sum of squares about the mean of the rest.
            squares = total - self.deviations**2 * count / np.maximum(count - 1.0, 1.0)
            squares[squares <= _RESIDUE * total] = 0.0
            ddof = ddof + 1
        spread = np.sqrt(squares / np.maximum(count - ddof, 1.0))
        if self._singles:
            spread[count == 1.0] = 1.0
        return np.asarray(spread)

    # --- what comes of it -------------------------------------------------------------------------

    def advantages(self, values: Numbers, **metrics: float) -> Advantages:
        """Advantages of this process's rows, in the rewards' type and where they are.

        Every estimator of outcomes tells these metrics, plain floats that are of all ranks:
        ``zero_advantages``, the share of kept rows that get exactly 0; ``constant_groups``, the
        share of groups with a kept row whose kept rewards are all the same, as that of a lone row
        is; ``alone``, how many kept rows are the only ones of their group, of estimators that
        compare. If no row is kept, they are 0, nothing trains, and a warning tells.
        """
        values = self.kept(values)
        kept = len(self) if self.everything else int(np.count_nonzero(self.keep))
        told: dict[str, float] = {
            "zero_advantages": (kept - np.count_nonzero(values)) / (kept or 1)
        }
        if not self._whole:
            groups = len(self.groups) if self.everything else int(np.count_nonzero(self.count))
            told["constant_groups"] = (groups - np.count_nonzero(self.squares)) / (groups or 1)
        if not kept and len(self):
            warn_caller(f"{self.method}: no row of the batch has a score (keep): nothing trains")
        keep = torch.from_numpy(self.keep[self._own])
        if self._like.device.type != "cpu":
            keep = keep.to(self._like.device)
        told |= self._told | metrics
        metrics = {name: float(value) for name, value in told.items()}
        return Advantages(self.column(values), keep, metrics=metrics)

    def column(self, values: Numbers) -> Float[Tensor, " m"]:
        """Numbers of this process's rows, in the rewards' type and where they are."""
        like = self._like
        # Cast before it is a tensor: for N numbers, an operation of torch costs what all else does.
        kind = self._kind if self._kind.kind == "f" else np.dtype(np.float32)
        made = torch.from_numpy(values[self._own].astype(kind))
        if like.dtype == torch.bfloat16:
            made = made.bfloat16()
        return made if like.device.type == "cpu" else made.to(like.device)

    def check(self, option: str, value: str, known: tuple[str, ...]) -> None:
        """ValueError unless an option has a known value."""
        if value not in known:
            raise ValueError(f"{self.method}: {option} is {value!r}, not one of {', '.join(known)}")

    def row(self, row: int) -> str:
        """A row as messages name it."""
        where = f"row {row}"
        if len(self._starts) > 1:
            rank = bisect_right(self._starts, row) - 1
            where = f"row {row - self._starts[rank]} of rank {rank}"
        group = reprlib.repr(self.groups.ids[self.index[row]])
        return where if self._whole else f"{where} (group {group})"

    def _checked(self, name: str, numbers: Numbers) -> Numbers:
        finite = np.isfinite(numbers)
        if finite.all():
            return numbers
        broken = self.keep & ~finite
        if broken.any():
            row = int(broken.argmax())
            raise ValueError(
                f"{self.method}: {self.row(row)} has {numbers[row]} in {name}; "
                "leave rows without a score out: keep=scores.scored"
            )
        return self.kept(numbers)


def agreed(make: Callable[[], Made], ranks: Ranks) -> Made:
    """What ``make`` gives on this rank; a ValueError on one is raised on all, and names it.

    A rank that raised alone would leave the others waiting for it.
    """
    if ranks is None:
        return make()
    told: list[Made] = []

    def last() -> None:
        told.append(make())

    from_all(last, ranks)
    return told[0]


def from_all(make: Callable[[], Made], ranks: Ranks) -> list[Made]:
    """What ``make`` gives on each rank, as :func:`agreed`."""
    error, made = "", None
    try:
        made = make()
    except Exception as raised:  # noqa: BLE001 - whatever it is, the others wait
        error = str(raised) or type(raised).__name__
    parts = gathered((error, made), ranks)
    for rank, (text, _) in enumerate(parts):
        if text:
            raise ValueError(f"{text} (on rank {rank})")
    return [part[1] for part in parts]


def flags(
    method: str, name: str, given: object, n: int, what: str = "rows"
) -> Bool[np.ndarray, " n"]:
    """A flag for each of n rows, on the host."""
    if not isinstance(given, Tensor) or given.dtype != torch.bool or given.ndim != 1:
        found = _found(given)
        raise ValueError(f"{method}: {name} must be a bool tensor [N], this is {found}")
    if len(given) != n:
        raise ValueError(f"{method}: {n} {what}, {name} has {len(given)} rows")
    kept: Bool[np.ndarray, " n"] = given.numpy(force=True)
    return kept


def _one_each(method: str, rewards: object) -> Tensor:
    if not isinstance(rewards, Tensor):
        raise ValueError(
            f"{method}: rewards must be a tensor [N], this is {_found(rewards)}; make it one: "
            "torch.as_tensor(rewards)"
        )
    if rewards.ndim != 1:
        raise ValueError(
            f"{method}: rewards have the shape {[*rewards.shape]}; one number per rollout is "
            "needed: sum them over steps"
        )
    return rewards


def _found(given: object) -> str:
    if isinstance(given, Tensor):
        return f"{str(given.dtype).removeprefix('torch.')} {[*given.shape]}"
    return f"a {type(given).__name__}"


def _host(numbers: Tensor) -> np.ndarray:
    # NumPy has no bfloat16.
    return (numbers.float() if numbers.dtype == torch.bfloat16 else numbers).numpy(force=True)
