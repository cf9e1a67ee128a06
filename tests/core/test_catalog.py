"""The catalog lists without importing, refuses duplicates and knows the nearest name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardsmith.core import catalog
from rewardsmith.core.catalog import KINDS, Paper, find, method, methods, nearest
from rewardsmith.core.errors import SpecError
from rewardsmith.core.node import Node
from rewardsmith.transforms.potential import PotentialShaping

ENTRY = '''
from .catalog import Paper, method

@method("{name}", kind="{kind}", seed={seed}, paper=Paper("1", "T", 2020))
class {name}:
    """What it is.

    More.
    """
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "src" / "pkg"
    package.mkdir(parents=True)
    monkeypatch.setattr(catalog, "_PACKAGE", package)
    methods.cache_clear()
    yield package
    methods.cache_clear()


def test_listing_imports_nothing() -> None:
    code = (
        "import json, sys\n"
        "from rewardsmith.core.catalog import methods\n"
        "names = [m.name for m in methods()]\n"
        "print(json.dumps([names, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    names, modules = json.loads(done.stdout)
    assert "potential_shaping" in names
    assert names == sorted(names)
    for heavy in ("torch", "numpy", "rewardsmith.transforms.potential", "rewardsmith.core.algebra"):
        assert heavy not in modules


def test_every_entry_is_true() -> None:
    for entry in methods():
        thing = find(entry.name)
        assert thing.method_name == entry.name
        assert thing.__module__ == entry.module
        assert entry.kind in KINDS
        assert entry.summary
        assert entry.summary.strip() == (thing.__doc__ or "").split("\n", 1)[0].strip()
        if isinstance(thing, type) and issubclass(thing, Node):
            assert thing.__name__ == entry.qualname


def test_what_an_entry_tells() -> None:
    (entry,) = [m for m in methods() if m.name == "potential_shaping"]
    assert (entry.kind, entry.seed, entry.qualname) == ("transform", (10,), "PotentialShaping")
    assert entry.paper == Paper(
        "ICML 1999",
        "Policy Invariance Under Reward Transformations: Theory and Application to Reward Shaping",
        1999,
    )
    assert find("potential_shaping") is PotentialShaping
    (plain,) = [m for m in methods() if m.name == "env_reward"]
    assert (plain.seed, plain.paper, plain.verdict) == ((), None, None)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="'potential_shapin'; did you mean 'potential_shaping'"):
        find("potential_shapin")
    with pytest.raises(SpecError, match="unknown method 'zzz'; valid names: amft, "):
        find("zzz")
    assert nearest("x", []) == ""


def test_a_name_that_is_registered_twice_is_refused(package: Path) -> None:
    for file in ("a.py", "b.py"):
        (package / file).write_text(ENTRY.format(name="twin", kind="signal", seed=1))
    with pytest.raises(ValueError, match=r"'twin' is registered in pkg\.a and in pkg\.b"):
        methods()


def test_seeds_and_verdicts_are_read_as_text(package: Path) -> None:
    (package / "one.py").write_text(ENTRY.format(name="one", kind="signal", seed=7))
    (package / "two.py").write_text(ENTRY.format(name="two", kind="combine", seed=[8, 9]))
    (package / "not_one.py").write_text("x = '''\n@method(nonsense\n'''\n@staticmethod\ndef f(): 1")
    results = package.parents[1] / "reproductions" / "results"
    results.mkdir(parents=True)
    (results / "009.json").write_text('{"verdict": "supported"}')
    one, two = methods()
    assert (one.seed, one.verdict, one.summary) == ((7,), None, "What it is.")
    assert (two.seed, two.verdict, two.module) == ((8, 9), "supported", "pkg.two")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'signals' is none of signal, transform"):
        method("x", kind="signals")
