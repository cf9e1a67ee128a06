"""A reward as TRL's reward functions, called as TRL calls them."""

import asyncio
import inspect
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rewardsmith as rs
from rewardsmith.adapters import versions
from rewardsmith.adapters.trl import to_trl
from rewardsmith.core.algebra import Scale, WeightedMean, WeightedSum
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.transforms.running import RunningNorm

CALLS: list[str] = []
PROMPTS = ["p", "p", "p", "p"]
TEXTS = ["one", "no", "nan", "three"]


def length(completion: str) -> float:
    CALLS.append(completion)
    return math.nan if completion == "nan" else float(len(completion))


def vowels(completion: str) -> float | None:
    return None if completion == "no" else float(sum(c in "aeiou" for c in completion))


def silent(completion: str) -> None:
    return None


def picky(completion: str) -> float:
    if "x" in completion:
        raise ValueError(f"{len(completion)} letters")
    return 1.0


def babbles(completion: str) -> float:
    if "x" in completion:
        raise type(completion, (ValueError,), {})()
    return 1.0


def tree() -> WeightedSum:
    parts = {"length": Function(length), "vowels": Function(vowels)}
    return WeightedSum(parts, {"length": 0.5, "vowels": 2.0})


def made(reward: Reward | None = None, **options: Any) -> Any:
    return to_trl(tree() if reward is None else reward, executor="inline", **options)


class Values:
    """Has rows, and is none of Python's sequences."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> str:
        return ["4", "4"][row]


class Log:
    """What TRL gives a reward function beside columns."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.extra: dict[str, list[Any]] = {}

    def given(self) -> dict[str, Any]:
        return {
            "trainer_state": object(),
            "log_metric": self.metrics.__setitem__,
            "log_extra": self.extra.__setitem__,
            "environments": [object()] * 4,
        }


# --- one function ---------------------------------------------------------------------------------


def test_a_row_without_a_score_is_none() -> None:
    function = made()
    assert function(PROMPTS, TEXTS) == [5.5, 1.0, None, 6.5]
    assert function.__name__ == "total"
    assert "total" in repr(function)
    assert function.weight == 1.0


def test_all_that_trl_gives_is_taken() -> None:
    found = made()(
        prompts=PROMPTS,
        completions=TEXTS,
        completion_ids=[[1]] * 4,
        answer=["a"] * 4,
        **Log().given(),
    )
    assert found == [5.5, 1.0, None, 6.5]


def test_missing_as_the_caller_says() -> None:
    assert made(missing=-1)(PROMPTS, TEXTS) == [5.5, 1.0, -1.0, 6.5]
    with pytest.raises(ScoreError, match="part 'length', row 2: bad_value: returned nan"):
        made(missing="raise")(PROMPTS, TEXTS)
    assert made(Function(silent), missing="raise")(PROMPTS, TEXTS) == [None] * 4


def test_an_empty_batch() -> None:
    assert made()([], []) == []


def test_from_a_file_with_columns_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    # In data that was labeled the completion was called otherwise; here it is TRL's.
    file.write_text("columns: {completion: text, answer: gold}\nreward: {math_answer: {}}\n")
    function = to_trl(file, executor="inline")
    completions = ["\\boxed{4}", "\\boxed{5}"]
    assert function(["p"] * 2, completions, gold=["4", "4"], text=["\\boxed{4}"] * 2) == [1, 0]
    other = to_trl(file, executor="inline", columns={"answer": "extra.key", "completion": "text"})
    extra = [{"key": "5"}] * 2
    assert other(["p"] * 2, completions, text=["\\boxed{5}", "no"], extra=extra) == [1, 0]


def test_the_prompt_is_that_of_trl(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text("columns: {prompt: question}\nreward: {math_answer: {gold: prompt}}\n")
    ask = {"prompts": ["4"], "completions": ["\\boxed{4}"], "question": ["5"]}
    assert to_trl(file, executor="inline")(**ask) == [1.0]
    assert to_trl(file, executor="inline", columns={"prompt": "question"})(**ask) == [0.0]


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    function = made(rs.signals.MathAnswer(gold="solution"))
    with pytest.raises(MissingColumn) as caught:
        function(PROMPTS, TEXTS, answer=["4"] * 4)
    assert "'solution'" in str(caught.value)
    assert "answer, completion, prompt" in str(caught.value)


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="column 'answer' has 3 rows, not 4"):
        made()(PROMPTS, TEXTS, answer=["4"] * 3)
    with pytest.raises(ValueError, match="column 'prompt' has 1 rows, not 4"):
        made()(["p"], TEXTS)


