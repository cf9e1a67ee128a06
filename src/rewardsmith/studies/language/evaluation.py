"""What completions are worth, by gold and by the training reward."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.errors import ScoreError
from ...core.joining import joined_scores
from ...core.outcome import Status
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ...ops.pass_at_k import pass_at_k_rate
from ...report.moments import PairMoments
from .problems import Row
from .sampling import Answers

Floats = NDArray[np.float64]
SHOWN_PROBLEMS, SHOWN_SAMPLES, SHOWN_BROKEN = 6, 3, 4
"""Of an evaluation, for the report: problems, completions of each, and rows without a score."""


def score(
    reward: Reward, rollouts: Rollouts, batches: Sequence[Sequence[int]] | None = None
) -> Scores:
    """What a reward says of rollouts, without learning from them; its mode is left as it was.

    Args:
        reward: what scores.
        rollouts: all rows.
        batches: which rows are scored together by a reward that compares the rows of a batch; each
            row gets its score from the first that holds it. Default: all at once.
    """
    training = reward.training
    reward.eval()
    try:
        with torch.no_grad():
            if reward.scope != "batch" or not batches:
                return reward(rollouts)
            found = joined_scores([reward(rollouts.select(list(rows))) for rows in batches])
            at: dict[int, int] = {}
            for i, row in enumerate(row for rows in batches for row in rows):
                at.setdefault(row, i)
            return found.select([at[row] for row in range(len(rollouts))])
    finally:
        reward.train(training)


def gold_of(
    gold: Reward, rollouts: Rollouts, batches: Sequence[Sequence[int]] | None = None
) -> Floats:
    """Gold of each row [n]; see :func:`score`.

    Raises:
        ScoreError: gold gave no number for a row.
    """
    scores = score(gold, rollouts, batches)
    for row in (~scores.scored).nonzero().flatten().tolist():
        part, message = scores.errors.get(row, ("", Status(int(scores.status[row])).name.lower()))
        raise ScoreError(
            f"gold gave no number ({message}) for {rollouts['completion'][row]!r}: make it give "
            "one for every completion",
            row=row,
            part=part,
        )
    return scores.total().double().numpy()


def account(
    answers: Answers, reward: Reward, scores: Scores, gold: Floats, *, k: int
) -> dict[str, Any]:
    """The fields of a record that do not depend on the run.

    Returns:
        ``episodes`` (completions), ``length`` (tokens of one), ``gold`` and ``proxy`` (means over
        rows; the proxy's over those that have a score), ``gold_problems`` (each problem's mean),
        ``pass_at_k`` and ``k`` where gold is 0 or 1, ``entropy`` (per token), ``truncated`` (share
        that was cut off), ``unscored`` (share without a score), ``statuses``, ``parts``,
        ``variance`` and ``moments`` of the rows' (proxy, gold) pairs.

    Raises:
        ScoreError: no row has a score.
    """
    known = scores.scored.numpy()
    if not known.any():
        part, message = next(iter(scores.errors.values()), ("", "every row abstained"))
        raise ScoreError(f"no completion has a score: {message}", part=part)
    proxy = scores.total().double().numpy()[known]
    tokens = [len(ids) for ids in answers.token]
    by_problem = _by_problem(answers.problem, gold)
    return {
        "episodes": len(answers),
        "length": float(np.mean(tokens)),
        "gold": float(gold.mean()),
        "gold_problems": [float(np.mean(values)) for values in by_problem],
        "proxy": float(proxy.mean()),
        "pass_at_k": _pass_at_k(by_problem, k),
        "k": k,
        "entropy": sum(map(sum, answers.entropy)) / max(1, sum(tokens)),
        "truncated": 1.0 - float(np.mean(answers.ended)),
        "unscored": 1.0 - float(known.mean()),
        "statuses": {
            status.name.lower(): int((scores.status == status).sum())
            for status in Status
            if status is not Status.UNSCORED
        },
        "parts": _parts(reward, scores, known),
        "variance": float(proxy.var()),
        "moments": PairMoments.of(proxy, gold[known]).to_dict(),
    }


def shown(
    answers: Answers, problems: Sequence[Row], scores: Scores, gold: Floats
) -> list[dict[str, Any]]:
    """Some completions for the report: always of the same problems, and some that broke."""
    seen: dict[int, int] = {}
    rows: list[int] = []
    broken = 0
    for row, problem in enumerate(answers.problem):
        seen[problem] = seen.get(problem, 0) + 1
        if problem < SHOWN_PROBLEMS and seen[problem] <= SHOWN_SAMPLES:
            rows.append(row)
        elif scores.status[row] > Status.ABSTAINED and broken < SHOWN_BROKEN:
            rows.append(row)
            broken += 1
    return [_sample(row, answers, problems, scores, gold) for row in rows]


def _sample(
    row: int, answers: Answers, problems: Sequence[Row], scores: Scores, gold: Floats
) -> dict[str, Any]:
    status = Status(int(scores.status[row]))
    part, message = scores.errors.get(row, ("", ""))
    return {
        "problem": answers.problem[row],
        "prompt": _text(problems[answers.problem[row]]["prompt"]),
        "completion": _text(answers.completion[row]),
        "total": float(scores.total()[row]) if status is Status.SCORED else None,
        "status": status.name.lower(),
        "error": f"{part}: {message}" if part else message,
        "parts": {
            path: float(found.total()[row]) if bool(found.scored[row]) else None
            for path, found in scores.walk()
            if path
        },
        "gold": float(gold[row]),
    }


def _text(said: Any) -> str:
    """A text, or messages as one."""
    if isinstance(said, str):
        return said
    return "\n".join(
        f"{message.get('role', '')}: {message.get('content', '')}"
        if isinstance(message, Mapping)
        else str(message)
        for message in said
    )


def _by_problem(problem: Sequence[int], values: Floats) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for i, value in zip(problem, values.tolist(), strict=True):
        found.setdefault(i, []).append(value)
    return list(found.values())


def _pass_at_k(by_problem: Sequence[Sequence[float]], k: int) -> float | None:
    """pass@k over problems; None where gold is not always 0 or 1, or has fewer than k of one."""
    if k < 2 or any(value not in (0.0, 1.0) for values in by_problem for value in values):
        return None
    many = [len(values) for values in by_problem]
    if min(many) < k:
        return None
    return float(pass_at_k_rate(many, [sum(values) for values in by_problem], k).mean())


def _parts(reward: Reward, scores: Scores, known: Any) -> dict[str, dict[str, float]]:
    """Each part's share of the reward and of its variance, over the rows with a score."""
    total = scores.total().double().numpy()[known]
    factors = reward.coefficients()
    values = (
        {
            path: factor * torch.where(part.scored, part.total(), 0.0).double().numpy()[known]
            for path, factor in factors.items()
            for part in (scores.parts[path],)
        }
        if factors
        else {reward.default_name(): total}
    )
    return {
        path: {
            "sum": float(column.mean()),
            "magnitude": float(np.abs(column).mean()),
            "covariance": float(((column - column.mean()) * (total - total.mean())).mean()),
        }
        for path, column in values.items()
    }
