"""The temperature that b_star finds online: its schedule, its grades, and resuming."""

from typing import Any

import pytest
import torch

from rewardsmith.core.document import parse_document
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import build, dump
from rewardsmith.samplers.lookahead import Lookahead
from rewardsmith.samplers.prompts import Shuffled
from rewardsmith.samplers.temperature import BalancedTemperature


def batch(values: list[float], said: list[Any] | None = None, groups: int = 1) -> Any:
    """A batch of groups of equal size with these totals, right where they are above 0.5."""
    said = said or [f"{i}" for i in range(len(values))]
    group = [i * groups // len(values) for i in range(len(values))]
    rollouts = Rollouts.from_text(["p"] * len(values), said, group=group)
    return rollouts, Scores.outcome(torch.tensor(values))


def sampler_of(**options: Any) -> BalancedTemperature:
    given: dict[str, Any] = {"temperatures": [0.5, 1.0, 1.5], "trial": 2, "hold": 3, "target": 2}
    sampler = BalancedTemperature(**(given | options))
    sampler.over([{"prompt": str(i)} for i in range(20)])
    return sampler


def test_each_is_tried_and_the_best_is_held_and_all_are_tried_again() -> None:
    sampler = sampler_of()
    good = {0.5: 0.0, 1.0: 1.0, 1.5: 0.0}

    def cycle() -> list[float]:
        told = []
        for _ in range(9):
            sampler.begin()
            told.append(sampler.temperature)
            value = good[sampler.temperature]
            metrics = sampler.observe(*batch([value, value]))
            assert metrics == {"temperature": sampler.temperature, "balance": value}
        return told

    assert cycle() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 1.0, 1.0, 1.0]
    good = {0.5: 0.0, 1.0: 0.0, 1.5: 1.0}
    assert cycle() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5]
    good = {0.5: 0.0, 1.0: 0.0, 1.5: 0.0}  # what was found before is forgotten
    assert cycle() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 0.5, 0.5, 0.5]


def test_the_score_is_the_mean_over_all_groups_of_a_trial() -> None:
    """One clean group of four counts less than two of two in another batch."""
    sampler = sampler_of(temperatures=[0.5, 1.0], trial=2, hold=1)
    for values, groups in (([1.0, 1.0], 1), ([0.0] * 6, 3), ([1.0, 0.0], 1), ([1.0, 0.0], 1)):
        sampler.begin()
        sampler.observe(*batch(values, groups=groups))
    # 0.5: (1 + 0 + 0 + 0) / 4. 1.0: one right and selected of the 2 wanted, so 1 / 2 each.
    sampler.begin()
    assert sampler.trying is None
    assert sampler.temperature == 1.0


def test_all_batches_of_a_trial_count() -> None:
    sampler = sampler_of(temperatures=[0.5, 1.0], trial=2, hold=1, target=4)
    for values in ([1.0] * 4, [0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]):
        sampler.begin()
        sampler.observe(*batch(values))
    sampler.begin()
    assert sampler.temperature == 0.5  # (1 + 0) / 2 against (0.25 + 0.25) / 2


def test_several_rounds_of_one_batch_are_one_batch() -> None:
    sampler = sampler_of(trial=1)
    sampler.begin()
    for _ in range(3):
        sampler.observe(*batch([1.0, 1.0]))
        assert sampler.temperature == 0.5
    sampler.begin()
    assert sampler.temperature == 1.0


def test_right_is_what_a_part_says_and_selected_what_the_total_says() -> None:
    rollouts, _ = batch([0.0] * 4)
    part = Scores.outcome(torch.tensor([1.0, 1.0, 0.0, 1.0]))
    scores = Scores.outcome(torch.tensor([0.9, 0.9, 0.9, -0.9]), parts={"right": part})
    sampler = sampler_of(correct="right")
    sampler.begin()
    assert sampler.observe(rollouts, scores)["balance"] == pytest.approx(2 / 3)
    higher = sampler_of(correct="right", threshold=-1.0)
    assert higher.observe(rollouts, scores)["balance"] == pytest.approx(3 / 4)
    strict = sampler_of(correct="right", correct_above=1.0)
    assert strict.observe(rollouts, scores)["balance"] == 0.0
    with pytest.raises(ValueError, match=r"b_star: .*no part 'wrong'.* parts are: right"):
        sampler_of(correct="wrong").observe(rollouts, scores)


