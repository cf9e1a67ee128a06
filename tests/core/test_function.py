"""The boundary around user code: whatever a function does becomes a status with row and reason."""

import asyncio
import math
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from tests import laws
from tests.laws import ABSTAINED, BAD_VALUE, FAILED, SCORED, TIMEOUT

from rewardsmith.core.acting import scan
from rewardsmith.core.decorate import reward
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def raising(error: Exception) -> Any:
    def call(completion: str) -> float:
        raise error

    return call


def test_it_scores_row_by_row() -> None:
    def exact(completion: str, answer: str, scale: float = 2.0, **rest: Any) -> float:
        assert not rest
        return scale * (completion == answer)

    function = reward(exact)
    rollouts = Rollouts.from_text(["?", "?"], ["4", "5"], answer=["4", "4"], other=[1, 2])
    assert function(rollouts).values.tolist() == [2.0, 0.0]
    assert function(rollouts).values.dtype == torch.float32
    assert function.needs == {"completion", "answer"}
    assert (function.granularity, function.scope, function.acts) == ("outcome", "row", False)
    scaled = Rollouts.from_text(["?"], ["4"], answer=["4"], scale=[5.0])
    assert function(scaled).values.tolist() == [5.0]


@pytest.mark.parametrize(
    ("returned", "status", "told"),
    [
        (1, SCORED, None),
        (0.25, SCORED, None),
        (True, SCORED, None),
        (np.float32(0.5), SCORED, None),
        (np.bool_(False), SCORED, None),
        (np.array(2.0), SCORED, None),
        (torch.tensor(3.0), SCORED, None),
        (None, ABSTAINED, None),
        (math.nan, BAD_VALUE, "returned nan"),
        (-math.inf, BAD_VALUE, "returned -inf"),
        (1e39, BAD_VALUE, "finite"),
        (10**400, BAD_VALUE, "too large"),
        ("1.0", BAD_VALUE, "returned str '1.0', not a number"),
        ([1.0], BAD_VALUE, "returned list [1.0], not a number"),
        (np.ones(1), BAD_VALUE, "not a number"),
        (torch.ones(1), BAD_VALUE, "not a number"),
        (1 + 2j, BAD_VALUE, "returned complex"),
        (Decimal("0.5"), BAD_VALUE, "returned Decimal"),
        ("x" * 1000, BAD_VALUE, "..."),
        (TimeoutError("5 s"), TIMEOUT, "raised TimeoutError: 5 s"),
        (TimeoutError(), TIMEOUT, "raised TimeoutError"),
        (ValueError("no \\boxed"), FAILED, "raised ValueError: no \\boxed"),
        (OSError(24, "Too many open files"), FAILED, "Too many open files"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("way", ["row", "async", "batched"])
def test_every_way_to_return(returned: Any, status: int, told: str | None, way: str) -> None:
    def one(completion: str) -> Any:
        if completion != "c1":
            return 0.5
        if isinstance(returned, BaseException):
            raise returned
        return returned

    async def later(completion: str) -> Any:
        await asyncio.sleep(0)
        return one(completion)

    def batch(completion: list[str]) -> list[Any]:
        return [one(text) for text in completion]

    call = {"row": one, "async": later, "batched": batch}[way]
    scores = Function(call, batched=way == "batched")(laws.text(3))
    # A batched function that raises says nothing of any row.
    shared = way == "batched" and isinstance(returned, BaseException)
    assert scores.status.tolist() == [status if shared else SCORED, status, status if shared else 0]
    if status == SCORED:
        assert scores.values[1] == float(returned)
    else:
        assert scores.values[1] == 0.0
    if told is None:
        assert scores.errors == {}
    else:
        path, message = scores.errors[1]
        assert path == ""
        assert told in message
        assert len(message) < 200
        assert (0 in scores.errors) == shared


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda completion: [1.0], "returned 1 values for 2 rows"),
        (lambda completion: 1.0, "returned float 1.0, not 2 values"),
        (lambda completion: torch.tensor(1.0), "not 2 values"),
        (lambda completion: None, "returned NoneType None, not 2 values"),
        (lambda completion: "ab", "returned str 'a', not a number"),
        (lambda completion: torch.ones(2, 1), "not a number"),
        (lambda completion: {"a": 1.0, "b": 2.0}, "returned str 'a', not a number"),
    ],
)
def test_a_batch_of_the_wrong_shape_is_a_bad_value_of_every_row(call: Any, told: str) -> None:
    scores = Function(call, batched=True)(laws.text(2))
    assert scores.status.tolist() == [BAD_VALUE] * 2
    assert told in scores.errors[0][1]


def test_a_batch_that_breaks_while_it_is_read_has_failed() -> None:
    def call(completion: list[str]) -> Any:
        yield 1.0
        raise ValueError("at row 1")

    scores = Function(call, batched=True)(laws.text(2))
    assert scores.status.tolist() == [FAILED] * 2
    assert scores.errors[1] == ("", "raised ValueError: at row 1")


