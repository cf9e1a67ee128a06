"""Our estimators as verl calls them, without verl: inputs, options, rows without a score."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardsmith.adapters.verl.estimators import Door, VerlEstimator, estimators, plain
from rewardsmith.adapters.verl.losses import losses
from rewardsmith.policy.advantages.best_of_group import pass_at_k
from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.greedy_baseline import remax
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.length_weighted import opo
from rewardsmith.policy.advantages.returns import gae, reinforce_plus_plus

REWARDS = torch.tensor([1.0, 3.0, 2.0, 5.0, 0.0])
GROUP = ["a", "b", "a", "b", "b"]
MASK = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 1], [1, 1, 0]])
STEPS = torch.zeros(5, 3).index_put((torch.arange(5), torch.tensor([1, 2, 0, 2, 1])), REWARDS)
UIDS = np.array(GROUP, dtype=object)


def asked(name: str, config: Any = None, rewards: Any = STEPS, **given: Any) -> Any:
    given = {"index": UIDS, **given}
    return VerlEstimator(name)(
        token_level_rewards=rewards, response_mask=MASK, config=config, **given
    )


def test_outcomes_are_summed_and_stand_at_the_marked_tokens():
    advantages, returns = asked("rloo")
    wanted = rloo(REWARDS, GROUP).values[:, None] * MASK
    assert advantages.tolist() == wanted.tolist()
    assert returns.tolist() == wanted.tolist()
    spread = torch.full((5, 3), 0.25)
    summed = asked("rloo", rewards=STEPS + spread)[0]
    torch.testing.assert_close(summed, wanted)  # a constant changes nothing


def test_lengths_are_those_of_the_mask():
    wanted = opo(REWARDS, GROUP, MASK.sum(dim=1)).values[:, None] * MASK
    assert asked("opo")[0].tolist() == wanted.tolist()


def test_rewards_by_step_are_as_they_are():
    found = asked("reinforce_plus_plus", {"gamma": 0.5})[0]
    assert found.tolist() == reinforce_plus_plus(STEPS, MASK.bool(), gamma=0.5).values.tolist()


def test_returns_of_a_critic_are_not_whitened():
    values = torch.linspace(-1.0, 1.0, 15).reshape(5, 3)
    config = {"gamma": 0.9, "lam": 0.8}
    advantages, returns = asked("gae", config, batch={"values": values})
    wanted = gae(STEPS, values, MASK.bool(), gamma=0.9, lam=0.8)
    assert advantages.tolist() == wanted.values.tolist()
    assert returns.tolist() == wanted.returns.tolist()
    assert returns.tolist() != advantages.tolist()


def test_advantages_have_the_rewards_type():
    assert asked("grpo", rewards=STEPS.bfloat16())[0].dtype == torch.bfloat16
    assert asked("grpo", rewards=STEPS.double())[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({}, {}),
        ({"norm_adv_by_std_in_grpo": True}, {}),
        ({"norm_adv_by_std_in_grpo": False}, {"scale": "none"}),
        ({"rewardsmith": {"eps": 0.5}}, {"eps": 0.5}),
        (
            {"norm_adv_by_std_in_grpo": False, "rewardsmith": {"scale": "batch"}},
            {"scale": "batch"},
        ),
    ],
)
def test_ours_go_before_verls_settings(config, options):
    wanted = grpo(REWARDS, GROUP, **options).values[:, None] * MASK
    assert asked("grpo", config)[0].tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epss": 1.0}, r"algorithm\.rewardsmith\.epss: rewardsmith_grpo .*did you mean 'eps'"),
        ({"keep": True}, r"algorithm\.rewardsmith\.keep: .* no such option"),
        ({"ranks": 1}, r"algorithm\.rewardsmith\.ranks: .* no such option"),
    ],
)
def test_an_option_that_there_is_not(options, told):
    with pytest.raises(ValueError, match=told):
        asked("grpo", {"rewardsmith": options})


def test_rows_whose_status_is_not_scored_count_nowhere():
    columns = {"status/scored": np.array([1.0, 1.0, 1.0, 0.0, 1.0])}
    keep = torch.tensor([True, True, True, False, True])
    wanted = rloo(REWARDS, GROUP, keep=keep).values[:, None] * MASK
    found = asked("rloo", non_tensor_batch=columns)[0]
    assert found.tolist() == wanted.tolist()
    assert found[3].tolist() == [0.0] * 3
    assert found[1].tolist() != asked("rloo")[0][1].tolist()


def test_a_reward_that_is_not_finite_ends_the_run_unless_its_row_has_no_score():
    broken = STEPS.clone()
    broken[3, 2] = float("nan")
    with pytest.raises(ValueError, match=r"rloo: row 3 \(group 'b'\) has nan in rewards"):
        asked("rloo", rewards=broken)
    columns = {"status/scored": np.array([1.0, 1.0, 1.0, 0.0, 1.0])}
    assert bool(asked("rloo", rewards=broken, non_tensor_batch=columns)[0].isfinite().all())


KEYS = {"gdpo_reward_keys": ["reward/fit", "reward/form", "acc/form"]}
COLUMNS = {
    "reward/fit": np.array([1.0, 0.0, 0.0, 1.0, 0.5]),
    "reward/form": np.array([0.0, 2.0, 1.0, 0.0, 3.0]),
    "acc/form": np.array([True, False, False, True, True]),
}


def parts() -> dict[str, torch.Tensor]:
    return {name: torch.tensor(column).double() for name, column in COLUMNS.items()}


def test_parts_are_columns_and_weights_go_with_them():
    config = KEYS | {"gdpo_reward_weights": [1.0, 0.5, 2.0]}
    weights = {"reward/fit": 1.0, "reward/form": 0.5, "acc/form": 2.0}
    wanted = gdpo(parts(), GROUP, weights=weights).values.float()[:, None] * MASK
    assert asked("gdpo", config, non_tensor_batch=COLUMNS)[0].tolist() == wanted.tolist()


def test_weights_that_are_too_few_are_told():
    config = KEYS | {"gdpo_reward_weights": [1.0, 0.5]}
    with pytest.raises(ValueError, match=r"gdpo_reward_weights has 2 numbers for the 3 parts"):
        asked("gdpo", config, non_tensor_batch=COLUMNS)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, "group"),
        ({"norm_adv_by_std_in_grpo": True}, "group"),
        ({"norm_adv_by_std_in_grpo": False}, "none"),
        ({"rewardsmith": {"scale": "none"}}, "none"),
    ],
)
def test_best_of_a_group_is_divided_where_verls_is(config, scale):
    wanted = pass_at_k(REWARDS, GROUP, scale=scale).values[:, None] * MASK
    assert asked("pass_at_k", config)[0].tolist() == wanted.tolist()


def test_a_part_without_a_score_counts_in_none_of_its_moments():
    """``scored/PATH`` says so beside ``reward/PATH``; a part of another reward is there."""
    scored = {
        "status/scored": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
        "scored/form": np.array([1.0, 0.0, 1.0, 1.0, 1.0]),
    }
    row = torch.tensor([True, True, True, True, False])
    keep = dict.fromkeys(COLUMNS, row)
    keep["reward/form"] = torch.tensor([True, False, True, True, False])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is one row of its group that has the part
        wanted = gdpo(parts(), GROUP, keep=keep).values.float()[:, None] * MASK
        found = asked("gdpo", KEYS, non_tensor_batch=COLUMNS | scored)[0]
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("gdpo", {}, "needs parts: .*adv_estimator=gdpo .*estimator=gdpo .*gdpo_reward_keys"),
        ("remax", {}, "needs greedy_reward: .*adv_estimator=remax .*estimator=remax .*use_v1"),
        ("gae", {}, "needs values: .*adv_estimator=gdpo .*estimator=gae critic.enable=True"),
        ("otb", {}, "needs logprob: .*adv_estimator=optimal_token_baseline .*sum_pi_squared=True"),
        ("grpo", {"index": None}, "needs group: verl gives no uid"),
    ],
)
def test_what_is_not_handed_over_is_told_with_the_fix(name, given, told):
    with pytest.raises(ValueError, match=f"rewardsmith_{name} {told}"):
        asked(name, **given)


def test_a_key_that_is_no_column_is_told():
    with pytest.raises(ValueError, match=r"gdpo_reward_keys has 'reward/fit'.*there are uid"):
        asked("gdpo", KEYS, non_tensor_batch={"uid": UIDS})


def verls(*args: Any, **given: Any) -> Any:
    """verl's own."""
    return "verl's", args, given


