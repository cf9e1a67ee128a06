"""Grid worlds from text."""

import numpy as np
import pytest

from rewardsmith.testbeds import expected_return, greedy_policy, gridworld_mdp, value_iteration

CORRIDOR = """
#####
#S.G#
#####
"""


def test_the_shortest_way_is_discounted_by_its_length() -> None:
    world = gridworld_mdp(CORRIDOR, discount=0.9)
    assert world.cells.tolist() == [[1, 1], [1, 2], [1, 3]]
    assert world.mdp.terminal.tolist() == [False, False, True]
    values = value_iteration(world.mdp)
    np.testing.assert_allclose(values.v, [0.9, 1.0, 0.0], atol=1e-12)
    assert greedy_policy(values.q)[:2].argmax(axis=1).tolist() == [0, 0]


def test_step_and_pit_rewards_are_paid_on_arrival() -> None:
    mdp = gridworld_mdp("PSG", discount=0.5, step_reward=-0.1, pit_reward=-2.0).mdp
    assert mdp.reward[1, 0, 2] == pytest.approx(0.9)
    assert mdp.reward[1, 1, 0] == pytest.approx(-2.1)
    assert mdp.reward[1, 2, 1] == pytest.approx(-0.1)
    left = np.tile([0.0, 1.0, 0.0, 0.0], (3, 1))
    assert expected_return(mdp, left) == pytest.approx(-2.1)


def test_slip_goes_sideways_and_walls_hold() -> None:
    world = gridworld_mdp("S.\n.G", slip=0.2)
    # From the upper left corner, right: sideways is down, or up into the wall.
    np.testing.assert_allclose(world.mdp.transition[0, 0], [0.1, 0.8, 0.1, 0.0])
    # Up is a wall: stay, or slip right, or slip left into a wall.
    np.testing.assert_allclose(world.mdp.transition[0, 3], [0.9, 0.1, 0.0, 0.0])


def test_several_starts_are_equally_likely_and_short_lines_are_walled() -> None:
    world = gridworld_mdp("S#S\nG")
    assert world.mdp.start.tolist() == [0.5, 0.5, 0.0]
    assert world.cells.tolist() == [[0, 0], [0, 2], [1, 0]]
    # The second start lies over a cell that its line does not have.
    assert world.mdp.transition[1, 2, 1] == 1.0


def test_leading_spaces_of_the_first_line_are_cells() -> None:
    assert gridworld_mdp("  S\nG##").cells.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("\n  \n", "empty"), ("S?G", "column 1: unknown mark"), ("#.G", "no start")],
)
def test_a_broken_map_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gridworld_mdp(text)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="slip"):
        gridworld_mdp(CORRIDOR, slip=1.5)
    with pytest.raises(ValueError, match="finite"):
        gridworld_mdp(CORRIDOR, goal_reward=float("nan"))
    with pytest.raises(ValueError, match="discount"):
        gridworld_mdp(CORRIDOR, discount=2.0)
