"""The digest of code: it follows what a function does, and nothing else."""

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.engine import jobs

from rewardsmith.core import source
from rewardsmith.core.catalog import find
from rewardsmith.core.decorate import reward
from rewardsmith.core.reference import Reference, resolve
from rewardsmith.core.source import code_digest, is_of_project

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """What a file has under a name, with other files beside it, all imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: set[str] = set()
    count = 0

    def loaded(code: str, name: str = "score", **others: str) -> Any:
        nonlocal count
        count += 1
        folder = tmp_path / f"v{count}"
        folder.mkdir()
        (folder / "mine.py").write_text(code)
        for path, text in others.items():
            file = tmp_path / f"{path}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            made.add(path.partition("/")[0])
        forget()
        return resolve(Reference.parse(f"./mine.py:{name}", folder))

    def forget() -> None:
        for module in [m for m in sys.modules if m.partition(".")[0] in made]:
            del sys.modules[module]
        importlib.invalidate_caches()
        source._parsed.cache_clear()

    yield loaded
    forget()


def same(load: Load, one: str, other: str, name: str = "score", **files: str) -> bool:
    first = code_digest(load(one, **files))
    second = code_digest(load(other, name, **files))
    assert first is not None
    assert second is not None
    return first == second


BASE = """
import math

LIMIT = 3
WORDS = ["a"]
WORDS += ["b"]
TABLE = {}
TABLE["a"] = 1
TABLE.update(b=2)

class Box:
    def size(self):
        return 1.5

if LIMIT > 2:
    def helper(x):
        return x + LIMIT
else:
    helper = None

try:
    import nowhere_to_be_found as near
except ImportError:
    near = 5

def unused():
    return 7

def score(value):
    "What it is."
    if value == "score":
        return score(1.25)
    return helper(math.sqrt(value)) + Box().size() + len(WORDS) + TABLE["a"] + near
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("x + LIMIT", "x - LIMIT"),
        ('WORDS = ["a"]', 'WORDS = ["c"]'),
        ('WORDS += ["b"]', 'WORDS += ["c"]'),
        ('TABLE["a"] = 1', 'TABLE["a"] = 2'),
        ("TABLE.update(b=2)", "TABLE.update(a=2)"),
        ("return 1.5", "return 2.5"),
        ("helper = None", "helper = abs"),
        ("near = 5", "near = 6"),
        ("score(1.25)", "score(1.5)"),
        ('value == "score"', 'value == "_"'),
        ("math.sqrt", "math.exp"),
        ("import math", "import cmath as math"),
    ],
)
def test_what_a_function_uses_is_in_it(load: Load, old: str, new: str) -> None:
    assert old in BASE
    assert not same(load, BASE, BASE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 7", "return 8"),
        ("LIMIT = 3", "LIMIT   =   3  # of all"),
        ("import math", "import math\nimport json\nOTHER = 1"),
        ("    return helper", "\n\n    # the sum\n    return helper"),
    ],
)
def test_what_it_does_not_use_is_not(load: Load, old: str, new: str) -> None:
    assert old in BASE
    assert same(load, BASE, BASE.replace(old, new))


def test_the_name_and_the_place_do_not_matter(load: Load) -> None:
    renamed = BASE.replace("def score", "def other").replace("score(1.25)", "other(1.25)")
    assert same(load, BASE, renamed, "other")
    head, body = BASE.split("def unused():")
    assert same(load, BASE, "def unused():" + body.split("def score")[0] + head +
                "def score" + body.split("def score")[1])  # fmt: skip


def test_functions_that_differ_by_their_names_alone_are_not_confused(load: Load) -> None:
    """Each looks for its own name in the text."""
    code = 'def {0}(text):\n    return text == "{0}"\n'
    assert not same(load, code.format("score"), code.format("no"), "no")


def test_other_files_of_the_project(load: Load) -> None:
    code = "from helpers_a import near\ndef score(value):\n    return near(value)\n"
    helper = "from helpers_b import LIMIT\ndef near(value):\n    return value + LIMIT\n"
    digests = {
        code_digest(load(code, helpers_a=helper.replace("+", sign), helpers_b=f"LIMIT = {limit}"))
        for sign in "+-"
        for limit in (1, 2)
    }
    assert len(digests - {None}) == 4


