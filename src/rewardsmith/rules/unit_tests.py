"""Programs in completions, the tests that data sets keep, and what counts as the right result."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Asserts(NamedTuple):
    """Tests that are code: statements that assert, or ``check(candidate)``."""

    code: str


class Call(NamedTuple):
    """A test of a function: what it is called with, and what it should return."""

    args: Sequence[Any]
    keywords: Mapping[str, Any]
    expected: Any
    or_its_item: bool = False
    """Whether the one item of an expected list will do: APPS wraps results so, and not always."""


class Run(NamedTuple):
    """A test of a program: what it reads, and what it should print."""

    stdin: str
    stdout: str


_FENCE = re.compile(r"```+|~~~+")
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\(")
_THOUGHT = "</think>"
_PYTHON = ("python", "py", "python3")


def code_of(
    completion: str, languages: Sequence[str] = _PYTHON, names: Collection[str] = ()
) -> str:
    """The program in a completion: its last fenced block, or all of it where there is none.

    Blocks that define one of ``names`` come first, so that an example of how to use the program may
    follow it; then those that name one of ``languages``, then those that name none. A block that is
    not closed reaches to the end. What stands before ``</think>`` is passed over.
    """
    completion = completion.rpartition(_THOUGHT)[2]
    blocks = [(language, code) for language, code in _blocks(completion) if code.strip()]
    known = {language.lower() for language in languages}
    ours = [code for language, code in blocks if language in known or not language]
    for code in reversed(ours):
        if any(_defines(code, name) for name in names):
            return code
    for wanted in (known, {""}):
        for language, code in reversed(blocks):
            if language in wanted:
                return code
    return completion if not blocks else blocks[-1][1]


def names_in(code: str) -> set[str]:
    """Names that code calls; what tests call is what they test, among other things."""
    return set(_CALLED.findall(code))


def _defines(code: str, name: str) -> bool:
    return f"def {name}(" in code or f"class {name}" in code


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    fence, language, start, indent, at = "", "", 0, 0, 0
    for mark in _FENCE.finditer(text):
        if mark.start() < at:  # the line has been read
            continue
        line = text.rfind("\n", at, mark.start()) + 1 or at
        end = text.find("\n", mark.end())
        at = end = len(text) if end < 0 else end
        before, behind = text[line : mark.start()], text[mark.end() : end].strip()
        if not fence:
            # Marks behind it in the line make it a span of code.
            if mark[0][0] not in behind:
                fence, language = mark[0], behind.split()[0].lower() if behind else ""
                start, indent = end + 1, len(before) - len(before.lstrip(" "))
        # What closes it stands alone, but for a tag such as </answer>.
        elif mark[0].startswith(fence) and not before.strip() and behind[:1] in ("", "<"):
            yield language, _without(indent, text[start:line])
            fence = ""
    if fence:
        yield language, _without(indent, text[start:])


def _without(indent: int, code: str) -> str:
    """A block that is indented as a whole has lines that are, as far as they are blank there."""
    if not indent:
        return code
    lines = code.split("\n")
    return "\n".join(line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines)


def read_tests(tests: Any) -> tuple[Asserts | list[Call] | list[Run], str | None]:
    """The tests of a row, and the name of the function that they are for, where they tell it.

    Args:
        tests: one of

            - code that asserts: ``"def check(candidate): ..."`` as HumanEval has it, or a list of
              ``"assert f(1) == 2"`` as MBPP has it;
            - ``[{"input": ..., "output": ...}, ...]``: what a program reads and prints; with
              ``"testtype": "functional"``, as LiveCodeBench has it, arguments as a line of JSON
              each, and the result;
            - ``[{"args": [...], "kwargs": {...}, "expected": ...}, ...]``;
            - ``{"inputs": [...], "outputs": [...]}``, with ``fn_name`` for functions, as APPS and
              TACO have it; there, ``[x]`` as an output also means x;
            - any of them as JSON.

    Raises:
        ValueError: they are none of these, or there are none.
    """
    if isinstance(tests, str):
        loaded = _json(tests)
        if loaded is None:
            if not tests.strip():
                raise ValueError("the tests are empty")
            return Asserts(tests), None
        tests = loaded
    tests = _plain(tests)
    if isinstance(tests, Mapping):
        return _of_columns(tests)
    if not isinstance(tests, list | tuple) or not tests:
        raise ValueError(f"the tests are {_shown(tests)}: a list of at least one, or code")
    if all(isinstance(test, str) for test in tests):
        return Asserts("\n".join(tests)), None
    found = [_test(k, test) for k, test in enumerate(tests)]
    calls = [test for test in found if isinstance(test, Call)]
    runs = [test for test in found if isinstance(test, Run)]
    if calls and runs:
        raise ValueError("some tests are of a function, others of a program")
    return calls or runs, None


def _plain(value: Any) -> Any:
    """Arrays and their numbers, as tables hold them, as lists and Python's numbers."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    return value.tolist() if hasattr(value, "tolist") else value


