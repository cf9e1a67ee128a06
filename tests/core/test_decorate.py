"""``@reward``: a function becomes a reward, except where rows are only run."""

import subprocess
import sys
from pathlib import Path

import pytest

from rewardsmith.core import decorate
from rewardsmith.core.decorate import reward
from rewardsmith.core.function import Function
from rewardsmith.core.rollouts import Rollouts


def test_with_and_without_arguments() -> None:
    @reward
    def plain(completion: str) -> float:
        return 1.0

    @reward(batched=True)
    def batched(completion: list[str]) -> list[float]:
        return [2.0] * len(completion)

    @reward(step=True, on_step_failure="skip")
    def stepwise(action: float) -> float:
        return action

    rollouts = Rollouts.from_text(["?"], ["!"])
    assert (plain(rollouts).values[0], batched(rollouts).values[0]) == (1.0, 2.0)
    assert all(isinstance(f, Function) for f in (plain, batched, stepwise))
    assert batched.batched
    assert stepwise.by_step
    assert stepwise.on_step_failure == "skip"


def test_where_rows_are_only_run_it_leaves_functions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(completion: str) -> float:
        return 1.0

    monkeypatch.setattr(decorate, "worker", True)
    assert reward(plain) is plain
    assert reward(batched=True)(plain) is plain
    monkeypatch.setattr(decorate, "worker", False)
    assert isinstance(reward(plain), Function)


def test_a_worker_reads_a_file_of_functions_without_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import rewardsmith as rs\n\n@rs.reward\ndef one(completion):\n    return 1.0\n\n"
        "@rs.reward(batched=True)\ndef two(completion):\n    return [2.0]\n"
    )
    code = (
        "import sys\n"
        "from rewardsmith.core import decorate\n"
        "decorate.worker = True\n"
        "import mine\n"
        "assert mine.one('x') == 1.0\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
