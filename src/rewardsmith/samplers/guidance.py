"""A teacher's guidance in a prompt: put in, taken out, faded, checked for leaks, and made pairs of.

What the paper on guided agents (Agent-RLVR) leaves open is our reading: see each function.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..core.preferences import Preferences
from ..core.rollouts import Rollouts
from ..core.rowcall import MISSING
from ..ops.groups import Groups, Ids

HEAD = "\n\nGuidance: "
"""What stands between a task and its guidance."""


def with_guidance(prompt: Any, guidance: str) -> Any:
    """The prompt with guidance at its end: of the text, or of the last message's content.

    :func:`without_guidance` takes it out again, and what it gives is what was put in.

    Args:
        prompt: a text, or messages with a content of text or of parts.
        guidance: a text.

    Raises:
        ValueError: the prompt is neither.
    """
    if isinstance(prompt, str):
        return f"{prompt}{HEAD}{guidance}"
    *before, last = messages(prompt)
    content = last.get("content")
    tail = f"{HEAD}{guidance}"
    if isinstance(content, str):
        return [*before, {**last, "content": content + tail}]
    return [*before, {**last, "content": [*(content or []), {"type": "text", "text": tail}]}]


def without_guidance(prompt: Any, guidance: str) -> Any:
    """The prompt that :func:`with_guidance` was given.

    Args:
        prompt: a text or messages, with that guidance at the end.
        guidance: a text.

    Raises:
        ValueError: the prompt is neither, or does not end with that guidance.
    """
    found = _cut(prompt, guidance)
    if found is None:
        raise ValueError(f"guidance: the prompt does not end with the guidance {guidance!r:.60}")
    return found


def unguided(rollouts: Rollouts, guidance: str = "guidance") -> Rollouts:
    """The same rollouts, each under its prompt without the guidance that it may end with.

    Policies are to need no guidance, so they train on what guided runs did without it (our
    reading).

    Args:
        rollouts: with the columns ``prompt`` and of guidance.
        guidance: the column of texts; a row that has none stays as it is.

    Raises:
        MissingColumn: one of the columns is not there.
    """
    prompts = rollouts.column("prompt", needed_by="unguided")
    texts = rollouts.column(guidance, needed_by="unguided")
    cut = [
        None if absent(text) else _cut(prompt, text)
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    prompts = [old if new is None else new for old, new in zip(prompts, cut, strict=True)]
    made = Rollouts(
        {**rollouts.rows, "prompt": prompts},
        rollouts.steps,
        mask=rollouts.mask,
        action_mask=rollouts.action_mask,
        group=rollouts.group,
        spans=rollouts.spans,
    )
    made.grouped = rollouts.grouped
    return made


def guidance_probability(batch: int, start: float = 1.0, anneal: int | None = None) -> float:
    """``start max(0, 1 - batch / anneal)``: how likely a failed group is guided.

    It falls in a straight line, and is 0 from the batch ``anneal`` on. Our reading: the paper fades
    nothing.

    Args:
        batch: how many came before, from 0.
        start: the probability of the first.
        anneal: how many batches have any; None for always the first one's.
    """
    return start if anneal is None else start * max(0.0, 1.0 - batch / anneal)


def leaks(guidance: str, reference: str, tau: float) -> bool:
    """Whether guidance tells more than a part tau of the reference answer in one piece.

    ``shared_run(guidance, reference) > tau * len(reference)``. With a tau of 1 nothing leaks.
    """
    return _share(guidance, reference, math.floor(tau * len(reference)) + 1)


def shared_run(one: str, other: str) -> int:
    """The length of the longest common substring, in characters."""
    # A substring of a common one is common: the length is found by halving.
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if _share(one, other, middle):
            low = middle
        else:
            high = middle - 1
    return low


def guided_pairs(
    verdicts: Bool[Tensor, " n"] | Bool[Tensor, "n k"], task: Ids, *, runs: int = 1
) -> Preferences:
    """Every run that passed above every run that failed at the same task.

    Pairs for an offline method, such as DPO, or for a reward model: guided and unguided runs
    together, under the prompts that :func:`unguided` leaves. A task at which all runs pass, or all
    fail, has no pair. Our reading of how the paper's guided outcomes train a policy and a reward
    model.

    Args:
        verdicts: [N] whether the tests of a run passed, or [N, K] whether they did each of K times.
            A run on which they do not agree, as flaky tests do, is in no pair.
        task: [N] which task a run is of.
        runs: how many times the tests are to have been run, at least.

    Returns:
        Pairs of rows, by task and then by row, each with ``p = 1``.

    Raises:
        ValueError: the tests were run less often, or lengths disagree.
    """
    verdicts = verdicts.bool() if verdicts.ndim == 2 else verdicts.bool()[:, None]
    if verdicts.shape[1] < runs or runs < 1:
        raise ValueError(
            f"guided_pairs: the tests were run {verdicts.shape[1]} times and {runs} are wanted; "
            "give verdicts [N, K] of as many runs, at least 1"
        )
    groups = Groups(task, "guided_pairs")
    if len(groups.index) != len(verdicts):
        raise ValueError(f"guided_pairs: {len(verdicts)} verdicts, {len(groups.index)} tasks")
    passed, failed = verdicts.all(dim=1), ~verdicts.any(dim=1)
    pairs = [
        (a, b)
        for k in range(len(groups))
        for a in (passed & torch.as_tensor(groups.index == k)).nonzero().flatten().tolist()
        for b in (failed & torch.as_tensor(groups.index == k)).nonzero().flatten().tolist()
    ]
    a, b = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
    return Preferences(a, b, torch.ones(len(pairs)))


def messages(prompt: Any) -> list[Mapping[str, Any]]:
    """The messages of a chat; ValueError for what is none."""
    if isinstance(prompt, list | tuple) and prompt and all(isinstance(m, Mapping) for m in prompt):
        return list(prompt)
    raise ValueError(
        f"a prompt is {type(prompt).__name__} {prompt!r:.60}; a text or a list of messages is "
        "needed"
    )


def absent(value: Any) -> bool:
    """Whether a row has nothing in a column."""
    return value is None or value is MISSING or value == ""


def _cut(prompt: Any, guidance: str) -> Any:
    """The prompt without the guidance that it ends with; None if it does not."""
    tail = f"{HEAD}{guidance}"
    if isinstance(prompt, str):
        return prompt[: -len(tail)] if prompt.endswith(tail) else None
    *before, last = messages(prompt)
    content = last.get("content")
    if isinstance(content, str) and content.endswith(tail):
        return [*before, {**last, "content": content[: -len(tail)]}]
    if isinstance(content, list) and content[-1:] == [{"type": "text", "text": tail}]:
        return [*before, {**last, "content": content[:-1]}]
    return None


def _share(one: str, other: str, length: int) -> bool:
    """Whether two texts have a substring of that length in common."""
    return any(one[i : i + length] in other for i in range(len(one) - length + 1))
