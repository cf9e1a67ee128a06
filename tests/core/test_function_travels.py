"""Functions are pickled by reference, so that they cross into other processes."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import laws

from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function

MODULE = """
import asyncio
import rewardsmith as rs

@rs.reward
def length(completion: str) -> float:
    return float(len(completion))

@rs.reward
async def slow_length(completion: str) -> float:
    await asyncio.sleep(0)
    return float(len(completion))

@rs.reward(step=True, on_step_failure="skip")
def pay(env_reward):
    return env_reward * 2.0

@rs.reward(batched=True)
def lengths(completion):
    return [len(text) for text in completion]

def plain(completion: str) -> float:
    return 1.0
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "my_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import my_rewards

    yield my_rewards
    del sys.modules["my_rewards"]


def test_it_pickles_by_reference(module: Any) -> None:
    for name in ("length", "slow_length", "pay", "lengths"):
        function = getattr(module, name)
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
        assert b"my_rewards" in pickle.dumps(function)
    again = pickle.loads(pickle.dumps(Function(module.plain)))
    assert again.call is module.plain


def test_it_crosses_into_a_fresh_process(module: Any, tmp_path: Path) -> None:
    tree = 2.0 * module.length + module.slow_length
    script = """
import pickle, sys
import rewardsmith as rs
if __name__ == "__main__":
    tree = pickle.load(sys.stdin.buffer)
    print(tree(rs.Rollouts.from_text(["?"], ["abc"])).values.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(tree),
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.decode().strip() == "[9.0]", done.stderr.decode()


def test_what_has_no_name_refuses_to_travel() -> None:
    def inner(completion: str) -> float:
        return 1.0

    for call in (lambda completion: 1.0, inner):
        with pytest.raises(SpecError, match="no importable name; move it to the top level"):
            pickle.dumps(Function(call))


def test_names() -> None:
    assert Function(laws.effort, step=True).default_name() == "effort"
    assert Function(lambda completion: 1.0).default_name() == "lambda"
    assert repr(Function(laws.effort, step=True)) == "function(call=effort, step=True)"


def test_the_examples_in_the_docstrings() -> None:
    import doctest

    from rewardsmith.core import decorate

    result = doctest.testmod(decorate)
    assert result.attempted >= 2
    assert result.failed == 0
