"""Unit tests weighted by how hard they are for the group at the moment (149, VeRPO).

The mathematics is in :mod:`rewardsmith.ops.difficulty`, advantages of both rewards, also by turn,
in :mod:`rewardsmith.policy.advantages`.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..core.catalog import Paper, method
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores, first_errors
from ..core.warn import warn_caller
from ..ops.difficulty import (
    Hardness,
    check_beta,
    check_options,
    local_reward,
    outcome_reward,
    pass_rates,
    rates_in_group,
    weights_of_rates,
)
from ._groups import RUBRICS, Group, Memory, Reading, check_weights, groups_of


@method(
    "verpo",
    kind="signal",
    seed=149,
    paper=Paper(
        "2601.03525",
        "VeRPO: Verifiable Dense Reward Policy Optimization for Code Generation",
        2026,
    ),
)
class VeRPO(Reward):
    """``R_global + beta R_local``: all tests passed, and the weight of those that were.

    Between 0 and ``1 + beta``.

    A test weighs the more, the fewer programs of its group pass it, and tests of like difficulty
    share their weight, so that many easy ones do not outweigh a few that are hard. The marks are
    the first word of ``info["why"]`` of ``tests`` (``"..F.T 3 of 5 passed"``); a timeout and a
    crash are failures. Of a sum, mean, product or minimum of rewards, each part is a test instead:
    the criteria of a rubric, with scores in [0, 1]. Weights of a sum or mean have no say: how hard
    a criterion is takes their place. One that is not positive is refused, as it would make a
    penalty a merit.

    A row that ``tests`` could not score keeps its status and does not count in any pass rate.
    Where a group has one row that was scored, all tests weigh the same, which is warned of. Scores
    hold the parts ``tests``, ``global`` and ``local``, and in ``info`` each row's ``test_weights``
    and how many of its tests were ``timeouts``.

    By turns: score ``rollouts.segments("turn")`` and put the scores back with ``onto``. The pass
    rates are then over the submissions of all turns; ``discounted_returns`` and
    ``verpo_advantages`` of :mod:`rewardsmith.policy.advantages` do the rest. The latter makes
    advantages of whole rollouts, too: of the parts ``global`` and ``local``, each normalized within
    its group.

    Args:
        tests: the reward that runs the tests.
        beta: the share of the local reward; at least 0.
        hardness: how weight falls with the pass rate rho: ``1 - rho`` (linear), ``exp(-rho / tau)``
            (exp), or not at all (constant).
        tau: of hardness "exp".
        bandwidth: tests whose pass rates differ by at most half of this are of like difficulty.
            The rates of 8 rows are eighths, of which 0.1 takes equal ones only for alike, and 0.25
            neighbors too. None leaves out the calibration by density.
        drop_unsolved: leave out tests that nobody passes.
        momentum: the share of what is remembered of a task's pass rates:
            ``momentum rho_before + (1 - momentum) rho_now``. It outlives the batch, is learned by
            ``update``, and gives groups of one row weights too. 0 remembers nothing. Without
            ``names``, tests that change and are as many as before get the rates of those before.
        task: the column that names the task; read if there is momentum.
        names: a column that says which tests a row was given, such as that of the tests
            themselves. The rows of a group must agree in it and, with momentum, the groups of a
            task in a batch; where it changes between batches, the task's memory begins anew.
            Without, only their number is compared.

    Raises:
        ValueError: options out of range, tests that score steps, or a rubric with a weight that is
            not positive. In ``forward`` a row has the status FAILED where its group has different
            tests or its task others in this batch or another number of them before, BAD_VALUE
            where a criterion's score lies outside [0, 1].
    """

    def __init__(
        self,
        tests: Reward,
        beta: float = 0.5,
        hardness: Hardness = "linear",
        tau: float = 0.5,
        bandwidth: float | None = 0.1,
        drop_unsolved: bool = False,
        momentum: float = 0.0,
        task: str = "task",
        names: str | None = None,
    ) -> None:
        super().__init__()
        check_options(hardness, tau, bandwidth)
        check_beta(beta)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"verpo: momentum is {momentum}, it must lie in [0, 1)")
        if tests.granularity == "dense":
            raise ValueError("verpo: `tests` scores steps; it has to score each program as a whole")
        if isinstance(tests, RUBRICS):
            check_weights(tests)
        self.tests, self.beta, self.hardness, self.tau = tests, float(beta), hardness, float(tau)
        self.bandwidth, self.drop_unsolved = bandwidth, drop_unsolved
        self.momentum, self.task, self.names = float(momentum), task, names
        self.memory: dict[Hashable, Memory] = {}
        columns = ([task] if momentum else []) + ([] if names is None else [names])
        self.declare(needs=columns, granularity="outcome", scope="group")

    def forward(self, rollouts: Rollouts) -> Scores:
        n = len(rollouts)
        read = Reading(self.tests, self.tests(rollouts))
        groups = self._groups(rollouts, read)
        outcome, local = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        told = np.full(n, None, dtype=object)
        for group in groups:
            marks = read.table(group.rows)
            weights = self._weights(marks, group)
            outcome[group.rows] = outcome_reward(marks)
            local[group.rows] = local_reward(marks, weights)
            shares = weights.tolist()
            for row in group.rows:
                told[row] = shares
        lone = sum(len(group.rows) == 1 and self._before(group) is None for group in groups)
        if lone:
            warn_caller(
                f"verpo: {lone} of {len(groups)} groups have one row with a score, where all tests "
                "weigh the same; give the rollouts `group`, and several completions of a prompt"
            )
        return self._scores(read, outcome, local, told)

    def _scores(self, read: Reading, outcome: Tensor, local: Tensor, told: Any) -> Scores:
        status = read.status
        errors = first_errors({"tests": read.scores}, status) | read.faults
        both = {
            "global": Scores.outcome(outcome, status, errors=errors),
            "local": Scores.outcome(local, status, errors=errors),
        }
        timeouts = np.array([read.timeouts.get(row, 0) for row in range(len(status))])
        return Scores.outcome(
            outcome + self.beta * local,
            status,
            errors=errors,
            parts={"tests": read.scores, **both},
            info={"test_weights": told, "timeouts": timeouts},
        )

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Take the batch's pass rates into those of each task. Metrics of the batch's tests.

        ``pass_rate`` and ``unsolved``, the share of tests that nobody of their group passes, are
        means over groups.
        """
        own = self.tests(rollouts) if scores is None else scores.part("tests")
        read = Reading(self.tests, own)
        groups = self._groups(rollouts, read)
        rates = [pass_rates(read.table(group.rows)) for group in groups]
        if self.momentum:
            by_task: dict[Hashable, Group] = {}
            for group in groups:
                by_task.setdefault(group.task, group._replace(rows=[])).rows.extend(group.rows)
            for task, group in by_task.items():
                mixed = self._mixed(pass_rates(read.table(group.rows)), self._before(group))
                self.memory[task] = Memory(mixed.tolist(), group.tests)
        if not rates:
            return {}
        return {
            "pass_rate": float(np.mean([float(rate.mean()) for rate in rates])),
            "unsolved": float(np.mean([float((rate == 0).double().mean()) for rate in rates])),
        }

    def get_extra_state(self) -> dict[Any, tuple[list[float], str]]:
        return {task: (list(known.rates), known.tests) for task, known in self.memory.items()}

    def set_extra_state(self, state: Mapping[Any, tuple[list[float], str]]) -> None:
        self.memory = {task: Memory(list(rates), tests) for task, (rates, tests) in state.items()}

    def _weights(self, marks: Float[Tensor, "g u"], group: Group) -> Float[Tensor, " u"]:
        before = self._before(group)
        rates = rates_in_group(marks) if before is None else self._mixed(pass_rates(marks), before)
        return weights_of_rates(
            rates,
            hardness=self.hardness,
            tau=self.tau,
            bandwidth=self.bandwidth,
            drop_unsolved=self.drop_unsolved,
        )

    def _before(self, group: Group) -> list[float] | None:
        """What is remembered of the pass rates of a group's tests."""
        known = self.memory.get(group.task)
        return known.rates if known is not None and known.tests == group.tests else None

    def _mixed(self, rates: Float[Tensor, " u"], before: list[float] | None) -> Float[Tensor, " u"]:
        if before is None:
            return rates
        old = torch.tensor(before, dtype=torch.float64)
        return self.momentum * old + (1.0 - self.momentum) * rates

    def _groups(self, rollouts: Rollouts, read: Reading) -> list[Group]:
        return groups_of(
            rollouts,
            read,
            self,
            task=self.task if self.momentum else None,
            names=self.names,
            memory=self.memory,
        )
