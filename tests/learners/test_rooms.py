"""The front door of the room: names load on first use."""

import subprocess
import sys
from importlib import import_module

import pytest


def test_every_name_loads_and_none_is_a_module() -> None:
    door = import_module("rewardsmith.learners")
    for name, home in door._HOMES.items():
        import_module(f"rewardsmith.learners.{home}")
        # A function named as its file would be hidden by it once the file is loaded.
        assert name != home
        assert callable(getattr(door, name))
    with pytest.raises(AttributeError, match=r"'rewardsmith.learners' has no attribute 'Nope'"):
        door.Nope  # noqa: B018


def test_the_door_loads_nothing_heavy() -> None:
    code = "import sys, rewardsmith.learners; print({'torch', 'gymnasium'} & {*sys.modules})"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert told.stdout.strip() == "set()"