@pytest.mark.parametrize(
    "head",
    [
        "from pack_of.consts import LIMIT",
        "from pack_of import LIMIT",
        "from pack_of import *",
        "import pack_of.consts\nLIMIT = pack_of.consts.LIMIT",
        "import pack_of.consts as c\nimport pack_of.other\nLIMIT = c.LIMIT",
        "import pack_of.consts\nimport pack_of.other\nLIMIT = pack_of.consts.LIMIT",
        "try:\n    from pack_of.consts import LIMIT\nexcept ImportError:\n    LIMIT = 0",
    ],
)
def test_constants_of_packages(load: Load, head: str) -> None:
    code = f"{head}\ndef score(value):\n    return value + LIMIT\n"
    found = {
        code_digest(
            load(
                code,
                **{
                    "pack_of/__init__": "from .consts import LIMIT\n",
                    "pack_of/consts": f"LIMIT = {limit}\n",
                    "pack_of/other": "",
                },
            )
        )
        for limit in (1, 2)
    }
    assert len(found - {None}) == 2


@pytest.mark.parametrize(
    "line", ["from late_of_all import LIMIT", "import late_of_all; LIMIT = late_of_all.LIMIT"]
)
def test_what_is_imported_only_when_it_is_called(load: Load, line: str) -> None:
    code = f"def score(value):\n    {line}\n    return value + LIMIT\n"
    digests = []
    for limit in (1, 2):
        call = load(code, late_of_all=f"LIMIT = {limit}\n")
        digests.append(code_digest(call))
        assert call(1) == 1 + limit
        code_digest.cache_clear()
        # It is the same before and after the import.
        assert code_digest(call) == digests[-1]
    assert len(set(digests) - {None}) == 2


def test_versions_of_what_is_installed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("import yaml", "def unused(): pass"):
        code = f"{line}\ndef score(value):\n    import pydantic\n    return yaml\n"
        first = code_digest(load(code))
        monkeypatch.setattr(source, "_version", lambda package: f"{package} 0.0")
        assert code_digest(load(code)) != first
        monkeypatch.undo()
        monkeypatch.syspath_prepend(str(Path(sys.path[0])))
    assert source._version("yaml").startswith("yaml 6")
    assert source._version("json") == "json"


# --- files that were edited since -----------------------------------------------------------------

EDITED = """
import functools

LIMIT = 3
SIZES = (1, 2)
WORDS = ["a"]
MODEL = None

def doubled(call):
    @functools.wraps(call)
    def inner(value):
        return 2 * call(value)
    return inner

def helper(x, by=2.0, *, plus=1):
    return [y + LIMIT for y in [x]][0] * by + plus

class Box:
    edge = 5

    def size(self):
        return 1.5

    @property
    def half(self):
        return 0.5

    @staticmethod
    def fixed():
        return 2.5

@doubled
def wrapped(x):
    return x - 0.5

def unused():
    return 7

def model():
    global MODEL
    MODEL = MODEL or Box()
    return MODEL

def score(value):
    return helper(value) + wrapped(1) + model().size() + len(WORDS) + SIZES[0] in {"p", "q"}
"""


def edited(load: Load, old: str, new: str, name: str = "score") -> str | None:
    """The digest of a function whose file was edited after it was imported."""
    call = load(EDITED, name)
    path = Path(module(call).__file__ or "")
    assert old in EDITED
    path.write_text(EDITED.replace(old, new))
    source._parsed.cache_clear()
    return code_digest(call)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return helper(value)", "return helper(value + 1)"),
        ("[0] * by", "[0] / by"),
        ("y + LIMIT for", "y - LIMIT for"),
        ("by=2.0", "by=3.0"),
        ("plus=1", "plus=True"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("SIZES = (1, 2)", "SIZES = (2, 1)"),
        ("return 1.5", "return 1.75"),
        ("return 0.5", "return 0.75"),
        ("return 2.5", "return 2.75"),
        ("x - 0.5", "x - 0.25"),
        ("return 2 * call", "return 3 * call"),
        ('"p", "q"', '"p", "r"'),
        ("def helper(x, by=2.0, *, plus=1)", "def helper(x, *, by=2.0, plus=1)"),
    ],
)
def test_a_file_that_was_edited_since_has_no_digest(load: Load, old: str, new: str) -> None:
    """Else the old code's results were kept under the new code's name, for ever."""
    assert edited(load, old, new) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 7", "return 8"),
        ("import functools", "import functools\n\n# The first of all.\n\n"),
        ("LIMIT = 3", "LIMIT   =   3  # of all"),
        ("    return helper(value)", "\n\n    return helper(value)"),
    ],
)
def test_what_was_edited_beside_it_does_not_matter(load: Load, old: str, new: str) -> None:
    assert edited(load, old, new) == code_digest(load(EDITED))


