"""Potential shaping: where gamma comes from, potentials that break, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from tests import laws
from tests.laws import BAD_VALUE, FAILED, SCORED, TIMEOUT

from rewardsmith.core import algebra
from rewardsmith.core.acting import scan
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def steps(**columns: list[Any]) -> Rollouts:
    return Rollouts(steps={name: torch.tensor([column]) for name, column in columns.items()})


def test_gamma_comes_from_the_learner() -> None:
    rollouts = steps(obs=[2.0], next_obs=[4.0], env_reward=[0.0], terminated=[False])
    shaping = PotentialShaping(EnvReward(), laws.height)
    tree = algebra.WeightedSum({"a": algebra.Scale(shaping, 1.0)})
    for score in (tree, lambda r: scan(tree, r)):
        with pytest.raises(SpecError, match="does not know the learner's gamma: pass gamma="):
            score(rollouts)
    tree.bind(gamma=0.75)
    assert shaping.discount == 0.75
    assert tree(rollouts).values.tolist() == [[0.75 * 4 - 2]]


def test_a_gamma_that_differs_from_the_learners_is_refused() -> None:
    shaping = PotentialShaping(EnvReward(), laws.height, 0.9)
    shaping.bind(gamma=0.9)
    with pytest.raises(SpecError, match=r"gamma 0\.9, the learner 0\.99: .*leave gamma out"):
        algebra.Scale(shaping, 1.0).bind(gamma=0.99)
    inner = PotentialShaping(EnvReward(), laws.height, 0.5)
    with pytest.raises(SpecError, match=r"gamma 0\.5"):
        PotentialShaping(inner, laws.height, 0.9).bind(gamma=0.9)


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.0001, float("nan"), float("inf")])
def test_a_gamma_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"it must lie in \(0, 1\]"):
        PotentialShaping(EnvReward(), laws.height, gamma)
    with pytest.raises(ValueError, match=r"it must lie in \(0, 1\]"):
        PotentialShaping(EnvReward(), laws.height).bind(gamma=gamma)
    assert PotentialShaping(EnvReward(), laws.height, 1).discount == 1.0


# --- potentials that break ------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def potential(obs: Any) -> Any:
        raise error

    return potential


@pytest.mark.parametrize(
    ("potential", "status", "told"),
    [
        (raising(KeyError("door")), FAILED, "the potential raised KeyError: 'door'"),
        (raising(TimeoutError("late")), TIMEOUT, "the potential raised TimeoutError: late"),
        (lambda obs: obs[:1], BAD_VALUE, "the potential returned shape [1], expected [2]"),
        (lambda obs: obs[:, None], BAD_VALUE, "the potential returned shape [2, 1]"),
        (lambda obs: 1.0, BAD_VALUE, "the potential returned shape []"),
        (lambda obs: np.full(len(obs), np.nan), BAD_VALUE, "nan is not a finite number"),
        (lambda obs: np.full(len(obs), np.inf), BAD_VALUE, "is not a finite number"),
        (lambda obs: ["high"] * 2, FAILED, "could not convert string to float"),
    ],
)
def test_a_potential_that_breaks(potential: Any, status: int, told: str) -> None:
    rollouts = Rollouts(
        steps={
            "obs": torch.ones(2, 2),
            "next_obs": torch.ones(2, 2),
            "env_reward": torch.ones(2, 2),
            "terminated": torch.zeros(2, 2, dtype=torch.bool),
        },
        action_mask=torch.tensor([[True, True], [False, False]]),
    )
    shaped = PotentialShaping(EnvReward(), potential, 1.0)
    scores = algebra.Scale(shaped, 1.0)(rollouts)
    # Nothing of the second row was to be read.
    assert scores.status.tolist() == [status, 1]
    path, message = scores.errors[0]
    assert path == "of/shaping"
    assert told in message
    with pytest.raises(ScoreError) as caught:
        scan(algebra.Scale(shaped, 1.0), rollouts)
    assert caught.value.part == "of/shaping"
    assert told in str(caught.value)


def test_a_column_that_the_potential_lacks_is_named() -> None:
    reward = PotentialShaping(EnvReward(), lambda depth: depth, 1.0)
    rollouts = steps(env_reward=[0.0], terminated=[False])
    for score in (reward, lambda r: scan(reward, r)):
        with pytest.raises(MissingColumn, match="no column 'depth', needed by the potential"):
            score(rollouts)


def test_an_advice_and_a_potential_of_actions_need_each_other() -> None:
    with pytest.raises(ValueError, match="a potential of `action` needs advice="):
        PotentialShaping(EnvReward(), laws.with_action, 1.0)
    with pytest.raises(ValueError, match="an advice needs a potential of `action`"):
        PotentialShaping(EnvReward(), laws.height, 1.0, "look_back")


def test_its_facts() -> None:
    plain = PotentialShaping(EnvReward(), laws.height, 1.0)
    assert plain.needs == {"env_reward", "terminated", "obs", "next_obs"}
    assert (plain.granularity, plain.acts, plain.start(3)) == ("dense", True, None)
    assert plain.coefficients() == {"of": 1.0, "shaping": 1.0}
    back = PotentialShaping(EnvReward(), laws.with_action, 1.0, "look_back")
    assert back.needs == {"env_reward", "terminated", "obs", "action"}
    assert back.acts
    assert back.start(3)["phi"].tolist() == [0.0] * 3
    assert not PotentialShaping(laws.outcome([1.0]), laws.height, 1.0).acts
    # An outcome can be shaped, on whole rollouts.
    rollouts = steps(obs=[2.0, 3.0], next_obs=[3.0, 0.0], terminated=[False, True])
    shaped = PotentialShaping(laws.outcome([5.0]), lambda obs: obs, 1.0)(rollouts)
    assert shaped.values.tolist() == [[1.0, 5.0 - 3.0]]
    assert shaped.status.tolist() == [SCORED]
