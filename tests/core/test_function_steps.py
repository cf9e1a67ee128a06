"""Step functions: what a step that breaks does to its row."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.laws import ABSTAINED, BAD_VALUE, SCORED, TIMEOUT

from rewardsmith.core.acting import scan
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.rollouts import Rollouts


def stepped(values: list[list[Any]], on_step_failure: Any = "row") -> Any:
    """Scores of a step function that gives these values, by the step's number in `obs`."""

    def call(obs: np.ndarray) -> Any:
        column = [row[int(obs[0])] for row in values]
        if any(isinstance(v, Exception) for v in column):
            raise next(v for v in column if isinstance(v, Exception))
        return column

    n, t = len(values), len(values[0])
    rollouts = Rollouts(steps={"obs": torch.arange(t).repeat(n, 1)})
    return Function(call, step=True, on_step_failure=on_step_failure)(rollouts)


def test_a_step_that_breaks_voids_its_row() -> None:
    scores = stepped([[1.0, math.nan, 3.0], [1.0, 2.0, 3.0]])
    assert scores.status.tolist() == [BAD_VALUE, SCORED]
    assert scores.values.tolist() == [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    assert scores.failed_at.tolist() == [[False, True, False], [False] * 3]
    assert scores.errors == {0: ("", "step 1: returned nan")}


def test_a_step_that_breaks_is_skipped_if_so_stated() -> None:
    scores = stepped([[1.0, math.nan, 3.0], [1.0, 2.0, "x"]], "skip")
    assert scores.status.tolist() == [SCORED, SCORED]
    assert scores.values.tolist() == [[1.0, 0.0, 3.0], [1.0, 2.0, 0.0]]
    assert scores.at.tolist() == [[True, False, True], [True, True, False]]
    assert scores.failed_at.tolist() == [[False, True, False], [False, False, True]]
    assert scores.errors[1] == ("", "step 2: returned str 'x', not a number")


def test_the_worst_step_decides_and_abstained_steps_are_left_out() -> None:
    scores = stepped([[TimeoutError("late"), 1.0, 1.0], [1.0, 1.0, math.inf]])
    assert scores.status.tolist() == [TIMEOUT, BAD_VALUE]
    assert stepped([[None, 2.0, None]]).at.tolist() == [[False, True, False]]
    assert stepped([[None, None]]).status.tolist() == [ABSTAINED]


def test_dummy_steps_are_not_read() -> None:
    rollouts = Rollouts(
        steps={"env_reward": torch.tensor([[1.0, math.nan, 3.0]])},
        action_mask=torch.tensor([[True, False, True]]),
    )
    scores = Function(lambda env_reward: env_reward, step=True)(rollouts)
    assert scores.status.tolist() == [SCORED]
    assert scores.values.tolist() == [[1.0, 0.0, 3.0]]


def test_the_wrong_axis_is_found_where_the_shapes_happen_to_fit() -> None:
    wrong = Function(lambda obs: obs[1], step=True)
    right = Function(lambda obs: obs[:, 1], step=True)
    square = Rollouts(steps={"obs": torch.arange(9.0).reshape(3, 1, 3)})
    with pytest.raises(
        ScoreError, match=r"given one row of the 3 it raised IndexError.*obs\[:, 2\]"
    ):
        scan(wrong, square)
    assert scan(right, square).values.tolist() == [[1.0], [4.0], [7.0]]
    # The first row of [n, d] alone is [d], and no row's own number.
    with pytest.raises(ScoreError, match=r"returned an array of shape \[3\], expected \[1\]"):
        scan(Function(lambda obs: obs[0], step=True), square)
    # Where no axis has n entries nothing can be mistaken, and nobody is asked twice.
    calls: list[int] = []
    counted = Function(lambda obs: calls.append(len(obs)) or obs[:, 0], step=True)
    scan(counted, Rollouts(steps={"obs": torch.zeros(3, 2, 4)}))
    assert calls == [3, 3]
