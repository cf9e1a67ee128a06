"""The digest of a reward: its tree and the source of its functions, not where they lie."""

from pathlib import Path

import pytest

from rewardsmith.core.errors import SpecError
from rewardsmith.core.fingerprint import digest, fingerprint
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.spec import loads

SPEC = "reward: {scale: {of: {function: {call: './pay.py:pay', step: true}}, by: 2.0}}"


def made(folder: Path, code: str, spec: str = SPEC) -> Reward:
    folder.mkdir()
    (folder / "pay.py").write_text(code)
    return loads(spec, base=folder)


def test_a_copy_of_a_project_has_the_same_digest(tmp_path: Path) -> None:
    code = "def pay(env_reward): return env_reward"
    first, second = made(tmp_path / "a", code), made(tmp_path / "b", code)
    assert fingerprint(first) == fingerprint(second)
    assert len(fingerprint(first)) == 12


def test_the_tree_an_argument_or_a_source_changes_it(tmp_path: Path) -> None:
    code = "def pay(env_reward): return env_reward"
    trees = [
        made(tmp_path / "a", code),
        made(tmp_path / "b", code + " * 1.5"),
        made(tmp_path / "c", code, SPEC.replace("2.0", "3.0")),
        made(tmp_path / "d", code, SPEC.replace("scale", "shift")),
        made(tmp_path / "e", code, "reward: {min: {parts: {x: {env_reward: }}}}"),
        made(tmp_path / "f", code, "reward: {min: {parts: {y: {env_reward: }}}}"),
    ]
    assert len({fingerprint(tree) for tree in trees}) == len(trees)


def test_what_has_no_name_has_no_digest() -> None:
    with pytest.raises(SpecError, match="no importable name"):
        fingerprint(Function(lambda completion: 1.0))


def test_the_order_of_keys_does_not_count() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