def test_tokens_in_place_of_text_are_refused() -> None:
    with pytest.raises(TypeError, match=r"token ids.*decode them"):
        made()(["p"], [[3, 4, 5]])


def test_of_messages_with_tools_the_last_answer_is_read() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
    tool = {"role": "tool", "name": "add", "content": "5"}
    answer = {"role": "assistant", "content": "\\boxed{4}"}
    function = made(rs.signals.MathAnswer())
    completions = [[call, tool, answer], [answer, call, tool]]
    # The second ends with a call, which says nothing.
    assert function([[{"role": "user", "content": "2+2"}]] * 2, completions, answer=["4"] * 2) == [
        1.0,
        0.0,
    ]


def test_another_version_of_trl_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "1.99.0")
    with pytest.warns(UserWarning, match="tested with trl 1.16.0, and this is 1.99.0"):
        made()
    versions.note_version.cache_clear()


def test_a_reward_that_learns_is_told_of_and_kept_as_it_is() -> None:
    reward = RunningNorm(Function(length))
    reward.moments.add(torch.tensor([1.0, 5.0]).numpy())
    before = dict(reward.get_extra_state())
    with pytest.warns(UserWarning, match="does not learn here"):
        function = made(reward)
    function(PROMPTS, TEXTS)
    assert reward.get_extra_state() == before


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"num_generations": 0}, {"missing": math.nan}, {"executor": "ray"}]
)
def test_arguments_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        to_trl(tree(), **options)


def test_a_misspelt_option_is_told_with_the_one_that_is_meant() -> None:
    with pytest.raises(TypeError, match=r"to_trl takes no option 'colums'.*columns"):
        to_trl(tree(), colums={})


@pytest.mark.parametrize(
    "answer", [np.array(["4", "4"]), np.array([4, 4]), torch.tensor([4, 4]), ("4", "4"), Values()]
)
def test_columns_may_be_anything_that_has_rows(answer: Any) -> None:
    function = made(rs.signals.MathAnswer())
    assert function(["p"] * 2, ["\\boxed{4}", "\\boxed{5}"], answer=answer) == [1.0, 0.0]


@pytest.mark.parametrize("answer", ["44", {"a": 1, "b": 2}, 4, np.array(4)])
def test_what_is_read_and_is_no_column_is_told_by_name(answer: Any) -> None:
    function = made(rs.signals.MathAnswer())
    with pytest.raises(TypeError, match=r"'answer' is \w+ and no column: give a list of 2"):
        function(["p"] * 2, ["\\boxed{4}"] * 2, answer=answer)
    # Where nobody reads it, it may be whatever TRL gives.
    assert made()(["p"] * 2, ["one", "one"], answer=answer) == [5.5, 5.5]


# --- logs -----------------------------------------------------------------------------------------


def test_what_is_logged() -> None:
    log = Log()
    made()(PROMPTS, TEXTS, **log.given())
    assert log.metrics == {
        "reward/length": pytest.approx((3 + 2 + 5) / 3),
        "reward/vowels": pytest.approx((2 + 1 + 2) / 3),
        "scored/length": 0.75,
        "scored/vowels": 0.75,
        "status/scored": 0.75,
        "status/bad_value": 0.25,
        "status/abstained": 0.0,
        "status/timeout": 0.0,
        "status/failed": 0.0,
    }
    assert log.extra == {
        "reward/length": [3.0, 2.0, None, 5.0],
        "reward/vowels": [2.0, None, 1.0, 2.0],
        "status": ["scored", "scored", "bad_value", "scored"],
        "error": [None, None, "length: returned nan", None],
    }


def test_the_keys_are_the_same_whatever_was_scored() -> None:
    keys = []
    for texts in (TEXTS, ["nan"] * 4, ["no"]):
        log = Log()
        made(name="other")(PROMPTS[: len(texts)], texts, **log.given())
        keys.append((list(log.metrics), list(log.extra)))
        assert math.isnan(log.metrics["other/reward/length"]) == (texts == ["nan"] * 4)
    assert keys[0] == keys[1] == keys[2]
    assert all(key.startswith("other/") for key in (*keys[0][0], *keys[0][1]))


class Trainer:
    """As TRL's: what it gives are methods of its own."""

    def __init__(self) -> None:
        self.metrics: list[str] = []

    def log_metric(self, name: str, value: float) -> None:
        self.metrics.append(name)


