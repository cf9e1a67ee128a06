"""Tests that are code: they run elsewhere than the program, and see plain data only."""

from collections.abc import Sequence

import pytest

from rewardsmith.engine.sandbox import Limits, Result, run_asserts

pytestmark = pytest.mark.usefixtures("sandbox")
QUICK = Limits(test=0.4)
NEXT = "def f(x):\n    return x + 1\n"


def statuses(results: Sequence[Result]) -> list[str]:
    return [result.status for result in results]


def run(
    source: str,
    tests: str,
    entry: str | None = None,
    setup: str = "",
    limits: Limits = Limits(),  # noqa: B008
) -> list[str]:
    return statuses(run_asserts(source, tests, entry, setup, limits=limits))


# --- forms of tests -------------------------------------------------------------------------------


def test_a_list_of_asserts() -> None:
    found = run_asserts(NEXT, "assert f(1) == 2\nassert f(2) == 4\nassert f(3) == 4\n", None)
    assert statuses(found) == ["passed", "failed", "passed"]
    assert "assert f(2) == 4" in found[1].why


def test_a_function_check() -> None:
    tests = (
        "METADATA = {'author': 'x'}\n\n"
        "def check(candidate):\n"
        "    assert candidate(1) == 2, 'first'\n"
        "    assert candidate(2) == 4, 'second'\n"
        "    assert True\n"
    )
    found = run_asserts(NEXT, tests, "f")
    assert statuses(found) == ["passed", "failed"]
    assert "second" in found[1].why


def test_loops_of_asserts_are_one_test() -> None:
    tests = (
        "def check(candidate):\n"
        "    for k in range(100):\n        assert candidate(k) == k + 1\n"
        "    for k in range(100):\n        assert candidate(k) < 50\n"
        "    while True:\n        assert candidate(1) == 2\n        break\n"
    )
    assert run(NEXT, tests, "f") == ["passed", "failed", "passed"]


def test_helpers_of_the_prompt_and_of_the_tests() -> None:
    setup = (
        "import math\n\ndef double(x):\n    return 2 * x\n\n"
        "def f(x: int) -> int:\n    '''The next number.'''\n"
    )
    tests = (
        "import random\n"
        "def half(x):\n    return x // 2\n"
        "def check(candidate):\n"
        "    rng = random.Random(0)\n"
        "    for _ in range(10):\n"
        "        x = rng.randrange(100)\n"
        "        assert candidate(double(x)) == math.floor(2 * x + 1)\n"
        "    assert half(candidate(1)) == 1\n"
    )
    assert run(NEXT, tests, "f", setup) == ["passed", "passed"]


def test_what_stands_between_tests_is_run() -> None:
    tests = "xs = [3, 1]\nf(xs)\nassert xs == [1, 3]\nxs.append(0)\nf(xs)\nassert xs == [0, 1, 3]\n"
    assert run("def f(xs): xs.sort()", tests) == ["passed", "passed"]


def test_several_functions_are_found_by_their_names() -> None:
    source = "def a(x): return x\ndef b(x): return x + 1\n"
    tests = "assert a(1) == 1\nassert b(a(1)) == 2\nassert max(a(1), b(1)) == 2\n"
    assert run(source, tests) == ["passed"] * 3


def test_helpers_that_assert_are_tests_where_they_are_called() -> None:
    tests = "def same(a, b):\n    assert f(a) == b\nsame(1, 2)\nsame(2, 9)\nsame(3, 4)\n"
    assert run(NEXT, tests) == ["passed", "failed", "passed"]


def test_functions_as_pytest_has_them_are_run() -> None:
    tests = (
        "def test_one():\n    assert f(1) == 2\n    assert f(2) == 3\n\n"
        "def test_two():\n    assert f(1) == 3\n\n"
        "def test_three():\n    assert f(3) == 4\n"
    )
    assert run(NEXT, tests) == ["passed", "failed", "passed"]


def test_keywords_and_stars_are_given_on() -> None:
    source = "def f(*args, **keywords): return [args, keywords]\n"
    assert run(
        source, "assert f(1, *[2, 3], k=4, **{'m': 5}) == [(1, 2, 3), {'k': 4, 'm': 5}]"
    ) == ["passed"]


def test_a_method_of_solution_is_a_function_too() -> None:
    source = "class Solution:\n    def f(self, x):\n        return x + 1\n"
    assert run(source, "def check(candidate):\n    assert candidate(1) == 2\n", "f") == ["passed"]


def test_state_of_the_program_lasts() -> None:
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert run(source, "assert f() == 1\nassert f() == 2\n") == ["passed", "passed"]


