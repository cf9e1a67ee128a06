"""The best assignment, against trying all of them."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.assignment import best_total

# Quarters are exact, so that equalities are equalities.
quarters = st.integers(-8, 12).map(lambda k: k / 4)


@st.composite
def tables(draw: st.DrawFn) -> list[list[float]]:
    columns = draw(st.integers(0, 5))
    return draw(
        st.lists(st.lists(quarters, min_size=columns, max_size=columns), min_size=1, max_size=4)
    )


def by_hand(table: list[list[float]]) -> float:
    padded = [row + [0.0] * len(table) for row in table]
    columns = range(len(padded[0]))
    return max(
        sum(row[j] for row, j in zip(padded, choice, strict=True))
        for choice in permutations(columns, len(table))
    )


@given(tables())
def test_it_is_the_best_of_all(table: list[list[float]]) -> None:
    assert best_total(table) == by_hand(table)


def test_no_rows() -> None:
    assert best_total([]) == 0.0


def test_many_columns_are_linear() -> None:
    rows = [[float((i * 7919 + j * 104729) % 1000) for j in range(100_000)] for i in range(3)]
    assert best_total(rows) == 3 * 999.0