def test_two_rewards_of_one_name_in_one_trainer_are_told() -> None:
    one, other, named = made(), made(), made(name="other")
    first, second = Trainer(), Trainer()
    for function, trainer in ((one, first), (named, first), (other, second), (one, first)):
        function(PROMPTS, TEXTS, log_metric=trainer.log_metric)
    for part in made(split=True, name="parts"):  # they are one reward
        part(PROMPTS, TEXTS, log_metric=first.log_metric)
    with pytest.warns(UserWarning, match=r"two rewards of one trainer are called 'total'.*name="):
        other(PROMPTS, TEXTS, log_metric=first.log_metric)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_why_rows_broke_is_said_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    function = made(WeightedSum({"length": Function(length), "picky": Function(picky)}))
    for _ in range(2):
        function(PROMPTS, ["one", "no", "nan", "three"])
        function(PROMPTS, ["one", "xx", "nan", "xxx"])
    assert said(caplog) == [
        "a row broke; row 2: bad_value: length: returned nan (others like it are not told)",
        "a row broke; row 1: failed: picky: raised ValueError: 2 letters "
        "(others like it are not told)",
    ]


def test_a_batch_that_broke_whole_is_said_each_time(caplog: pytest.LogCaptureFixture) -> None:
    function = made(Function(picky))
    for _ in range(2):
        assert function(["p"] * 2, ["xx", "xxx"]) == [None, None]
        assert said(caplog) == [
            "every row of this batch (2) broke; row 0: failed: raised ValueError: 2 letters"
        ]


def test_a_batch_without_a_score_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    function = made(Function(silent), missing="raise")
    for _ in range(2):
        assert function(PROMPTS, TEXTS) == [None] * 4
    assert said(caplog) == ["no row of this batch (4) has a score; 4 abstained (this is told once)"]
    assert function([], []) == []
    assert said(caplog) == []


def test_texts_that_all_differ_do_not_flood(caplog: pytest.LogCaptureFixture) -> None:
    function = made(Function(babbles))
    function(["p"] * 301, ["one", *(f"x{chr(256 + i)}" for i in range(300))])
    assert len(said(caplog)) == 50


# --- parts ----------------------------------------------------------------------------------------


def test_parts_sum_to_the_total_from_one_evaluation() -> None:
    CALLS.clear()
    parts = made(split=True)
    assert [f.__name__ for f in parts] == ["length", "vowels"]
    log = Log()
    values = [f(PROMPTS, TEXTS, **log.given()) for f in parts]
    assert values == [[1.5, 1.0, None, 2.5], [4.0, None, None, 4.0]]
    assert len(CALLS) == 4
    assert log.metrics["scored/length"] == 0.75


def test_the_next_batch_is_scored_anew_even_in_the_same_lists() -> None:
    first, second = made(split=True)
    prompts, texts = ["p"], ["one"]
    assert first(prompts, texts) == [1.5]
    texts[0] = "three"
    assert second(prompts, texts) == [4.0]
    assert first(prompts, texts) == [2.5]
    assert second(prompts, ["e"]) == [2.0]
    CALLS.clear()
    assert [f(["p"], texts) for f in (first, second)] == [[2.5], [4.0]]
    assert len(CALLS) == 2  # other prompts are another batch, whatever the completions


def test_other_columns_are_another_batch() -> None:
    parts = {"length": Function(length), "right": rs.signals.MathAnswer()}
    first, second = made(WeightedSum(parts), split=True)
    prompts, texts, answer = ["p"], ["\\boxed{4}"], ["5"]
    first(prompts, texts, answer=answer)
    assert second(prompts, texts, answer=["4"]) == [1.0]
    first(prompts, texts, answer=answer)
    answer[0] = "4"
    assert second(prompts, texts, answer=answer) == [1.0]
    level, grade = {"level": [1]}, {"grade": [1]}
    for more, other in (({}, level), (level, {}), (level, grade)):
        first, second = made(WeightedSum(parts), split=True)
        CALLS.clear()
        first(prompts, texts, answer=answer, **more)
        second(prompts, texts, answer=answer, **other)
        assert len(CALLS) == 2
    CALLS.clear()
    column = np.array(["5"])
    assert [f(prompts, texts, answer=column) for f in (first, second)] == [[9.0], [0.0]]
    assert len(CALLS) == 1


