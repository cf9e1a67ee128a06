"""Programs as a reward: forms, statuses, settings."""

import pickle
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.core.errors import SpecError
from rewardsmith.core.outcome import Status
from rewardsmith.engine.sandbox import SandboxError
from rewardsmith.rules.marks import marks_of
from rewardsmith.signals import UnitTests, _sandboxed

pytestmark = pytest.mark.sandbox

ADD = "```python\ndef add(a, b):\n    return a + b\n```"
CALLS = [{"args": [1, 2], "expected": 3}, {"args": [2, 2], "expected": 5}]


def scores(reward: Any, **columns: Any) -> Any:
    with rs.executor("inline"):
        return reward(rs.Rollouts({name: [value] for name, value in columns.items()}))


def test_all_or_the_fraction() -> None:
    row = {"completion": ADD, "tests": CALLS, "name": "add"}
    all_of_them = scores(UnitTests(entry="name"), **row)
    assert all_of_them.values.tolist() == [0.0]
    assert marks_of(all_of_them.info["why"][0]) == ["passed", "failed"]
    assert (
        "1 of 2 tests passed; test 2 failed: returned 4, expected 5" in all_of_them.info["why"][0]
    )
    assert scores(UnitTests(entry="name", score="fraction"), **row).values.tolist() == [0.5]


@pytest.mark.parametrize(
    ("completion", "tests"),
    [
        (ADD, ["assert add(1, 2) == 3"]),
        (ADD, "def check(candidate):\n    assert candidate(1, 2) == 3"),
        (ADD, {"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}),
        (ADD, {"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"}),
        (
            "```python\nprint(sum(map(int, input().split())))\n```",
            [{"input": "1 2", "output": "3"}],
        ),
        (
            "class Solution:\n    def add(self, a, b):\n        return a + b",
            [{"args": [1, 2], "expected": 3}],
        ),
    ],
)
def test_every_form_of_tests(completion: str, tests: Any) -> None:
    found = scores(UnitTests(entry="name"), completion=completion, tests=tests, name="add")
    assert found.values.tolist() == [1.0], found.info["why"]


def test_a_body_goes_on_where_the_prompt_ends() -> None:
    prompt = 'def double(x):\n    """Twice x."""\n'
    reward = UnitTests(setup="prompt", entry="entry")
    for completion in ("    return 2 * x\n", "```python\ndef double(x):\n    return x + x\n```"):
        found = scores(
            reward,
            completion=completion,
            prompt=prompt,
            entry="double",
            tests="def check(candidate):\n    assert candidate(2) == 4\n",
        )
        assert found.values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("tests", "name", "message"),
    [
        ([], "add", "at least one"),
        (CALLS, None, "no name of the function"),
        ("def check(candidate:", "add", "do not parse"),
        (["assert 1 == 2", "assert add(1, 2) == 3"], None, "before it calls anything"),
        (["assert add(undefined, 2) == 3"], None, "undefined, which nothing defines"),
        (["while True: pass", "assert add(1, 2) == 3"], None, "by themselves"),
        (["assert Stack().push(1) is None"], None, "only plain data"),
        (["s = Stack()", "s.pop()", "assert add(1, 2) == 3"], None, "only plain data"),
        (["class T(unittest.TestCase):\n    pass"], None, "no assertion"),
        (["assert add(print, 2) == 3"], None, "cannot be sent"),
    ],
)
def test_broken_tests_fail_the_row(tests: Any, name: Any, message: str) -> None:
    reward = UnitTests(entry="name", limits={"test": 0.5})
    found = scores(reward, completion=ADD, tests=tests, name=name)
    assert found.status.tolist() == [Status.FAILED]
    assert message in found.errors[0][1]


def test_tests_may_use_modules_that_only_the_program_imports() -> None:
    tests = ["assert math.isclose(add(1, 2), 3)"]
    assert scores(UnitTests(), completion=ADD, tests=tests).values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("returned", "test"),
    [
        ("(i for i in range(3))", "assert list(f()) == [0, 1, 2]"),
        ("range(3)", "assert sum(f()) == 3"),
        ("{1: 2}.keys()", "assert list(f()) == [1]"),
        ("__import__('decimal').Decimal('1.5')", "assert f() == 1.5"),
        ("__import__('collections').Counter('aab')", "assert f() == {'a': 2, 'b': 1}"),
    ],
)
def test_what_is_almost_plain_goes_over(returned: str, test: str) -> None:
    program = f"def f():\n    return {returned}"
    assert scores(UnitTests(), completion=program, tests=[test]).values.tolist() == [1.0]


