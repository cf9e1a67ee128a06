"""``learn``: the one way in which a reward changes."""

import torch

from .errors import SpecError
from .reward import Reward
from .rollouts import Rollouts
from .scores import Scores


def learn(reward: Reward, rollouts: Rollouts) -> tuple[Scores, dict[str, float]]:
    """Let a reward learn from rollouts, and score them: before-updates, score, after-updates.

    Every node is updated once, with its own scores, children before parents. Adapters call this
    once per batch that the policy trains on, and never in evaluation.

    Raises:
        SpecError: a composite keeps the scores of a child that learns to itself.

    Returns:
        The scores, and the metrics of every update under ``path/name``.
    """
    metrics: dict[str, float] = {}
    nodes = _unique(reward)
    for path, node in nodes:
        if node.when == "before":
            metrics |= _named(path, node.update(rollouts, None))
    with torch.no_grad():
        scores = reward(rollouts)
    for path, node in nodes:
        if node.when == "after":
            metrics |= _named(path, node.update(rollouts, _own(scores, path)))
    return scores, metrics


def _own(scores: Scores, path: str) -> Scores:
    try:
        return scores.part(path)
    except KeyError:
        raise SpecError(
            f"nothing holds the scores of part {path!r}, which learns from them: the forward() "
            "above it must give its children's scores as Scores.parts, by the children's names"
        ) from None


def _unique(reward: Reward) -> list[tuple[str, Reward]]:
    """The nodes that learn, each once, children before parents."""
    seen: set[int] = set()
    nodes = []
    for path, node in reversed(list(reward.walk())):
        if isinstance(node, Reward) and id(node) not in seen:
            seen.add(id(node))
            if type(node).update is not Reward.update:
                nodes.append((path, node))
    return nodes


def _named(path: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{path}/{name}" if path else name: value for name, value in metrics.items()}
