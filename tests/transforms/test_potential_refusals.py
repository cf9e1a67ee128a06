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
    with pytest.raises(SpecError, match=r"not in \(0, 1\]"):
        PotentialShaping(EnvReward(), laws.height).bind(gamma=gamma)
    assert PotentialShaping(EnvReward(), laws.height, 1).discount == 1.0


def test_a_potential_of_the_wrong_axis_is_found() -> None:
    square = torch.arange(4.0).reshape(2, 1, 2)
    rollouts = Rollouts(
        steps={
            "obs": square,
            "next_obs": square,
            "env_reward": torch.zeros(2, 1),
            "terminated": torch.zeros(2, 1, dtype=torch.bool),
        }
    )
    right = PotentialShaping(EnvReward(), lambda obs: obs[:, 1], 1.0)
    assert scan(right, rollouts).values.tolist() == [[0.0], [0.0]]
    wrong = PotentialShaping(EnvReward(), lambda obs: obs[1], 1.0)
    with pytest.raises(
        ScoreError, match=r"shaping.*the potential: bad_value: given one row of the 2"
    ):
        scan(wrong, rollouts)


# --- potentials that break ------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def potential(obs: Any) -> Any:
        raise error

    return potential


@pytest.mark.parametrize(
    ("potential", "status", "told", "told_acting"),
    [
        (raising(KeyError("door")), FAILED, "raised KeyError: 'door'", "raised KeyError: 'door'"),
        (raising(TimeoutError("late")), TIMEOUT, "raised TimeoutError: late", "raised Timeout"),
        (lambda obs: obs[:0], BAD_VALUE, "returned 0 values for 1 rows", "shape [0], expected [2]"),
        (lambda obs: obs[:, None], BAD_VALUE, "not a number", "shape [2, 1], expected [2]"),
        (lambda obs: 1.0, BAD_VALUE, "returned float 1.0", "shape [], expected [2]"),
        (lambda obs: np.full(len(obs), np.nan), BAD_VALUE, "returned nan", "nan is not a finite"),
        (lambda obs: np.full(len(obs), np.inf), BAD_VALUE, "returned inf", "is not a finite"),
        (lambda obs: ["1.5"] * len(obs), BAD_VALUE, "str '1.5', not a number", "not 2 numbers"),
        (lambda obs: [None] * len(obs), BAD_VALUE, "returned None", "not 2 numbers"),
    ],
)
def test_a_potential_that_breaks(potential: Any, status: int, told: str, told_acting: str) -> None:
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
    assert told_acting in str(caught.value)


def test_padding_never_reaches_the_potential_and_only_the_guilty_row_is_void() -> None:
    known = {1.0: 0.5, 2.0: 0.25}
    episodes = [
        {"obs": [1.0], "next_obs": [2.0], "env_reward": [0.0], "terminated": [False]},
        {
            "obs": [1.0, 2.0],
            "next_obs": [2.0, 1.0],
            "env_reward": [0.0, 0.0],
            "terminated": [False, False],
        },
        {"obs": [9.0], "next_obs": [2.0], "env_reward": [0.0], "terminated": [False]},
    ]
    shaped = PotentialShaping(EnvReward(), lambda obs: [known[float(o)] for o in obs], 1.0)
    scores = shaped(Rollouts.from_episodes(episodes))
    assert scores.status.tolist() == [0, 0, FAILED]
    assert scores.errors == {2: ("shaping", "step 0: the potential raised KeyError: 9.0")}


def test_look_ahead_voids_only_the_row_whose_potential_broke() -> None:
    """Nor does it read rows that terminated, or padding."""

    def known(obs: Any, action: Any) -> Any:
        if (obs >= 8.0).any():
            raise KeyError("unknown")
        return obs + action

    columns = {
        "obs": [[1.0], [1.0], [1.0]],
        "next_obs": [[2.0], [8.0], [9.0]],
        "action": [[0.0]] * 3,
        "next_action": [[1.0]] * 3,
        "env_reward": [[0.0]] * 3,
        "terminated": [[False], [True], [False]],
    }
    rollouts = Rollouts(steps={name: torch.tensor(column) for name, column in columns.items()})
    scores = PotentialShaping(EnvReward(), known, 1.0, "look_ahead")(rollouts)
    assert scores.status.tolist() == [0, 0, FAILED]
    assert scores.values[:2, 0].tolist() == [2.0, -1.0]
    assert scores.errors == {2: ("shaping", "step 0: the potential raised KeyError: 'unknown'")}


def test_a_second_learner_of_another_gamma_is_refused() -> None:
    shaped = PotentialShaping(EnvReward(), laws.height)
    shaped.bind(gamma=0.9)
    shaped.bind(gamma=0.9)
    with pytest.raises(SpecError, match="give each learner a reward of its own"):
        shaped.bind(gamma=0.5)


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