def test_arguments_are_changed_in_place() -> None:
    tests = ["x = [2, 1]\nassert f(x, [0]) is None and x == [1, 2]"]
    program = "def f(x, y):\n    x.sort()"
    assert scores(UnitTests(), completion=program, tests=tests).values.tolist() == [1.0]


def test_a_test_cannot_swallow_how_the_program_ended() -> None:
    tests = ["try:\n    f(1)\n    assert False\nexcept:\n    pass"]
    found = scores(
        UnitTests(limits={"test": 0.5}), completion="def f(x):\n    while True: pass", tests=tests
    )
    assert marks_of(found.info["why"][0]) == ["timeout"]


def test_leetcode_programs_need_not_import_typing() -> None:
    program = "class Solution:\n    def f(self, x: List[int]) -> int:\n        return x[0]"
    tests = [{"args": [[1]], "expected": 1}]
    found = scores(UnitTests(entry="name"), completion=program, tests=tests, name="f")
    assert found.values.tolist() == [1.0]


def test_a_broken_sandbox_fails_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **keywords: Any) -> Any:
        raise SandboxError("the disk is gone")

    monkeypatch.setattr("rewardsmith.engine.sandbox.unit_tests.run_calls", broken)
    found = scores(UnitTests(entry="name"), completion=ADD, tests=CALLS, name="add")
    assert found.status.tolist() == [Status.FAILED]
    assert "the disk is gone" in found.errors[0][1]


def test_no_sandbox_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(setting: Any) -> Any:
        raise SandboxError("the sandbox needs bubblewrap: apt-get install bubblewrap")

    _sandboxed.see_to_sandbox.cache_clear()
    monkeypatch.setattr(_sandboxed, "Box", missing)
    with pytest.raises(SpecError, match="apt-get install bubblewrap"):
        scores(UnitTests(), completion=ADD, tests=["assert add(1, 2) == 3"])


def test_without_isolation_it_warns() -> None:
    reward = UnitTests(unsafe=True)
    (caution,) = (2.0 * reward).cautions
    assert "without isolation" in caution
    with pytest.warns(RuntimeWarning, match="without isolation"):
        found = scores(reward, completion=ADD, tests=["assert add(1, 2) == 3"])
    assert found.values.tolist() == [1.0]
    assert not UnitTests().cautions


def test_another_language() -> None:
    runner = {"file": "main.sh", "command": ["sh", "main.sh"], "fence": "sh"}
    found = scores(
        UnitTests(runner=runner),
        completion="```sh\nread a b\necho $((a + b))\n```",
        tests=[{"input": "1 2\n", "output": "3"}, {"input": "2 2\n", "output": "5"}],
    )
    assert marks_of(found.info["why"][0]) == ["passed", "failed"]
    found = scores(UnitTests(runner=runner), completion="x", tests=CALLS)
    assert "take tests with input and output" in found.errors[0][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "most"}, "'all' or 'fraction'"),
        ({"tolerance": -1}, "tolerance"),
        ({"limits": {"tset": 1}}, "no limit 'tset'"),
        ({"limits": {"test": 0}}, "positive"),
        ({"limits": {"test": "1 s"}}, "not a number"),
        ({"runner": {"file": "a"}}, "no 'command'"),
        ({"runner": {"file": "a", "command": "sh a", "fence": "sh"}}, "list of words"),
        ({"runner": {"file": "../a", "command": ["sh"], "fence": "sh"}}, "without a folder"),
        ({"runner": {"file": "a", "command": ["sh"], "fence": "sh", "x": "y"}}, "no 'x'"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnitTests(**arguments)


def test_the_cache_knows_settings_apart() -> None:
    calls = [
        UnitTests().rowcall,
        UnitTests(score="fraction").rowcall,
        UnitTests(unsafe=True).rowcall,
    ]
    assert len({pickle.dumps(call) for call in calls}) == 3


def test_an_executor_that_ends_rows_first_is_refused() -> None:
    reward = UnitTests(limits={"program": 20})
    rollouts = rs.Rollouts({"completion": [ADD], "tests": [["assert add(1, 2) == 3"]]})
    with (
        rs.executor("processes", workers=1, timeout=10),
        pytest.raises(SpecError, match="timeout of 23 s or more"),
    ):
        reward(rollouts)
    with rs.executor("processes", workers=1, timeout=30):
        assert reward(rollouts).values.tolist() == [1.0]
