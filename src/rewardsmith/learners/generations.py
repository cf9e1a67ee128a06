"""Generated batches between TRL and us: its rows and tensors as rollouts, and put together anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..core.joining import joined_rollouts, joined_scores
from ..core.outcome import Status
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.ranks import Ranks, count_of, gathered, rank_of
from ..samplers.guided_retry import Improved

LEFT = ("prompt_ids", "prompt_mask")
"""What TRL pads on the left; the rest of a batch is padded on the right."""
WHOLE = ("num_items_in_batch",)
"""What is one number for the batch."""


@dataclass(frozen=True)
class Batch:
    """Whole groups that were generated and scored; rollouts and scores are those of all ranks."""

    output: dict[str, Any]
    """TRL's tensors, of this rank's rows; those of all ranks in what :func:`together` gives."""
    rollouts: Rollouts
    scores: Scores
    places: Int64[Tensor, " n"]
    """Which answer of the step each row is, in the order in which they were generated."""

    def shared(
        self, rows: Int64[Tensor, " n"], group: Int64[Tensor, " n"], ranks: Ranks
    ) -> "Batch":
        """Some rows of :func:`together` in that order, in new groups; each rank has its share."""
        picked = self.rollouts.select(rows)
        picked.group = group
        output = taken(self.output, rows[own_rows(picked, ranks)])
        tokens = sum(gathered(int(trained(output).sum()), ranks))
        device = output["completion_ids"].device
        output["num_items_in_batch"] = torch.tensor(tokens, device=device)
        return Batch(output, picked, self.scores.select(rows), self.places[rows])


def without_copies(batch: Batch) -> Batch:
    """The batch with rows that it has had already abstained: they fill it, and weigh nothing."""
    copies = torch.ones(len(batch.places), dtype=torch.bool)
    copies[once(batch.places)[0]] = False
    if not bool(copies.any()):
        return batch
    return replace(batch, scores=_abstained(batch.scores, copies.nonzero().flatten()))


def once(places: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " n"]]:
    """Rows whose place comes for the first time [M], and of each row [N] which of those it is."""
    first: dict[int, int] = {}
    rows, back = list[int](), list[int]()
    for row, place in enumerate(places.tolist()):
        if place not in first:
            first[place] = len(rows)
            rows.append(row)
        back.append(first[place])
    return torch.tensor(rows), torch.tensor(back)


def _abstained(scores: Scores, rows: Int64[Tensor, " k"]) -> Scores:
    status, values = scores.status.clone(), scores.values.clone()
    status[rows], values[rows] = int(Status.ABSTAINED), 0.0
    at = scores.at
    if at is not None:
        at = at.clone()
        at[rows] = False
    parts = {name: _abstained(part, rows) for name, part in scores.parts.items()}
    return replace(scores, values=values, status=status, at=at, parts=parts)


def together(batches: Sequence[Batch], ranks: Ranks) -> Batch:
    """The rows of several batches, one after the other, with the tensors of all ranks."""
    return Batch(
        joined([everybodys(batch.output, ranks) for batch in batches]),
        joined_rollouts([batch.rollouts for batch in batches]),
        joined_scores([batch.scores for batch in batches]),
        torch.cat([batch.places for batch in batches]),
    )


def with_retries(
    batch: Batch, again: Batch, improved: Improved, context: str, ranks: Ranks
) -> Batch:
    """A batch with second attempts in the place of some answers, and with their bonus.

    Args:
        batch: what was answered first.
        again: the second attempts.
        improved: which of those take a place, and what is added to scores.
        context: ``"original"`` trains them under the prompt of the row whose place they take,
            ``"hint"`` under the prompt that they answered.
        ranks: processes that hold parts of the batch.
    """
    n = len(batch.rollouts)
    index = torch.arange(n)
    for row, retry in improved.replace.items():
        index[row] = n + retry
    whole = together([batch, again], ranks)
    if context == "original":
        for row, retry in improved.replace.items():
            for name in LEFT:
                whole.output[name][n + retry] = whole.output[name][row]
            whole.rollouts.rows["prompt"][n + retry] = whole.rollouts.rows["prompt"][row]
    made = whole.shared(index, batch.rollouts.group, ranks)
    replaced = index >= n
    own = own_rows(made.rollouts, ranks)
    made.output["replaced"] = replaced[own].to(made.output["completion_ids"].device)
    return replace(made, scores=_raised(made.scores, improved.bonus, made.rollouts))


def _raised(scores: Scores, bonus: Tensor, rollouts: Rollouts) -> Scores:
    """Scores with a bonus for each row, of a dense one in equal parts at the policy's steps."""
    bonus = torch.where(scores.scored, bonus.to(scores.values.dtype), 0.0)
    if scores.at is None:
        return replace(scores, values=scores.values + bonus)
    action = rollouts.action_mask & scores.scored[:, None]
    share = (bonus / action.sum(dim=1).clamp(min=1))[:, None] * action
    return replace(scores, values=scores.values + share, at=scores.at | (action & (share != 0.0)))


