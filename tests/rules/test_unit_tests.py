"""Which program a completion holds, which tests a row, and what counts as right."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.unit_tests import (
    Asserts,
    Call,
    Run,
    code_of,
    read_tests,
    same_output,
    same_value,
)


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("def f(): pass", "def f(): pass"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\nor rather\n```py\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nit prints\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```bash\nls\n```", "ls\n"),
        ("```python\nx = 1", "x = 1"),
        ("<think>```python\nx = 1\n```</think>```python\nx = 2\n```", "x = 2\n"),
        ("~~~python\nx = 1\n~~~", "x = 1\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("```Python title='a'\nx = 1\n```", "x = 1\n"),
        ("", ""),
        ("<answer>```python\nx = 1\n```</answer>", "x = 1\n"),
        ("The code: ```python\nx = 1\n```", "x = 1\n"),
        ("Use `f` or ```x``` here.\n```python\nx = 1\n```", "x = 1\n"),
        ("1. so:\n   ```python\n   if x:\n       y\n   ```\n", "if x:\n    y\n"),
        ("```python\nx = 1\n```\n```\n```", "x = 1\n"),
    ],
)
def test_the_program_is_the_last_block(completion: str, code: str) -> None:
    assert code_of(completion) == code


def test_blocks_of_the_language_come_first() -> None:
    text = "```cpp\nint x;\n```\n```python\nx = 1\n```"
    assert code_of(text, ("cpp",)) == "int x;\n"


def test_an_example_of_use_may_follow() -> None:
    text = "```python\ndef f():\n    pass\n```\nUsage:\n```python\nprint(f())\n```"
    assert code_of(text, names={"f"}) == "def f():\n    pass\n"
    assert code_of(text, names={"g"}) == code_of(text) == "print(f())\n"


@given(st.text(alphabet="`~ \npython<think>/x", max_size=300))
def test_any_text_holds_some_program(text: str) -> None:
    words = code_of(text).split()
    assert all(word in text for word in words)


@pytest.mark.parametrize("unit", ["`", "```\n", "``` ", "~~~x`", " ```", "a"])
def test_a_long_completion_takes_no_time(unit: str) -> None:
    began = time.process_time()
    for text in (unit * 300_000, "```" + unit * 300_000 + "`"):
        code_of(text)
    assert time.process_time() - began < 10


CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"


@pytest.mark.parametrize(
    ("tests", "found", "name"),
    [
        (CHECK, Asserts(CHECK), None),
        (
            ["assert f(1) == 2", "assert f(2) == 3"],
            Asserts("assert f(1) == 2\nassert f(2) == 3"),
            None,
        ),
        ([{"input": "1\n", "output": "2\n"}], [Run("1\n", "2\n")], None),
        ([{"input": ["1", "2"], "output": ["3"]}], [Run("1\n2", "3")], None),
        ([{"args": [1], "expected": 2}], [Call([1], {}, 2)], None),
        ([{"kwargs": {"x": 1}, "expected": 2}], [Call([], {"x": 1}, 2)], None),
        ({"inputs": ["1"], "outputs": ["2"]}, [Run("1", "2")], None),
        (
            {"inputs": [[1]], "outputs": [[2]], "fn_name": "f"},
            [Call([1], {}, [2], or_its_item=True)],
            "f",
        ),
        (
            [{"input": '[1, 2]\n"a"', "output": "true", "testtype": "functional"}],
            [Call([[1, 2], "a"], {}, True)],
            None,
        ),
    ],
)
def test_forms_of_tests(tests: Any, found: Any, name: str | None) -> None:
    assert read_tests(tests) == (found, name)
    if not isinstance(tests, str):
        assert read_tests(json.dumps(tests)) == (found, name)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ([], "at least one"),
        (None, "at least one"),
        (3, "at least one"),
        ([3], "test 1 is 3"),
        ([{"input": "1"}], "test 1 has"),
        ([{"args": [1]}], "no 'expected'"),
        ([{"args": 1, "expected": 2}], "'args' is a list"),
        ([{"input": 1, "output": "1"}], "not text"),
        ([{"input": "{", "output": "1", "testtype": "functional"}], "no JSON"),
        ([{"input": "1", "output": "1"}, {"args": [], "expected": 1}], "of a program"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs and 0 outputs"),
        ({"inputs": [], "outputs": []}, "0 inputs"),
        ({"inputs": "1", "outputs": ["1"]}, "not a list"),
        ({"inputs": ["1"], "outputs": ["1"], "fn_name": "f"}, "calls f with"),
    ],
)
def test_what_is_no_tests_is_refused(tests: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tests(tests)


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        (1, 1, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        (True, True, True),
        ((1, [2]), [1, [2]], True),
        ([1], [1, 2], False),
        ([True], [1], False),
        ({"a": (1,)}, {"a": [1]}, True),
        ({"a": 1}, {"b": 1}, False),
        ("1", 1, False),
        (None, None, True),
        (float("nan"), float("nan"), True),
        ({1, 2}, {2, 1}, True),
        (0.1 + 0.2, 0.3, False),
        (10**400, 1.5, False),
    ],
)
def test_values_that_are_the_same(value: Any, expected: Any, same: bool) -> None:
    assert same_value(value, expected) is same


def test_floats_may_differ_by_a_tolerance() -> None:
    assert same_value([0.1 + 0.2], [0.3], 1e-9)
    assert not same_value([0.31], [0.3], 1e-9)
    assert not same_value(10**400, 1.5, 1e-9)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_PLAIN)
def test_everything_is_the_same_as_itself(value: Any) -> None:
    assert same_value(value, value)


@pytest.mark.parametrize(
    ("printed", "expected", "tolerance", "same"),
    [
        ("1\n2\n", "1\n2", 0, True),
        ("1  \n2\n\n\n", "1\n2", 0, True),
        ("1\r\n2\r\n", "1\n2\n", 0, True),
        (" 1", "1", 0, False),
        ("1 2", "1\n2", 0, False),
        ("", "", 0, True),
        ("", "0", 0, False),
        ("0.30000001 x", "0.3 x", 1e-6, True),
        ("0.31 x", "0.3 x", 1e-6, False),
        ("0.3 y", "0.3 x", 1e-6, False),
        ("nan", "0.3", 1e-6, False),
    ],
)
def test_outputs_that_are_the_same(
    printed: str, expected: str, tolerance: float, same: bool
) -> None:
    assert same_output(printed, expected, tolerance) is same