def test_a_batch_that_every_part_was_asked_of_is_let_go() -> None:
    parts = made(split=True)
    for part in parts:
        part(PROMPTS, TEXTS)
    assert parts[0].shared._open == []


def test_a_part_that_stands_alone_holds_no_more_than_a_few_batches() -> None:
    first, _ = made(split=True)
    for _ in range(20):
        first(["p"], ["one"])
    assert len(first.shared._open) == 8


def test_own_scores_with_weights_to_give_to_trl() -> None:
    parts = made(split=True, weighted=False, name="mine")
    assert [f.__name__ for f in parts] == ["mine/length", "mine/vowels"]
    assert [f.weight for f in parts] == [0.5, 2.0]
    assert [f(PROMPTS, TEXTS) for f in parts] == [
        [3.0, 2.0, None, 5.0],
        [2.0, None, None, 2.0],
    ]


def test_a_number_in_the_place_of_a_total_stands_once() -> None:
    values = [f(PROMPTS, TEXTS) for f in made(split=True, missing=-1.0)]
    assert [row[2] for row in values] == [-1.0, None]
    with pytest.raises(ValueError, match="weighted=False"):
        made(split=True, weighted=False, missing=0.0)


def test_other_sums_split_too() -> None:
    (part,) = made(Scale(Function(length), 3.0), split=True)
    assert part.__name__ == "of"
    assert part(PROMPTS, TEXTS) == [9.0, 6.0, None, 15.0]


def test_what_is_no_weighted_sum_does_not_split() -> None:
    with pytest.raises(SpecError, match=r"function.*leave out split"):
        made(Function(length), split=True)
    with pytest.raises(SpecError, match=r"weighted_mean.*weighted_sum"):
        made(WeightedMean({"length": Function(length)}), split=True)


def test_parts_asked_from_threads_share() -> None:
    for _ in range(20):
        CALLS.clear()
        parts = made(split=True)
        together = threading.Barrier(2)

        def ask(part: Any, together: Any = together) -> Any:
            together.wait()
            return part(PROMPTS, TEXTS)

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(ask, parts)) == [[1.5, 1.0, None, 2.5], [4.0, None, None, 4.0]]
        assert len(CALLS) == 4


def test_what_fails_is_told_to_every_part() -> None:
    for part in made(split=True, missing="raise"):
        with pytest.raises(ScoreError, match="row 2"):
            part(PROMPTS, TEXTS)


def test_each_pickles_alone_and_together() -> None:
    for part in made(split=True):
        again = pickle.loads(pickle.dumps(part))
        assert again.__name__ == part.__name__
        assert again(PROMPTS, TEXTS) == part(PROMPTS, TEXTS)
    parts = pickle.loads(pickle.dumps(made(split=True)))
    assert parts[0].shared is parts[1].shared
    assert pickle.loads(pickle.dumps(made()))(PROMPTS, TEXTS) == [5.5, 1.0, None, 6.5]


# --- asynchronous ---------------------------------------------------------------------------------


def test_asynchronous_functions_are_known_as_such() -> None:
    # As TRL looks at it: on the function, and on the object's __call__.
    for asynchronous in (False, True):
        functions = [made(asynchronous=asynchronous), *made(asynchronous=asynchronous, split=True)]
        for function in functions:
            assert not inspect.iscoroutinefunction(function)
            assert inspect.iscoroutinefunction(function.__call__) == asynchronous


def test_asynchronous_parts_share_and_score_in_a_thread() -> None:
    where: list[str] = []

    def here(completion: str) -> float:
        where.append(threading.current_thread().name)
        return 1.0

    whole = WeightedSum({"a": Function(here), "b": Function(length)})

    async def ask() -> Any:
        parts = made(whole, split=True, asynchronous=True)
        return await asyncio.gather(*(part(PROMPTS, TEXTS) for part in parts))

    CALLS.clear()
    assert asyncio.run(ask()) == [[1.0, 1.0, None, 1.0], [3.0, 2.0, None, 5.0]]
    assert len(CALLS) == 4
    assert threading.main_thread().name not in where


def test_a_task_that_is_cancelled_takes_nobody_along() -> None:
    async def ask() -> Any:
        first, second = made(split=True, asynchronous=True)
        doomed = asyncio.ensure_future(first(PROMPTS, TEXTS))
        await asyncio.sleep(0)
        doomed.cancel()
        return await second(PROMPTS, TEXTS)

    assert asyncio.run(ask()) == [4.0, None, None, 4.0]