def trained(output: Mapping[str, Any]) -> Tensor:
    """The tokens of TRL's batch that train [n, T]."""
    mask: Tensor = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    return mask * output["keep"][:, None].to(mask.dtype) if "keep" in output else mask


def rollouts_of(
    rows: Sequence[Mapping[str, Any]],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    chosen: Sequence[Sequence[int]] | None,
    extra: Mapping[str, Sequence[Sequence[float]]],
    group_size: int,
    ranks: Ranks,
) -> Rollouts:
    """The answers of all ranks as rollouts of tokens, on every rank.

    Args:
        rows: the data set's columns of each answer [n].
        prompts: [n] texts or messages.
        completions: [n] texts or messages.
        completion_ids: [n] the tokens of each answer.
        chosen: [n] for each token 1 if the policy chose it; None if it chose all.
        extra: name -> [n] further columns by token.
        group_size: neighbors that answer the same prompt.
        ranks: processes that hold parts of the batch.
    """
    own = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    own |= {
        "prompt": list(prompts),
        "completion": list(completions),
        "completion_ids": [list(ids) for ids in completion_ids],
    }
    tokens = {"token": own["completion_ids"], **extra}
    parts = gathered((own, tokens, chosen), ranks)
    whole = {name: [v for part, _, _ in parts for v in part[name]] for name in own}
    lengths = [len(ids) for ids in whole["completion_ids"]]
    mask = torch.arange(max(lengths, default=0))[None, :] < torch.tensor(lengths)[:, None]
    action = mask
    if chosen is not None:
        action = mask & _by_token([c for _, _, part in parts for c in part], mask).bool()
    steps = {n: _by_token([v for _, part, _ in parts for v in part[n]], mask) for n in tokens}
    group = [i // group_size for i in range(len(lengths))]
    return Rollouts(whole, steps, mask=mask, action_mask=action, group=group)


def own_rows(rollouts: Rollouts, ranks: Ranks) -> slice:
    """This rank's rows of the whole batch."""
    world = count_of(ranks)
    n = len(rollouts) // world
    return slice(n * rank_of(ranks), n * (rank_of(ranks) + 1))


def joined(batches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """TRL's batches as one, row after row; shorter ones are padded as TRL pads them.

    Where only some say which tokens the policy chose, it chose all of the others'.

    Raises:
        ValueError: the batches hold images, whose rows cannot be told apart.
    """
    made: dict[str, Any] = {}
    if any("tool_mask" in batch for batch in batches):
        batches = [{"tool_mask": torch.ones_like(b["completion_mask"]), **b} for b in batches]
    for name, first in batches[0].items():
        if name in WHOLE:
            continue
        tensors = [batch[name] for batch in batches]
        if not isinstance(first, Tensor) or first.ndim == 0 or "pixel" in name or "image" in name:
            raise ValueError(
                f"this sampler chooses among answers, which cannot be done with {name!r} in the "
                "batch: use one that trains on all it proposes, such as shuffled"
            )
        made[name] = torch.cat(tensors) if first.ndim == 1 else _as_long(tensors, name in LEFT)
    return made


def taken(batch: Mapping[str, Any], rows: Int64[Tensor, " n"]) -> dict[str, Any]:
    """Some rows of a batch, in that order."""
    return {
        name: tensor[rows.to(tensor.device)] for name, tensor in batch.items() if name not in WHOLE
    }


def everybodys(batch: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """The batches of all ranks as one, on every rank."""
    if ranks is None:
        return {name: value for name, value in batch.items() if name not in WHOLE}
    here = {n: v.cpu() if isinstance(v, Tensor) else v for n, v in batch.items()}
    device = batch["completion_ids"].device
    whole = joined(gathered(here, ranks))
    return {name: value.to(device) for name, value in whole.items()}


def fitted(values: Tensor, width: int) -> Tensor:
    """[N, T] as [N, width]: cut, or with zeros behind."""
    if values.shape[1] >= width:
        return values[:, :width]
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))


def _by_token(values: Sequence[Sequence[float]], mask: Bool[Tensor, "n t"]) -> Tensor:
    whole = all(isinstance(v, int) for row in values for v in row[:1])
    made = torch.zeros(mask.shape, dtype=torch.int64 if whole else torch.float32)
    for i, row in enumerate(values):
        made[i, : len(row)] = torch.as_tensor(row, dtype=made.dtype)
    return made


def _as_long(tensors: Sequence[Tensor], left: bool) -> Tensor:
    width = max(tensor.shape[1] for tensor in tensors)
    sides = [(width - t.shape[1], 0) if left else (0, width - t.shape[1]) for t in tensors]
    pad = torch.nn.functional.pad
    return torch.cat([pad(t, side) for t, side in zip(tensors, sides, strict=True)])
