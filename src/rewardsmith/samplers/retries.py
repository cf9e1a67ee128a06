"""The parts of a guided retry: what is tried again, with which words, and what comes of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ..ops.groups import Groups, Ids
from .guidance import messages

Overwrite: TypeAlias = Literal["worst", "random"]

TIE = 1e-6
"""Scores this near to each other are one, and a part this near to 1 is satisfied."""


def retry_candidates(
    rewards: Float[Tensor, " n"],
    group: Ids,
    satisfied: Int64[Tensor, " n"],
    *,
    threshold: float = 1.0,
    keep: Bool[Tensor, " n"] | None = None,
    most: int = 16,
) -> list[list[int]]:
    """The samples to try again: those that tie at the best of a group that reached no threshold.

    Args:
        rewards: [N] one per sample.
        group: [N] whose samples are compared.
        satisfied: [N] how many items of its rubric a sample satisfies.
        threshold: a group whose best reward is this, or within 1e-6 of it, is solved.
        keep: [N] samples that have a score; the others are none, and a group without any is left
            out.
        most: how many of a group there are at most.

    Returns:
        For each group that failed, rows within 1e-6 of its best reward, those that satisfy more
        first, and of those the earlier.
    """
    index = torch.as_tensor(Groups(group, "guided_retry").index)
    kept = torch.ones(len(rewards), dtype=torch.bool) if keep is None else keep
    found = []
    for k in range(int(index.max()) + 1 if len(index) else 0):
        rows = (kept & (index == k)).nonzero().flatten()
        if not len(rows) or float(rewards[rows].max()) >= threshold - TIE:
            continue
        tied = rows[rewards[rows] >= rewards[rows].max() - TIE].tolist()
        found.append(sorted(tied, key=lambda row: -int(satisfied[row]))[:most])
    return found


def retry_bonus(
    rewards: Float[Tensor, " m"], retried: Float[Tensor, " m"], alpha: float
) -> Float64[Tensor, " m"]:
    """``alpha (rho_i - r_i)``, signed: what a sample is worth for what a hint made of it.

    With it the reward lies between r and rho: ``r' = (1 - alpha) r + alpha rho``.

    Args:
        rewards: [M] r of the samples that were tried again.
        retried: [M] rho, the best score among the retries of each.
        alpha: from 0 to 1.
    """
    return alpha * (retried.double() - rewards.double())


def retry_replacements(
    rewards: Float[Tensor, " n"],
    group: Ids,
    source: Int64[Tensor, " m"],
    retried: Float[Tensor, " m"],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    usable: Bool[Tensor, " m"] | None = None,
    most: int = 1,
    overwrite: Overwrite = "worst",
    generator: np.random.Generator | None = None,
) -> dict[int, int]:
    """Which samples the best retries of their group take the place of.

    A retry has to score at least the best of the group. It overwrites a sample that scores less
    than itself, or has no score, and never the best one: where several tie, that is the first that
    was tried again. Where too few retries qualify, fewer samples are overwritten.

    Args:
        rewards: [N] of the samples.
        group: [N] whose samples are compared.
        source: [M] the row of the sample that each retry is of.
        retried: [M] the score of each retry.
        keep: [N] samples that have a score. One that has none is the worst.
        usable: [M] retries that have a score.
        most: how many samples of a group are overwritten at most.
        overwrite: the ``"worst"`` of them, or ``"random"`` ones.
        generator: for ``"random"``.

    Returns:
        Row -> retry, as indices into N and M. No retry stands twice, no row of another group.
    """
    index = Groups(group, "guided_retry").index
    own = rewards.detach().double().numpy(force=True)
    own = np.where(_flags(keep, len(own)), own, -np.inf)
    score = retried.detach().double().numpy(force=True)
    of, able = source.numpy(force=True), _flags(usable, len(score))
    replace: dict[int, int] = {}
    for k in dict.fromkeys(index[of].tolist()):
        rows = np.flatnonzero(index == k)
        best = own[rows].max()
        tried = np.flatnonzero(index[of] == k)
        first = [row for row in of[tried].tolist() if own[row] >= best - TIE]
        safe = first[0] if first else int(rows[own[rows].argmax()])
        good = tried[able[tried] & (score[tried] >= best - TIE)]
        slots = rows[rows != safe]
        if overwrite == "worst":
            slots = slots[np.argsort(own[slots], kind="stable")]
        else:
            slots = (generator or np.random.default_rng(0)).permutation(slots)
        open_ = slots.tolist()
        for retry in good[np.argsort(-score[good], kind="stable")][:most].tolist():
            less = [row for row in open_ if own[row] < score[retry] - TIE]
            if less:
                open_.remove(less[0])
                replace[less[0]] = retry
    return replace


def hint_prompt(
    prompt: Any, completion: Any, satisfied: Sequence[str], unmet: Sequence[str]
) -> Any:
    """The task again, with an earlier answer to it and what that answer does and misses.

    Args:
        prompt: a text, to which a paragraph is added; or messages, to which the answer is added as
            the assistant's turn and the rest as the user's.
        completion: the earlier answer, a text or messages.
        satisfied: what to keep.
        unmet: what to mend.

    Raises:
        ValueError: the prompt is neither a text nor messages.
    """
    asked = [
        _listed("It does well in:", satisfied),
        _listed("It falls short in:", unmet) or "It is not right yet.",
        "Answer again from the beginning: mend what falls short, and keep what is good.",
    ]
    said = "\n\n".join(filter(None, asked))
    if isinstance(prompt, str):
        draft = completion if isinstance(completion, str) else _text(messages(completion))
        return f"{prompt}\n\nAn earlier answer:\n\n{draft}\n\n{said}"
    turn = completion
    if isinstance(completion, str):
        turn = [{"role": "assistant", "content": completion}]
    return [*messages(prompt), *messages(turn), {"role": "user", "content": said}]


def _flags(flags: Tensor | None, n: int) -> np.ndarray:
    return np.ones(n, dtype=np.bool_) if flags is None else flags.bool().numpy(force=True)


def _listed(head: str, items: Sequence[str]) -> str:
    return "\n".join([head, *(f"- {item}" for item in items)]) if items else ""


def _text(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(str(turn.get("content") or "") for turn in turns)
