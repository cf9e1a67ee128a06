"""Programs whose function is called: what each test ends with, and what the next one finds."""

from collections.abc import Sequence
from typing import Any

import pytest

from rewardsmith.engine.sandbox import Call, Limits, Result, run_calls

pytestmark = pytest.mark.usefixtures("sandbox")
QUICK = Limits(test=0.4)


def same(returned: Any, expected: Any) -> bool:
    return bool(returned == expected)


def run(source: str, *tests: tuple[Sequence[Any], Any], limits: Limits = Limits()) -> list[Result]:  # noqa: B008
    """Call ``f`` of a program."""
    return run_calls(
        source, "f", [Call(args, {}, want) for args, want in tests], same, limits=limits
    )


def statuses(results: Sequence[Result]) -> list[str]:
    return [result.status for result in results]


# --- what passes, what fails ----------------------------------------------------------------------


def test_each_test_has_its_outcome() -> None:
    passed, failed = run("def f(x):\n    return x + 1\n", ([1], 2), ([1], 3))
    assert passed == Result("passed")
    assert failed == Result("failed", "returned 2, expected 3")


def test_no_tests_have_no_outcome() -> None:
    assert run("def f(): pass") == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        10**30,
        10**5_000,
        -0.5,
        float("inf"),
        2j,
        "",
        "\0\n\u20ac\ud800",
        b"\xff\0",
        [],
        (1, (2,)),
        {1: {2: 3}, (1,): "a", None: []},
        {1, 2},
        frozenset({"a"}),
        [[[{}]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_go_in_and_come_back(value: Any) -> None:
    source = "def f(x, kind):\n    assert type(x).__name__ == kind\n    return x\n"
    seen: list[Any] = []

    def kept(returned: Any, expected: Any) -> bool:
        seen.append(returned)
        return bool(returned == expected)

    call = Call([value, type(value).__name__], {}, value)
    assert run_calls(source, "f", [call], kept) == [Result("passed")]
    assert type(seen[0]) is type(value)


def test_keywords_are_given_by_name() -> None:
    tests = [Call([1], {"k": 2}, [1, 2]), Call([1], {}, [1, 0]), Call([], {"k": 1}, None)]
    found = run_calls("def f(x, *, k=0):\n    return [x, k]\n", "f", tests, same)
    assert statuses(found) == ["passed", "passed", "failed"]
    assert "TypeError" in found[2].why


def test_a_method_of_solution_is_a_function_too() -> None:
    source = (
        "class Solution:\n    n = 0\n"
        "    def f(self, x):\n        self.n += x\n        return self.n\n"
    )
    # Each call has a new object.
    assert statuses(run(source, ([1], 1), ([1], 1))) == ["passed"] * 2
    both = source + "def f(x):\n    return -x\n"
    assert statuses(run(both, ([1], -1))) == ["passed"]


def test_a_solution_that_cannot_be_made_says_why() -> None:
    source = "class Solution:\n    def __init__(self, y): pass\n    def f(self, x): return x\n"
    (result,) = run(source, ([1], 1))
    assert result.status == "failed"
    assert "__init__" in result.why


def test_classes_and_types_of_the_program_work_as_in_a_module() -> None:
    source = (
        "from __future__ import annotations\n"
        "import pickle\n"
        "from dataclasses import dataclass\n"
        "from typing import NamedTuple\n"
        "@dataclass\nclass A:\n    x: int\n"
        "class P(NamedTuple):\n    x: int\n"
        "def f(x):\n    return pickle.loads(pickle.dumps(A(x))).x, P(x)\n"
    )
    assert run(source, ([1], (1, (1,)))) == [Result("passed")]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 'x' / 2", "it raised TypeError"),
        ("raise KeyError(x)", "it raised KeyError: 1"),
        ("return f(x)", "it raised RecursionError"),
        ("raise SystemExit(0)", "it raised SystemExit: 0"),
        ("import sys; sys.exit()", "it raised SystemExit"),
        ("exit()", "it raised SystemExit"),
        ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
        ("raise GeneratorExit", "it raised GeneratorExit"),
        ("return bytearray(1 << 34)", "it raised MemoryError"),
        ("return input()", "it raised EOFError"),
        ("return object()", "no plain data"),
        ("return iter(int, 1)", "callable_iterator"),
        ("return __import__('itertools').count()", "itertools.count"),
        ("return (i for i in __import__('itertools').count())", "generator of more than"),
        ("return print", "no plain data"),
        ("raise type('E' * 10_000, (Exception,), {})('m' * 10_000)", "it raised EEE"),
        ("raise Odd", "while it was told"),
    ],
)
def test_a_call_that_fails_says_how(body: str, why: str) -> None:
    odd = "class Odd(Exception):\n    def __str__(self): raise ValueError\n"
    (result,) = run(f"{odd}def f(x):\n    {body}\n", ([1], 1))
    assert result.status == "failed"
    assert why in result.why
    assert len(result.why) < 500