def test_tests_may_print_and_use_modules_and_classes() -> None:
    tests = (
        "from __future__ import annotations\n"
        "import math, collections\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Case:\n    x: int\n"
        "print('x' * 100)\n"
        "assert math.isclose(f(Case(1).x), 2.0)\n"
        "assert collections.Counter([f(1)]) == {2: 1}\n"
    )
    assert run(NEXT, tests) == ["passed", "passed"]


# --- exceptions that tests expect -----------------------------------------------------------------

EXPECTS = (
    "try:\n    f(1)\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no'\n"
)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f(x): raise ValueError('no')", "passed"),
        ("def f(x): raise ValueError('yes')", "failed"),
        ("def f(x): raise TypeError('no')", "failed"),
        ("def f(x): return 1", "failed"),
        ("class E(ValueError): pass\ndef f(x): raise E('no')", "passed"),
        ("class ValueError(Exception): pass\ndef f(x): raise ValueError('no')", "failed"),
        ("def f(x): raise SystemExit('no')", "failed"),
    ],
)
def test_exceptions_that_tests_expect(source: str, status: str) -> None:
    assert run(source, EXPECTS) == [status]


def test_an_exception_ends_its_test_only() -> None:
    source = "def f(x):\n    return 1 / x\n"
    found = run_asserts(source, "assert f(1) == 1\nassert f(0) == 1\nassert f(2) == 0.5", None)
    assert statuses(found) == ["passed", "failed", "passed"]
    assert "ZeroDivisionError" in found[1].why


def test_an_exception_outside_of_tests_ends_those_that_follow() -> None:
    source = "def f(x):\n    return 1 / x\n"
    found = run_asserts(source, "assert f(1) == 1\ny = f(0)\nassert f(1) == 1\n", None)
    assert statuses(found) == ["passed", "failed"]
    assert "ZeroDivisionError" in found[1].why


def test_tests_that_return_early_fail_the_rest() -> None:
    tests = "def check(c):\n    assert c(1) == 2\n    if c(1) == 2: return\n    assert c(2) == 3\n"
    assert run(NEXT, tests, "f") == ["passed", "failed"]


# --- programs that end badly ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ("while True: pass", "timeout", "took longer than 0.4 s"),
        ("import os; os._exit(3)", "crashed", "code 3"),
        ("import os; os._exit(0)", "crashed", "code 0"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("return lambda: 1", "failed", "no plain data"),
        ("return 'x' * 10**7", "failed", "too large"),
        ("return bytearray(1 << 34)", "failed", "MemoryError"),
        ("import sys; sys.exit(0)", "failed", "SystemExit"),
    ],
)
def test_a_bad_end_is_its_test_s_and_the_next_one_passes(body: str, status: str, why: str) -> None:
    source = f"def f(x):\n    if x == 2:\n        {body}\n    return x\n"
    tests = "def check(c):\n    assert c(1) == 1\n    assert c(2) == 2\n    assert c(3) == 3\n"
    first, bad, last = run_asserts(source, tests, "f", limits=QUICK)
    assert (first.status, bad.status, last.status) == ("passed", status, "passed")
    assert why in bad.why


def test_a_bad_end_is_not_caught_by_the_tests() -> None:
    source = "def f(x):\n    while True: pass\n"
    tests = "try:\n    assert f(1)\nexcept Exception:\n    pass\n"
    assert run(source, tests, limits=QUICK) == ["timeout"]


def test_a_test_has_its_time_however_many_calls_it_makes() -> None:
    source = "import time\ndef f(x):\n    time.sleep(0.15)\n    return x\n"
    tests = "for k in range(6):\n    assert f(k) == k\nassert f(1) == 1\n"
    assert run(source, tests, limits=QUICK) == ["timeout", "passed"]


def test_all_tests_together_have_a_time() -> None:
    source = "def f(x):\n    while x: pass\n    return x\n"
    tests = "assert f(0) == 0\n" + "assert f(1) == 1\n" * 4 + "assert f(0) == 0\n"
    found = run_asserts(source, tests, None, limits=Limits(test=0.3, program=0.7))
    assert statuses(found) == ["passed", *["timeout"] * 5]
    assert "all tests together took longer than 0.7 s" in found[-1].why


@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("def f(x:", "failed", "SyntaxError"),
        ("def g(x): pass", "failed", "no function 'f'"),
        ("", "failed", "no function 'f'"),
        ("1 / 0", "failed", "ZeroDivisionError"),
        ("import os; os._exit(0)", "crashed", "code 0"),
        ("while True: pass", "timeout", "took longer"),
    ],
)
def test_a_program_that_does_not_load_fails_all_tests(source: str, status: str, why: str) -> None:
    found = run_asserts(source, "assert f(1) == 2\nassert f(2) == 3\n", None, limits=QUICK)
    assert statuses(found) == [status] * 2
    assert all(why in result.why for result in found)