def _json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_columns(tests: Mapping[str, Any]) -> tuple[list[Call] | list[Run], str | None]:
    inputs, outputs, name = tests.get("inputs"), tests.get("outputs"), tests.get("fn_name")
    for which, column in (("inputs", inputs), ("outputs", outputs)):
        if not isinstance(column, list | tuple):
            raise ValueError(f"tests[{which!r}] is {_shown(column)}, not a list")
    assert inputs is not None
    assert outputs is not None
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"there are {len(inputs)} inputs and {len(outputs)} outputs of tests")
    if name is None:
        pairs = zip(inputs, outputs, strict=True)
        return [_run(k, stdin, stdout) for k, (stdin, stdout) in enumerate(pairs)], None
    for k, args in enumerate(inputs):
        if not isinstance(args, list | tuple):
            raise ValueError(f"test {k + 1} calls {name} with {_shown(args)}, not a list")
    calls = [Call(args, {}, out, True) for args, out in zip(inputs, outputs, strict=True)]
    return calls, str(name)


def _test(k: int, test: Any) -> Call | Run:
    if not isinstance(test, Mapping):
        raise ValueError(f"test {k + 1} is {_shown(test)}, not a mapping")
    if "args" in test or "kwargs" in test:
        if "expected" not in test:
            raise ValueError(f"test {k + 1} has no 'expected'")
        args, keywords = test.get("args") or [], test.get("kwargs") or {}
        if not isinstance(args, list | tuple) or not isinstance(keywords, Mapping):
            raise ValueError(f"test {k + 1}: 'args' is a list and 'kwargs' a mapping")
        return Call(args, keywords, test["expected"])
    if "input" not in test or "output" not in test:
        raise ValueError(
            f"test {k + 1} has {sorted(map(str, test))}: it takes 'input' and 'output', or 'args' "
            "and 'expected'"
        )
    if test.get("testtype") != "functional":
        return _run(k, test["input"], test["output"])
    try:
        args = [json.loads(line) for line in str(test["input"]).splitlines() if line.strip()]
        return Call(args, {}, json.loads(test["output"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"test {k + 1} holds no JSON: {error}") from None


def _run(k: int, stdin: Any, stdout: Any) -> Run:
    """Lists are lines, as APPS has them."""
    texts = ["\n".join(map(str, t)) if isinstance(t, list | tuple) else t for t in (stdin, stdout)]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"test {k + 1} holds {_shown(text)}, not text to read or print")
    return Run(*texts)


def same_value(value: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Whether two plain values are equal.

    As in Python, but True is not 1, and lists and tuples of the same items are one: JSON has no
    tuples. Floats may differ by ``tolerance``, relative or absolute; NaN equals NaN.
    """
    numbers = (int, float)
    if type(value) in numbers and type(expected) in numbers:
        if value == expected or (value != value and expected != expected):
            return True
        try:
            return tolerance > 0 and math.isclose(
                value, expected, rel_tol=tolerance, abs_tol=tolerance
            )
        except OverflowError:
            return False
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(
            same_value(a, b, tolerance) for a, b in zip(value, expected, strict=True)
        )
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(
            same_value(value[key], expected[key], tolerance) for key in value
        )
    return type(value) is type(expected) and bool(value == expected)


def same_output(printed: str, expected: str, tolerance: float = 0.0) -> bool:
    """Whether a program printed what it should: line by line, blanks at the ends not counted.

    With a ``tolerance``, words that are numbers may differ by it, relative or absolute.
    """
    lines, wanted = _lines(printed), _lines(expected)
    if lines == wanted:
        return True
    if tolerance <= 0 or len(lines) != len(wanted):
        return False
    return all(_close(a, b, tolerance) for a, b in zip(lines, wanted, strict=True))


def _lines(text: str) -> list[str]:
    # Not splitlines: form feeds and the like end no line.
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]


def _close(line: str, wanted: str, tolerance: float) -> bool:
    words, others = line.split(), wanted.split()
    return len(words) == len(others) and all(
        a == b or _near(a, b, tolerance) for a, b in zip(words, others, strict=True)
    )


def _near(word: str, other: str, tolerance: float) -> bool:
    try:
        return math.isclose(float(word), float(other), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
