"""The one idea: a reward is a module from Rollouts to Scores."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

from torch import nn

from .acting import Floats, Step, Terms
from .node import Node
from .rollouts import Rollouts
from .scores import Scores

Granularity: TypeAlias = Literal["outcome", "dense"]
Scope: TypeAlias = Literal["row", "group", "batch", "dataset"]
SCOPES: tuple[Scope, ...] = ("row", "group", "batch", "dataset")

# One evaluation per call for an object that sits at several paths. The rollouts are kept beside the
# scores so that their id cannot be taken by another object while the call lasts.
_evaluated: ContextVar[dict[tuple[int, int], tuple[Rollouts, Scores]] | None] = ContextVar(
    "_evaluated", default=None
)


class Reward(Node):
    """A reward: score rollouts with ``reward(rollouts)``.

    Subclasses write :meth:`forward`, which is pure (same input and state, same scores) and never
    detaches. Leaves state their facts with :meth:`declare`; composites derive them. A reward that
    changes overrides :meth:`update`; one that can be computed while acting overrides :meth:`step`.
    """

    when: Literal["before", "after"] = "after"
    """Whether :func:`~rewardsmith.core.learning.learn` updates this before or after scoring."""
    caution = ""
    """What every report says of this node: that it runs programs without isolation, say."""
    forgets = False
    """Whether its memory of an episode, where it carries one, starts afresh at every update."""

    def declare(
        self,
        *,
        needs: Iterable[str] = (),
        granularity: Granularity | None = None,
        scope: Scope = "row",
    ) -> None:
        """State a node's own facts, in ``__init__``; those of its children are added."""
        self._facts = (frozenset(needs), granularity, scope)

    _facts: tuple[frozenset[str], Granularity | None, Scope] = (frozenset(), None, "row")

    @property
    def needs(self) -> frozenset[str]:
        """The columns that this tree reads."""
        return self._facts[0].union(*(child.needs for _, child in self.children_by_name()))

    @property
    def always_needs(self) -> frozenset[str]:
        """Those that every row has to have; the parts of a router need theirs on their rows."""
        return self._facts[0].union(*(c.always_needs for _, c in self.children_by_name()))

    @property
    def granularity(self) -> Granularity:
        """``dense`` if it, or any child that it does not override, scores steps."""
        if self._facts[1] is not None:
            return self._facts[1]
        kinds = [child.granularity for _, child in self.children_by_name()]
        return "dense" if "dense" in kinds else "outcome"

    @property
    def scope(self) -> Scope:
        """How much must be scored together: the widest in the tree. Executors never split it."""
        scopes = [self._facts[2], *(child.scope for _, child in self.children_by_name())]
        return max(scopes, key=SCOPES.index)

    @property
    def cautions(self) -> list[str]:
        """What reports have to say of this tree, each once."""
        nodes = [node for _, node in self.walk() if isinstance(node, Reward)]
        return list(dict.fromkeys(node.caution for node in nodes if node.caution))

    @property
    def learns(self) -> bool:
        """Whether any node of the tree changes by :meth:`update`."""
        return any(
            type(node).update is not Reward.update
            for _, node in self.walk()
            if isinstance(node, Reward)
        )

    @property
    def acts(self) -> bool:
        """Whether the tree can be computed while acting; outcomes are known too late for that."""
        return (
            type(self).step is not Reward.step
            and self.granularity == "dense"
            and all(child.acts for _, child in self.children_by_name())
        )

    def children_by_name(self) -> "list[tuple[str, Reward]]":
        """The direct children that are rewards."""
        return [(name, child) for name, child in self.branches() if isinstance(child, Reward)]

    def forward(self, rollouts: Rollouts) -> Scores:
        """Score ``rollouts``; written by subclasses, called as ``reward(rollouts)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, rollouts: Rollouts, *others: Any) -> Scores:
        if others or not isinstance(rollouts, Rollouts):
            raise TypeError(
                f"{self.label()} is a reward: give it rs.Rollouts, such as "
                'rs.Rollouts({"completion": [...], "answer": [...]}); the plain function of a '
                "decorated one is its attribute `call`"
            )
        memo = _evaluated.get()
        if memo is None:
            token = _evaluated.set({})
            try:
                return self(rollouts)
            finally:
                _evaluated.reset(token)
        key = (id(self), id(rollouts))
        if key not in memo:
            memo[key] = (rollouts, nn.Module.__call__(self, rollouts))
        return memo[key][1]

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Learn from rollouts; the only place where a reward changes. Returns metrics.

        Called by :func:`~rewardsmith.core.learning.learn` with this node's own scores, or None
        where :attr:`when` is ``"before"``: nothing has been scored yet. What it needs from another
        reward is its child.
        """
        return {}

    def survey(self, rollouts: Rollouts) -> None:
        """Take in some rows of a data set, before any of it is scored; passed on to the children.

        Nodes of scope ``"dataset"``, whose scores depend on all rows (word frequencies, a rank),
        override it; it is called with every chunk in a first pass. Where nobody called it,
        :meth:`forward` takes its rollouts for the whole data set. A node that changes rollouts for
        its children does so here too.
        """
        for child in {id(child): child for _, child in self.children_by_name()}.values():
            child.survey(rollouts)

    def bind(self, *, gamma: float) -> None:
        """Tell the tree the learner's discount factor.

        Raises:
            SpecError: a node was given another one.
        """
        for _, child in self.children_by_name():
            child.bind(gamma=gamma)

    def start(self, n: int) -> Any:
        """The carry of n environments; None says that the reward is Markov."""
        carry = {name: child.start(n) for name, child in self.children_by_name()}
        return None if all(value is None for value in carry.values()) else carry

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        """Values [n] of one step, and the next carry; each part's values go to ``out[name]``."""
        raise NotImplementedError(f"{type(self).__name__} cannot be computed while acting")

    def step_children(
        self, s: Step, carry: Any, out: Terms
    ) -> tuple[dict[str, Floats], dict[str, Any] | None]:
        """Step every child, write its values to ``out``, and collect the carries."""
        values: dict[str, Floats] = {}
        carries: dict[str, Any] | None = None if carry is None else {}
        for name, child in self._children():
            below = out.below(name)
            value, inner = child.step(s, None if carry is None else carry[name], below)
            values[name] = out.values[below.path] = value
            if carries is not None:
                carries[name] = inner
        return values, carries

    def _children(self) -> "list[tuple[str, Reward]]":
        """As :meth:`children_by_name`, found anew only after one was replaced: acting is hot."""
        if self._found is not None:
            for now, then in self._found[0]:
                if now != then:
                    break
            else:
                return self._found[1]
        tables: list[Any] = [self._modules]
        tables += [m._modules for m in self._modules.values() if isinstance(m, nn.ModuleDict)]
        children = self.children_by_name()
        self._found = ([(table, dict(table)) for table in tables], children)
        return children

    _found: "tuple[list[tuple[Any, Any]], list[tuple[str, Reward]]] | None" = None
    """Where torch keeps the children, beside a copy from when they were found; and the children."""

    def coefficients(self) -> dict[str, float]:
        """Part -> factor, where the node's values are that sum of its parts; else empty."""
        return {}

    # The arithmetic of rewards. Imported late: the algebra is made of rewards.
    def __add__(self, other: "Reward | float") -> "Reward":
        from .algebra import Shift, add

        return add(self, other) if isinstance(other, Reward) else Shift(self, by=float(other))

    def __radd__(self, other: float) -> "Reward":
        # sum() starts from 0; a sum of rewards should not carry a Shift by nothing.
        return self if other == 0 else self + other

    def __sub__(self, other: "Reward | float") -> "Reward":
        return self + -other

    def __rsub__(self, other: float) -> "Reward":
        return -self + other

    def __mul__(self, other: "Reward | float") -> "Reward":
        from .algebra import Scale, multiply

        return multiply(self, other) if isinstance(other, Reward) else Scale(self, by=float(other))

    def __rmul__(self, other: float) -> "Reward":
        return self * other

    def __truediv__(self, other: float) -> "Reward":
        return self * (1.0 / other)

    def __neg__(self) -> "Reward":
        return self * -1.0
