"""Unit tests weighted by how hard they are for the group at the moment (149, VeRPO).

The mathematics is in :mod:`rewardsmith.ops.difficulty`, with the advantages and those by turn.
"""

import warnings
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
from ..ops.difficulty import (
    Hardness,
    check_beta,
    check_options,
    group_normalized,
    local_reward,
    outcome_reward,
    pass_rates,
    weights_of_rates,
)
from ._marks import Group, Reading, groups_of


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

    A test weighs the more, the fewer programs of its group pass it, and tests of like difficulty
    share their weight, so that many easy ones do not outweigh a few that are hard. The marks are
    the first word of ``info["why"]`` of ``tests`` (``"..F.T 3 of 5 passed"``); a timeout and a
    crash are failures. Of a sum, mean, product or minimum of rewards, each part is a test instead:
    the criteria of a rubric, with scores in [0, 1]. (The weights of a sum or mean are not read.)

    A row that ``tests`` could not score keeps its status and does not count in any pass rate.
    Where a group has one row that was scored, all tests weigh the same, which is warned of. Scores
    hold the parts ``tests``, ``global`` and ``local``, and in ``info`` each row's ``test_weights``
    and how many of its tests were ``timeouts``.

    By turns: score ``rollouts.segments("turn")`` and put the scores back with ``onto``. The pass
    rates are then over the submissions of all turns; ``discounted`` and ``verpo_advantages`` of
    :mod:`rewardsmith.ops.difficulty` do the rest.

    Args:
        tests: the reward that runs the tests.
        beta: the share of the local reward; at least 0.
        hardness: how weight falls with the pass rate rho: ``1 - rho`` (linear), ``exp(-rho / tau)``
            (exp), or not at all (constant).
        tau: of hardness "exp".
        bandwidth: how far apart the pass rates of tests of like difficulty may lie; None leaves
            out the calibration by density.
        drop_unsolved: leave out tests that nobody passes.
        momentum: the share of what is remembered of a task's pass rates:
            ``momentum rho_before + (1 - momentum) rho_now``. It outlives the batch, is learned by
            ``update``, and gives groups of one row weights too. 0 remembers nothing.
        task: the column that names the task; read if there is momentum.
        names: a column that says which tests a row was given, such as that of the tests
            themselves. The rows of a group must agree in it. Without, only their number is
            compared.
        normalize: normalize both parts within their group (``verpo_advantages``), for learners
            that take the reward for the advantage.

    Raises:
        ValueError: options out of range, or tests that score steps. In ``forward`` a row has the
            status FAILED where its group has different tests or its task had another number of
            them before, BAD_VALUE where a criterion's score lies outside [0, 1].
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
        normalize: bool = False,
    ) -> None:
        super().__init__()
        check_options(hardness, tau, bandwidth)
        check_beta(beta)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"verpo: momentum is {momentum}, it must lie in [0, 1)")
        if tests.granularity == "dense":
            raise ValueError("verpo: `tests` scores steps; it has to score each program as a whole")
        self.tests, self.beta, self.hardness, self.tau = tests, float(beta), hardness, float(tau)
        self.bandwidth, self.drop_unsolved = bandwidth, drop_unsolved
        self.momentum, self.task, self.names = float(momentum), task, names
        self.normalize = normalize
        self.rates: dict[Hashable, list[float]] = {}
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
            weights = self._weights(marks, group.task)
            outcome[group.rows] = outcome_reward(marks)
            local[group.rows] = local_reward(marks, weights)
            shares = weights.tolist()
            for row in group.rows:
                told[row] = shares
        lone = sum(len(g.rows) == 1 and g.task not in self.rates for g in groups)
        if lone:
            warnings.warn(
                f"verpo: {lone} of {len(groups)} groups have one row with a score, where all tests "
                "weigh the same; give the rollouts `group`, and several completions of a prompt",
                stacklevel=6,
            )
        if self.normalize:
            known = torch.tensor(sorted(read.marks), dtype=torch.int64)
            ids = rollouts.group[known]
            outcome[known] = group_normalized(outcome[known], ids)
            local[known] = group_normalized(local[known], ids)
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
            by_task: dict[Hashable, list[int]] = {}
            for group in groups:
                by_task.setdefault(group.task, []).extend(group.rows)
            for task, rows in by_task.items():
                self.rates[task] = self._mixed(pass_rates(read.table(rows)), task).tolist()
        if not rates:
            return {}
        return {
            "pass_rate": float(np.mean([float(rate.mean()) for rate in rates])),
            "unsolved": float(np.mean([float((rate == 0).double().mean()) for rate in rates])),
        }

    def get_extra_state(self) -> dict[Any, list[float]]:
        return {task: list(rates) for task, rates in self.rates.items()}

    def set_extra_state(self, state: Mapping[Any, list[float]]) -> None:
        self.rates = {task: list(rates) for task, rates in state.items()}

    def _weights(self, marks: Float[Tensor, "g u"], task: Any) -> Float[Tensor, " u"]:
        rates = pass_rates(marks)
        if len(marks) == 1 and task not in self.rates:
            return torch.full_like(rates, 1.0 / len(rates))
        return weights_of_rates(
            self._mixed(rates, task),
            hardness=self.hardness,
            tau=self.tau,
            bandwidth=self.bandwidth,
            drop_unsolved=self.drop_unsolved,
        )

    def _mixed(self, rates: Float[Tensor, " u"], task: Any) -> Float[Tensor, " u"]:
        """With what is remembered of the task."""
        if task not in self.rates:
            return rates
        before = torch.tensor(self.rates[task], dtype=torch.float64)
        return self.momentum * before + (1.0 - self.momentum) * rates

    def _groups(self, rollouts: Rollouts, read: Reading) -> list[Group]:
        return groups_of(
            rollouts,
            read,
            self,
            task=self.task if self.momentum else None,
            names=self.names,
            sizes={task: len(rates) for task, rates in self.rates.items()},
        )