def test_a_program_that_uses_all_time_to_load_breaks_no_tests() -> None:
    found = run("while True: pass", "assert f(1) == 2", limits=Limits(test=0.3, program=0.3))
    assert found == ["timeout"]


# --- what a program returned may break the tests --------------------------------------------------


def test_tests_that_stumble_over_a_result_fail() -> None:
    tests = "assert len(f(1)) == 1\nassert f(1)[0] == 1\nassert f(1) + 'x'\nassert f(1).upper()\n"
    assert run(NEXT, tests) == ["failed"] * 4


def test_methods_of_built_in_types_are_there() -> None:
    source = "def f(x): return x\n"
    tests = (
        "assert f('a').upper() == 'A'\nassert f([1]).index(1) == 0\nassert f({1: 2}).get(1) == 2\n"
    )
    assert run(source, tests) == ["passed"] * 3


def test_objects_of_the_program_in_tests_are_an_error() -> None:
    source = "class A:\n    def m(self): return 1\n"
    with pytest.raises(ValueError, match="plain data"):
        run(source, "assert A().m() == 1")


def test_tests_that_loop_over_a_result_are_out_of_time() -> None:
    limits = Limits(test=0.4, program=0.8)
    assert run(NEXT, "assert sum(1 for _ in iter(lambda: f(1), 0))", limits=limits) == ["timeout"]


def test_a_result_that_uses_up_memory_in_a_test_is_a_failure() -> None:
    found = run("def f(): return 1 << 36", "assert bytearray(f())\nassert f() > 0\n")
    assert found == ["failed", "passed"]


def test_a_result_is_another_object_each_time() -> None:
    source = "held = [1]\ndef f(): return held\n"
    assert run(source, "x = f()\nx.append(2)\nassert f() == [1]\nassert x == [1, 2]\n") == [
        "passed",
        "passed",
    ]


def test_what_a_function_does_to_its_arguments_is_seen() -> None:
    source = (
        "def f(a, b, c):\n    a.append(1)\n    b['x'] = 2\n    c.discard(1)\n"
        "    a[0].append(3)\n    return a\n"
    )
    tests = (
        "inner = []\na, b, c = [inner], {}, {1, 2}\nf(a, b, c)\n"
        "assert a == [[3], 1]\nassert b == {'x': 2}\nassert c == {2}\n"
    )
    assert run(source, tests) == ["passed"] * 3


YES = (
    "class Yes(int):\n"
    "    def __eq__(self, other): return True\n"
    "    def __ne__(self, other): return False\n"
    "    def __lt__(self, other): return True\n"
    "    __gt__ = __le__ = __ge__ = __lt__\n"
    "    def __bool__(self): return True\n"
    "    def __len__(self): return 3\n"
    "    def __contains__(self, item): return True\n"
    "    __hash__ = int.__hash__\n"
)


@pytest.mark.parametrize("value", ["Yes(0)", "[Yes(0)]", "{'k': Yes(0)}", "(Yes(0),)"])
def test_objects_that_equal_everything_do_not_travel(value: str) -> None:
    tests = "assert f() == 7\nassert f() in (7, [7], {'k': 7}, (7,))\nassert [f()] == [[7]]\n"
    assert run(f"{YES}def f(): return {value}\n", tests) == ["failed"] * 3


@pytest.mark.parametrize(
    ("returns", "plain"),
    [
        ("collections.Counter('aab')", "{'a': 2, 'b': 1}"),
        ("collections.defaultdict(int, a=1)", "{'a': 1}"),
        ("collections.OrderedDict(a=1)", "{'a': 1}"),
        ("collections.namedtuple('P', 'x y')(1, 2)", "(1, 2)"),
        ("True", "1"),
        ("2.0", "2"),
        ("10**5000", "10**5000"),
        ("frozenset({1})", "{1}"),
    ],
)
def test_relatives_of_built_in_types_are_equal_to_them(returns: str, plain: str) -> None:
    assert run(f"import collections\ndef f(): return {returns}\n", f"assert f() == {plain}") == [
        "passed"
    ]


# --- broken tests: an error, whatever the program -------------------------------------------------


BROKEN = [
    ("assert f(1 == 2", "do not parse"),
    ("\0", "do not parse"),
    ("assert f('\ud800')", "do not parse"),
    ("", "hold no|call nothing"),
    ("f(1)", "no assertion"),
    ("assert 1 == 1", "call nothing"),
    ("1 / 0\nassert f(1) == 2", "ZeroDivisionError"),
    ("import nonesuch\nassert f(1) == 2", "nonesuch"),
    ("while True: pass\nassert f(1) == 2", "take longer than 0.4 s"),
    ("import os\nos._exit(0)\nassert f(1) == 2", "end the process"),
    ("def check(candidate):\n    assert candidate(1) == 2\n", "name"),
]


