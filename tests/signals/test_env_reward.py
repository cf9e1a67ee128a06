"""The environment's own reward, or a number beside it."""

import pytest
import torch
from tests.laws import BAD_VALUE, SCORED

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward


def test_it_is_the_column_where_the_policy_acted() -> None:
    rollouts = Rollouts(
        steps={"env_reward": torch.tensor([[1.0, 2.0, 3.0]]), "info": {"run": torch.ones(1, 3)}},
        action_mask=torch.tensor([[True, False, True]]),
    )
    scores = EnvReward()(rollouts)
    assert scores.values.tolist() == [[1.0, 0.0, 3.0]]
    assert torch.equal(scores.at, rollouts.action_mask)
    assert EnvReward("run")(rollouts).total().tolist() == [2.0]
    assert EnvReward("run").needs == {"run"}


def test_an_environment_that_pays_nan_is_a_bad_value() -> None:
    scores = EnvReward()(Rollouts(steps={"env_reward": torch.tensor([[1.0], [float("nan")]])}))
    assert scores.status.tolist() == [SCORED, BAD_VALUE]
    assert scores.errors == {1: ("", "nan is not a finite number")}


@pytest.mark.parametrize("column", [torch.tensor([[1, 2]]), torch.tensor([[True, False]])])
def test_whole_numbers_and_truth_values_are_numbers(column: torch.Tensor) -> None:
    scores = EnvReward("paid")(Rollouts(steps={"paid": column}))
    assert scores.values.tolist() == column.float().tolist()


def test_a_column_that_is_missing_or_of_another_shape() -> None:
    rollouts = Rollouts({"answer": ["4"]}, {"obs": torch.ones(1, 2, 3)})
    with pytest.raises(MissingColumn, match="no column 'env_reward', needed by env_reward"):
        EnvReward()(rollouts)
    for name in ("answer", "obs"):
        with pytest.raises(ValueError, match=f"env_reward: column '{name}' is not one number per"):
            EnvReward(name)(rollouts)
