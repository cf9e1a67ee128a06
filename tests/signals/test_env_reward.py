"""The environment's own reward, or a number beside it."""

import pytest
import torch
from tests.laws import BAD_VALUE, SCORED, assert_step_equals_forward

from rewardsmith.core.errors import MissingColumn, SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dump, loads
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


def objectives() -> Rollouts:
    """Rows of one and of two steps that pay three numbers each."""
    paid = torch.arange(12.0).reshape(2, 2, 3)
    mask = torch.tensor([[True, False], [True, True]])
    return Rollouts(steps={"env_reward": paid, "info": {"more": 2 * paid}}, mask=mask)


@pytest.mark.parametrize("reward", [EnvReward(index=1), EnvReward("more", index=2)])
def test_one_of_several_numbers(reward: EnvReward) -> None:
    expected = [[1, 0], [7, 10]] if reward.column == "env_reward" else [[4, 0], [16, 22]]
    assert reward(objectives()).values.tolist() == expected
    assert_step_equals_forward(reward, objectives())


def test_several_numbers_are_not_taken_for_one() -> None:
    with pytest.raises(SpecError, match=r"but 3: take one of them with index=0 \(up to 2\)"):
        EnvReward()(objectives())
    with pytest.raises(SpecError, match=r"in YAML \{env_reward: \{column: more, index: 0\}\}"):
        EnvReward("more")(objectives())
    with pytest.raises(SpecError, match="3 numbers per step, no index 3"):
        EnvReward(index=3)(objectives())
    with pytest.raises(SpecError, match="is one number per step; leave index out"):
        EnvReward(index=0)(Rollouts(steps={"env_reward": torch.ones(1, 2)}))
    with pytest.raises(ValueError, match="index is -1"):
        EnvReward(index=-1)


def test_an_index_can_be_written_down() -> None:
    reward = loads("reward: {env_reward: {index: 0}}")
    assert isinstance(reward, EnvReward)
    assert reward.index == 0
    assert dump(reward) == {"env_reward": {"index": 0}}
    assert dump(EnvReward()) == {"env_reward": {}}


def test_a_column_that_is_missing_or_of_another_shape() -> None:
    rollouts = Rollouts({"answer": ["4"]}, {"obs": torch.ones(1, 2, 3)})
    with pytest.raises(MissingColumn, match="no column 'env_reward', needed by env_reward"):
        EnvReward()(rollouts)
    for name in ("answer", "obs"):
        # Observations are told that one of their numbers could be taken.
        with pytest.raises(ValueError, match=f"env_reward: column '{name}' is not one number per"):
            EnvReward(name)(rollouts)
