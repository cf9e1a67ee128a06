"""View: what the child is shown, what is kept of it, and what is refused."""

import inspect
from typing import Any

import pytest
import torch
from tests.laws import ABSTAINED, FAILED, dense, outcome

from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import Keywords, Length, Pattern
from rewardsmith.transforms import RunningNorm, View, view

TEXT = "<think>The answer is 41.</think>The answer is 42."


class Seen(Reward):
    """Scores 0, and keeps the rollouts that it was given."""

    def __init__(self, column: str = "completion") -> None:
        super().__init__()
        self.column, self.seen, self.surveyed = column, [], []
        self.declare(needs=(column,), scope="dataset")

    def forward(self, rollouts: Rollouts) -> Scores:
        self.seen.append(rollouts)
        return Scores.outcome(torch.zeros(len(rollouts)))

    def survey(self, rollouts: Rollouts) -> None:
        self.surveyed.append(rollouts)


class Learns(Seen):
    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        return {}


def shown(reward: View, cells: list[Any]) -> list[Any]:
    rollouts = reward.shown(Rollouts({reward.column: cells}))
    return list(rollouts[reward.column])


def test_the_child_scores_the_view() -> None:
    rollouts = Rollouts({"completion": [TEXT, TEXT.replace("42", "43"), "41"]})
    assert Pattern("4[12]")(rollouts).values.tolist() == [1, 1, 1]
    assert View(Pattern("42"))(rollouts).values.tolist() == [1, 0, 0]
    assert View(Pattern("41"), "thinking")(rollouts).values.tolist() == [1, 1, 0]
    scores = View(Pattern("42"))(rollouts)
    assert [*scores.parts] == ["of"]
    assert scores.part("of").info["why"][1] == "the pattern does not match"
    # The rollouts themselves are as they were.
    assert rollouts["completion"][0] == TEXT


def test_chats_and_prefills() -> None:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": TEXT}]
    assert shown(View(Length(low=1)), [chat, TEXT]) == ["The answer is 42."] * 2
    begun = View(Length(low=1), prefill="<think>\n")
    assert shown(begun, ["a</think>b", "never closed"]) == ["b", ""]
    assert shown(View(Length(low=1), "thinking", prefill="<think>"), ["never closed"]) == [
        "never closed"
    ]
    tagged = View(Length(low=1), answer_tag="answer", thinking_tag="t", column="response")
    assert shown(tagged, ["<t><answer>1</answer></t><answer>2</answer>", "2"]) == ["2", ""]


def test_only_the_row_without_text_fails() -> None:
    cells = [TEXT, None, 5, ["no message"], TEXT]
    reward = View(Length(high=4))
    assert shown(reward, cells)[1:4] == [None, 5, ["no message"]]
    scores = reward(Rollouts({"completion": cells}))
    assert scores.status.tolist() == [0, FAILED, FAILED, FAILED, 0]
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    path, message = scores.errors[1]
    assert (path, "neither text nor chat" in message) == ("of", True)


def test_all_else_is_shared() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    rollouts = Rollouts(
        {"completion": [TEXT, "a"], "prompt": ["p", "q"]},
        {"token": torch.zeros(2, 2)},
        mask=mask,
        action_mask=mask & torch.tensor([[True, False], [True, True]]),
        group=["x", "x"],
        spans={"turn": torch.zeros(2, 2, dtype=torch.int64)},
    )
    child = Seen()
    View(child)(rollouts)
    (other,) = child.seen
    for name in ("steps", "mask", "action_mask", "group", "spans"):
        assert getattr(other, name) is getattr(rollouts, name), name
    assert other["prompt"] is rollouts["prompt"]
    assert other["completion"] == ["The answer is 42.", "a"]


def test_statuses_and_steps_stay_as_they_are() -> None:
    rollouts = Rollouts({"completion": ["a", "b", "c"]})
    rows = View(outcome([3.0, 3.0, 3.0], [0, ABSTAINED, FAILED]))(rollouts)
    assert rows.values.tolist() == [3.0, 0.0, 0.0]
    assert rows.status.tolist() == [0, ABSTAINED, FAILED]
    assert rows.errors == {2: ("of", "broke 3")}
    steps = View(dense([[3.0, 4.0]], at=[[False, True]]))(
        Rollouts({"completion": ["a"]}, mask=torch.ones(1, 2, dtype=torch.bool))
    )
    assert steps.granularity == "dense"
    assert steps.values.tolist() == [[0.0, 4.0]]
    assert steps.at is not None
    assert steps.at.tolist() == [[False, True]]


def test_each_text_is_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = view.view

    def counted(text: str, *args: Any, **options: Any) -> str:
        calls.append(text)
        return whole(text, *args, **options)

    monkeypatch.setattr(view, "view", counted)
    assert shown(View(Length(low=1)), ["a", "b", "a", [{"role": "assistant", "content": "a"}]]) == [
        *"abaa"
    ]
    assert calls == ["a", "b"]


def test_a_nested_column() -> None:
    rollouts = Rollouts({"row": [{"text": TEXT}, {"text": "a"}]})
    child = Keywords(["42"], completion="row.text")
    assert View(child, column="row.text")(rollouts).values.tolist() == [1.0, 0.0]


def test_a_survey_shows_the_view() -> None:
    child = Seen()
    reward = View(child)
    assert reward.scope == "dataset"
    assert View(Seen("prompt")).needs == {"completion", "prompt"}
    reward.survey(Rollouts({"completion": [TEXT]}))
    assert child.surveyed[0]["completion"] == ["The answer is 42."]


def test_travels_as_a_spec() -> None:
    reward = View(Length(low=1), "thinking", prefill="<think>", answer_tag="answer")
    again = loads(dumps(reward))
    assert dumps(again) == dumps(reward)
    assert repr(again) == repr(reward)


def unchecked(kind: Any, **arguments: Any) -> None:
    """Make it as callers do, whose types nobody checks."""
    inspect.unwrap(kind.__init__)(kind.__new__(kind), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"show": "all"}, "show is 'all'"),
        ({"prefill": "think"}, "does not hold <think>"),
        ({"thinking_tag": "<think>"}, "no tag"),
        ({"answer_tag": "a b"}, "no tag"),
        ({"answer_tag": "think"}, "one twice"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(View, of=Length(low=1), **arguments)


def test_a_child_that_learns() -> None:
    with pytest.raises(ValueError, match="of/of learns from column 'completion'"):
        View(RunningNorm(Learns()))
    View(Learns("other"))
    # It learns from scores, and they are those of the view.
    View(RunningNorm(Length(low=1)))
