import random
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import loads
from rewardsmith.testbeds.rlvr.countdown_task import countdown, reaches
from rewardsmith.testbeds.rlvr.model import CHARACTERS
from rewardsmith.testbeds.rlvr.tasks import (
    Task,
    addition,
    copying,
    exact,
    four_domains,
    mixed,
    modular_addition,
    parity,
    reversal,
)
from rewardsmith.testbeds.rlvr.thinking_task import behind_marker, thinking

TASKS = [
    modular_addition(31),
    addition(),
    reversal(3),
    copying(2),
    parity(6),
    countdown(300, 50),
    four_domains(),
    thinking(5, 3),
]
EVERY = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name[:20])


@EVERY
def test_no_problem_is_in_both_splits(task: Task) -> None:
    train, held_out = task.rows("train"), task.rows("held_out")
    assert train
    assert held_out
    assert not {row["task"] for row in train} & {row["task"] for row in held_out}
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}
    assert len({row["prompt"] for row in train + held_out}) == len(train) + len(held_out)


@EVERY
def test_a_task_is_the_same_each_time_and_its_rows_are_copies(task: Task) -> None:
    row = task.rows("train")[0]
    row["prompt"] = "changed"
    assert task.rows("train")[0]["prompt"] != "changed"
    assert task.demonstrations(random.Random(1), 9) == task.demonstrations(random.Random(1), 9)


@EVERY
def test_demonstrations_are_of_train_problems_and_fit_the_tokenizer_and_the_length(
    task: Task,
) -> None:
    prompts = {row["prompt"] for row in task.rows("train")}
    for prompt, answer in task.demonstrations(random.Random(0), 200):
        assert prompt in prompts
        assert set(prompt + answer) <= set(CHARACTERS)
        assert len(answer) + 1 <= task.longest


@pytest.mark.parametrize("task", TASKS[:7], ids=lambda task: task.name[:20])
def test_demonstrations_are_right_and_an_empty_answer_is_wrong(task: Task) -> None:
    rng = random.Random(0)
    for row in task.rows("train")[:100]:
        assert task.check(row, task.demonstrate(row, rng))
        assert not task.check(row, "")


def test_seeds_split_differently_and_turned_sums_stay_together() -> None:
    first, second = modular_addition(31, seed=0), modular_addition(31, seed=1)
    assert {r["task"] for r in first.held_out} != {r["task"] for r in second.held_out}
    assert first.name != second.name
    held = {row["prompt"] for row in first.held_out}
    assert all(f"{p[3:5]}+{p[:2]}%=" in held for p in held)


def test_answers_are_what_the_problems_ask_for() -> None:
    by_prompt = {
        row["prompt"]: row["answer"]
        for task in (modular_addition(), TASKS[1], reversal(), copying(), parity(4))
        for row in task.train + task.held_out
    }
    assert by_prompt["53+71%="] == "27"
    assert by_prompt["53+71="] == "124"
    assert by_prompt["r4721="] == "1274"
    assert by_prompt["c4721="] == "4721"
    assert by_prompt["p0110="] == "0100"
    assert len([p for p in by_prompt if p.endswith("%=")]) == 97 * 97


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("12+07-03", True),
        ("12-3+7", True),
        ("(7-3)+12", True),
        ("12+7-3-0", False),
        ("12+7", False),
        ("12+7-3+12-12", False),
        ("19-3", False),
        ("12+7-03=16", False),
        ("(12+7)(3)", False),
        ("12**7-3", False),
        ("12+-3+7", False),
        ("12//7+3", False),
        ("12+7-", False),
        ("((((((", False),
        ("(" * 40 + "12+7-3", False),
        ("12+7-3" + "+0" * 40, False),
        ("12+٧-3", False),
        (" 12+7-3", False),
    ],
)
def test_countdown_takes_any_expression_that_uses_each_number_once(said: str, right: bool) -> None:
    assert reaches(said, "16", "03 07 12") == float(right)


def test_countdown_divides_without_rest_only() -> None:
    assert reaches("12/3*7", "28", "03 07 12") == 1
    assert reaches("7/3*12", "28", "03 07 12") == 0
    assert reaches("3/(7-7)", "1", "03 07 07") == 0
    assert reaches("00/05", "0", "00 05") == 1


@given(
    st.lists(st.integers(1, 20), min_size=3, max_size=3),
    st.tuples(st.sampled_from("+-*"), st.sampled_from("+-*")),
)
def test_countdown_agrees_with_python(numbers: list[int], signs: tuple[str, str]) -> None:
    a, b, c = numbers
    text = f"{a}{signs[0]}{b}{signs[1]}{c}"
    given_numbers = " ".join(map(str, numbers))
    value = eval(text)
    assert reaches(text, str(value), given_numbers) == 1
    assert reaches(text, str(value + 1), given_numbers) == 0


@given(st.text("0123456789+-*/()", max_size=70))
def test_no_text_breaks_the_countdown_check(text: str) -> None:
    assert reaches(text, "16", "03 07 12") in (0.0, 1.0)


