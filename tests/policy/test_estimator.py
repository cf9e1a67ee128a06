import pytest
import torch

from rewardsmith.core.advantages import Advantages
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.policy import advantages
from rewardsmith.policy.estimator import Estimated, estimator

NAN = float("nan")


def texts(n=4, group=(0, 1, 0, 1), **columns):
    return Rollouts.from_text(["?"] * n, ["!"] * n, group=group, **columns)


def steps(mask, action=None, group=None):
    mask = torch.tensor(mask).bool()
    action = mask if action is None else torch.tensor(action).bool()
    token = {"token": torch.zeros(mask.shape)}
    return Rollouts(steps=token, mask=mask, action_mask=action, group=group)


def centered(rewards, group, *, keep=None):
    """An estimator of one's own."""
    return advantages.dr_grpo(rewards, group, keep=keep)


def test_it_is_the_function_on_what_scores_and_rollouts_hold():
    scores = Scores.outcome(torch.tensor([1.0, 0.0, NAN, 2.0]))
    found = estimator("dr_grpo", singleton="reward")(texts(), scores)
    assert found.values.tolist() == [1.0, -1.0, 0.0, 1.0]
    assert found.keep.tolist() == [True, True, False, True]


def test_options_are_checked_when_it_is_made():
    with pytest.raises(ValueError, match="grpo has no option 'sclae'; did you mean 'scale'"):
        estimator("grpo", sclae="batch")
    with pytest.raises(ValueError, match="grpo: scale is 'grup', not one of group, others"):
        estimator("grpo", scale="grup")
    with pytest.raises(ValueError, match="grpo has no option 'keep'"):
        estimator("grpo", keep=None)
    with pytest.raises(ValueError, match=r"unknown estimator 'grop'; did you mean 'grpo'.*Estim"):
        estimator("grop")


def test_its_arguments_rebuild_it():
    made = estimator("grpo", scale="none")
    assert made.arguments() == {"function": advantages.grpo, "options": {"scale": "none"}}
    again = Estimated(**made.arguments())
    scores = Scores.outcome(torch.tensor([1.0, 0.0, 3.0, 2.0]))
    assert torch.equal(again(texts(), scores).values, made(texts(), scores).values)
    assert "none" in repr(made)


def test_a_function_of_ones_own():
    scores = Scores.outcome(torch.tensor([1.0, NAN, 0.0, 4.0]))
    with pytest.warns(UserWarning, match="dr_grpo: rollouts that are alone"):
        found = Estimated(centered)(texts(), scores)
    assert found.values.tolist() == [0.5, 0.0, -0.5, 0.0]
    with pytest.raises(ValueError, match="has no keyword `keep`"):
        Estimated(lambda rewards, group: rewards)
    with pytest.raises(TypeError, match="returns a Tensor, not Advantages"):
        Estimated(lambda rewards, *, keep: rewards)(texts(), scores)


def test_a_row_without_a_score_never_trains_whatever_the_function_says():
    def careless(rewards, *, keep):
        return Advantages(rewards, torch.ones_like(keep))

    scores = Scores.outcome(torch.tensor([1.0, NAN, 0.0, 4.0]))
    assert Estimated(careless)(texts(), scores).keep.tolist() == [True, False, True, True]


def test_rollouts_without_groups_are_refused_where_they_would_be_compared():
    scores = Scores.outcome(torch.tensor([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match=r"rloo compares .* these 3 have none; give .* `group`"):
        estimator("rloo")(texts(3, group=None), scores)
    with pytest.warns(UserWarning, match="rloo: "):
        found = estimator("rloo")(texts(3, group="abc"), scores)
    assert found.values.tolist() == [0.0] * 3


def test_over_ranks_the_task_tells_who_belongs_together():
    scores = Scores.outcome(torch.tensor([1.0, 0.0, 2.0]))
    made = Estimated(advantages.rloo)
    made.options["ranks"] = "all"
    with pytest.raises(MissingColumn, match="task"):
        made(texts(3, group="aab"), scores)
    assert made._group(texts(3, group="aab", task=["x", "y", "x"])) == ["x", "y", "x"]


def test_annotations_that_only_a_type_checker_sees_do_no_harm():
    def above(rewards, *, keep, by: "Nowhere" = 1.0):
        return Advantages(rewards - by, keep)

    scores = Scores.outcome(torch.tensor([1.0, 0.0, 2.0]))
    found = Estimated(above, {"by": 1.0})(texts(3, group=None), scores)
    assert found.values.tolist() == [0.0, -1.0, 1.0]


def test_lengths_of_texts_are_a_column():
    rewards = torch.tensor([1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="opo needs the lengths of answers"):
        estimator("opo")(texts(3, group=[0, 0, 0]), Scores.outcome(rewards))
    told = texts(3, group=[0, 0, 0], lengths=[1, 50, 10])
    found = estimator("opo")(told, Scores.outcome(rewards)).values
    expected = advantages.opo(rewards, [0, 0, 0], torch.tensor([1, 50, 10])).values
    assert torch.equal(found, expected)
    rows = steps([[1, 1, 1], [1, 0, 0]], group="aa")
    found = estimator("opo")(rows, Scores.outcome(torch.tensor([4.0, 0.0]))).values
    assert found.tolist() == [1.0, -3.0]


def test_what_is_earned_where_the_policy_did_not_act_goes_to_the_action_before():
    rows = steps([[1, 1, 1, 1], [1, 1, 1, 0]], action=[[1, 0, 1, 0], [0, 1, 0, 0]])
    paid = torch.tensor([[0.0, 1.0, 2.0, 4.0], [7.0, 1.0, 3.0, 0.0]])
    scores = Scores.dense(paid, rows.mask)
    found = estimator("reinforce")(rows, scores).values
    # 7 came before the first action of its row.
    assert found.tolist() == [[7.0, 0.0, 6.0, 0.0], [0.0, 4.0, 0.0, 0.0]]


@pytest.mark.filterwarnings("ignore:gdpo")
def test_parts_are_kept_one_by_one():
    parts = {
        "x": Scores.outcome(torch.tensor([1.0, 0.0, 1.0, 0.0])),
        "y": Scores.outcome(torch.tensor([0.0, NAN, 2.0, 1.0])),
    }
    scores = Scores.outcome(torch.zeros(4), parts=parts)
    found = estimator("gdpo")(texts(), scores)
    keep = {name: part.scored for name, part in parts.items()}
    values = {name: part.values for name, part in parts.items()}
    expected = advantages.gdpo(values, [0, 1, 0, 1], keep=keep)
    assert torch.equal(found.values, expected.values)


def test_a_column_that_is_not_there_is_named():
    scores = Scores.outcome(torch.ones(4))
    with pytest.raises(MissingColumn, match="greedy_reward"):
        estimator("remax")(texts(), scores)
    found = estimator("remax")(texts(greedy_reward=[0.0, 1.0, 1.0, 3.0]), scores)
    assert found.values.tolist() == [1.0, 0.0, 0.0, -2.0]
