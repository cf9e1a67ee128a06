"""What completions are worth: means, shares, pass@k, and what is shown of them."""

import numpy as np
import pytest
import torch

from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.scores import Scores
from rewardsmith.report.moments import PairMoments
from rewardsmith.studies.language.evaluation import account, gold_of, score, shown
from rewardsmith.studies.language.sampling import Answers

PROBLEMS = [{"prompt": f"{i}="} for i in range(8)]


def answers(*texts, each=2):
    n = len(texts)
    return Answers(
        problem=[i // each for i in range(n)],
        completion=list(texts),
        token=[[5] * (len(text) + 1) for text in texts],
        logprob=[[-1.0] * (len(text) + 1) for text in texts],
        entropy=[[0.5] * (len(text) + 1) for text in texts],
        ended=[text != "cut" for text in texts],
    )


def length(completion):
    if completion == "breaks":
        raise RuntimeError("a long way down")
    return None if completion == "" else len(completion)


def starts(completion):
    return completion.startswith("a")


LONG = WeightedSum(
    {"start": Function(starts), "length": Function(length)}, {"start": 1.0, "length": 0.5}
)


def accounted(made, reward=LONG, gold=starts, k=2):
    rollouts = made.rollouts(PROBLEMS, 2)
    found = gold_of(Function(gold), rollouts)
    return account(made, reward, score(reward, rollouts), found, k=k)


def test_means_and_shares_of_a_batch():
    told = accounted(answers("a", "bb", "abc", "cut"))
    assert told["episodes"] == 4
    assert told["gold"] == 0.5
    assert told["gold_problems"] == [0.5, 0.5]
    assert told["proxy"] == pytest.approx((1.5 + 1 + 2.5 + 1.5) / 4)
    assert told["length"] == pytest.approx((2 + 3 + 4 + 4) / 4)
    assert told["entropy"] == 0.5
    assert told["truncated"] == 0.25
    assert told["unscored"] == 0
    assert told["pass_at_k"] == 1.0
    sums = sum(part["sum"] for part in told["parts"].values())
    assert sums == pytest.approx(told["proxy"])
    shares = sum(part["covariance"] for part in told["parts"].values())
    assert shares == pytest.approx(told["variance"])
    expected = np.corrcoef([1.5, 1, 2.5, 1.5], [1, 0, 1, 0])[0, 1]
    assert PairMoments.from_dict(told["moments"]).correlation == pytest.approx(expected)


def test_rows_without_a_score_are_left_out_and_counted():
    told = accounted(answers("a", "breaks", "", "abc"))
    assert told["unscored"] == 0.25  # an abstained part adds nothing to a sum
    assert told["statuses"]["failed"] == 1
    assert told["moments"]["n"] == 3
    assert told["proxy"] == pytest.approx((1.5 + 0 + 2.5) / 3)
    assert told["gold"] == 0.5  # gold is of every row


def test_pass_at_k_is_of_gold_that_is_right_or_wrong():
    assert accounted(answers("a", "b", "b", "b"))["pass_at_k"] == 0.5
    assert accounted(answers("a", "b"), gold=lambda completion: 0.5)["pass_at_k"] is None
    assert accounted(answers("a", "b"), k=1)["pass_at_k"] is None
    assert accounted(answers("a", "b"), k=3)["pass_at_k"] is None


def test_no_score_at_all_is_an_error_that_says_why():
    with pytest.raises(ScoreError, match=r"no completion has a score: .*a long way down"):
        accounted(answers("breaks", "breaks"))


def test_gold_has_to_be_a_number_for_every_row():
    with pytest.raises(ScoreError, match=r"gold gave no number .*abstained.* for 'b'.*every compl"):
        accounted(answers("a", "b"), gold=lambda completion: 1.0 if completion == "a" else None)


def test_scoring_leaves_the_reward_in_its_mode():
    LONG.train()
    score(LONG, answers("a").rollouts(PROBLEMS, 1))
    assert LONG.training
    LONG.eval()


def test_rows_of_a_batch_are_compared_with_those_of_their_batch_alone():
    class BesideMean(Reward):
        """How much longer a completion is than the batch's mean."""

        def __init__(self):
            super().__init__()
            self.declare(needs=("completion",), scope="batch")

        def forward(self, rollouts):
            lengths = torch.tensor([float(len(text)) for text in rollouts["completion"]])
            return Scores.outcome(lengths - lengths.mean())

    made = answers("a", "aaa", "aaaaa", "aaaaaaa", "a", "a", each=2)
    rollouts = made.rollouts(PROBLEMS, 2)
    found = score(BesideMean(), rollouts, made.batches(2, 4)).total()
    assert found.tolist() == [-3.0, -1.0, 1.0, 3.0, -2.5, -2.5]
    assert score(LONG, rollouts, made.batches(2, 4)).total().tolist() == pytest.approx(
        score(LONG, rollouts).total().tolist()
    )


def test_the_same_problems_are_shown_and_what_broke():
    texts = ["a"] * 79 + ["breaks"]
    made = answers(*texts, each=10)
    rollouts = made.rollouts(PROBLEMS, 5)
    rows = shown(made, PROBLEMS, score(LONG, rollouts), gold_of(Function(starts), rollouts))
    assert [row["problem"] for row in rows] == [i for i in range(6) for _ in range(3)] + [7]
    assert rows[0] == {
        "problem": 0,
        "prompt": "0=",
        "completion": "a",
        "total": 1.5,
        "status": "scored",
        "error": "",
        "parts": {"start": 1.0, "length": 1.0},
        "gold": 1.0,
    }
    assert rows[-1]["total"] is None
    assert rows[-1]["status"] == "failed"
    assert rows[-1]["parts"] == {"start": 0.0, "length": None}
    assert "a long way down" in rows[-1]["error"]


def test_messages_are_shown_as_text():
    made = answers("a")
    made.completion = [[{"role": "assistant", "content": "a"}]]
    problems = [{"prompt": [{"role": "user", "content": "1="}]}]
    rollouts = made.rollouts(problems, 1)
    (row,) = shown(made, problems, score(LONG, rollouts), np.zeros(1))
    assert row["prompt"] == "user: 1="
    assert row["completion"] == "assistant: a"


def test_a_dense_reward_is_summed_over_its_tokens():
    made = answers("a", "abc")
    rollouts = made.rollouts(PROBLEMS, 2)
    reward = Function(lambda token: torch.ones(len(token)).numpy(), step=True)
    told = account(made, reward, score(reward, rollouts), np.array([0.0, 1.0]), k=2)
    assert told["proxy"] == pytest.approx(3.0)  # two tokens and four