def test_what_prints_is_not_what_returns() -> None:
    source = "def f(x):\n    print('x' * 10**7)\n    return x\n"
    assert statuses(run(source, ([1], 1), ([2], 2))) == ["passed"] * 2


def test_arguments_are_new_in_each_call() -> None:
    shared = [1]
    found = run("def f(x):\n    x.append(1)\n    return len(x)\n", ([shared], 2), ([shared], 2))
    assert statuses(found) == ["passed"] * 2
    assert shared == [1]


@pytest.mark.parametrize(
    ("base", "value", "plain"),
    [
        ("int", "3", 3),
        ("float", "1.5", 1.5),
        ("str", "'a'", "a"),
        ("bytes", "b'a'", b"a"),
        ("list", "[1]", [1]),
        ("tuple", "[1]", (1,)),
        ("dict", "{1: 2}", {1: 2}),
        ("set", "{1}", {1}),
        ("frozenset", "{1}", frozenset({1})),
        ("complex", "1j", 1j),
    ],
)
def test_what_is_compared_is_of_built_in_types(base: str, value: str, plain: Any) -> None:
    source = (
        f"class Yes({base}):\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        f"    __hash__ = {base}.__hash__\n"
        f"def f(x):\n    return [Yes({value})]\n"
    )
    seen: list[Any] = []

    def kept(returned: Any, expected: Any) -> bool:
        seen.append(returned)
        return bool(returned == expected)

    (result,) = run_calls(source, "f", [Call([1], {}, "other")], kept)
    assert result.status == "failed"
    assert seen == [[plain]]
    assert type(seen[0][0]) is type(plain)


# --- large and deep -------------------------------------------------------------------------------


def test_results_that_are_too_large_fail_and_the_next_test_runs() -> None:
    source = "def f(n):\n    return 'x' * n\n"
    small, large, after = run(source, ([1000], "x" * 1000), ([10**7], "x" * 10**7), ([1], "x"))
    assert (small.status, after.status) == ("passed", "passed")
    assert large.status == "failed"
    assert "too large" in large.why


def test_results_that_are_too_deep_fail_and_the_next_test_runs() -> None:
    source = "def f(n):\n    x = []\n    for _ in range(n):\n        x = [x]\n    return x\n"
    first, deep, deeper, last = run(source, ([0], []), ([1_000], 0), ([1_000_000], 0), ([1], [[]]))
    assert (first.status, last.status) == ("passed", "passed")
    for result in (deep, deeper):
        assert result.status == "failed"
        assert "deep" in result.why


def test_output_may_be_as_large_as_the_limit_says() -> None:
    source = "def f(n):\n    return 'x' * n\n"
    found = run(source, ([2_000], "x" * 2_000), ([50], "x" * 50), limits=Limits(output=1_000))
    assert statuses(found) == ["failed", "passed"]
    found = run(source, ([3_000_000], "x" * 3_000_000), limits=Limits(output=4_000_000))
    assert statuses(found) == ["passed"]