@pytest.mark.parametrize(
    "said",
    [["a", "a", "b", "a"], [[{"content": t}] for t in "aaba"]],
    ids=["texts", "messages"],
)
def test_equal_answers_count_once(said: list[Any]) -> None:
    sampler = sampler_of(target=4)
    assert sampler.observe(*batch([1.0] * 4, said))["balance"] == 0.5
    assert sampler.observe(*batch([1.0] * 4))["balance"] == 1.0


def test_rows_without_a_score_are_left_out() -> None:
    rollouts, _ = batch([0.0] * 4, groups=2)
    broken = torch.tensor([0, 3, 3, 3], dtype=torch.int8)
    scores = Scores.outcome(torch.tensor([1.0, 1.0, 1.0, 1.0]), broken)
    sampler = sampler_of(target=1)
    sampler.begin()
    assert sampler.observe(rollouts, scores)["balance"] == 1.0  # one row, in one group
    right = Scores.outcome(torch.ones(4))
    parts = Scores.outcome(torch.ones(4), broken, parts={"right": right})
    known = sampler_of(target=1, correct="right", threshold=-1.0)
    assert known.observe(rollouts, parts)["balance"] == 1.0
    # Rows with a total and without the part, and the other way round: neither is graded.
    for total, part in ((0, 3), (3, 0)):
        status = torch.tensor([part, 0, 0, 0], dtype=torch.int8)
        wrong = Scores.outcome(torch.tensor([1.0, 0.0, 1.0, 1.0]), status)
        whole = torch.tensor([total, 0, 3, 3], dtype=torch.int8)
        mixed = Scores.outcome(torch.ones(4), whole, parts={"right": wrong})
        assert known.observe(rollouts, mixed)["balance"] == 0.0
    nothing = Scores.outcome(torch.ones(4), torch.full((4,), 3, dtype=torch.int8))
    assert sampler.observe(rollouts, nothing) == {"temperature": 0.5}


def test_it_resumes_where_it_was() -> None:
    one = sampler_of(of=Shuffled(seed=3))
    values = iter([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0] * 2)
    for at in range(12):
        two = sampler_of(of=Shuffled(seed=9))
        two.load_state_dict(one.state_dict())
        seen = batch([next(values)] * 2)
        told = []
        for sampler in (one, two):
            before = sampler.temperature
            sampler.begin()
            rows = sampler.propose(4)
            told.append((before, sampler.temperature, rows, sampler.observe(*seen)))
        assert told[0] == told[1], at
    with pytest.raises(ValueError, match="b_star: the state is of 3 temperatures"):
        sampler_of(temperatures=[1.0]).load_state_dict(one.state_dict())


def test_it_is_written_and_read() -> None:
    text = "b_star: {of: {shuffled: {seed: 2}}, temperatures: [0.7, 1.0], hold: 5, correct: math}"
    sampler = build(parse_document(text).data, parse_document(text))
    assert isinstance(sampler, BalancedTemperature)
    assert sampler.temperature == 0.7
    again = dump(sampler)["b_star"]
    assert again["temperatures"] == [0.7, 1.0]
    assert again["hold"] == 5
    assert again["of"] == {"shuffled": {"seed": 2}}


def test_what_generates_goes_around_it() -> None:
    """Its temperature reaches what generates; below it nothing would be generated."""
    outer = Lookahead(of=sampler_of(temperatures=[0.7]))
    assert outer.temperature == 0.7
    with pytest.raises(ValueError, match="b_star: latr makes answers itself"):
        sampler_of(of=Lookahead())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temperatures": []}, "temperatures are"),
        ({"temperatures": [1.0, 0.0]}, "temperatures are"),
        ({"trial": 0}, "trial is 0"),
        ({"hold": 0}, "hold is 0"),
        ({"target": 0}, "target is 0"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"b_star: {told}"):
        sampler_of(**options)
