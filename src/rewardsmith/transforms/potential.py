"""Potential-based reward shaping: advice that cannot change what is optimal.

``F = gamma * Phi(s') - Phi(s)`` telescopes over an episode to a number that no policy can change.
Three details decide whether it really does, and each is a common error:

- a *terminated* episode has no next state, so Phi(s') counts as 0;
- a *truncated* one goes on without us: Phi(s') is kept, and the learner bootstraps from s';
- gamma is the learner's own.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ..core.acting import Floats, Step, Terms, step_of
from ..core.boundary import AxisCheck, as_numbers, score_rows
from ..core.catalog import Paper, method
from ..core.combination import weighted_sum
from ..core.errors import RewardsmithError, ScoreError, SpecError
from ..core.function import argument_names
from ..core.outcome import Outcome, Status, told
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores

Advice: TypeAlias = Literal["look_ahead", "look_back"]


def shaping_term(phi: Any, phi_next: Any, gamma: float, terminated: Any) -> Any:
    """``F = gamma * Phi(s') * (not terminated) - Phi(s)``, elementwise on arrays or tensors.

    Phi of a terminal state is not read: it may be anything, infinite too.
    """
    return gamma * _where(terminated, 0.0, phi_next) - phi


def look_ahead_term(
    phi: Float[Tensor, "n t"],
    phi_after: Float[Tensor, "n t"],
    gamma: float,
    terminated: Bool[Tensor, "n t"],
    last: Bool[Tensor, "n t"],
) -> Float[Tensor, "n t"]:
    """``F_t = gamma * Phi(s_t+1, a_t+1) - Phi(s_t, a_t)``.

    After an episode's ``last`` step, ``phi_after`` says what would have come. Summed with discounts
    over an episode: ``-Phi(s_0, a_0) + gamma^T Phi(s_T, a_T)``, and the second term is 0 if the
    episode terminated.
    """
    following = torch.cat([phi[:, 1:], torch.zeros_like(phi[:, :1])], dim=1)
    term: Tensor = shaping_term(phi, torch.where(last, phi_after, following), gamma, terminated)
    return term


def look_back_term(phi: Any, phi_previous: Any, gamma: float, first: Any, terminated: Any) -> Any:
    """``F_t = Phi(s_t, a_t) - Phi(s_t-1, a_t-1) / gamma``; Phi before the first step is 0.

    On a terminated step Phi(s_t, a_t) is taken back at once, as the step after it would have done:
    summed with discounts, a terminated episode gets exactly 0.
    """
    return _where(terminated, 0.0, phi) - _where(first, 0.0, phi_previous) / gamma


def _where(condition: Any, value: float, other: Any) -> Any:
    # Masked, not multiplied: a NaN where nobody looks would otherwise leak.
    if isinstance(other, Tensor):
        return other.masked_fill(condition, value)
    return np.where(condition, value, other)


@method(
    "potential_shaping",
    kind="transform",
    seed=10,
    paper=Paper(
        "ICML 1999",
        "Policy Invariance Under Reward Transformations: Theory and Application to Reward Shaping",
        1999,
    ),
)
class PotentialShaping(Reward):
    """``r + gamma * Phi(s') - Phi(s)``: a dense hint that leaves the optimal policies as they are.

    The discounted return becomes ``G - Phi(s_0)`` when the episode terminated and
    ``G - Phi(s_0) + gamma^T Phi(s_T)`` when it was truncated. The parts are ``of`` and ``shaping``.

    With an action in the potential, say which advice it is (Wiewiora, Cottrell and Elkan,
    *Principled Methods for Advising Reinforcement Learning Agents*, ICML 2003; the ends of episodes
    are our reading):

    - ``look_ahead``: ``F = gamma Phi(s', a') - Phi(s, a)``. It needs the next action, so it is
      computed on whole rollouts and not while acting; a truncated rollout needs the column
      ``next_action``. A greedy policy must then add Phi: ``argmax_a Q(s, a) + Phi(s, a)``.
    - ``look_back``: ``F = Phi(s, a) - Phi(s-, a-) / gamma`` with the state and action before; not
      Markov, it carries the last potential along.

    Args:
        of: the dense reward to be shaped.
        potential: Phi. Its arguments name what describes a state: ``obs``, or keys of the ``info``
            that came with that state (of the reset, for the first one), and ``action`` with an
            advice. It gets arrays [n, ...] and returns n finite numbers.
        gamma: the learner's discount factor, in (0, 1]. None takes it from the learner.
        advice: how a potential of states *and actions* is used.

    Raises:
        ValueError: gamma outside (0, 1], or a potential of actions without an advice, or the other
            way round.
        SpecError: the learner's gamma differs, or none is known when scoring starts.
        ScoreError: the potential raised, or is not finite (while acting; in ``forward`` the row
            gets a status).
    """

    def __init__(
        self,
        of: Reward,
        potential: Callable[..., Any],
        gamma: float | None = None,
        advice: Advice | None = None,
    ) -> None:
        super().__init__()
        if gamma is not None:
            _check_gamma(gamma)
        names, _ = argument_names(potential)
        if ("action" in names) != (advice is not None):
            raise ValueError(
                "potential_shaping: a potential of `action` needs advice='look_ahead' or "
                "'look_back', and an advice needs a potential of `action`"
            )
        self.of, self.potential, self.gamma, self.advice = of, potential, gamma, advice
        self._learner_gamma: float | None = None
        self._axis = AxisCheck()
        self._names = tuple(name for name in names if name != "action")
        needs = {"terminated", *names}
        if advice is None:
            needs |= {"next_obs"} & {f"next_{name}" for name in names}
        self.declare(needs=needs, granularity="dense")

    def bind(self, *, gamma: float) -> None:
        if not (0.0 < gamma <= 1.0):
            raise SpecError(f"potential_shaping: the learner's gamma is {gamma}, not in (0, 1]")
        if self.gamma is not None and not math.isclose(self.gamma, gamma, rel_tol=1e-9):
            raise SpecError(
                f"potential_shaping has gamma {self.gamma}, the learner {gamma}: shaping with "
                "another gamma changes what is optimal; leave gamma out to take the learner's"
            )
        bound = self._learner_gamma
        if bound is not None and not math.isclose(bound, gamma, rel_tol=1e-9):
            raise SpecError(
                f"potential_shaping serves a learner of gamma {bound} already, this one has "
                f"{gamma}: give each learner a reward of its own"
            )
        self._learner_gamma = float(gamma)
        super().bind(gamma=gamma)

    @property
    def discount(self) -> float:
        """The gamma in force."""
        gamma = self.gamma if self.gamma is not None else self._learner_gamma
        if gamma is None:
            raise SpecError(
                "potential_shaping does not know the learner's gamma: pass gamma=, or give it to "
                "rs.wrap(..., gamma=), or call reward.bind(gamma=...)"
            )
        return gamma

    @property
    def acts(self) -> bool:
        return self.advice != "look_ahead" and super().acts

    def coefficients(self) -> dict[str, float]:
        return {"of": 1.0, "shaping": 1.0}

    # On whole rollouts

    def forward(self, rollouts: Rollouts) -> Scores:
        parts = {"of": self.of(rollouts), "shaping": self._shaping(rollouts)}
        return weighted_sum(parts, self.coefficients(), rollouts)

    def _shaping(self, rollouts: Rollouts) -> Scores:
        gamma = self.discount
        n, horizon = len(rollouts), rollouts.n_steps
        # Differences of potentials cancel: float64 until they are taken.
        phi, phi_next = torch.zeros(2, n, horizon, dtype=torch.float64)
        first = rollouts.first()
        column = rollouts.column("terminated", needed_by=self.method_name)
        terminated = torch.as_tensor(column, dtype=torch.bool)
        faults = _Faults(n)
        for t in range(horizon):
            s, live = step_of(rollouts, t), rollouts.action_mask[:, t]
            wanted = {"before": (phi, live), "after": (phi_next, live & ~terminated[:, t])}
            if self.advice is not None:
                del wanted["after"]
            for moment, (into, mask) in wanted.items():
                rows = mask.nonzero().flatten().numpy()
                self._read_into(into, t, self._columns(s, moment), rows, faults)
        if self.advice is None:
            values = shaping_term(phi, phi_next, gamma, terminated)
        elif self.advice == "look_back":
            previous = torch.cat([torch.zeros_like(phi[:, :1]), phi[:, :-1]], dim=1)
            values = look_back_term(phi, previous, gamma, first, terminated)
        else:
            last = _last_steps(rollouts, terminated)
            after = self._after_the_cut(rollouts, last & ~terminated, faults)
            values = look_ahead_term(phi, after, gamma, terminated, last)
        return Scores.dense(values, rollouts.action_mask, faults.status, errors=faults.errors)

    def _after_the_cut(self, rollouts: Rollouts, cut: Tensor, faults: "_Faults") -> Tensor:
        """Look-ahead: Phi of the state and action after the last step of episodes cut off."""
        after = torch.zeros(cut.shape, dtype=torch.float64)
        if bool(cut.any()):
            next_action = rollouts.column(
                "next_action", needed_by="look_ahead advice on an episode that was cut off"
            )
            for t in cut.any(dim=0).nonzero().flatten().tolist():
                s, rows = step_of(rollouts, t), cut[:, t].nonzero().flatten().numpy()
                s.action = next_action[:, t].numpy()
                self._read_into(after, t, self._columns(s, "after"), rows, faults)
        return after

    def _read_into(
        self,
        phi: Tensor,
        t: int,
        columns: dict[str, Any],
        rows: NDArray[np.int64],
        faults: "_Faults",
    ) -> None:
        """Phi of some rows at a step."""
        outcomes = score_rows(self.potential, columns, rows, self._axis)
        for row, outcome in zip(rows.tolist(), outcomes, strict=True):
            phi[row, t] = outcome[0]
            if outcome[1] != Status.SCORED:
                faults.note(row, t, outcome)

    # While acting

    def start(self, n: int) -> Any:
        if self.advice != "look_back":
            return super().start(n)
        return {"of": self.of.start(n), "phi": np.zeros(n)}

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        gamma = self.discount
        inner = None if carry is None else carry["of"]
        base, inner = self.of.step(s, inner, out.below("of"))
        out["of"] = base
        terminated = s.column("terminated", needed_by=self.method_name)
        try:
            phi = self._phi(s, "before")
            # What is not finite is told by row and part at the root, not by a numpy warning.
            with np.errstate(invalid="ignore"):
                if self.advice is None:
                    shaping = shaping_term(phi, self._phi(s, "after"), gamma, terminated)
                else:
                    shaping = look_back_term(phi, carry["phi"], gamma, s.first, terminated)
        except ScoreError as error:
            raise ScoreError(error.message, part=out.below("shaping").path) from error.__cause__
        out["shaping"] = shaping
        if carry is not None:
            carry = {"of": inner, "phi": phi} if self.advice else {"of": inner}
        return base + shaping, carry

    def _columns(self, s: Step, moment: str) -> dict[str, Any]:
        """What the potential reads of the state acted in, or of the state reached."""
        read = s.before if moment == "before" else s.after
        columns = {name: read(name, needed_by="the potential") for name in self._names}
        return columns if self.advice is None else columns | {"action": s.action}

    def _phi(self, s: Step, moment: str) -> Floats:
        """Phi of the state acted in, or of the state reached, as float64 [n]."""
        try:
            columns, n = self._columns(s, moment), len(s.first)
            values = as_numbers(self.potential(**columns), n)
            self._axis(self.potential, columns, n)
            return values
        except ScoreError as error:
            raise ScoreError(f"the potential: {error.message}") from error.__cause__
        except RewardsmithError:
            raise
        except Exception as error:
            raise ScoreError(f"the potential {told(error)}") from error


def _check_gamma(gamma: float) -> None:
    if not (0.0 < gamma <= 1.0):
        raise ValueError(f"potential_shaping: gamma is {gamma}, it must lie in (0, 1]")


def _last_steps(rollouts: Rollouts, terminated: Bool[Tensor, "n t"]) -> Bool[Tensor, "n t"]:
    """The steps that end an episode: a row may hold several."""
    ends = terminated.clone()
    if "truncated" in rollouts:
        ends |= torch.as_tensor(rollouts["truncated"], dtype=torch.bool)
    ends[:, :-1] |= rollouts.first()[:, 1:]
    index = torch.arange(rollouts.n_steps)[None, :]
    return (ends | (index == rollouts.last_action()[:, None])) & rollouts.action_mask


class _Faults:
    """The rows with a state that the potential gave no number, and what it did instead."""

    def __init__(self, n: int) -> None:
        self.status = torch.zeros(n, dtype=torch.int8)
        self.errors: dict[int, tuple[str, str]] = {}

    def note(self, row: int, t: int, outcome: Outcome) -> None:
        _, verdict, text = outcome
        if verdict == Status.ABSTAINED:
            # A potential has no right to abstain: a state without a number is a bad value.
            verdict, text = Status.BAD_VALUE, "returned None"
        self.status[row] = max(int(self.status[row]), int(verdict))
        self.errors.setdefault(row, ("", f"step {t}: the potential {text}"))