# --- programs that do not load --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("def f(x:\n", "failed", "SyntaxError"),
        ("\0", "failed", "null bytes"),
        ("x = '\ud800'", "failed", "UnicodeEncodeError"),
        ("", "failed", "no function 'f'"),
        ("def g(x): return x\n", "failed", "no function 'f'"),
        ("f = 3\n", "failed", "not callable"),
        ("1 / 0\n", "failed", "ZeroDivisionError"),
        ("import nonesuch\n", "failed", "ModuleNotFoundError"),
        ("raise SystemExit(0)\n", "failed", "SystemExit"),
        ("import os\nos._exit(0)\n", "crashed", "code 0"),
        ("import os\nos.kill(os.getpid(), 9)\n", "crashed", "SIGKILL"),
        ("import ctypes\nctypes.string_at(0)\n", "crashed", "SIGSEGV"),
        ("(" * 5_000 + ")" * 5_000, "failed", ""),
        ("-" * 300_000 + "1", "failed", ""),
    ],
)
def test_a_program_that_does_not_load_fails_all_tests(source: str, status: str, why: str) -> None:
    first, second = run(source, ([1], 1), ([2], 2))
    assert first == second
    assert first.status == status
    assert why in first.why


def test_a_program_that_loads_for_ever_is_out_of_time() -> None:
    first, second = run("while True: pass\n", ([1], 1), ([2], 2), limits=QUICK)
    assert first == second == Result("timeout", "while it was loaded: took longer than 0.4 s")


# --- time, crashes, and what comes after ----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ("while True: pass", "timeout", "took longer than 0.4 s"),
        ("import time; time.sleep(60)", "timeout", "took longer than 0.4 s"),
        ("10 ** 10 ** 10", "timeout", "took longer than 0.4 s"),
        ("import os; os._exit(3)", "crashed", "code 3"),
        ("import os; os._exit(0)", "crashed", "code 0"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "crashed", "SIGTERM"),
        ("import os; os.closerange(0, 1 << 10)", "crashed", ""),
        ("import os; os.abort()", "crashed", "SIGABRT"),
    ],
)
def test_after_a_bad_end_the_program_is_loaded_again(body: str, status: str, why: str) -> None:
    source = (
        f"n = 0\ndef f(x):\n    global n\n    n += 1\n    if x:\n        {body}\n    return n\n"
    )
    first, bad, last = run(source, ([0], 1), ([1], 0), ([0], 1), limits=QUICK)
    assert (first, last) == (Result("passed"), Result("passed"))
    assert bad.status == status
    assert why in bad.why


def test_memory_of_all_processes_together_is_limited() -> None:
    source = (
        "import os, time\n"
        "def f(x):\n"
        "    if not x:\n        return 1\n"
        "    for _ in range(4):\n"
        "        if not os.fork():\n"
        "            held = b'x' * (60 << 20)\n"
        "            time.sleep(60)\n"
        "    time.sleep(60)\n"
    )
    bad, last = run(source, ([1], 1), ([0], 1), limits=Limits(test=5.0, memory=150 << 20))
    assert (bad.status, last.status) == ("crashed", "passed")
    assert "memory" in bad.why


def test_all_tests_together_have_a_time() -> None:
    source = "def f(x):\n    while x: pass\n    return 1\n"
    limits = Limits(test=0.25, program=0.6)
    found = run(source, ([0], 1), *[([1], 1)] * 4, ([0], 1), limits=limits)
    assert statuses(found) == ["passed", *["timeout"] * 5]
    assert "took longer than 0.25 s" in found[1].why
    assert "all tests together took longer than 0.6 s" in found[-1].why


def test_what_a_program_keeps_it_keeps_for_the_next_call() -> None:
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert statuses(run(source, ([], 1), ([], 2), ([], 3))) == ["passed"] * 3