def test_countdown_demonstrates_every_solution_without_brackets() -> None:
    row = {"prompt": "", "answer": "16", "numbers": "03 07 12", "task": ""}
    task, rng = TASKS[5], random.Random(0)
    shown = {task.demonstrate(row, rng) for _ in range(300)}
    texts = [
        f"{a:02}{x}{b:02}{y}{c:02}"
        for a, b, c in permutations((3, 7, 12))
        for x, y in product("+-*", repeat=2)
    ]
    assert shown == {text for text in texts if reaches(text, "16", "03 07 12")}
    assert len(shown) > 3


def test_the_marker_ends_the_filler_and_begins_the_answer() -> None:
    assert behind_marker("...#27", "27") == behind_marker("#27", "27") == 1
    for wrong in ("27", "...27", "..#72", "1.#27", "..#27#", "..#27.", "##27", ""):
        assert behind_marker(wrong, "27") == 0
    assert exact("27", "27") == 1
    assert exact("27 ", "27") == 0


def test_longer_thinking_is_right_more_often_on_hard_problems_only() -> None:
    task, rng = TASKS[7], random.Random(0)
    tries: dict[tuple[str, int], list[bool]] = {}
    rows = task.rows("train")
    for row in rng.choices(rows, k=6000):
        said = task.demonstrate(row, rng)
        tries.setdefault((row["level"], said.count(".")), []).append(task.check(row, said))
    rate = {key: sum(found) / len(found) for key, found in tries.items()}
    assert sorted(rate) == [(level, n) for level in ("easy", "hard") for n in range(6)]
    assert all(rate["easy", n] == 1 for n in range(6))
    assert [rate["hard", n] for n in range(6)] == pytest.approx(
        [min(n + 1, 4) / 4 for n in range(6)], abs=0.08
    )


def test_now_and_then_thinking_is_far_longer_than_in_the_mean() -> None:
    task, rng = thinking(), random.Random(0)
    lengths = [answer.count(".") for _, answer in task.demonstrations(rng, 20_000)]
    mean = sum(lengths) / len(lengths)
    assert mean == pytest.approx(4.0, abs=0.1)
    deviation = (sum((n - mean) ** 2 for n in lengths) / len(lengths)) ** 0.5
    assert 0.005 < sum(n > mean + 3 * deviation for n in lengths) / len(lengths) < 0.03
    assert max(lengths) == 24


def test_domains_take_turns_with_as_many_rows_each() -> None:
    task = mixed({"a": copying(2), "b": parity(5)})
    for split in (task.rows("train"), task.rows("held_out")):
        assert [row["domain"] for row in split] == ["a", "b"] * (len(split) // 2)
    assert len(task.rows("train")) == 2 * min(80, 26)
    assert task.longest == 6
    assert {row["domain"] for row in TASKS[6].train} == {
        "addition",
        "reversal",
        "parity",
        "modular",
    }


@pytest.mark.parametrize(
    ("name", "columns", "right"),
    [
        ("tasks:exact", {"completion": ["27", "28"], "answer": ["27", "27"]}, [1, 0]),
        (
            "thinking_task:behind_marker",
            {"completion": ["..#27", "27"], "answer": ["27", "27"]},
            [1, 0],
        ),
        (
            "countdown_task:reaches",
            {"completion": ["2+3", "6"], "answer": ["5", "6"], "numbers": ["2 3", "2 3"]},
            [1, 0],
        ),
    ],
)
def test_a_spec_names_the_rewards(name: str, columns: dict[str, list[str]], right: list) -> None:
    reward = loads(f"reward: {{function: {{call: 'rewardsmith.testbeds.rlvr.{name}'}}}}")
    said = columns.pop("completion")
    scores = reward(Rollouts.from_text(["?"] * 2, said, **columns))
    assert scores.values.tolist() == right


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="modulus is 1, it must be within 2 and 100"):
        modular_addition(1)
    with pytest.raises(ValueError, match="held_out is 1"):
        addition(held_out=1)
    with pytest.raises(ValueError, match="reversal: length is 6"):
        reversal(6)
    with pytest.raises(ValueError, match="parity: length is 17"):
        parity(17)
    with pytest.raises(ValueError, match="largest is 21"):
        countdown(largest=21)
    with pytest.raises(ValueError, match="ask for at least one of each, and fewer in all"):
        countdown(10**7, largest=4)
    with pytest.raises(ValueError, match="enough 0, they must be at least 1"):
        thinking(4, 0)
    with pytest.raises(ValueError, match="most is 4 and enough 5"):
        thinking(4, 5)
    with pytest.raises(ValueError, match="2 kinds of reward"):
        mixed({"a": copying(2), "b": countdown(10, 5, largest=5)})
    with pytest.raises(ValueError, match="0 kinds of reward"):
        mixed({})
    with pytest.raises(ValueError, match="split is 'test'"):
        copying(2).rows("test")  # type: ignore[arg-type]
