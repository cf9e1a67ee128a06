"""A running baseline for each role of each game: SPIRAL's role-conditioned advantages (RAE)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...core.errors import MissingColumn
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .keyed import Keyed, keys_of
from .outcomes import Outcomes, agreed
from .spans import numbered

Start: TypeAlias = Literal["zero", "first"]


def role_advantages(
    rewards: Float[Tensor, " n"],
    keys: Ids,
    baselines: Mapping[Hashable, float],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    decay: float = 0.95,
    start: Start = "zero",
    drop_zero: bool = True,
    ranks: Ranks = None,
) -> tuple[Advantages, dict[Hashable, float]]:
    """``A_i = R_i - b_k``, then ``b_k <- decay b_k + (1 - decay) R_i``, row after row.

    A row reads the baseline of its key before it writes. Several rows of one key read what the
    earlier ones wrote, so that a batch gives what its halves give one after the other, to the last
    digit. Numbers of keys are remembered in float64; the rows are one pass over N plain numbers.

    Args:
        rewards: [N] one per player and game, any unit.
        keys: [N] whose baseline a row has: its game and role.
        baselines: key -> b; what is not there begins by ``start``. It is not changed.
        keep: [N] rows that have a score; the others neither read nor write.
        decay: the share of the old baseline, between 0 and 1.
        start: a new key's baseline: 0, or its first reward, whose advantage is then 0.
        drop_zero: rows whose advantage is exactly 0 do not train.
        ranks: processes that hold parts of the batch; their rows come in the order of ranks, and
            all of them return the same baselines.

    Returns:
        Advantages [N], in the unit of rewards, and the new baselines of the keys of this batch.

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, or an option is out of range.
    """
    check_options(decay, start)
    batch = Outcomes("rae", rewards, keys, keep, ranks)
    known = [baselines.get(key) for key in batch.groups.ids]
    values = np.zeros(len(batch))
    numbers = zip(batch.index.tolist(), batch.rewards.tolist(), batch.keep.tolist(), strict=True)
    for row, (key, reward, kept) in enumerate(numbers):
        if not kept:
            continue
        baseline = known[key]
        if baseline is None:
            baseline = 0.0 if start == "zero" else reward
        values[row] = reward - baseline
        known[key] = decay * baseline + (1.0 - decay) * reward
    advantages = batch.advantages(values)
    if drop_zero:
        advantages.keep = advantages.keep & (advantages.values != 0.0)
    ids = zip(batch.groups.ids, known, strict=True)
    return advantages, {key: baseline for key, baseline in ids if baseline is not None}


def turn_discounts(
    turns: Int64[Tensor, "n t"], mask: Bool[Tensor, "n t"], *, gamma: float
) -> Float64[Tensor, "n t"]:
    """``gamma^(n - 1 - i)`` at the steps of turn i of n: the last turn counts in full.

    Args:
        turns: [N, T] the turn that a step lies in, -1 outside.
        mask: [N, T] the steps that the policy chose; turns without one, the opponent's, do not
            count.
        gamma: the discount from turn to turn, in (0, 1].

    Returns:
        Factors [N, T], 0 where ``mask`` is not.

    Raises:
        ValueError: gamma is out of range, a marked step lies in no turn, or a turn comes back.
    """
    check_gamma(gamma)
    number, count = numbered("rae", "turn", turns, mask)
    after = (count[:, None] - 1 - number).clamp(min=0)
    return torch.where(mask, gamma ** after.to(torch.float64), 0.0)


@method(
    "rae",
    kind="advantage",
    seed=95,
    paper=Paper(
        "2506.24119",
        "SPIRAL: Self-Play on Zero-Sum Games Incentivizes Reasoning via Multi-Agent Multi-Turn "
        "Reinforcement Learning",
        2025,
    ),
)
class RoleBaseline(Keyed):
    """``A = R - b``, b the running mean of what this role of this game was paid.

    In self-play both players are one policy. A baseline for each role takes out what the first
    mover, or the game, is worth; it needs no siblings and no critic.

    **Unbiased**: a row's baseline holds rewards of earlier rows of its key only, which were played
    without it. (Rows of one game that share a key are not: the roles of a game need keys of their
    own.) Two options are not: ``start="first"`` makes a key's first reward its own baseline, so
    the first row of each key says nothing; and ``drop_zero`` (the default) leaves rows without an
    advantage out, so that a mean over tokens or rows is over a number that rewards decide.

    A group of one row is the usual case. Rewards of a role that are always the same give advantages
    that fall to 0 by the factor ``decay``. A row without a score neither reads nor writes.

    ``forward`` gives the advantages of a batch as if its rows were played in their order, and
    ``update`` remembers the baselines; see :func:`role_advantages` and :class:`Keyed`.

    The authors' code keeps one baseline for each environment and player in every actor process,
    so each actor has its own; here there is one for all.

    Args:
        columns: what names a role: the columns of the game and of the role in it.
        decay: the share of the old baseline, between 0 and 1.
        start: a new role's baseline: 0 as in the authors' code, or its first reward (biased).
        gamma: the discount from turn to turn, in (0, 1]: turn i of a player's n has
            ``A gamma^(n - 1 - i)``, as the weight of its tokens. Below 1 it needs the span
            ``"turn"``.
        drop_zero: rows whose advantage is exactly 0 do not train (biased where a mean is taken).
        ranks: processes that hold parts of the batch; a spec leaves it out.

    Raises:
        ValueError: an option out of range; in ``forward``, as :func:`role_advantages` and
            :func:`turn_discounts`, or a row without a key. MissingColumn: a column, or the span
            ``"turn"``, is not there.

    Source: Liu et al. 2025, and the authors' ``train_spiral.py``.
    """

    def __init__(
        self,
        columns: Sequence[str] = ("task", "role"),
        decay: float = 0.95,
        start: Start = "zero",
        gamma: float = 1.0,
        drop_zero: bool = True,
        ranks: Any = None,  # Ranks, which no spec can hold and its schema does not know
    ) -> None:
        super().__init__()
        if isinstance(columns, str) or not columns:
            raise ValueError(f"rae: columns is {columns!r}, a list of one or more names is needed")
        check_options(decay, start)
        check_gamma(gamma)
        self.columns, self.decay, self.start = tuple(columns), float(decay), start
        self.gamma, self.drop_zero, self.ranks = float(gamma), drop_zero, ranks

    def both(self, rollouts: Rollouts, scores: Scores) -> tuple[Advantages, dict[Hashable, Any]]:
        advantages, baselines = role_advantages(
            scores.total(),
            agreed(lambda: keys_of("rae", rollouts, self.columns), self.ranks),
            self.memory,
            keep=scores.scored,
            decay=self.decay,
            start=self.start,
            drop_zero=self.drop_zero,
            ranks=self.ranks,
        )
        if self.gamma != 1.0:
            if "turn" not in rollouts.spans:
                raise MissingColumn("turn", needed_by="rae's gamma, a span", present=rollouts.spans)
            turns, mask = rollouts.spans["turn"], rollouts.action_mask
            weight = agreed(lambda: turn_discounts(turns, mask, gamma=self.gamma), self.ranks)
            advantages.weight = weight.to(advantages.values)
        return advantages, baselines


def check_options(decay: float, start: str) -> None:
    """ValueError outside ``0 < decay < 1``, or where the start is unknown."""
    if not 0.0 < decay < 1.0:
        raise ValueError(f"rae: decay is {decay}, it must lie between 0 and 1")
    if start not in ("zero", "first"):
        raise ValueError(f"rae: start is {start!r}, not one of zero, first")


def check_gamma(gamma: float) -> None:
    """ValueError outside ``0 < gamma <= 1``."""
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"rae: gamma is {gamma}, it must lie in (0, 1]")
