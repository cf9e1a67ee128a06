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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "odd"])
def test_ranks_share_a_batch_and_agree(tmp_path: Path, kind: str) -> None:
    """Also where a sampler's choice moves rows between ranks (``odd``)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.learners.grpo_ranks"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), "2", str(port), str(tmp_path), kind], cwd=ROOT, env=environment
        )
        for rank in range(2)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    told = [json.loads((tmp_path / f"{kind}-{rank}.json").read_text()) for rank in range(2)]
    np.testing.assert_array_equal(told[0]["weights"], told[1]["weights"])
    for name in ("taken", "tokens"):
        assert told[0][name] == told[1][name]
    for one, other in zip(told[0]["seen"], told[1]["seen"], strict=True):
        assert one["whole"] == other["whole"]
        assert one["prompts"] + other["prompts"] == one["whole"][0]
        assert one["texts"] + other["texts"] == one["whole"][1]
        assert one["tokens"] == one["own_tokens"] + other["own_tokens"]
        rewards = np.array(one["rewards"]).reshape(-1, 4)
        deviation = rewards.std(axis=1, ddof=1, keepdims=True)
        want = (rewards - rewards.mean(axis=1, keepdims=True)) / (deviation + 1e-6)
        np.testing.assert_allclose(one["advantages"] + other["advantages"], want.ravel(), atol=1e-6)
