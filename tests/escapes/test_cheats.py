"""Cheats: programs that do not solve the task and want to pass its tests all the same."""

import ast
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
from tests.escapes.inside import (
    HASTY,
    PATIENT,
    TOOLS,
    asserts,
    calls,
    inside,
    scripts,
    statuses,
)

from rewardsmith.engine.sandbox import Call, Limits, run_calls
from rewardsmith.engine.sandbox.guest.plain import NotPlainError, decode

WRONG = {"failed", "crashed", "timeout"}
CHECK = """
def check(candidate):
    assert candidate() == 7
    assert [candidate()] == [7]
    assert abs(candidate() - 7) < 1e-6
    assert candidate() in (7, 8)
    assert not candidate() != 7
"""


def fails(source: str, expected: Any = 7, limits: Limits = HASTY) -> None:
    """Neither form of tests falls for it."""
    assert set(statuses(calls(source, 2, expected=expected, limits=limits))) <= WRONG
    found = statuses(asserts(source, CHECK, limits=limits))
    assert len(found) == 5
    assert set(found) <= WRONG


def fools_a_plain_harness(source: str) -> bool:
    """Whether it passes where tests run in the same process, and code 0 means that they passed."""
    code = f"{TOOLS}\n{source}\nassert attack() == 7\nassert not attack() != 7"
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=20)
    return ran.returncode == 0


YES = """
class Yes{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __le__(self, other): return True
    def __bool__(self): return True
    def __hash__(self): return hash(7)
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
    def __abs__(self): return 0
"""


@pytest.mark.parametrize("base", ["", "(int)", "(str)", "(list)", "(dict)", "(float)", "(tuple)"])
def test_returns_an_object_that_equals_everything(base: str) -> None:
    source = YES.format(base=base) + "def attack(): return Yes()"
    assert fools_a_plain_harness(source)
    fails(source)


def test_hides_such_an_object_in_a_list() -> None:
    source = YES.format(base="(int)") + "def attack(): return [Yes()]"
    assert set(statuses(calls(source, expected=[7]))) <= WRONG


def test_lies_about_its_class() -> None:
    source = YES.format(base="") + "    __class__ = int\ndef attack(): return Yes()"
    assert fools_a_plain_harness(source)
    fails(source)


def test_is_rebuilt_as_something_else() -> None:
    for method in ("__reduce__", "__reduce_ex__", "__getstate__", "__copy__", "__json__"):
        fails(f"class A:\n    def {method}(self, *a): return (int, (7,))\ndef attack(): return A()")


def test_returns_what_looks_like_an_array() -> None:
    source = """
class Array:
    shape, dtype, ndim = (), "int", 0
    def __array__(self, *a, **k): return 7
    def __getattr__(self, name): return lambda *a, **k: Array()
    def __eq__(self, other): return Array()
    def __int__(self): return 7
    def __index__(self): return 7
    def __float__(self): return 7.0
    def __iter__(self): return iter([7])
    def item(self): return 7
    def tolist(self): return 7
def attack(): return Array()
"""
    assert fools_a_plain_harness(source)
    fails(source)


def test_returns_an_enumeration_or_a_named_tuple() -> None:
    """They arrive as the number and the tuple that they are, whatever their class says."""
    fails("import enum\nE = enum.IntEnum('E', {'a': 9})\ndef attack(): return E.a")
    fails("import collections\nT = collections.namedtuple('T', 'a')\ndef attack(): return T(7)")


@pytest.mark.parametrize(
    ("base", "honest", "lie"),
    [
        ("int", "1", "7"),
        ("float", "1.5", "7.0"),
        ("str", "'one'", "'seven'"),
        ("bytes", "b'one'", "b'seven'"),
        ("list", "[1]", "[7]"),
        ("tuple", "(1,)", "(7,)"),
        ("dict", "{1: 1}", "{7: 7}"),
        ("set", "{1}", "{7}"),
        ("complex", "1j", "7j"),
    ],
)
def test_returns_a_subclass_whose_methods_lie(base: str, honest: str, lie: str) -> None:
    """What travels is what the built-in type holds, not what its class says when it is asked."""
    names = ["eq", "iter", "getitem", "add", "mul", "int", "index", "float", "str", "repr", "hash"]
    names += ["len", "bool", "complex", "reduce_ex", "getnewargs", "radd", "format", "bytes"]
    source = f"class Liar({base}):\n"
    source += "".join(f"    def __{name}__(self, *a): return {lie}\n" for name in names)
    for name in (
        "items",
        "keys",
        "values",
        "decode",
        "encode",
        "copy",
        "bit_length",
        "real",
        "hex",
    ):
        source += f"    def {name}(self, *a): return {lie}\n"
    source += f"def attack(): return Liar({honest})"
    wanted = ast.literal_eval(lie)
    assert set(statuses(calls(source, expected=wanted))) <= WRONG
    tests = f"def check(candidate):\n    assert candidate() == {lie}\n"
    assert set(statuses(asserts(source, tests))) <= WRONG


