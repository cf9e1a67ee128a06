"""Two processes of one run: each has its share of the same batch, and both the same state."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, kind: str, world: int = 2) -> list[dict]:
    """What each rank tells of its run."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.learners.grpo_ranks"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(port), str(folder), kind],
            cwd=ROOT,
            env=environment,
        )
        for rank in range(world)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0] * world
    return [json.loads((folder / f"{kind}-{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "odd", "noisy", "filled", "learns"])
def test_ranks_share_a_batch_and_agree(tmp_path: Path, kind: str) -> None:
    """Also where a sampler's choice moves rows between ranks (``odd``), or a reward has chance.

    ``filled``: one group of three answers cannot be cut for two ranks.
    """
    told, size = run(tmp_path, kind), 3 if kind == "filled" else 4
    for name in ("taken", "tokens", "state"):
        assert told[0][name] == told[1][name]
    assert told[0]["state"] == ({"rows": 96.0} if kind == "learns" else {})
    for one, other in zip(told[0]["seen"], told[1]["seen"], strict=True):
        assert one["whole"] == other["whole"]
        assert one["rewards"] == other["rewards"]
        assert one["prompts"] + other["prompts"] == one["whole"][0]
        assert one["texts"] + other["texts"] == one["whole"][1]
        assert one["tokens"] == one["own_tokens"] + other["own_tokens"]
        rewards = np.array(one["rewards"]).reshape(-1, size)
        deviation = rewards.std(axis=1, ddof=1, keepdims=True)
        want = (rewards - rewards.mean(axis=1, keepdims=True)) / (deviation + 1e-6)
        np.testing.assert_allclose(one["advantages"] + other["advantages"], want.ravel(), atol=1e-5)


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_learns(tmp_path: Path) -> None:
    """From the same answers; so the shares of the loss add up across ranks."""
    pair, alone = run(tmp_path / "two", "fixed"), run(tmp_path / "one", "fixed", world=1)
    assert pair[0]["seen"][0]["whole"] == alone[0]["seen"][0]["whole"]
    np.testing.assert_allclose(pair[0]["weights"], alone[0]["weights"], atol=2e-5)
