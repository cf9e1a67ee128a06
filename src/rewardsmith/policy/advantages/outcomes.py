"""One reward per rollout, checked, with who is compared with whom: what group estimators share.

N numbers are little beside N times T tokens. They are worked on where the ids are, on the host, in
float64: every device gives the same advantages, rewards such as 1e6 + 0.1 keep their digits, and
the result is a column that is spread over tokens where it is used.
"""

from collections.abc import Mapping
from functools import cached_property
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
        n = rewards.shape[0]
        kept = np.ones(n, dtype=bool) if keep is None else _host(keep).astype(bool)
        numbers = {"rewards": _host(rewards).astype(np.float64)}
        for name, column in (columns or {}).items():
            numbers[name] = _host(column).astype(np.float64)
        lengths = {"group": len(group), "keep": len(kept)}
        for name, length in (lengths | {name: len(of) for name, of in numbers.items()}).items():
            if length != n:
                raise ValueError(f"{method}: {n} rewards, {name} has {length} rows")
        self._own: slice | None = None
        if ranks is not None:
            ids = group.tolist() if isinstance(group, Tensor | np.ndarray) else list(group)
            parts = gathered((ids, kept, numbers), ranks)
            before = sum(len(part[0]) for part in parts[: rank_of(ranks)])
            self._own = slice(before, before + n)
            group = [i for part in parts for i in part[0]]
            kept = np.concatenate([part[1] for part in parts])
            numbers = {name: np.concatenate([part[2][name] for part in parts]) for name in numbers}
        self.groups = Groups(group)
        self.index = self.groups.index
        self.keep: Bool[np.ndarray, " n"] = kept
        self.everything = bool(kept.all())
        """Whether all rows are kept."""
        self.columns = {name: self._checked(name, column) for name, column in numbers.items()}
        self.rewards: Numbers = self.columns["rewards"]
        self.count = self.groups.count(None if self.everything else kept)
        """How many rows of each group are kept."""

    def __len__(self) -> int:
        return len(self.index)

    # --- moments ----------------------------------------------------------------------------------

    def kept(self, values: Numbers) -> Numbers:
        """The same, 0 in rows that are not kept."""
        return values if self.everything else np.where(self.keep, values, 0.0)

    def group_mean(self, values: Numbers) -> Float64[np.ndarray, " k"]:
        """Each group's mean over the rows that are kept; 0 where none is."""
        return np.asarray(self.groups.sum(self.kept(values)) / np.maximum(self.count, 1.0))

    @cached_property
    def deviations(self) -> Numbers:
        """``R - mean_g``; exactly 0 throughout a group whose rewards are all the same."""
        first = self.groups.first(None if self.everything else self.keep)
        # Counted from one of the group, rewards that are the same are 0, and so is their mean.
        away = self.kept(self.rewards - self.rewards[first][self.index])
        return self.kept(away - self.group_mean(away)[self.index])

    @cached_property
    def _squares(self) -> Float64[np.ndarray, " k"]:
        return self.groups.sum(self.deviations * self.deviations)

    @property
    def constant(self) -> Bool[np.ndarray, " k"]:
        """The groups whose kept rewards are all the same, as are those of one row or none."""
        return np.asarray(self._squares == 0.0)

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
        if not (self.count == 1.0).any():
            return values
        alone = (self.count == 1.0)[self.index] & self.keep
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
        spread = self._spread(scale, ddof)
        return values / np.where(spread == 0.0, 1.0, spread + eps)

    def _spread(self, scale: Scale, ddof: int) -> Numbers:
        squares, count = self._squares, self.count
        if scale == "group":
            spread = np.sqrt(squares / np.maximum(count - ddof, 1.0))
            spread[count == 1.0] = 1.0
            return np.asarray(spread[self.index])
        count, total = count[self.index], squares[self.index]
        # Without one of them, the sum of squares about the mean of the rest.
        rest = total - self.deviations**2 * count / np.maximum(count - 1.0, 1.0)
        spread = np.sqrt(np.maximum(rest, 0.0) / np.maximum(count - 1.0 - ddof, 1.0))
        spread[rest <= _RESIDUE * total] = 0.0
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
        keep = self.keep
        if self._own is not None:
            values, keep = values[self._own], keep[self._own]
        like = self._like
        kind = like.dtype if like.dtype.is_floating_point else torch.float32
        return Advantages(
            torch.from_numpy(values).to(like.device, kind),
            torch.from_numpy(keep).to(like.device),
            metrics=told,
        )

    def check(self, option: str, value: str, known: tuple[str, ...]) -> None:
        """ValueError unless an option has a known value."""
        if value not in known:
            raise ValueError(f"{self.method}: {option} is {value!r}, not one of {', '.join(known)}")

    def row(self, row: int) -> str:
        """A row as messages name it."""
        return f"row {row} (group {self.groups.ids[self.index[row]]!r})"

    def _checked(self, name: str, numbers: Numbers) -> Numbers:
        if np.isfinite(numbers).all():
            return numbers
        broken = ~np.isfinite(numbers) & self.keep
        if broken.any():
            row = int(broken.argmax())
            raise ValueError(
                f"{self.method}: {self.row(row)} has {numbers[row]} in {name}; "
                "leave rows without a score out: keep=scores.scored"
            )
        return self.kept(numbers)


def _host(numbers: Tensor) -> np.ndarray:
    numbers = numbers.detach()
    # NumPy has no bfloat16.
    return (numbers.float() if numbers.dtype == torch.bfloat16 else numbers).cpu().numpy()