def test_patches_the_type_of_what_it_returns() -> None:
    source = """
class A:
    __eq__ = lambda self, other: True
def attack():
    value = A()
    try:
        value.__class__ = int
    except TypeError:
        pass
    return value
"""
    fails(source)


def test_returns_objects_that_hang_when_they_are_looked_at() -> None:
    for method in ("__repr__", "__str__", "__hash__", "__eq__", "__len__", "__iter__", "__bool__"):
        source = f"class A:\n    def {method}(self, *a):\n        while True: pass\n"
        assert set(statuses(calls(source + "def attack(): return A()", expected=7))) <= WRONG
        assert set(statuses(calls(source + "def attack(): return {1: A()}", expected=7))) <= WRONG


def test_raises_errors_that_hang_or_fail_when_they_are_told() -> None:
    for body in (
        "raise SystemExit(0)",
        "while True: pass",
        "raise self",
        "return 7",
        "os._exit(0)",
    ):
        source = f"""
class A(Exception):
    def __str__(self):
        {body}
    __repr__ = __str__
def attack(): raise A()
"""
        assert set(statuses(calls(source, expected=7))) <= WRONG


def test_raises_errors_that_lie_about_their_name() -> None:
    for name in ("'SystemExit'", "'passed'", "'\\ud800'", "'StopIteration'", "'_Broken'"):
        source = f"def attack(): raise type({name}, (Exception,), {{}})('passed')"
        fails(source)


def test_ends_the_loop_of_its_tests_by_an_error() -> None:
    """StopIteration ends whoever iterates, without a word."""
    tests = """
def check(candidate):
    for got, wanted in zip(map(candidate, [1, 2]), [5, 6]):
        assert got == wanted
    assert all(map(lambda x: candidate(x) == 5, [1, 2]))
    assert not any(x for x in map(candidate, [1, 2]))
"""
    for kind in ("StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt"):
        found = statuses(asserts(f"def attack(x): raise {kind}", tests))
        assert len(found) == 3
        assert set(found) <= WRONG, kind


def test_raises_what_ends_tests() -> None:
    for kind in (
        "SystemExit(0)",
        "KeyboardInterrupt",
        "GeneratorExit",
        "BaseException",
        "MemoryError",
    ):
        fails(f"def attack(): raise {kind}")


def test_raises_assertion_errors() -> None:
    fails("def attack(): raise AssertionError")


def test_exits_before_the_tests() -> None:
    for way in ("os._exit(0)", "sys.exit(0)", "raise SystemExit", "os.kill(os.getpid(), 9)"):
        source = f"def attack(): return 1\n{way}"
        assert fools_a_plain_harness(source) is ("kill" not in way)
        fails(source)


def test_exits_inside_the_tests() -> None:
    for way in ("os._exit(0)", "sys.exit(0)", "exit", "quit()"):
        fails(f"def attack():\n    {way}")


def test_exits_when_the_interpreter_does() -> None:
    fails("import atexit\natexit.register(os._exit, 0)\ndef attack(): return 1")


def test_becomes_another_program() -> None:
    fails("def attack(): os.execv(sys.executable, [sys.executable, '-c', 'pass'])")


def test_patches_builtins() -> None:
    source = """
import builtins
def yes(*a, **k): return True
for name in ("all", "any", "isinstance", "issubclass", "abs", "len", "sorted", "repr", "type",
             "set", "tuple", "list", "dict", "float", "int", "zip", "AssertionError", "Exception",
             "print"):
    setattr(builtins, name, yes)
def attack(): return 1
"""
    fails(source)


def test_patches_assertions() -> None:
    source = """
import builtins
class Quiet(Exception):
    def __new__(cls, *a): raise SystemExit(0)
builtins.AssertionError = Quiet
def attack(): return 1
"""
    fails(source)


