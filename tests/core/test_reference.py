"""Callables by name, and the digest of their source."""

import copy
import functools
import operator
import pickle
import sys
import types
from pathlib import Path

import pytest
from tests import laws

from rewardsmith.core.errors import SpecError
from rewardsmith.core.reference import ByName, Reference, resolve, source_hash

CODE = """
class Judge:
    @staticmethod
    def strict(completion):
        return 1.0

def lenient(completion):
    return 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "judges.py"
    path.write_text(CODE)
    return path


def test_a_name_in_a_file_and_back(file: Path) -> None:
    for name in ("Judge.strict", "lenient"):
        reference = Reference.parse(f"./judges.py:{name}", file.parent)
        call = resolve(reference)
        assert call is resolve(reference)
        assert Reference.of(call) == reference
        assert reference.relative_to(file.parent) == f"./judges.py:{name}"
        assert reference.relative_to(file.parent / "deeper") == f"{file}:{name}"


def test_a_name_in_a_module_and_back() -> None:
    reference = Reference.parse("tests.laws:height", Path())
    assert resolve(reference) is laws.height
    assert Reference.of(laws.height) == reference
    assert reference.relative_to(Path()) == "tests.laws:height"


def test_the_nearest_name_is_told(file: Path) -> None:
    with pytest.raises(SpecError, match="has no 'lenint'; did you mean 'lenient'"):
        resolve(Reference.parse("./judges.py:lenint", file.parent))
    with pytest.raises(SpecError, match=r"no file \S+judge.py; did you mean 'judges.py'"):
        Reference.parse("./judge.py:lenient", file.parent)


@pytest.mark.parametrize("text", ["height", ":height", "tests.laws:", ""])
def test_a_text_that_names_nothing(text: str) -> None:
    with pytest.raises(SpecError, match="names no function"):
        Reference.parse(text, Path())


def test_what_has_no_importable_name() -> None:
    for call in (lambda: 0, functools.partial(laws.height), operator.itemgetter(0)):
        with pytest.raises(SpecError, match="no importable name"):
            Reference.of(call)


def test_a_function_of_a_file_travels_by_its_name(file: Path) -> None:
    lenient = resolve(Reference.parse("./judges.py:lenient", file.parent))
    sent = ByName(lenient)
    assert sent("any") == 0.5
    assert copy.deepcopy({"call": sent})["call"] is sent
    # The function itself comes out, so that nothing of ours is needed to call it.
    assert pickle.loads(pickle.dumps(sent)) is lenient
    with pytest.raises(SpecError, match="no importable name"):
        pickle.dumps(ByName(lambda: 0))


def test_a_file_that_does_not_import_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise RuntimeError('at import')")
    before = set(sys.modules)
    with pytest.raises(SpecError, match="RuntimeError: at import"):
        resolve(Reference.parse("./broken.py:call", tmp_path))
    assert set(sys.modules) == before
    path.write_text("def call(): return 7")
    assert resolve(Reference.parse("./broken.py:call", tmp_path))() == 7


def test_a_function_of_the_running_script_is_found_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    script = tmp_path / "train.py"
    script.write_text("def pay(): pass")
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    exec(script.read_text(), main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    reference = Reference.of(main.pay)
    assert reference == Reference(str(script), "pay")
    # The script itself, not a second copy of it.
    assert resolve(reference) is main.pay


def test_the_digest_follows_the_source(tmp_path: Path) -> None:
    digests = set()
    for i in range(2):
        path = tmp_path / f"f{i}.py"
        path.write_text(f"class C:\n    def __call__(self): return {i}\ndef f(): return {i}")
        call = resolve(Reference.parse(f"./f{i}.py:f", tmp_path))
        made = resolve(Reference.parse(f"./f{i}.py:C", tmp_path))()
        assert source_hash(call) == source_hash(made)
        digests.add(source_hash(call))
    assert len(digests) == 2


def test_a_function_of_a_notebook_is_told_where_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("def mine(completion): return 1.0", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SpecError, match=r"mine stands in a notebook .*executor='inline'"):
        Reference.of(main.mine)
