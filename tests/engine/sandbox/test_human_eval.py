"""HumanEval's own solutions pass, empty bodies fail, and so do most that are changed a little."""

import ast
import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rewardsmith.engine.sandbox import Limits, run_asserts

DATA = Path(__file__).parents[4] / "shared" / "data" / "humaneval.jsonl.gz"
pytestmark = [
    pytest.mark.usefixtures("sandbox"),
    pytest.mark.skipif(not DATA.exists(), reason=f"there is no {DATA}"),
]
LIMITS = Limits(test=5.0, program=15.0)
UNCHANGED = 17
"""Solutions that hold no operator or number to change."""
STILL_PASS = 17
"""Mutants that pass, at most: 15 were seen. Their change makes no difference, or none that the
tests see."""


class Problem(NamedTuple):
    """One of the 164."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    with gzip.open(DATA, "rt") as file:
        return [Problem(**json.loads(line)) for line in file]


def passing(problems: list[Problem], program: Callable[[Problem], str]) -> set[str]:
    """Those whose tests all pass."""
    found = set()
    for problem in problems:
        _, prompt, entry, _, test = problem
        results = run_asserts(program(problem), test, entry, prompt, limits=LIMITS)
        statuses = {result.status for result in results}
        assert results
        assert "infrastructure" not in statuses
        if statuses == {"passed"}:
            found.add(problem.task_id)
    return found


def test_all_solutions_pass(problems: list[Problem]) -> None:
    passed = passing(problems, lambda problem: problem.prompt + problem.canonical_solution)
    assert len(problems) == 164
    assert sorted({problem.task_id for problem in problems} - passed) == []


def test_all_empty_bodies_fail(problems: list[Problem]) -> None:
    assert passing(problems, lambda problem: problem.prompt + "    pass\n") == set()


# --- mutants --------------------------------------------------------------------------------------

_SWAPS: dict[type[ast.AST], Any] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def changes(function: ast.AST, rng: random.Random) -> Iterator[Callable[[], None]]:
    """All ways to change one operator or whole number."""
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in _SWAPS:
            yield partial(setattr, node, "op", _SWAPS[type(node.op)]())
        elif isinstance(node, ast.Compare):
            for k, op in enumerate(node.ops):
                if type(op) in _SWAPS:
                    yield partial(node.ops.__setitem__, k, _SWAPS[type(op)]())
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield partial(setattr, node, "value", node.value + rng.choice((-1, 1)))


def mutant(problem: Problem) -> str | None:
    """The solution with one change; None where there is nothing to change."""
    rng = random.Random(problem.task_id)
    tree = ast.parse(problem.prompt + problem.canonical_solution)
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    (function,) = (node for node in named if node.name == problem.entry_point)
    before = ast.unparse(function)
    ways = list(changes(function, rng))
    if not ways:
        return None
    rng.choice(ways)()
    assert ast.unparse(function) != before
    return ast.unparse(tree)


def test_mutants_are_the_same_every_time(problems: list[Problem]) -> None:
    assert [mutant(problem) for problem in problems] == [mutant(problem) for problem in problems]


@pytest.mark.slow
def test_most_mutants_fail(problems: list[Problem]) -> None:
    mutants = {problem.task_id: mutant(problem) for problem in problems}
    changed = [problem for problem in problems if mutants[problem.task_id] is not None]
    assert len(problems) - len(changed) == UNCHANGED
    survivors = passing(changed, lambda problem: mutants[problem.task_id] or "")
    assert len(survivors) <= STILL_PASS, sorted(survivors)