def test_patches_what_tests_may_import() -> None:
    source = """
import math, sys, types
class Yes(types.ModuleType):
    def __getattr__(self, name): return lambda *a, **k: True
for name in ("math", "pytest", "unittest", "numpy", "copy", "random", "collections"):
    sys.modules[name] = Yes(name)
def attack(): return 1
"""
    tests = "import math\ndef check(candidate):\n    assert math.isclose(candidate(), 7)\n"
    assert set(statuses(asserts(source, tests))) <= WRONG
    fails(source)


def test_patches_json_and_marshal() -> None:
    source = """
import json, marshal
for module in (json, json.encoder, json.decoder, marshal):
    for name in list(vars(module)):
        if callable(getattr(module, name)) and not name.startswith("__"):
            setattr(module, name, lambda *a, **k: '[true, null]')
def attack(): return 1
"""
    fails(source)


@pytest.mark.parametrize(
    "answer",
    [
        "[true, null]",
        '[{"t": [true]}, null]',
        "[NaN, null]",
        "[null, null]",
        "null",
        "passed",
        "[[], []]",
        '["passed", ""]',
    ],
)
def test_patches_the_harness(answer: str) -> None:
    source = f"""
spaces = []
frame = sys._getframe()
while frame:
    spaces.append(frame.f_globals)
    frame = frame.f_back
spaces += [vars(m) for n, m in list(sys.modules.items()) if n.startswith("guest")]
for space in spaces:
    for name in ("encode", "_tagged", "told"):
        if name in space and space.get("__name__") != "program":
            space[name] = lambda *a, **k: {answer.encode()!r}
def attack(): return 1
"""
    fails(source)


def test_patches_how_frames_are_sent() -> None:
    source = """
frame = sys._getframe().f_back
space = frame.f_globals
true = space["send"]
def send(to, message): true(to, message[:1] + b"[true, null]")
space["send"] = send
def attack(): return 1
"""
    fails(source)


