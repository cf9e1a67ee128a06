"""Rows of text from files of every kind: what is read, in which chunks, and what is refused."""

import gzip
import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.adapters.files import rows as module
from rewardsmith.adapters.files.label_table import Piece, table
from rewardsmith.adapters.files.labeling import label, tag
from rewardsmith.adapters.files.labels import Labels
from rewardsmith.adapters.files.rows import Rows
from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING

DATA: list[dict[str, Any]] = [
    {"prompt": "?", "completion": f"c{i}", "extra": {"answer": i, "deep": {"er": [i]}}, "g": i // 2}
    for i in range(10)
]
COLUMNS = ("completion", "extra.answer")


def length(completion: str) -> float:
    return float(len(completion))


def lines(rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Sets(ModuleType):
    """A stand-in for the package datasets."""

    class Data(list[Any]):
        _fingerprint = "0123"
        column_names: ClassVar[list[str]] = list(DATA[0])

    def load_dataset(self, name: str, split: str) -> Any:
        if name == "missing/set":
            raise FileNotFoundError("no such set")
        return self.Data(DATA if split == "train" else DATA[:3])


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet", "hub", "stdin"])
def source(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same rows as each kind of data."""
    file = tmp_path / f"data.{request.param}"
    if request.param == "jsonl":
        file.write_bytes(lines(DATA))
    elif request.param == "jsonl.gz":
        file.write_bytes(gzip.compress(lines(DATA)))
    elif request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(DATA), file, row_group_size=3)
    elif request.param == "hub":
        monkeypatch.setitem(sys.modules, "datasets", Sets("datasets"))
        return "hf:some/set"
    else:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines(DATA))))
        return "-"
    return str(file)


def jsonl(folder: Path, *rows: Any) -> str:
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join(r if isinstance(r, bytes) else lines([r]) for r in rows))
    return str(path)


def column(pieces: Any, name: str) -> list[Any]:
    return [value for piece in pieces for value in piece.rollouts.column(name)]


# --- what is read ---------------------------------------------------------------------------------


def test_every_kind_of_data_holds_the_same(source: str) -> None:
    rows = Rows(source, {"answer": "extra.answer", "group": "g"}, ["completion", "answer"])
    assert rows.resumable == (source != "-")
    assert len(rows) == (10 if rows.resumable else 0)
    assert set(rows.columns) >= {"prompt", "completion", "extra", "g", "answer", "group"}
    pieces = list(rows.pieces(4))
    assert [len(piece.rollouts) for piece in pieces] == [4, 4, 2]
    assert [piece.start for piece in pieces] == [0, 4, 8]
    assert column(pieces, "completion") == [f"c{i}" for i in range(10)]
    assert column(pieces, "answer") == list(range(10))
    assert pieces[0].rollouts.group.tolist() == [0, 0, 1, 1]
    assert len(pieces[0].places or []) == 4


def test_places_are_where_an_editor_finds_them(tmp_path: Path) -> None:
    file = jsonl(tmp_path, {"a": 1}, b"\n", b"  \t\r\n", {"a": 2})
    (piece,) = Rows(file, {}, ["a"]).pieces(9)
    assert piece.places == [f"{file}:1", f"{file}:4"]
    assert column([piece], "a") == [1, 2]


def test_the_last_line_may_have_no_end(tmp_path: Path) -> None:
    rows = Rows(jsonl(tmp_path, {"a": 1}, b'{"a": 2}'), {}, ["a"])
    assert len(rows) == 2
    assert column(rows.pieces(9), "a") == [1, 2]


def test_a_split_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", Sets("datasets"))
    assert len(Rows("hf:some/set:test")) == 3
    with pytest.raises(SpecError, match="hf:missing/set: cannot load it: no such set"):
        Rows("hf:missing/set")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SpecError, match="pip install datasets"):
        Rows("hf:some/set")


def test_what_a_row_does_not_have_is_missing(tmp_path: Path) -> None:
    file = jsonl(tmp_path, {"a": {"b": 1}}, {"a": 3}, {"a": {}}, {"c": None}, {"a.b": 5})
    (piece,) = Rows(file, {}, ["a.b", "c"], copied=["c"]).pieces(9)
    # A column that is really called so comes first; what is null is there.
    assert piece.rollouts.column("a.b") == [1, MISSING, MISSING, MISSING, 5]
    assert piece.rollouts.column("c") == [MISSING, MISSING, MISSING, None, MISSING]
    assert piece.copied["c"] == [None] * 5


def test_a_row_that_lacks_a_column_fails_and_defaults_are_used(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path,
        {"completion": "abc", "answer": "abc"},
        {"completion": "abc"},
        {"answer": "abc"},
        {"completion": "abc", "answer": "abc", "bonus": 2.0},
        {"completion": "abc", "answer": None},
    )
    reward = Function(exact)
    (piece,) = Rows(file, {}, ["completion", "answer", "bonus"]).pieces(9)
    scores = reward(piece.rollouts)
    assert scores.status.tolist() == [0, 3, 3, 0, 0]
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 2.0, 0.0]
    assert scores.errors[1] == ("", "this row has no column 'answer'")
    assert scores.errors[2] == ("", "this row has no column 'completion'")
    # A column that no row has is no column: the default stands.
    (piece,) = Rows(file, {}, ["completion", "answer", "other"]).pieces(9)
    assert "other" not in piece.rollouts.columns


def exact(completion: str, answer: str, bonus: float = 1.0) -> float:
    return bonus * (completion == answer)


def test_a_column_may_be_empty_at_first(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *[{"a": None, "g": None}] * 99, {"a": 1, "g": 2})
    rows = Rows(file, {"mine": "a"}, ["mine"], group="g", copied=["a"])
    assert "mine" in rows.columns
    (piece,) = rows.pieces(100)
    assert piece.copied["a"][-1] == 1


@pytest.mark.parametrize("text", ["\ud800", "\0", "é" * 9, "", "\u2028", "a\r\nb"])
def test_texts_of_all_kinds(tmp_path: Path, text: str) -> None:
    file = jsonl(tmp_path, {"completion": text, "g": text})
    rows = Rows(file, {}, ["completion"], group="g", copied=["completion"])
    (piece,) = rows.pieces(9, scope="group")
    assert piece.rollouts.column("completion") == [text]
    scores = Function(length)(piece.rollouts)
    assert scores.values.tolist() == [len(text)]
    written = table(scores, piece)
    assert written["completion"].to_pylist() == [text.replace("\ud800", "?")]


def test_groups_have_the_same_number_in_every_run(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *[{"g": g} for g in ["a", "a", 1, None, [1], "a"]])
    numbers = []
    for start in (0, 3):
        pieces = Rows(file, {}, [], group="g").pieces(2, start)
        numbers.append([n for piece in pieces for n in piece.groups or []])
    assert numbers[0][3:] == numbers[1]
    # A row without a group is one of its own.
    assert len(set(numbers[0])) == 4
    assert numbers[0][0] == numbers[0][5]


# --- chunks ---------------------------------------------------------------------------------------


def shape(pieces: Any) -> list[tuple[int, int]]:
    return [(piece.start, len(piece.rollouts)) for piece in pieces]


def test_a_run_that_goes_on_has_the_chunks_of_one_that_was_not_ended(source: str) -> None:
    if source == "-":
        pytest.skip("standard input comes once")
    for whole in (False, True):
        rows = Rows(source, {"group": "g"}, ["completion"])
        full = shape(rows.pieces(3, scope="group" if whole else "row"))
        for done, _ in full:
            rest = rows.pieces(3, done, scope="group" if whole else "row")
            assert shape(rest) == [piece for piece in full if piece[0] >= done]
        assert shape(rows.pieces(3, 2, 7)) == [(2, 3), (5, 2)]


def test_standard_input_loses_nothing_of_what_was_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = [{"a": i} for i in range(200)]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines(many))))
    rows = Rows("-", {}, ["a"])
    assert column(rows.pieces(7), "a") == list(range(200))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(1, 9), st.booleans())
def test_whole_groups(sizes: list[int], chunk: int, whole: bool) -> None:
    data = [{"g": g} for g, size in enumerate(sizes) for _ in range(size)]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = Rows(jsonl(Path(folder), *data), {}, [], group="g")
        pieces = list(rows.pieces(chunk, scope="group" if whole else "row"))
    found = [[data[piece.start + i]["g"] for i in range(len(piece.rollouts))] for piece in pieces]
    assert [g for piece in found for g in piece] == [row["g"] for row in data]
    if whole:
        assert sum(len(set(piece)) for piece in found) == len(sizes)
        # It ends with the group that fills it.
        assert all(len(piece) - sizes[piece[-1]] < chunk <= len(piece) for piece in found[:-1])
    else:
        assert all(len(piece) == chunk for piece in found[:-1])


def test_groups_that_do_not_lie_together_are_refused(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *[{"g": g} for g in "aabba"])
    rows = Rows(file, {}, [], group="g")
    with pytest.raises(SpecError) as found:
        list(rows.pieces(2, scope="group"))
    assert str(found.value).startswith(f"{file}:5: group 'a' began earlier in the file")
    assert "sort the file by 'g'" in str(found.value)
    assert shape(rows.pieces(2)) == [(0, 2), (2, 2), (4, 1)]


def test_long_texts_make_short_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 1000)
    file = jsonl(tmp_path, *[{"a": "x" * 400}] * 7, *[{"a": ""}] * 100, {"a": "x" * 5000})
    chunks = shape(Rows(file, {}, ["a"]).pieces(1000))
    assert chunks[:2] == [(0, 3), (3, 3)]
    assert sum(n for _, n in chunks) == 108


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines_", "told"),
    [
        ([{"a": 1}, b"{oops}\n"], ":2: no JSON: Expecting property name"),
        ([{"a": 1}, b"\n", b"[1]\n"], ":3: a row is a JSON object, this is list"),
        ([b"3\n"], ":1: a row is a JSON object, this is int"),
        ([b'{"a": "\xff"}\n'], ":1: no JSON: 'utf-8' codec can't decode"),
        ([b'{"a": ' + b"[" * 100_000 + b"\n"], ":1: no JSON: "),
        ([b'{"a": ' + b"9" * 5000 + b"}\n"], ":1: no JSON: Exceeds the limit"),
        ([], ": it holds no rows"),
        ([b"\n  \n"], ": it holds no rows"),
    ],
)
def test_broken_lines(tmp_path: Path, lines_: Any, told: str) -> None:
    file = jsonl(tmp_path, *lines_)
    with pytest.raises(SpecError) as found:
        Rows(file, {}, ["a"])
    assert str(found.value).startswith(file + told)


def test_a_line_that_is_broken_late_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *[{"a": 1}] * 100, b"oops\n")
    with pytest.raises(SpecError, match=r"rows\.jsonl:101: no JSON"):
        Rows(file, {}, ["a"])


def test_a_column_may_come_late(tmp_path: Path) -> None:
    rows = Rows(jsonl(tmp_path, *[{"a": 1}] * 100, {"b": 2}), {}, ["a", "b"])
    assert "b" in rows.columns
    assert column(rows.pieces(1000), "b") == [MISSING] * 100 + [2]


def test_a_group_that_was_refused_is_refused_again(tmp_path: Path) -> None:
    rows = Rows(jsonl(tmp_path, *[{"g": g} for g in "aabbaa"]), {}, [], group="g")
    for start in (0, 2, 4):
        with pytest.raises(SpecError, match="group 'a' began earlier"):
            list(rows.pieces(2, start, scope="group"))


def test_rows_without_a_group_are_alone(tmp_path: Path) -> None:
    data = [{"g": 1}, {}, {"g": None}, {"g": "null"}, {"g": "1"}]
    (piece,) = Rows(jsonl(tmp_path, *data), {}, [], group="g").pieces(9)
    assert len(set(piece.groups or [])) == 5


def test_a_batch_is_not_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 1000)
    rows = Rows(jsonl(tmp_path, *[{"a": "x" * 400}] * 7), {}, ["a"])
    assert shape(rows.pieces(7, scope="batch")) == [(0, 7)]


@pytest.mark.parametrize("name", ["row", "reward", "status", "error", "_id"])
def test_names_that_the_labels_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=f"the labels have a column '{name}' of their own"):
        Rows(jsonl(tmp_path, {name: 1}), {}, [], copied=[name])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines(DATA))
    with pytest.raises(SpecError, match=r"there is no such file; did you mean 'rows\.jsonl'\?"):
        Rows(str(tmp_path / "row.jsonl"))
    with pytest.raises(SpecError, match=r"there is no such file$"):
        Rows(str(tmp_path / "nowhere" / "rows.jsonl"))
    (tmp_path / "rows.csv").write_text("a,b")
    with pytest.raises(SpecError, match=r"rows of text are \.jsonl, \.jsonl\.gz or \.parquet"):
        Rows(str(tmp_path / "rows.csv"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(SpecError, match="cannot read it: Is a directory"):
        Rows(str(tmp_path / "folder.jsonl"))
    (tmp_path / "odd.parquet").write_text("not one")
    with pytest.raises(SpecError, match=r"odd\.parquet: cannot read it: "):
        Rows(str(tmp_path / "odd.parquet"))
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(SpecError, match=r"empty\.parquet: it holds no rows"):
        Rows(str(tmp_path / "empty.parquet"))


@pytest.mark.parametrize("damage", ["plain", "cut", "middle"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress(lines([{"a": i * 7919} for i in range(5000)])))
    if damage == "plain":
        packed = bytearray(lines(DATA))
    elif damage == "cut":
        packed = packed[: len(packed) // 2]
    else:
        packed[len(packed) // 2 :] = b"\xff" * (len(packed) // 2)
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    with pytest.raises(SpecError, match=r"a\.jsonl\.gz: cannot read it: "):
        Rows(str(tmp_path / "a.jsonl.gz"))


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *DATA)
    with pytest.raises(SpecError, match=r"there is no column 'groop'; valid names|did you mean"):
        Rows(file, {}, [], group="groop")
    with pytest.raises(SpecError, match=r"there is no column 'prompts'; did you mean 'prompt'\?"):
        Rows(file, {}, [], copied=["prompt", "prompts"])
    with pytest.raises(SpecError, match=r"there is no column 'extra\.question'"):
        Rows(file, {}, [], copied=["extra.question"])
    assert "extra.question" not in Rows(file, {}, ["extra.question"]).columns
    # What the reward needs and the file has not is told by who needs it.
    assert "answer" not in Rows(file, {}, ["answer"]).columns
    assert "extra.answer" in Rows(file, {}, ["extra.answer"]).columns


# --- all the way to labels ------------------------------------------------------------------------


MIXED = [1, 2**60, 0.5, 2**70, "text", None, True, [1], {"a": None}, "\ud800", -0.0, float("nan")]


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_copied_columns_of_mixed_types(tmp_path: Path, chunk: int) -> None:
    data = [{"completion": "abc", "id": i, "mixed": value} for i, value in enumerate(MIXED)]
    rows = Rows(jsonl(tmp_path, *data), {}, ["completion"], copied=["id", "mixed"])
    out = tmp_path / "out.parquet"
    labels = Labels(out, len(rows), tag(Function(length), rows))
    for _ in label(Function(length), rows, labels, chunk=chunk):
        pass
    labels.finish()
    found = pq.read_table(out)
    assert found["id"].to_pylist() == list(range(len(MIXED)))
    assert found["mixed"].type == pa.string()
    assert found["mixed"][1].as_py() == str(2**60)
    assert found["reward"].to_pylist() == [3.0] * len(MIXED)


@pytest.mark.parametrize("values", [[1, 0.5], [2**60 + 1, 0.5], [1, None], [None, 1], [True, 1]])
def test_numbers_of_several_kinds_in_several_chunks(tmp_path: Path, values: list[Any]) -> None:
    data = [{"completion": "abc", "x": value} for value in values]
    rows = Rows(jsonl(tmp_path, *data), {}, ["completion"], copied=["x"])
    labels = Labels(tmp_path / "out.parquet", len(rows), tag(Function(length), rows))
    for _ in label(Function(length), rows, labels, chunk=1):
        pass
    labels.finish()
    found = pq.read_table(tmp_path / "out.parquet")["x"].to_pylist()
    assert [None if v is None else float(str(v).replace("true", "1")) for v in found] == [
        None if v is None else float(v) for v in values
    ]


def test_what_parquet_holds_and_json_does_not(tmp_path: Path) -> None:
    import datetime

    columns = {"completion": ["a"], "day": [datetime.date(2020, 1, 2)], "raw": [b"\xff"]}
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    rows = Rows(str(tmp_path / "data.parquet"), {}, ["completion"], copied=["day", "raw"])
    (piece,) = rows.pieces(9)
    found = table(Function(length)(piece.rollouts), piece)
    assert found["day"].to_pylist() == ['"2020-01-02"']


def test_a_reward_that_reads_nothing_has_rows_all_the_same(tmp_path: Path) -> None:
    (piece,) = Rows(jsonl(tmp_path, *DATA)).pieces(100)
    assert isinstance(piece, Piece)
    assert isinstance(piece.rollouts, Rollouts)
    assert len(piece.rollouts) == 10


def test_another_file_is_another_identity(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *DATA)
    first = Rows(file).identity
    assert Rows(file).identity == first
    jsonl(tmp_path, *DATA, {"a": 1})
    assert Rows(file).identity != first