@pytest.mark.parametrize(("tests", "why"), BROKEN)
def test_tests_that_cannot_run_are_an_error(tests: str, why: str) -> None:
    for source in (NEXT, "def f(x): return x"):
        with pytest.raises(ValueError, match=why) as raised:
            run(source, tests, limits=QUICK)
        assert not isinstance(raised.value, OSError)


@pytest.mark.parametrize("source", ["def f(:", "import os; os._exit(0)"])
def test_they_are_one_whatever_the_program(source: str) -> None:
    with pytest.raises(ValueError, match="do not parse"):
        run(source, "assert f(1 == 2")


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("assert 1 == 2\nassert f(1) == 2", "before it calls anything"),
        ("assert undefined\nassert f(1) == 2", "undefined"),
        ("assert f(lambda: 1) == 2", "cannot be sent"),
        ("assert f(print) == 2", "cannot be sent"),
    ],
)
def test_tests_that_fail_by_themselves_are_an_error(tests: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        run(NEXT, tests)


@pytest.mark.parametrize("setup", ["def (", "1 / 0", "import os; os._exit(1)", "while True: pass"])
def test_a_setup_that_cannot_run_is_an_error(setup: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        run(NEXT, "assert f(1) == 2", None, setup, limits=QUICK)
    assert not isinstance(raised.value, OSError)


def test_after_broken_tests_the_next_ones_run() -> None:
    for tests in ("import os\nos._exit(0)\nassert f(1) == 2", "while True: pass"):
        with pytest.raises(ValueError, match=r"."):
            run(NEXT, tests, limits=QUICK)
        assert run(NEXT, "assert f(1) == 2", limits=QUICK) == ["passed"]


# --- one run and the next -------------------------------------------------------------------------


def test_tests_keep_nothing_for_each_other() -> None:
    leave = "import builtins, sys\nbuiltins.left = sys.left = 1\nassert f(1) == 2\n"
    find = (
        "import builtins, sys\n"
        "assert (f(1), hasattr(builtins, 'left'), hasattr(sys, 'left')) == (2, False, False)\n"
    )
    assert run(NEXT, leave) == ["passed"]
    assert run(NEXT, find) == ["passed"]


@pytest.mark.parametrize(
    "leave",
    [
        "import collections\ncollections.left = 1",
        "import math as m\nsetattr(m, 'left', 1)",
        "import random\nrandom.seed(7)",
        "from sys import modules\nmodules['left'] = 1",
        "left = eval('__builtins__')\nleft['left'] = 1",
        "f.__globals__['left'] = 1",
        "import decimal\ndecimal.getcontext().prec = 3",
    ],
)
def test_tests_that_may_leave_something_are_alone(leave: str) -> None:
    find = (
        "import builtins, collections, decimal, math, random, sys\n"
        "left = [hasattr(m, 'left') for m in (builtins, collections, math)]\n"
        "left += ['left' in sys.modules, decimal.getcontext().prec == 3]\n"
        "assert (f(1), left, random.random()) == (2, [False] * 5, 0.8444218515250481)\n"
    )
    assert run(NEXT, f"{leave}\nassert f(1) == 2") == ["passed"]
    assert run(NEXT, find) == ["passed"]


def test_programs_find_nothing_of_the_tests() -> None:
    source = (
        "import gc, sys\n"
        "def f(x):\n"
        "    held = [o for o in gc.get_objects() if type(o) in (dict, list, tuple)]\n"
        "    words = [w for o in held for w in (o.values() if type(o) is dict else o)]\n"
        "    return sum(type(w) is str and ''.join(['need', 'lexyz']) in w for w in words)\n"
    )
    tests = "secret = 'needle' 'xyz'\nassert f(1) == 0\nassert f(2) != secret  # needlexyz\n"
    assert run(source, tests) == ["passed", "passed"]


def test_chance_and_the_order_of_sets_are_the_same_in_every_run() -> None:
    source = "import random\ndef f(): return [random.random(), list({'a', 'b', 'c', 'd'})]\n"
    tests = "import random\nassert [f(), random.random(), list({'a', 'b', 'c', 'd'})] == 0"
    told = [run_asserts(source, tests, None)[0] for _ in range(3)]
    assert told[0] == told[1] == told[2]
    values = "x = f()\nassert x == f(), x\n"
    shown = [run_asserts(source, values, None)[0].why for _ in range(2)]
    assert shown[0] == shown[1]
    assert "0." in shown[0]
