"""One reward per rollout, checked, with who is compared with whom: what group estimators share.

N numbers are little beside N times T tokens. They are worked on where the ids are, on the host, in
float64: every device gives the same advantages, rewards such as 1e6 + 0.1 keep their digits, and
the result is a column that is spread over tokens where it is used.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.warn import warn_caller
from ...ops.groups import Groups, Ids
from ...ops.ranks import Ranks, gathered, rank_of

Numbers: TypeAlias = Float64[np.ndarray, " n"]
Baseline: TypeAlias = Literal["group", "others"]
Scale: TypeAlias = Literal["group", "others", "batch", "none"]
Singleton: TypeAlias = Literal["zero", "reward"]

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

    Raises:
        ValueError: lengths that disagree, or a kept number that is not finite; row and group are
            named.
    """

    def __init__(
        self,
        method: str,
        rewards: Float[Tensor, " n"],
        group: Ids,
        keep: Bool[Tensor, " n"] | None = None,
        ranks: Ranks = None,
        columns: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.method, self._like = method, rewards
        if rewards.ndim != 1:
            raise ValueError(
                f"{method}: rewards have the shape {[*rewards.shape]}; one number per rollout is "
                "needed: sum them over steps"
            )
        numbers = {"rewards": _host(rewards)}
        self._kind = numbers["rewards"].dtype
        for name, column in (columns or {}).items():
            numbers[name] = _host(column)
        kept = None if keep is None else _host(keep).astype(bool)
        n, self._own = len(numbers["rewards"]), slice(None)
        lengths = {name: len(column) for name, column in numbers.items()}
        lengths |= {"group": len(group), "keep": n if kept is None else len(kept)}
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{method}: {n} rewards, {name} has {length} rows")
        if ranks is not None:
            kept = np.ones(n, dtype=bool) if kept is None else kept
            ids = group.tolist() if isinstance(group, Tensor | np.ndarray) else list(group)
            parts = gathered((ids, kept, numbers), ranks)
            before = sum(len(part[0]) for part in parts[: rank_of(ranks)])
            self._own = slice(before, before + n)
            group = [i for part in parts for i in part[0]]
            kept = np.concatenate([part[1] for part in parts])
            numbers = {name: np.concatenate([part[2][name] for part in parts]) for name in numbers}
        self.groups = Groups(group)
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
        self._singles = 1.0 in self.count
        self.deviations: Numbers = self._deviations()
        """``R - mean_g``; exactly 0 throughout a group whose rewards are all the same."""
        self._squares = self.groups.sum(self.deviations * self.deviations)

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
        return self.kept(away - self.group_mean(away)[self.index])

    @property
    def constant(self) -> Bool[np.ndarray, " k"]:
        """The groups whose kept rewards are all the same, as are those of one row or none."""
        return np.asarray(self._squares == 0.0)

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

        A warning tells of them.
        """
        self.check("singleton", singleton, ("zero", "reward"))
        if not self._singles:
            return values
        alone = self.alone()
        told = "an advantage of 0" if singleton == "zero" else "their reward as the advantage"
        warn_caller(
            f"{self.method}: {np.count_nonzero(alone)} of {len(self)} rollouts are alone in their "
            f"group, such as {self.row(int(alone.argmax()))}, and get {told}; sample several for "
            "each prompt and give them one group"
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
            eps: added to it, at least 0.
            ddof: taken from the count: 1 for the sample's, 0 for the population's.
        """
        self.check("scale", scale, ("group", "others", "batch", "none"))
        if not eps >= 0.0:
            raise ValueError(f"{self.method}: eps is {eps}, it must be at least 0")
        if scale == "none":
            return values
        if scale == "batch":
            kept = self.rewards[self.keep]
            constant = len(kept) <= ddof or bool((kept == kept[0]).all())
            return values if constant else values / (kept.std(ddof=ddof) + eps)
        spread = self._spread(scale, ddof) + eps
        spread[spread == eps] = 1.0
        return values / (spread[self.index] if scale == "group" else spread)

    def _spread(self, scale: Scale, ddof: int) -> Numbers:
        """[K] of the groups, or [N] of the others of each row."""
        count, squares = self.count, self._squares
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
        """Advantages of this process's rows, in the rewards' type and where they are."""
        values = self.kept(values)
        told = {
            "constant_groups": np.count_nonzero(self.constant) / max(len(self.groups), 1),
            "zero_advantages": 1.0 - np.count_nonzero(values) / max(len(self), 1),
            **metrics,
        }
        own, like = self._own, self._like
        # Cast before it is a tensor: for N numbers, an operation of torch costs what all else does.
        kind = self._kind if self._kind.kind == "f" else np.dtype(np.float32)
        told_values = torch.from_numpy(values[own].astype(kind))
        told_keep = torch.from_numpy(self.keep[own])
        if like.dtype == torch.bfloat16:
            told_values = told_values.bfloat16()
        if like.device.type != "cpu":
            told_values, told_keep = told_values.to(like.device), told_keep.to(like.device)
        return Advantages(told_values, told_keep, metrics=told)

    def check(self, option: str, value: str, known: tuple[str, ...]) -> None:
        """ValueError unless an option has a known value."""
        if value not in known:
            raise ValueError(f"{self.method}: {option} is {value!r}, not one of {', '.join(known)}")

    def row(self, row: int) -> str:
        """A row as messages name it."""
        return f"row {row} (group {self.groups.ids[self.index[row]]!r})"

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


def _host(numbers: Tensor) -> np.ndarray:
    # NumPy has no bfloat16.
    return (numbers.float() if numbers.dtype == torch.bfloat16 else numbers).numpy(force=True)