def test_a_door_is_verls_own_without_our_key():
    for config in (None, {}, {"rewardsmith": None}, {"rewardsmith": {}}):
        said, args, given = Door(verls)(STEPS, MASK, config=config, index=UIDS)
        assert said == "verl's"
        assert args[0] is STEPS
        assert args[1] is MASK
        assert given["config"] == config
        assert given["index"] is UIDS


def test_a_door_is_ours_with_it():
    config = {"rewardsmith": {"estimator": "remax"}}
    greedy = torch.tensor([0.5, 0.0, 1.0, 2.0, 2.0])
    found = Door(verls)(
        token_level_rewards=STEPS, response_mask=MASK, config=config, reward_baselines=greedy
    )[0]
    assert found.tolist() == (remax(REWARDS, greedy).values[:, None] * MASK).tolist()


def test_a_door_looks_like_what_stands_behind_it():
    def own(token_level_rewards, response_mask, index, config=None, **given):
        return "verl's"

    door: Any = Door(own)
    assert inspect.signature(door) == inspect.signature(own)
    assert door.__name__ == "own"
    assert door(STEPS, MASK, UIDS, {"gamma": 1.0}) == "verl's"
    config = {"rewardsmith": {"estimator": "rloo"}}
    wanted = rloo(REWARDS, GROUP).values[:, None] * MASK
    assert door(STEPS, MASK, UIDS, config)[0].tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("options", "told"),
    [({"eps": 1.0}, "say which estimator"), ({"estimator": "remaxx"}, "did you mean 'remax'")],
)
def test_a_door_that_is_not_told_which(options, told):
    with pytest.raises(ValueError, match=told):
        Door(verls)(config={"rewardsmith": options})


def test_those_that_are_offered_need_what_verl_has():
    names = {one.name for one in estimators()}
    assert {"grpo", "rloo", "gdpo", "remax", "gae", "otb", "negatives_only"} <= names
    # They keep state, which a run of verl does not save.
    assert not {"rae", "dcpo_advantage"} & names
    assert "brpo" not in names  # preferences


def test_the_page_has_a_line_for_each_that_is_registered():
    page = (Path(__file__).parents[3] / "docs" / "trainers" / "verl.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = {name.strip("` ").removeprefix("rewardsmith_") for r in rows for name in r.split(",")}
    assert {one.name for one in [*estimators(), *losses()]} <= told


def test_one_is_equal_to_another_of_its_name():
    assert VerlEstimator("grpo") == VerlEstimator("grpo") != VerlEstimator("rloo")


def test_lists_of_a_configuration_become_tuples():
    given = {"clip": [0.1, 0.2], "deep": {"of": [1, [2]]}, "name": "a"}
    assert plain(given) == {"clip": (0.1, 0.2), "deep": {"of": (1, (2,))}, "name": "a"}
    assert plain(None) == {}
