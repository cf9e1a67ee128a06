"""The front doors of the rooms: names load on first use."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("room", ["combine", "signals", "transforms"])
def test_every_name_of_a_room_loads(room: str) -> None:
    door = import_module(f"rewardsmith.{room}")
    for name in door._HOMES:
        assert getattr(door, name).__name__ == name
    with pytest.raises(AttributeError, match=f"'rewardsmith.{room}' has no attribute 'Nope'"):
        door.Nope  # noqa: B018