def test_who_does_not_await_gets_a_coroutine_and_an_error() -> None:
    given = made(asynchronous=True)(PROMPTS, TEXTS)
    with pytest.raises(TypeError, match="coroutine"):
        list(given)
    given.close()


# --- groups ---------------------------------------------------------------------------------------


class AboveMean(Reward):
    """A completion's length, less the mean length of its group."""

    def __init__(self, wide: Any = "group") -> None:
        super().__init__()
        self.wide = wide
        self.declare(needs={"completion"}, scope=wide)

    def forward(self, rollouts: Rollouts) -> Scores:
        lengths = torch.tensor([float(len(text)) for text in rollouts["completion"]])
        counts = rollouts.group.bincount()
        means = torch.zeros(len(counts)).index_add(0, rollouts.group, lengths) / counts
        return Scores.outcome(lengths - means[rollouts.group])


def test_groups_are_neighbors_with_equal_prompts() -> None:
    found = made(AboveMean())(["p", "p", "q", "q"], ["a", "aaa", "a", "a"])
    assert found == [-1.0, 1.0, 0.0, 0.0]


def test_groups_by_a_column_or_by_number() -> None:
    texts = ["a", "aaa", "a", "aaaaa"]
    by_column = made(AboveMean(), columns={"group": "task"})
    assert by_column(PROMPTS, texts, task=[1, 1, 2, 2]) == [-1.0, 1.0, -2.0, 2.0]
    with pytest.raises(MissingColumn, match="'task', needed by the groups"):
        by_column(PROMPTS, texts)
    assert made(AboveMean(), num_generations=2)(PROMPTS, texts) == [-1.0, 1.0, -2.0, 2.0]


def test_partial_groups_are_refused() -> None:
    with pytest.raises(SpecError, match=r"partial groups: group 1 \(from row 3\) has 1 rows"):
        made(AboveMean())(["p", "p", "p", "q"], ["a"] * 4)
    with pytest.raises(SpecError, match="partial groups: group 1"):
        made(AboveMean(), num_generations=3)(PROMPTS, ["a"] * 4)


def test_prompts_that_do_not_tell_groups_apart_are_refused() -> None:
    texts = ["a", "aaa", "a", "aaaaa"]
    with pytest.raises(SpecError, match=r"all 4 rows .* same prompt.*num_generations"):
        made(AboveMean())(PROMPTS, texts)
    with pytest.raises(SpecError, match=r"group of its own.*num_generations"):
        made(AboveMean())(["p", "q", "r", "s"], texts)
    task = made(AboveMean(), columns={"group": "task"})
    assert task(PROMPTS, texts, task=[1] * 4) == [-1.5, 0.5, -1.5, 2.5]
    assert task(["p", "q", "r", "s"], texts, task=[1, 1, 2, 2]) == [-1.0, 1.0, -2.0, 2.0]


def test_with_num_generations_prompts_may_differ_and_that_is_told() -> None:
    # As where environments write what they show into the prompts.
    function = made(AboveMean(), num_generations=2)
    with pytest.warns(UserWarning, match=r"rows 0 and 1 .* num_generations=2"):
        found = function(["p", "q", "r", "s"], ["a", "aaa", "a", "aaaaa"])
    assert found == [-1.0, 1.0, -2.0, 2.0]


def test_groups_are_minded_beside_a_part_that_compares_the_batch() -> None:
    both = WeightedSum({"group": AboveMean(), "batch": AboveMean("batch")})
    with pytest.raises(SpecError, match="same prompt"):
        made(both)(PROMPTS, TEXTS)
    assert made(both, num_generations=2)(PROMPTS, ["a", "aaa", "a", "aaa"]) == [-2, 2, -2, 2]


def test_a_reward_of_rows_minds_no_groups() -> None:
    assert made(Function(length))(["p", "p", "p", "q"], ["a"] * 4) == [1.0] * 4


def test_a_reward_of_the_batch_has_all_of_it() -> None:
    found = made(AboveMean("batch"))(["p", "p", "p", "q"], ["a", "aa", "aaa", "aaaa"])
    assert found == [-1.0, 0.0, 1.0, 0.0]
    with pytest.raises(SpecError, match="whole data set"):
        made(AboveMean("dataset"))
    # Asynchronously TRL asks for pieces of a batch.
    with pytest.raises(SpecError, match="asynchronous=False"):
        made(AboveMean("batch"), asynchronous=True)
