"""The sums of a scoring run against what they are sums of."""

import itertools
import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.adapters.files.tally import Tally
from rewardsmith.core.execution import CACHED, RAN, TWIN


def table(
    values: list[float | None],
    groups: list[int] | None = None,
    start: int = 0,
    status: list[str] | None = None,
    **notes: Any,
) -> pa.Table:
    """A table as :func:`rewardsmith.adapters.files.labeling.table` makes them."""
    status = status or ["failed" if value is None else "scored" for value in values]
    columns = {
        "row": pa.array(np.arange(start, start + len(values))),
        "reward": pa.array(values, pa.float32()),
        "status": pa.array(status, pa.string()),
        "error": pa.array([None] * len(values), pa.string()),
        **{name.replace("__", "/"): pa.array(note) for name, note in notes.items()},
    }
    if groups is not None:
        columns["_group"] = pa.array(np.array(groups, dtype=np.uint64))
    return pa.table(columns)


def tally_of(*tables: pa.Table) -> Tally:
    tally = Tally()
    for part in tables:
        tally.add(part)
    return tally


# --- pass@k ---------------------------------------------------------------------------------------


def pass_at(groups: dict[int, list[float]], k: int) -> float | None:
    """By every choice of k rows of a group."""
    shares = []
    for values in groups.values():
        if len(values) >= k:
            drawn = list(itertools.combinations(values, k))
            shares.append(sum(1.0 in some for some in drawn) / len(drawn))
    return sum(shares) / len(shares) if shares else None


ROWS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 2**64 - 1]), st.sampled_from([0.0, 1.0, 1.0, None])),
    min_size=1,
    max_size=24,
)


@given(ROWS, st.lists(st.integers(0, 24), max_size=3), st.booleans())
def test_pass_at_k(rows: list[Any], cuts: list[int], together: bool) -> None:
    if together:
        rows = sorted(rows, key=lambda row: row[0])
    ends = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    tables = [
        table([value for _, value in rows[a:b]], [group for group, _ in rows[a:b]], a)
        for a, b in itertools.pairwise(ends)
    ]
    part = tally_of(*tables).parts[""]
    groups: dict[int, list[float]] = {}
    for group, value in rows:
        if value is not None:
            groups.setdefault(group, []).append(value)
    for k in (1, 2, 3, 8):
        expected = pass_at(groups, k)
        found = part.pass_at(k)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert math.isclose(found, expected, abs_tol=1e-12)
    assert part.largest_group() == max(map(len, groups.values()), default=0)


def test_pass_at_1_is_the_mean_of_means() -> None:
    part = tally_of(table([1.0, 0.0, 0.0, 0.0, 1.0], [1, 1, 1, 1, 2])).parts[""]
    assert part.pass_at(1) == pytest.approx((0.25 + 1.0) / 2)
    assert part.pass_at(5) is None


def test_large_groups_do_not_overflow() -> None:
    part = tally_of(table([1.0] + [0.0] * 4999, [7] * 5000)).parts[""]
    assert part.pass_at(1) == pytest.approx(1 / 5000)
    assert part.pass_at(2500) == pytest.approx(0.5)


def test_no_pass_at_k_of_scores_in_between() -> None:
    assert tally_of(table([0.5, 1.0], [1, 1])).parts[""].pass_at(1) is None
    late = tally_of(table([1.0, 0.0], [1, 1]), table([0.25], [2]))
    assert late.parts[""].pass_at(1) is None
    assert not late.parts[""].binary


def test_no_pass_at_k_without_groups_or_scores() -> None:
    assert tally_of(table([1.0, 0.0])).parts[""].pass_at(1) is None
    none = tally_of(table([None, None], [1, 1])).parts[""]
    assert none.pass_at(1) is None
    assert none.largest_group() == 0


# --- means and counts -----------------------------------------------------------------------------


def test_means_statuses_and_parts() -> None:
    both = table([1.0, None, 3.0], status=["scored", "timeout", "scored"])
    both = both.append_column("reward/a", pa.array([None, 2.0, 4.0], pa.float32()))
    both = both.append_column("status/a", pa.array(["failed", "scored", "scored"]))
    tally = tally_of(both, both)
    whole, part = tally.parts[""], tally.parts["a"]
    assert (whole.rows, whole.scored, whole.mean) == (6, 4, 2.0)
    assert (part.rows, part.scored, part.mean) == (6, 4, 3.0)
    assert tally.statuses == {"scored": 4, "timeout": 2}


def test_what_a_row_without_a_score_is_worth_is_not_counted() -> None:
    part = tally_of(table([1.0, -2.0], [1, 1], status=["scored", "failed"])).parts[""]
    assert (part.mean, part.scored, part.binary) == (1.0, 1, True)
    assert part.pass_at(1) == 1.0


def test_nothing_at_all() -> None:
    assert tally_of().parts == {}
    part = tally_of(table([None])).parts[""]
    assert math.isnan(part.mean)
    assert math.isnan(part.percentile(0.5))
    empty = tally_of(table([])).parts[""]
    assert empty.rows == 0
    assert math.isnan(empty.mean)


def test_where_outcomes_came_from() -> None:
    origin = np.array([RAN, TWIN, TWIN, CACHED, RAN, RAN], dtype=np.int8)
    part = tally_of(table([1.0] * 6, _origin__=origin)).parts[""]
    assert (part.ran, part.twins, part.cached) == (3, 2, 1)


# --- latencies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_percentiles_are_within_five_percent(seed: int) -> None:
    chance = random.Random(seed)
    seconds = [10 ** chance.uniform(-6.9, 3.9) for _ in range(chance.choice([1, 2, 10, 3001]))]
    tables = [
        table([1.0] * len(some), _seconds__=np.array([*some, math.nan], np.float32)[:-1])
        for some in (seconds[: len(seconds) // 2], seconds[len(seconds) // 2 :])
    ]
    part = tally_of(*tables).parts[""]
    for q in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = float(np.quantile(np.float32(seconds), q, method="inverted_cdf"))
        assert part.percentile(q) == pytest.approx(exact, rel=0.05)


def test_rows_that_were_not_run_have_no_latency() -> None:
    seconds = np.array([math.nan, 0.5, math.nan], dtype=np.float32)
    tally = tally_of(table([1.0] * 3, _seconds__=seconds))
    part = tally.parts[""]
    assert part.latency.sum() == 1
    assert part.percentile(0.5) == pytest.approx(0.5, rel=0.05)
    assert [slow.row for slow in tally.slowest] == [1]


def test_latencies_out_of_all_bounds() -> None:
    seconds = np.array([0.0, 1e9], dtype=np.float32)
    part = tally_of(table([1.0] * 2, _seconds__=seconds)).parts[""]
    assert part.percentile(0.5) == 1e-7
    assert part.percentile(1.0) == 1e4


def test_the_slowest_rows_of_all_tables_and_parts() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(1.0, 41.0)).astype(np.float32)
    tables = []
    for start in (0, 20):
        some = seconds[start : start + 20]
        one = table([1.0] * 20, start=start, _seconds__=some)
        one = one.append_column("reward/a", pa.array([1.0] * 20, pa.float32()))
        one = one.append_column("status/a", pa.array(["scored"] * 20))
        tables.append(one.append_column("_seconds/a", pa.array(some - np.float32(0.5))))
    found = sorted(tally_of(*tables).slowest, reverse=True)
    assert [slow.seconds for slow in found] == [40.0, 39.5, 39.0, 38.5, 38.0]
    assert [slow.path for slow in found] == ["", "a", "", "a", ""]
    assert all(seconds[slow.row] == math.ceil(slow.seconds) for slow in found)