def test_a_file_that_was_not_edited_is_as_it_was(load: Load, tmp_path: Path) -> None:
    call = load(EDITED)
    before = code_digest(call)
    # It runs, which changes what its file holds; and it is loaded from compiled files, elsewhere.
    call(1.0)
    module(call).WORDS.append("b")
    code_digest.cache_clear()
    assert code_digest(call) == before
    folder = tmp_path / "compiled"
    folder.mkdir()
    (folder / "compiled_mine.py").write_text(EDITED)
    code = (
        "from compiled_mine import score\n"
        "from rewardsmith.core.source import code_digest\n"
        "print(code_digest(score))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == before
    assert list(folder.glob("__pycache__/compiled_mine*"))


@pytest.mark.parametrize(("new", "kept"), [("value + 1", False), ("value  # the same", True)])
def test_another_file_that_was_edited_since(load: Load, new: str, kept: bool) -> None:
    code = "from helpers_e import near\ndef score(value):\n    return near(value)\n"
    call = load(code, helpers_e="def near(value):\n    return value\n")
    path = Path(sys.modules["helpers_e"].__file__ or "")
    path.write_text(path.read_text().replace("return value", f"return {new}"))
    assert (code_digest(call) is not None) == kept


# --- what is no plain function --------------------------------------------------------------------

ODD = """
import functools

def plain(value, by=1.0):
    return value * by

def scaled(by):
    def wrap(call):
        @functools.wraps(call)
        def inner(value):
            return by * call(value)
        return inner
    return wrap

@scaled(2.0)
def decorated(value):
    return value

double = scaled(2.0)(plain)
treble = scaled(3.0)(plain)
half = functools.partial(plain, by=0.5)
third = functools.partial(plain, by=0.33)
short = lambda value: value + 1
cached = functools.lru_cache(plain)

class Judge:
    def __init__(self, by):
        self.by = by
    def __call__(self, value):
        return self.by * value
    def ask(self, value):
        return self.by * value
    @staticmethod
    def fixed(value):
        return value

lax, strict = Judge(1.0), Judge(2.0)
hard = Judge(3.0)
soft = Judge(4.0)
asked = soft.ask
"""


def module(call: Any) -> ModuleType:
    return sys.modules[call.__module__]


def test_no_two_callables_are_confused(load: Load) -> None:
    """A class says nothing of its objects, nor a wrapper's name of the wrapper."""
    at = module(load(ODD, "plain"))
    names = ["plain", "decorated", "double", "treble", "half", "third", "short", "cached"]
    names += ["hard", "soft", "asked"]
    calls = [*(getattr(at, name) for name in names), at.Judge.fixed, at.Judge.ask]
    digests = [code_digest(call) for call in calls]
    known = [digest for digest in digests if digest is not None]
    assert len(set(known)) == len(known)
    for name in ("plain", "decorated", "double", "treble", "short", "hard", "soft", "cached"):
        assert code_digest(getattr(at, name)) is not None, name


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("decorated", "@scaled(2.0)", "@scaled(2.5)"),
        ("decorated", "by * call", "by + call"),
        ("double", "double = scaled(2.0)", "double = scaled(2.5)"),
        ("hard", "Judge(3.0)", "Judge(3.5)"),
        ("hard", "return self.by * value", "return self.by + value"),
        ("short", "value + 1", "value + 2"),
        ("cached", "value * by", "value / by"),
        ("Judge.fixed", "return value\n\nlax", "return -value\n\nlax"),
    ],
)
def test_edits_of_them(load: Load, name: str, old: str, new: str) -> None:
    assert old in ODD
    digests = {code_digest(load(code, name)) for code in (ODD, ODD.replace(old, new))}
    assert len(digests - {None}) == 2


def test_what_has_no_lasting_identity_has_no_digest(load: Load) -> None:
    at = module(load(ODD, "plain"))

    def inner(value: float) -> float:
        return value

    nameless: list[Any] = [
        inner,
        lambda value: value,
        functools.partial(at.plain, by=2.0),
        at.Judge(7.0),
        at.Judge(7.0).ask,
        at.scaled(5.0)(at.plain),
        len,
        print,
        "".join,
    ]
    assert [code_digest(call) for call in nameless] == [None] * len(nameless)


def test_rewards_made_by_the_decorator(load: Load) -> None:
    code = "import rewardsmith as rs\n@rs.reward\ndef score(value):\n    return {}\n"
    one, other = (load(code.format(value)).call for value in (1, 2))
    assert code_digest(one) is not None
    assert code_digest(one) != code_digest(other)
    assert code_digest(reward(jobs.length).call) == code_digest(jobs.length)


def test_it_is_the_same_in_another_process() -> None:
    call = find("math_answer")().rowcall.call
    code = (
        "from rewardsmith.core.catalog import find\n"
        "from rewardsmith.core.source import code_digest\n"
        "print(code_digest(find('math_answer')().rowcall.call))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_digest(call)


def test_whose_files_are_whose() -> None:
    import torch

    import rewardsmith.rules.text

    assert is_of_project(jobs)
    assert not is_of_project(torch)
    assert not is_of_project(rewardsmith.rules.text)
    assert not is_of_project(functools)
    assert not is_of_project(sys)
