"""Dynamic outlier truncation (DOT): cut the longest of answers that are all correct."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..core.bases import Relabel
from ..core.catalog import Paper, method
from ..core.columns import Column, mapped
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.warn import warn_caller
from ..ops.groups import Groups, Ids

_CORRECT = 1e-6
"""How far from 0 or 1 a success may lie."""
_LEAST_SHARE = 16
"""The fewest tokens that a margin which is a share stands for."""


def length_limits(
    lengths: Int64[np.ndarray, " n"],
    group: Ids,
    success: Bool[np.ndarray, " n"],
    *,
    deviations: float = 3.0,
    margin: float = 32,
) -> Int64[np.ndarray, " n"]:
    """``T(q) = floor(mean(L) + a std(L))`` where a row is cut, and its own length elsewhere.

    Mean and standard deviation (ddof 1; 0 in a group of one) are over all rows of the group. A row
    is cut if all of its group are a success and ``L_i - T >= margin``. As no row lies more than
    ``(G - 1) / sqrt(G)`` deviations above the mean of G, **nothing is ever cut where that is at
    most a**: with a = 3, in groups of 10 or fewer.

    Args:
        lengths: L [N], tokens, 0 or more.
        group: [N] one id per row, in any order.
        success: [N] whether a row is correct; False where that is not known.
        deviations: a, 0 or more; infinity cuts nothing.
        margin: the fewest tokens that are worth a cut, 1 or more; below 1 it is a share of L_i,
            ``max(floor(margin L_i), 16)`` tokens.

    Returns:
        [N] tokens, never more than L.

    Raises:
        ValueError: lengths that disagree, a negative length, or an option out of range.

    Source: Wu et al. 2026, and the authors' ``length_truncation.py``.
    """
    check_options(deviations, margin)
    groups = Groups(group, "dot")
    if not len(lengths) == len(success) == len(groups.index):
        raise ValueError(
            f"dot: {len(lengths)} lengths, {len(success)} successes and {len(groups.index)} ids of "
            "groups; one of each per row is needed"
        )
    if len(lengths) and lengths.min() < 0:
        raise ValueError(f"dot: row {lengths.argmin()} has a length of {lengths.min()} tokens")
    if math.isinf(deviations):
        return lengths.copy()
    count = groups.count()
    mean = groups.sum(lengths.astype(np.float64)) / count
    squares = groups.sum((lengths - mean[groups.index]) ** 2)
    std = np.sqrt(squares / np.maximum(count - 1.0, 1.0))
    # Where mean + a std is a whole number, rounding must not take a token from it.
    limit = np.floor((mean + deviations * std) * (1.0 + 1e-12)).astype(np.int64)[groups.index]
    solved = (groups.count(success) == count)[groups.index]
    share = np.maximum(np.floor(lengths * margin).astype(np.int64), _LEAST_SHARE)
    least = share if margin < 1.0 else np.full_like(lengths, int(margin))
    return np.where(solved & (lengths - limit >= least), limit, lengths)


@method(
    "dot",
    kind="relabel",
    seed=126,
    paper=Paper(
        "2601.03969",
        "Anti-Length Shift: Dynamic Outlier Truncation for Training Efficient Reasoning Models",
        2026,
    ),
)
class OutlierTruncation(Relabel):
    """Cut answers that are far longer than their siblings, where every sibling is correct.

    What is cut is scored again with the whole batch: an answer whose cut end it could not do
    without is now wrong, the only one of its group, and the group has a gradient against the
    length. One that is still correct changes nothing; its group is as constant as before. Which
    rows are cut, and where, is :func:`length_limits` of the sums of the action mask. A group with
    a wrong answer, or with one that has no score, is left alone.

    ``success`` says what correct is; it may be other than the reward. It is asked before the
    cut only. It has to be deterministic: where it is not, a group is cut by chance, and a change of
    the reward is not the cut's.

    Of a row that is cut, the steps behind its last token leave both masks and the spans, and step
    columns are 0 there; T stays. The text ``completion`` is made anew from the tokens that are left
    (column ``token`` [N, T], by :meth:`reads`), ``completion_ids`` is cut, and ``lengths`` is the
    new one. If nothing is cut the same rollouts are returned.

    Warns once of groups in which nothing can ever be cut.

    Args:
        success: 1 for a correct rollout and 0 for a wrong one.
        deviations: a of :func:`length_limits`, standard deviations above the mean.
        margin: the fewest tokens that are worth a cut, 1 or more, or a share below 1.

    Raises:
        ValueError: an option out of range; in ``forward``: texts without tokens, rollouts without
            groups, a success that is neither 0 nor 1, an answer of several messages, or texts
            and nothing to make them of tokens with. MissingColumn: texts, and no ``token``.

    Source: Wu et al. 2026, and the authors' ``length_truncation.py``.
    """

    def __init__(self, success: Reward, deviations: float = 3.0, margin: float = 32) -> None:
        super().__init__()
        check_options(deviations, margin)
        self.success = success
        self.deviations, self.margin = float(deviations), margin
        self.decode: Callable[[list[int]], str] | None = None
        self._warned = False

    def reads(self, decode: Callable[[list[int]], str]) -> "OutlierTruncation":
        """Say how tokens are read, such as by ``tokenizer.decode``; returns itself."""
        self.decode = decode
        return self

    def forward(self, rollouts: Rollouts) -> Rollouts:
        self._check(rollouts)
        group = rollouts.group.cpu()
        lengths = rollouts.action_mask.sum(dim=1).cpu().numpy()
        self._warn(group)
        limits = length_limits(
            lengths,
            group,
            self._successes(rollouts),
            deviations=self.deviations,
            margin=self.margin,
        )
        cut = np.flatnonzero(limits < lengths)
        if not len(cut):
            return rollouts
        return self._shortened(rollouts, limits, cut)

    def _check(self, rollouts: Rollouts) -> None:
        if rollouts.n_steps == 1 and "token" not in rollouts.steps:
            raise ValueError(
                "dot cuts tokens, and these rollouts are texts of one step each: give the step "
                "column `token` [N, T], with the masks of its tokens"
            )
        if len(rollouts) > 1 and not rollouts.grouped:
            raise ValueError(
                f"dot compares lengths within a group, and these {len(rollouts)} rollouts have "
                "none; give them `group`, such as the ids of their prompts"
            )
        if "completion" not in rollouts.rows:
            return
        if self.decode is None:
            raise ValueError(
                "dot makes the text of an answer that it cuts anew from its tokens, and does not "
                "know how: call reads(decode), such as reads(tokenizer.decode)"
            )
        rollouts.column("token", needed_by="dot")

    def _warn(self, group: Int64[Tensor, " n"]) -> None:
        largest = int(torch.bincount(group).max()) if len(group) else 0
        if not largest or self._warned or farthest(largest) > self.deviations:
            return
        self._warned = True
        if math.isinf(self.deviations):
            return  # It is meant to cut nothing.
        a = self.deviations
        enough = math.floor(((a + math.sqrt(a * a + 4.0)) / 2.0) ** 2) + 1
        warn_caller(
            f"dot: groups have at most {largest} rollouts, of which none can be more than "
            f"(G - 1) / sqrt(G) = {farthest(largest):.3g} standard deviations longer than the "
            f"mean; with deviations={a:g} nothing can ever be cut. Take groups of {enough} or "
            "more, or fewer deviations"
        )

    def _successes(self, rollouts: Rollouts) -> Bool[np.ndarray, " n"]:
        scores = self.success(rollouts)
        said = scores.total().detach().cpu().numpy()
        right, scored = np.abs(said - 1.0) < _CORRECT, scores.scored.cpu().numpy()
        odd = np.flatnonzero(scored & ~right & ~(np.abs(said) < _CORRECT))
        if len(odd):
            raise ValueError(
                f"dot: {self.success.default_name()} scores row {odd[0]} with {said[odd[0]]:g}; "
                "`success` has to say 1 for a correct rollout and 0 for a wrong one: give a "
                "verifier, or a function that compares the score with a threshold"
            )
        return scored & right

    def _shortened(
        self,
        rollouts: Rollouts,
        limits: Int64[np.ndarray, " n"],
        cut: Int64[np.ndarray, " m"],
    ) -> Rollouts:
        before = rollouts.action_mask.cumsum(dim=1) - rollouts.action_mask.long()
        kept = torch.ones_like(rollouts.mask)
        rows = torch.from_numpy(cut)
        kept[rows] = before[rows] < torch.from_numpy(limits)[rows, None].to(before.device)
        mask = rollouts.mask & kept
        new = dict(rollouts.rows)
        if "completion" in new:
            tokens = rollouts.column("token", needed_by="dot")
            texts = {
                row: self._text(new["completion"][row], tokens[row][mask[row]].tolist(), row)
                for row in cut.tolist()
            }
            new["completion"] = _with(new["completion"], texts)
        if "completion_ids" in new:
            left = mask.sum(dim=1).tolist()
            ids = {row: new["completion_ids"][row][: left[row]] for row in cut.tolist()}
            new["completion_ids"] = _with([*new["completion_ids"]], ids)
        if "lengths" in new:
            new["lengths"] = _with(new["lengths"], {row: int(limits[row]) for row in cut.tolist()})

        def blank(leaf: Tensor) -> Tensor:
            inside = kept.reshape(*kept.shape, *[1] * (leaf.ndim - 2))
            return torch.where(inside, leaf, torch.zeros_like(leaf))

        return Rollouts(
            new,
            {name: mapped(blank, column) for name, column in rollouts.steps.items()},
            mask=mask,
            action_mask=rollouts.action_mask & kept,
            group=rollouts.group,
            spans={name: torch.where(kept, span, -1) for name, span in rollouts.spans.items()},
        )

    def _text(self, old: Any, tokens: list[int], row: int) -> Any:
        """What the tokens say, in the form that the answer has: a text, or one message."""
        assert self.decode is not None
        text = self.decode(tokens)
        if isinstance(old, str):
            return text
        if isinstance(old, Sequence) and len(old) == 1 and isinstance(old[0], Mapping):
            return [{**old[0], "content": text}]
        raise ValueError(
            f"dot: the completion of row {row} is neither a text nor one message, and it cannot be "
            "told which of its messages the cut tokens belong to; dot is for single answers"
        )


def farthest(size: int) -> float:
    """``(G - 1) / sqrt(G)``: how many deviations (ddof 1) one of G can lie above their mean."""
    return (size - 1) / math.sqrt(size)


def check_options(deviations: float, margin: float) -> None:
    """ValueError where a is negative, or the margin neither a whole number nor a share."""
    if not deviations >= 0.0:
        raise ValueError(f"dot: deviations is {deviations}, it has to be 0 or more")
    if not margin > 0.0 or (margin >= 1.0 and not float(margin).is_integer()):
        raise ValueError(
            f"dot: margin is {margin}; a whole number of tokens, 1 or more, is needed, or a share "
            "between 0 and 1"
        )


def _with(column: Column, values: Mapping[int, Any]) -> Column:
    """The column with other values in some rows."""
    if isinstance(column, Tensor | np.ndarray):
        made = column.clone() if isinstance(column, Tensor) else column.copy()
        for row, value in values.items():
            made[row] = value
        return made
    return [values.get(row, value) for row, value in enumerate(column)]