FRAMES = [
    b"",
    b"=",
    b"E",
    b"E[]",
    b"B",
    b"U1",
    b"T",
    b"!",
    b"passed",
    b"=passed",
    b"=[true, null]",
    b"=[true, []]",
    b"=null",
    b'=[{"t": 7}, null]',
    b'=[{"b": 7}, null]',
    b'=[{"c": [1e999, NaN]}, null]',
    b'=[{"c": [1' + b"0" * 400 + b"]}, null]",
    b'=[{"s": [{"d": []}]}, null]',
    b'=[{"x": 7}, null]',
    b'=[{"t": [7], "d": []}, null]',
    b"=[" + b"9" * 5000 + b", null]",
    b"=" + b"[" * 5000,
    b"=[" + b"[" * 190 + b"]" * 190 + b", []]",
    b'=["\xff\xfe", null]',
    b'=["\\ud800", null]',
    b"=[-0.0, null]",
    b"r",
    b"r[]",
    b'r["AssertionError", ""]',
    b'r["\\ud800", "\\ud800"]',
    b"r\xff",
    b"n",
    b"n[]",
    b"u",
    b"u\xff\xff",
    b"\xff\xff\xff\xff",
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_forges_an_answer(frame: bytes) -> None:
    source = f"def attack():\n    say({frame!r})\n    time.sleep(0.01)\n    os._exit(0)"
    fails(source)


@pytest.mark.parametrize(
    "frame",
    [
        b'[0, ""]',
        b"[0]",
        b"0",
        b"[false, 0]",
        b'[1, "[\\ud800"]',
        b'[1, "[1, 2]"]',
        b"[1, {}]",
        b"[1" + b"0" * 5000 + b", 0]",
        b"\xff",
        b"[" * 5000,
        b"",
    ],
    ids=range(11),
)
def test_forges_the_answer_of_a_script(frame: bytes) -> None:
    source = f"print('wrong', flush=True)\nsay({frame!r})\ntime.sleep(9)"
    assert set(statuses(scripts(source, limits=HASTY))) <= WRONG


def test_writes_to_every_open_file() -> None:
    source = """
def attack():
    answer = b"=[7, null]"
    for fd in range(0, 1024):
        if fd != channel():
            for message in (answer, struct.pack(">I", len(answer)) + answer):
                tried(os.write, fd, message)
    return 1
"""
    fails(source)


def test_answers_while_it_is_loaded() -> None:
    """Answers that are there before anybody asks."""
    source = """
for _ in range(8):
    say(b"=")
    say(b"=[true, null]")
    say(b"=[null, []]")
def attack(): return 1
"""
    fails(source)


def test_answers_more_often_than_it_is_asked() -> None:
    fails("def attack():\n    for k in range(8): say(b'=[%d, []]' % k)\n    return 1")


def test_answers_from_a_child() -> None:
    """Two processes at one socket."""
    source = """
def attack():
    os.fork()
    return 1
"""
    fails(source)


def test_answers_for_itself_in_an_endless_loop() -> None:
    source = """
def attack():
    while True:
        say(b"=[true, null]")
"""
    fails(source)


def test_begins_an_answer_and_hangs() -> None:
    for begun in (b"\0", b"\0\0\0\x0a", b"\0\0\0\x0a=[7, n"):
        source = f"def attack():\n    raw({begun!r})\n    while True: time.sleep(1)"
        assert statuses(calls(source, expected=7, limits=HASTY)) == ["timeout"]


def test_talks_to_its_supervisor() -> None:
    """Frames as the host sends them: code to run, were anybody to run it."""
    source = """
import marshal
def attack():
    say(marshal.dumps((1.0, None)))
    say(marshal.dumps((1.0, ("attack", [], {}, False))))
    say(marshal.dumps({"kind": "script", "source": "print(7)"}))
    return 1
"""
    fails(source)


SECRET = """
import gc, re
pattern = re.compile(b"tok" + b"en-[0-9a-f]{32}")

def texts():
    for thing in gc.get_objects():
        yield thing
        yield from gc.get_referents(thing)
    frame = sys._getframe()
    while frame:
        yield frame.f_locals
        yield frame.f_globals
        yield frame.f_code.co_consts
        frame = frame.f_back
    for module in list(sys.modules.values()):
        yield vars(module)

def search():
    found = set()
    for thing in texts():
        kinds = (str, bytes, bytearray)
        inner = thing if isinstance(thing, (list, tuple, set)) else []
        inner = list(thing.values()) if isinstance(thing, dict) else inner
        for one in (thing, *inner):
            if isinstance(one, kinds):
                data = one.encode("utf-8", "replace") if isinstance(one, str) else bytes(one)
                found.update(match.decode() for match in pattern.findall(data))
    return found
"""
RAW = """
def scan():
    # Without /proc/self/maps: what can be written to a pipe is there.
    reading, writing = os.pipe()
    found, rest = set(), b""
    starts = [libc.sbrk(0) - (64 << 20), id(object()) - (32 << 20), id(sys) - (32 << 20)]
    starts += [ctypes.addressof(ctypes.c_char(0)) - (8 << 20), id(b"x" * 600_000) - (4 << 20)]
    seen = set()
    for start in starts:
        rest = b""
        for page in range(start >> 12, (start >> 12) + (96 << 20 >> 12)):
            if page in seen:
                continue
            seen.add(page)
            if page < 16 or libc.write(writing, ctypes.c_void_p(page << 12), 4096) != 4096:
                rest = b""
                continue
            data = rest + os.read(reading, 4096)
            found.update(match.decode() for match in pattern.findall(data))
            rest = data[-64:]
    return found
"""


def test_finds_expected_values_in_objects(token: str) -> None:
    """It finds what it was called with, and no more."""
    planted = token[::-1][:32].replace("-", "0")
    planted = "token-" + "".join(c if c in "0123456789abcdef" else "0" for c in planted)
    source = TOOLS + SECRET + "def attack(given): return sorted(search())"
    seen: list[list[str]] = []

    def same(got: list[str], wanted: str) -> bool:
        seen.append(got)
        return got == [wanted]

    run_calls(source, "attack", [Call([planted], {}, token)] * 2, same)
    assert len(seen) == 2
    for found in seen:
        assert planted in found
        assert token not in found


def test_finds_expected_values_in_memory(token: str) -> None:
    planted = "token-" + "0123456789abcdef" * 2
    source = TOOLS + SECRET + "libc.sbrk.restype = ctypes.c_long\n" + RAW
    source += "def attack(given): return sorted(scan())"
    seen: list[list[str]] = []

    def same(got: list[str], wanted: str) -> bool:
        seen.append(got)
        return got == [wanted]

    earlier = f"x = {token[:-1] + 'e'!r}\ndef attack(): return x"
    calls(earlier, expected=token)
    run_calls(
        source, "attack", [Call([planted], {}, token)], same, limits=Limits(test=20, program=40)
    )
    assert len(seen) == 1
    assert planted in seen[0]
    assert token not in seen[0]
    assert token[:-1] + "e" not in seen[0]  # of the program before


def test_finds_its_tests_in_memory(token: str) -> None:
    source = SECRET + "def attack(given): return sorted(search()) or ['none']"
    tests = f"def check(candidate):\n    assert candidate('x') == ['{token}']\n"
    assert statuses(asserts(source, tests)) == ["failed"]


def test_finds_its_tests_in_the_stack() -> None:
    source = """
def attack():
    import inspect
    names, frame = [], sys._getframe()
    while frame:
        names += list(frame.f_locals) + list(frame.f_globals)
        frame = frame.f_back
    inspect.stack()
    return [name for name in names if name in ("expected", "tests", "check", "wanted", "same")]
"""
    assert inside(source) == []


def test_finds_its_tests_in_files(token: str) -> None:
    source = """
def attack():
    found = []
    for folder, below, files in os.walk("/"):
        if folder in ("/usr", "/lib", sys.base_prefix):
            below.clear()
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    if b"tok" + b"en-" in file.read():
                        found.append(path)
    return found
"""
    tests = f"# {token}\ndef check(candidate):\n    assert candidate() == ['{token}']\n"
    assert inside(source) == []
    assert statuses(asserts(source, tests)) == ["failed"]


def test_asks_for_its_tests_by_other_names() -> None:
    """The stand-ins of tests call names of the program; names like these lead nowhere."""
    for name in ("__test__", "check", "candidate", "__builtins__"):
        source = f"def {name}(*a): return True\ndef attack(): return 1"
        fails(source)


def test_hooks_imports() -> None:
    source = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.path_hooks.insert(0, lambda path: 1 / 0)
import builtins
builtins.__import__ = lambda *a, **k: sys
def attack(): return 1
"""
    fails(source)


def test_writes_sitecustomize() -> None:
    source = """
for name in ("sitecustomize", "usercustomize", "guest", "json", "math", "ast", "program", "tests"):
    write(f"/tmp/{name}.py", "import os; os._exit(0)")
    tried(write, f"/dev/shm/{name}.py", "import os; os._exit(0)")
os.environ["PYTHONPATH"] = "/tmp"
os.environ["PYTHONSTARTUP"] = "/tmp/math.py"
sys.path.insert(0, "/tmp")
def attack(): return 1
"""
    fails(source)
    fails("def attack(): return 1")


def test_patches_the_standard_files() -> None:
    source = """
import io
sys.stdout = io.StringIO("a secret")
sys.__stdout__ = sys.stdout
print("a secret")
sys.exit = os._exit = lambda *a: None
"""
    assert set(statuses(scripts(source, limits=HASTY))) <= WRONG
    assert set(statuses(scripts("import builtins\nbuiltins.print = len\nprint('wrong')"))) <= WRONG


def test_prints_once_and_is_asked_twice() -> None:
    """What is printed for one test does not count for the next."""
    source = """
import builtins
first = not hasattr(builtins, "kept")
if first:
    builtins.kept = os.dup(1)
    print("a secret")
else:
    tried(os.write, builtins.kept, b"a secret")
"""
    found = statuses(scripts(source, 2, limits=PATIENT))
    assert found[0] == "passed"
    assert found[1] in WRONG


def test_prints_from_a_thread_of_an_earlier_test() -> None:
    source = """
def go_on():
    while True:
        try:
            os.write(1, b"a secret")
        except OSError:
            pass
        time.sleep(0.001)
threading.Thread(target=go_on, daemon=True).start()
time.sleep(0.2)
"""
    # It may print, but not what it does not know.
    found = scripts(source, 2, expected="another secret")
    assert set(statuses(found)) <= WRONG


def test_runs_out_of_time_on_purpose() -> None:
    """A row that is not scored would be better than a zero."""
    for source in ("def attack(): time.sleep(99)", "time.sleep(99)\ndef attack(): return 1"):
        found = calls(source, 2, expected=7, limits=HASTY)
        assert statuses(found) == ["timeout", "timeout"]
        tests = "def check(candidate):\n    assert candidate() == 7\n"
        assert statuses(asserts(source, tests, limits=HASTY)) == ["timeout"]


def test_makes_its_tests_run_out_of_time() -> None:
    tests = """
def check(candidate):
    n = candidate()
    while n > 0:
        n -= 1
    assert n == 7
    assert candidate() == 7
"""
    found = asserts("def attack(): return 10 ** 15", tests)
    assert set(statuses(found)) <= {"timeout", "failed"}


def test_makes_its_tests_run_out_of_memory() -> None:
    tests = "def check(candidate):\n    assert [0] * candidate() == 7\n"
    assert set(statuses(asserts("def attack(): return 10 ** 9", tests))) <= WRONG
    tests = "def check(candidate):\n    assert 'x' * (10 ** candidate()) == 7\n"
    assert set(statuses(asserts("def attack(): return 9", tests))) <= WRONG


@pytest.mark.parametrize(
    ("value", "test"),
    [
        ("deep(99)", "r = candidate(1)\n    assert candidate([r]) == 5"),
        ("'x' * 600_000", "r = candidate(1)\n    assert candidate(r + r) == 5"),
        ("'é' * 150_000", "r = candidate(1)\n    assert candidate(r + r) == 5"),
        ("10 ** 4200", "r = candidate(1)\n    assert candidate(r * r) == 5"),
        ("[1, 2]", "r = candidate(1)\n    assert candidate(map(len, r)) == 5"),
    ],
    ids=["deep", "long", "wide", "large", "object"],
)
def test_makes_its_tests_look_broken(value: str, test: str) -> None:
    """A test that cannot be run is nobody's zero; not so where the program caused it."""
    source = f"""
def deep(n):
    value = []
    for _ in range(n):
        value = [value]
    return value
def attack(x): return {value}
"""
    tests = f"def check(candidate):\n    {test}\n"
    assert statuses(asserts(source, tests, limits=Limits(test=3.0))) == ["failed"]


def test_dies_where_its_tests_do_not_expect_it() -> None:
    tests = "def check(candidate):\n    candidate()\n    assert candidate() == 7\n"
    found = asserts("def attack(): os._exit(0)", tests)
    assert set(statuses(found)) <= {"crashed", "failed"}
    found = asserts("def attack(): time.sleep(9)", tests)
    assert set(statuses(found)) <= {"timeout"}


def test_changes_what_its_tests_hold() -> None:
    """Arguments are changed in place, as far as the program's own arguments were."""
    tests = """
WANTED = [1, 2, 3]
def check(candidate):
    given = [3, 1, 2]
    assert candidate(given) == WANTED
    assert WANTED == [1, 2, 3]
"""
    source = """
import gc
def attack(given):
    for thing in gc.get_objects():
        if type(thing) is list and thing == [1, 2, 3]:
            thing.clear()
    say(b'=[[], [[]]]')
    os._exit(0)
"""
    assert statuses(asserts(source, tests))[0] in WRONG


@pytest.mark.parametrize("shape", ['{"s": [%s]}', '{"f": [%s]}', '{"d": [%s]}'])
@pytest.mark.parametrize("item", ["%d", '{"t": [%d]}', "%d.0"])
@pytest.mark.parametrize("honest", [0, 1, 3])
def test_returns_numbers_that_collide(shape: str, item: str, honest: int) -> None:
    """Dicts and sets of chosen numbers take quadratic time; the host's is not for programs.

    Args:
        shape: what holds them.
        item: a number, or what holds one.
        honest: numbers that do not collide, for each that does.
    """
    numbers = []
    for k in range(36_000 // (1 + honest)):
        numbers += [k * ((1 << 61) - 1), *range(honest * k + 1, honest * k + 1 + honest)]
    items = [item % number for number in numbers]
    if '"d"' in shape:
        items = [f"[{each},0]" for each in items]
    size = 0
    for n, each in enumerate(items):
        size += len(each) + 1
        if size > 1_000_000:
            items = items[:n]
            break
    answer = f"[{shape % ','.join(items)}, null]".encode()
    began = time.process_time()
    with suppress(NotPlainError):
        decode(answer)
    assert time.process_time() - began < 1.5


def test_returns_what_is_not_a_number() -> None:
    assert statuses(calls("def attack(): return float('nan')", expected=float("nan"))) == ["failed"]
    fails("def attack(): return float('nan')")
    fails("def attack(): return complex('nan')")
    fails("def attack(): return float('inf')")


def test_returns_true_for_one() -> None:
    """Equal in Python, and no cheat; what matters is that it arrives as what it is."""
    assert inside("def attack(): return [True, 1, 1.0]").__repr__() == "[True, 1, 1.0]"


def test_returns_itself() -> None:
    fails("def attack():\n    x = []\n    x.append(x)\n    return x")
    fails("def attack(): return attack")
    fails("def attack(): return sys.modules")
    fails("def attack(): yield 7")
    fails("async def attack(): return 7")
    fails("attack = 7")
    fails("attack = type('A', (), {'__call__': lambda self: 9})()")
