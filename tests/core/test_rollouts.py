"""Rollouts: columns, masks, groups, episodes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING


def episode(length: int, **columns: Any) -> dict[str, Any]:
    return {
        "obs": {"x": np.arange(2.0 * length).reshape(length, 2)},
        "env_reward": np.ones(length),
        **columns,
    }


def test_text_has_one_step() -> None:
    rollouts = Rollouts.from_text(["a", "b"], ["x", "y"], group=["g", "g"], answer=[1, 2])
    assert (len(rollouts), rollouts.n_steps) == (2, 1)
    assert rollouts.group.tolist() == [0, 0]
    assert rollouts["answer"] == [1, 2]
    assert rollouts.mask.all()
    assert repr(rollouts) == "Rollouts(n=2, t=1, columns=['answer', 'completion', 'prompt'])"


def test_episodes_are_padded_and_masked() -> None:
    rollouts = Rollouts.from_episodes(
        [episode(2, task="easy"), episode(3, task="hard")], rows=["task"]
    )
    assert rollouts.mask.tolist() == [[True, True, False], [True, True, True]]
    assert rollouts["obs"]["x"].shape == (2, 3, 2)
    assert rollouts["obs"]["x"][0, 2].tolist() == [0.0, 0.0]
    assert rollouts["task"] == ["easy", "hard"]
    assert rollouts.first().tolist() == [[True, False, False], [True, False, False]]
    assert rollouts.last_action().tolist() == [1, 2]


def test_padding_keeps_every_value() -> None:
    # One episode's rewards happen to be whole numbers; the other's must not be cut to such.
    pays = [{"env_reward": [0, 1]}, {"env_reward": [0.5]}]
    assert Rollouts.from_episodes(pays)["env_reward"].tolist() == [[0.0, 1.0], [0.5, 0.0]]


@pytest.mark.parametrize(
    ("episodes", "told"),
    [
        ([], "at least one episode"),
        ([episode(2), {"obs": {"x": np.ones((1, 2))}}], "episode 1 has columns"),
        ([episode(2), episode(2, env_reward=np.ones(3))], "episode 1: column 'env_reward' has 3"),
        ([episode(2, obs={"x": np.ones((3, 2))})], "column 'env_reward' has 2 steps"),
        ([episode(2), episode(1, obs={"x": np.ones((1, 1))})], r"episode 1: column 'obs\.x'"),
    ],
)
def test_episodes_that_do_not_fit(episodes: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rollouts.from_episodes(episodes)


def test_episodes_need_a_column_per_step() -> None:
    with pytest.raises(ValueError, match="at least one column per step"):
        Rollouts.from_episodes([{"task": "x"}], rows=["task"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "at least one column or a mask"),
        ({"rows": {"a": [1]}, "steps": {"a": torch.ones(1, 1)}}, r"\['a'\] are given both"),
        ({"rows": {"a": [1], "b": [1, 2]}}, "column 'b' has 2 rows, the rollouts have 1"),
        (
            {"steps": {"a": torch.ones(2, 3), "b": {"c": torch.ones(2, 2)}}},
            r"column 'b' has shape \[2, 2\], expected \[2, 3, ...\]",
        ),
        ({"steps": {"a": torch.ones(2)}}, r"column 'a' has shape \[2\], not \[n, t, ...\]"),
        ({"rows": {"a": [1]}, "group": ["x", "y"]}, "group has 2 ids, the rollouts have 1 rows"),
        (
            {
                "mask": torch.tensor([[True, False]]),
                "action_mask": torch.tensor([[True, True]]),
            },
            "action_mask marks steps that mask says are padding",
        ),
    ],
)
def test_what_does_not_agree(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rollouts(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": torch.ones(2)},
        {"mask": torch.ones(2, 3)},
        {"rows": {"a": [1]}, "mask": torch.ones(2, 1, dtype=torch.bool)},
        {"mask": torch.ones(2, 3, dtype=torch.bool), "spans": {"turn": torch.ones(2, 2)}},
        {"mask": torch.ones(2, 2, dtype=torch.bool), "action_mask": torch.ones(2, 2).int()},
    ],
)
def test_masks_and_spans_that_are_none(arguments: dict[str, Any]) -> None:
    # The type checks of the tests may speak first.
    with pytest.raises((ValueError, TypeCheckError)):
        Rollouts(**arguments)


def test_columns_are_found_in_rows_steps_and_info() -> None:
    rollouts = Rollouts(
        {"task": ["a"]}, {"env_reward": torch.ones(1, 2), "info": {"speed": torch.zeros(1, 2)}}
    )
    assert rollouts.columns == ["task", "env_reward", "info", "speed"]
    assert "speed" in rollouts
    assert rollouts["speed"].tolist() == [[0.0, 0.0]]
    with pytest.raises(MissingColumn) as caught:
        rollouts.column("obs", needed_by="rnd")
    assert str(caught.value) == (
        "no column 'obs', needed by rnd; columns present: env_reward, info, speed, task"
    )


@given(st.lists(st.one_of(st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=8))
@settings(max_examples=30)
def test_groups_are_numbered_by_appearance(ids: list[Any]) -> None:
    group = Rollouts({"x": ids}, group=ids).group.tolist()
    for i, a in enumerate(ids):
        for j, b in enumerate(ids):
            assert (group[i] == group[j]) == (a == b)
    assert [g for i, g in enumerate(group) if g not in group[:i]] == list(range(max(group) + 1))
    assert Rollouts({"x": [1, 2]}, group=torch.tensor([7, 7])).group.tolist() == [0, 0]
    assert Rollouts({"x": [1, 2]}).group.tolist() == [0, 1]


@pytest.mark.parametrize("index", [[2, 0], torch.tensor([2, 0]), [], [True, False, True]])
def test_select_takes_rows_in_that_order(index: Any) -> None:
    rollouts = Rollouts(
        {"task": ["a", "b", "c"], "score": torch.arange(3)},
        {"obs": {"x": torch.arange(6).reshape(3, 2)}},
        group=["g", "h", "h"],
        spans={"turn": torch.zeros(3, 2, dtype=torch.int64)},
        action_mask=torch.tensor([[True, False]] * 3),
    )
    chosen = rollouts.select(index)
    rows = [0, 2] if len(index) == 3 else list(index)
    assert chosen["task"] == ["abc"[int(i)] for i in rows]
    assert chosen["score"].tolist() == [int(i) for i in rows]
    assert chosen["obs"]["x"].shape == (len(rows), 2)
    assert chosen.spans["turn"].shape == (len(rows), 2)
    assert chosen.action_mask.tolist() == [[True, False]] * len(rows)


def test_first_is_the_column_if_there_is_one() -> None:
    marks = torch.tensor([[1, 0, 1]])
    rollouts = Rollouts(steps={"first": marks})
    assert rollouts.first().tolist() == [[True, False, True]]
    late = Rollouts(mask=torch.tensor([[False, True, True]]))
    assert late.first().tolist() == [[False, True, False]]


@pytest.mark.parametrize("index", [[1], [2, 0], []])
def test_select_keeps_the_axis_of_arrays(index: list[int]) -> None:
    column = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    chosen = Rollouts({"x": column}).select(index)["x"]
    np.testing.assert_array_equal(chosen, column[np.array(index, dtype=int)])


def test_a_path_reads_what_is_inside_a_column() -> None:
    rows = Rollouts({"model": [{"truth": {"x": 1}}, {"other": 2}, None], "a.b": [1, 2, 3]})
    assert rows["model.truth.x"] == [1, MISSING, MISSING]
    assert rows["a.b"] == [1, 2, 3]
    # What the rows of this batch happen not to have is theirs to miss.
    assert rows["model.nothing"] == [MISSING] * 3
    with pytest.raises(MissingColumn, match=r"no column 'a.c'"):
        rows["a.c"]
