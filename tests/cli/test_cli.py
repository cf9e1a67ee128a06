import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


def test_methods_lists_the_catalog(command):
    done = command("methods")
    assert done.returncode == 0
    assert "potential_shaping" in done.stdout
    listed = json.loads(command("methods", "--json").stdout)
    gate = next(entry for entry in listed if entry["name"] == "gate")
    assert gate["seed"] == [4]
    assert gate["paper"]["id"] == "2508.10548"
    assert set(gate) == {"name", "kind", "seed", "paper", "module", "verdict"}
    signals = json.loads(command("methods", "--json", "--kind", "signal").stdout)
    assert {entry["kind"] for entry in signals} == {"signal"}


def test_version():
    installed = Path(sys.executable).with_name("rewardsmith")
    said = subprocess.run(
        [installed, "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert said == f"rewardsmith {metadata.version('rewardsmith')}\n"


def test_methods_with_a_name_tells_how_to_call_it(command):
    done = command("methods", "rloo")
    assert done.returncode == 0
    head, _, rest = done.stdout.partition("\n")
    assert head.startswith("rloo, advantage: from rewardsmith.policy.advantages.leave_one_out")
    assert "  from the batch:\n    rewards\n    group\n    keep = None\n  options:\n" in rest
    assert "2402.14740" in rest
    assert "Raises:" in rest
    assert "`" not in rest
    done = command("methods", "rlo")
    assert done.returncode == 2
    assert "did you mean 'rloo'" in done.stderr


def test_unknown_kind(command):
    done = command("methods", "--kind", "signl")
    assert done.returncode == 2
    assert "did you mean 'signal'" in done.stderr


@pytest.mark.parametrize("name", ["study.yaml", "study_8x8.yaml"])
def test_spec_check_reads_the_examples(command, name):
    path = Path(__file__).parents[2] / "examples" / "door_key" / name
    done = command("spec", "check", path)
    assert done.returncode == 0, done.stderr
    assert "potential_shaping(potential=key_then_door)" in done.stdout


def test_spec_check_tries_what_a_study_would_do(command, tmp_path):
    study = """
env: {id: CartPole-v1}
learner: {algorithm: PPO, timesteps: 256}
seeds: 2
evaluation: {every: 128, initial_steps: 500}
gold: {kind: return}
rewards: {sparse: {env_reward: {}}}
"""
    path = tmp_path / "small.yaml"
    path.write_text(study)
    done = command("spec", "check", path)
    assert done.returncode == 0, done.stderr
    assert "2 seeds of 500 evaluation.initial_steps are fewer than the 20,000" in done.stdout
    path.write_text(study.replace("env_reward: {}", "env_reward: {column: spead}"))
    done = command("spec", "check", path)
    assert done.returncode == 2
    assert "spead" in done.stderr
    path.write_text("rewards: {env_reward: {}}\n")
    done = command("spec", "check", path)
    assert done.returncode == 2
    assert "with the key 'reward', this has 'rewards'" in done.stderr


def test_spec_check_reads_a_reward(command, tmp_path):
    path = tmp_path / "reward.yaml"
    path.write_text("reward: {scale: {of: {env_reward: {}}, by: 2}}\n")
    done = command("spec", "check", path)
    assert done.returncode == 0
    assert "scale(by=2.0)" in done.stdout
    path.write_text("reward:\n  scale:\n    of: {env_reward: {}}\n    bye: 2\n")
    done = command("spec", "check", path)
    assert done.returncode == 2
    assert f"{path}:4: reward/scale/bye" in done.stderr
    assert "did you mean 'by'" in done.stderr
    assert "Traceback" not in done.stderr


def test_spec_schema_is_json(command):
    schema = json.loads(command("spec", "schema").stdout)
    assert "weighted_sum" in schema["$defs"]["node"]["properties"]
