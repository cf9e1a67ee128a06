"""Two files of labels: exactly the rows that changed."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.adapters.files import diff
from rewardsmith.adapters.files.diff import Change, changes
from rewardsmith.core.errors import SpecError


def labels(path: Path, values: list[Any], group: int | None = None, **parts: list[Any]) -> Path:
    """A value is a score, or the status of a row without one."""
    columns: dict[str, Any] = {"row": pa.array(range(len(values)))}
    for name, column in {"": values, **parts}.items():
        end = f"/{name}" if name else ""
        scores = [None if isinstance(v, str) else v for v in column]
        columns[f"reward{end}"] = pa.array(scores, pa.float32())
        columns[f"status{end}"] = pa.array([v if isinstance(v, str) else "scored" for v in column])
    columns["error"] = pa.array([None] * len(values), pa.string())
    pq.write_table(pa.table(columns), path, row_group_size=group or 1000)
    return path


def found(folder: Path, old: list[Any], new: list[Any], **options: Any) -> list[Change]:
    return list(changes(labels(folder / "a.parquet", old), labels(folder / "b.parquet", new)))


def test_scores_and_statuses(tmp_path: Path) -> None:
    old = [0.0, 1.0, "failed", "failed", 1.0, "timeout", 0.5, "abstained"]
    new = [0.0, 0.5, "failed", 0.0, "timeout", "failed", 0.5 + 1e-7, "abstained"]
    assert found(tmp_path, old, new) == [
        Change(1, "", 1.0, 0.5),
        Change(3, "", "failed", 0.0),
        Change(4, "", 1.0, "timeout"),
        Change(5, "", "timeout", "failed"),
    ]
    assert found(tmp_path, old, old) == []


def test_parts_of_both_and_of_one_alone(tmp_path: Path) -> None:
    old = labels(tmp_path / "a.parquet", [1.0, 1.0], gone=[0.0, 0.0], both=[0.0, 1.0])
    new = labels(tmp_path / "b.parquet", [1.0, 1.0], fresh=[1.0, 1.0], both=[0.0, 0.0])
    assert list(changes(old, new)) == [Change(1, "both", 1.0, 0.0)]
    assert list(changes(new, old)) == [Change(1, "both", 0.0, 1.0)]


def test_rows_come_in_order_whatever_the_part(tmp_path: Path) -> None:
    old = labels(tmp_path / "a.parquet", [0.0, 0.0, 0.0], a=[0.0, 0.0, 0.0])
    new = labels(tmp_path / "b.parquet", [0.0, 1.0, 0.0], a=[1.0, 1.0, 1.0])
    assert [(c.row, c.part) for c in changes(old, new)] == [(0, "a"), (1, ""), (1, "a"), (2, "a")]


def test_what_a_row_without_a_score_is_worth_is_no_verdict(tmp_path: Path) -> None:
    for path, worth in (("a", None), ("b", -2.0)):
        columns = {"row": [0], "reward": pa.array([worth], pa.float32()), "status": ["failed"]}
        pq.write_table(pa.table(columns), tmp_path / f"{path}.parquet")
    assert list(changes(tmp_path / "a.parquet", tmp_path / "b.parquet")) == []


def test_the_tolerance(tmp_path: Path) -> None:
    old = labels(tmp_path / "a.parquet", [1.0, 1.0])
    new = labels(tmp_path / "b.parquet", [1.25, 2.0])
    assert [c.row for c in changes(old, new, tolerance=0.5)] == [1]
    assert [c.row for c in changes(old, new)] == [0, 1]


VERDICTS = st.sampled_from([0.0, 1.0, 0.5, "failed", "timeout"])


@given(
    st.lists(st.tuples(VERDICTS, VERDICTS), min_size=1, max_size=40),
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_row_groups_and_reading_sizes_do_not_matter(
    pairs: list[Any], one: int, other: int, at_once: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(diff, "_AT_ONCE", at_once)
        old = labels(Path(folder, "a.parquet"), [a for a, _ in pairs], one)
        new = labels(Path(folder, "b.parquet"), [b for _, b in pairs], other)
        assert list(changes(old, new)) == [
            Change(i, "", a, b) for i, (a, b) in enumerate(pairs) if a != b
        ]


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    n = 10_000
    old = labels(tmp_path / "a.parquet", [0.0] * n, 3000)
    new = labels(tmp_path / "b.parquet", [float(i % 2500 == 7) for i in range(n)], 700)
    assert [c.row for c in changes(old, new)] == [7, 2507, 5007, 7507]


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    old = labels(tmp_path / "a.parquet", [0.0] * 3)
    with pytest.raises(SpecError, match=r"a\.parquet: it has 3 rows, .*b\.parquet has 2"):
        list(changes(old, labels(tmp_path / "b.parquet", [0.0] * 2)))
    pq.write_table(pa.table({"prompt": ["?"]}), tmp_path / "data.parquet")
    with pytest.raises(SpecError, match=r"data\.parquet: it holds no labels: they have the col"):
        list(changes(tmp_path / "data.parquet", old))
    (tmp_path / "text.parquet").write_text("a")
    with pytest.raises(SpecError, match=r"text\.parquet: cannot read it: "):
        list(changes(old, tmp_path / "text.parquet"))
    with pytest.raises(SpecError, match=r"none\.parquet: cannot read it: .*No such file"):
        list(changes(tmp_path / "none.parquet", old))


def test_a_score_that_is_no_number_is_seen(tmp_path: Path) -> None:
    (change,) = found(tmp_path, [math.nan, 0.0], [1.0, 0.0])
    assert change.row == 0
