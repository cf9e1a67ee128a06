"""What ``rewardsmith export verl`` writes."""

import subprocess
from pathlib import Path

import pytest

from rewardsmith.adapters.verl.glue import glue


@pytest.mark.parametrize("reward", ["../reward.yaml", 'rewards/it\'s "$mine".yaml'])
def test_a_run_and_three_lines(reward: str, tmp_path: Path) -> None:
    files = glue(reward)
    assert sorted(files) == ["README.md", "run.sh"]
    assert files["README.md"].count("\n") == 3
    assert reward in files["README.md"]
    assert all(len(line) <= 100 for line in files["run.sh"].splitlines())
    # Everything but the training: what the script would hand over.
    script = files["run.sh"].replace("python -m verl.trainer.main_ppo", "printf '%s\\n'")
    (tmp_path / "run.sh").write_text(script)
    command = ["bash", str(tmp_path / "run.sh"), "trainer.nnodes=2"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[-1] == "trainer.nnodes=2"
    assert "+reward.custom_reward_function.reward_kwargs.missing=raise" in said
    assert "'verl[vllm]==0.9.1' 'rewardsmith[language]'" in files["README.md"]
    path = f"{tmp_path}/{reward}".replace("'", "\\'")
    assert any(line.endswith(f"reward_kwargs.reward='{path}'") for line in said)