@pytest.mark.parametrize("values", [torch.tensor([1.0, 2.0]), np.array([1, 2]), (1, 2.0)])
def test_a_batch_may_be_any_sequence_of_numbers(values: Any) -> None:
    scores = Function(lambda completion: values, batched=True)(laws.text(2))
    assert scores.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("batched", [True, False])
def test_no_rows_are_no_error(batched: bool) -> None:
    assert len(Function(lambda completion: [], batched=batched)(laws.text(0))) == 0


def test_async_rows_run_together_also_inside_a_running_loop() -> None:
    running: list[int] = []
    most: list[int] = []

    async def judge(completion: str) -> float:
        running.append(1)
        await asyncio.sleep(0.01)
        most.append(len(running))
        running.pop()
        return 1.0

    async def notebook() -> list[float]:
        return Function(judge)(laws.text(5)).values.tolist()

    assert Function(judge)(laws.text(5)).values.tolist() == [1.0] * 5
    assert max(most) == 5
    assert asyncio.run(notebook()) == [1.0] * 5


def test_a_row_that_is_cancelled_does_not_cancel_its_neighbors() -> None:
    async def judge(completion: str) -> float:
        if completion == "c1":
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        return 1.0

    scores = Function(judge)(laws.text(3))
    assert scores.status.tolist() == [SCORED, FAILED, SCORED]


def test_an_object_that_is_called_asynchronously() -> None:
    class Judge:
        async def __call__(self, completion: str) -> float:
            return 0.75

    assert Function(Judge())(laws.text(2)).values.tolist() == [0.75, 0.75]


def test_an_interrupt_is_no_score() -> None:
    def call(completion: str) -> float:
        raise KeyboardInterrupt

    async def later(completion: str) -> float:
        raise KeyboardInterrupt

    async def notebook() -> None:
        Function(later)(laws.text(1))

    with pytest.raises(KeyboardInterrupt):
        Function(call)(laws.text(1))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(notebook())


def test_a_missing_column_says_who_needs_it_and_what_is_there() -> None:
    with pytest.raises(MissingColumn) as caught:
        Function(lambda completion, answer: 1.0)(laws.text(1))
    told = str(caught.value)
    assert told.startswith("no column 'answer', needed by function(call=")
    assert told.endswith("columns present: completion, prompt")


def test_nested_columns_come_per_row() -> None:
    obs = {"position": torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])}
    function = Function(lambda obs: float(obs["position"].sum()))
    assert function(Rollouts(steps={"obs": obs})).values.tolist() == [3.0, 7.0]


def test_what_a_constructor_refuses() -> None:
    async def later(completion: str) -> float:
        return 1.0

    def positional(completion: str, /) -> float:
        return 1.0

    with pytest.raises(ValueError, match="not both"):
        Function(laws.effort, batched=True, step=True)
    for flag in ("batched", "step"):
        with pytest.raises(ValueError, match="an async function scores one row at a time"):
            Function(later, **{flag: True})
    with pytest.raises(ValueError, match=r"argument 'completion' of .*positional cannot be given"):
        Function(positional)


def test_a_row_is_called_without_the_padding_of_its_neighbors() -> None:
    """What a function of whole episodes says depends on no other episode."""
    episodes = [{"obs": np.arange(n, dtype=float), "info": {"x": np.ones(n)}} for n in (2, 5, 3)]
    node = Function(lambda obs, x: float(len(obs) + 10 * obs[-1] + 100 * x.sum()))
    together = node(Rollouts.from_episodes(episodes)).values.tolist()
    alone = [float(node(Rollouts.from_episodes([one])).values[0]) for one in episodes]
    assert together == alone == [212.0, 545.0, 323.0]


def test_a_step_function_cannot_overwrite_what_others_own() -> None:
    def near(next_obs: Any) -> Any:
        next_obs /= 10.0
        return next_obs[:, 0]

    def flipped(obs: Any) -> Any:
        return np.negative(obs, out=obs)[:, 0]

    ends = {"terminated": torch.zeros(2, 1, dtype=torch.bool), "env_reward": torch.zeros(2, 1)}
    rollouts = Rollouts(steps={"obs": torch.ones(2, 1, 1), "next_obs": torch.ones(2, 1, 1), **ends})
    for node in (Function(near, step=True), PotentialShaping(EnvReward(), flipped, 0.9)):
        with pytest.raises(ScoreError, match="read-only"):
            scan(node, rollouts)
        assert rollouts["obs"].tolist() == rollouts["next_obs"].tolist() == [[[1.0]], [[1.0]]]


def test_what_an_async_function_keeps_for_itself_serves_every_batch() -> None:
    free = asyncio.Semaphore(1)  # it belongs to the loop on which it is first waited for

    @reward
    async def judged(completion: str) -> float:
        async with free:
            await asyncio.sleep(0.001)
            return 1.0

    rows = Rollouts.from_text([""] * 3, list("abc"))
    for _ in range(3):
        assert judged(rows).values.tolist() == [1.0, 1.0, 1.0]
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(judged(rows).values.tolist()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [[1.0, 1.0, 1.0]] * 4
