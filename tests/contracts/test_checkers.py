"""What the answer checkers of trainers say of our attacks is what is written beside them."""

import pytest
from tests.attacks import PEERS, asked, rows

pytestmark = pytest.mark.contracts

ROWS = rows()


@pytest.fixture(scope="module", autouse=True)
def peers():
    pytest.importorskip("trl")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['gold']} | {row['string'][-30:]}")
def test_peers_say_what_was_recorded(row):
    assert asked(row) == row["peers"]


def test_every_peer_errs_both_ways_or_refuses():
    """What the documentation says of them."""
    accepted = dict.fromkeys(PEERS, 0)
    refused = dict.fromkeys(PEERS, 0)
    for row in ROWS:
        for name, score in row["peers"].items():
            right = score == float(row["truth"])
            accepted[name] += not row["truth"] and not right
            refused[name] += row["truth"] and not right
    assert all(accepted[name] + refused[name] for name in PEERS)
    assert accepted["math_verify"] > 10
    assert refused["verl_math_reward"] > 10
