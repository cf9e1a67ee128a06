"""The four arrows beside ``Reward``; each is a node with the same tree, spec and state."""

from typing import Any

from .advantages import Advantages
from .node import Node
from .preferences import Preferences
from .rollouts import Rollouts
from .scores import Scores


class Comparator(Node):
    """Rollouts -> Preferences: judges that compare, hierarchies, lexicographic orders."""

    def forward(self, rollouts: Rollouts) -> Preferences:
        """Compare rollouts, as a rule within a group."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")


class Relabel(Node):
    """Rollouts -> Rollouts, always scored again afterwards: hindsight goals, truncation, labels."""

    def forward(self, rollouts: Rollouts) -> Rollouts:
        """Rollouts with other columns or other rows."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")


class Estimator(Node):
    """(Rollouts, Scores) -> Advantages. Reads parts by name."""

    def forward(self, rollouts: Rollouts, scores: Scores) -> Advantages:
        """Advantages of rollouts under their scores."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")


class Sampler(Node):
    """Which prompts, rollouts or goals to spend on: propose, then observe what came of it."""

    def propose(self, n: int) -> Any:
        """The next n things to spend on."""
        raise NotImplementedError(f"{type(self).__name__} does not define propose")

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """Learn from what a proposal gave; returns metrics."""
        raise NotImplementedError(f"{type(self).__name__} does not define observe")