def test_programs_keep_nothing_for_each_other() -> None:
    leave = (
        "import builtins, json, os, sys\n"
        "builtins.left = sys.left = json.left = os.environ['LEFT'] = 'x'\n"
        "sys.modules['left'] = sys\nos.umask(0)\nopen('left', 'w').close()\n"
        "def f(): return True\n"
    )
    find = (
        "import builtins, json, os, sys\n"
        "def f():\n"
        "    names = [hasattr(m, 'left') for m in (builtins, sys, json)]\n"
        "    return names, 'LEFT' in os.environ, 'left' in sys.modules, os.listdir()\n"
    )
    clean = ([False] * 3, False, False, [])
    assert run(find, ([], clean)) == [Result("passed")]
    assert run(leave, ([], True)) == [Result("passed")]
    assert run(find, ([], clean)) == [Result("passed")]


# --- processes, threads, chance -------------------------------------------------------------------


def test_programs_may_fork_and_start_threads() -> None:
    source = (
        "import os, subprocess, sys, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def f(x):\n"
        "    child = os.fork()\n"
        "    if not child:\n        os._exit(7)\n"
        "    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "    with ThreadPoolExecutor(4) as pool:\n"
        "        return code, list(pool.map(lambda n: n * n, range(x)))\n"
    )
    want = (7, [n * n for n in range(5)])
    assert run(source, ([5], want), ([5], want)) == [Result("passed")] * 2


def test_a_forked_process_that_returns_does_not_answer_twice() -> None:
    source = "import os\ndef f(x):\n    child = os.fork()\n    return 'mine' if child else 'its'\n"
    assert run(source, *[([1], "mine")] * 5) == [Result("passed")] * 5


def test_a_thread_that_goes_on_does_not_hold_the_next_test_up() -> None:
    source = (
        "import threading, time\n"
        "def f(x):\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    return x\n"
    )
    assert statuses(run(source, ([1], 1), ([2], 2))) == ["passed"] * 2


def test_chance_and_the_order_of_sets_are_the_same_in_every_run() -> None:
    source = (
        "import random\n"
        "start = random.random()\n"
        "def f():\n    return [start, random.random(), list({'a', 'b', 'c', 'd', 'e'})]\n"
    )
    seen: list[Any] = []

    def kept(returned: Any, expected: Any) -> bool:
        seen.append(returned)
        return True

    for _ in range(3):
        run_calls(source, "f", [Call([], {}, None)] * 2, kept)
    assert seen[:2] == seen[2:4] == seen[4:]
    assert seen[0] != seen[1]


# --- those who compare ----------------------------------------------------------------------------


def test_what_the_comparison_raises_is_not_hidden() -> None:
    def broken(returned: Any, expected: Any) -> bool:
        raise ZeroDivisionError("in the comparison")

    with pytest.raises(ZeroDivisionError, match="in the comparison"):
        run_calls("def f(): pass", "f", [Call([], {}, 1)], broken)
    assert statuses(run("def f(): return 1", ([], 1))) == ["passed"]


def test_arguments_that_cannot_be_sent_are_an_error_of_the_test() -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        run("def f(x): return 1", ([object()], 1))


def test_forged_messages_are_the_programs_own_fault() -> None:
    forge = (
        "import os, stat, struct, time\n"
        "def f(kind):\n"
        "    for file in range(3, 64):\n"
        "        try:\n"
        "            if not stat.S_ISSOCK(os.fstat(file).st_mode):\n                continue\n"
        "        except OSError:\n            continue\n"
        "        os.write(file, struct.pack('>I', 1 << 30 if kind == 'huge' else 1000))\n"
        "        while kind == 'drip':\n"
        "            os.write(file, b'x')\n"
        "            time.sleep(0.1)\n"
        "        if kind == 'hang':\n            time.sleep(60)\n"
        "    return 1\n"
    )
    kinds = ["none", "huge", "drip", "hang", "partial"]
    found = run(forge, *[([kind], 1) for kind in kinds], limits=Limits(test=0.4, program=20.0))
    assert not {"passed", "infrastructure"} & set(statuses(found))
