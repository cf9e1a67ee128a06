"""HumanEval's own solutions pass, empty bodies fail, and so do most that are changed a little."""

import ast
import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rewardsmith.engine.sandbox import Limits, run_asserts

DATA = Path(__file__).parents[4] / "shared" / "data" / "humaneval.jsonl.gz"
pytestmark = [
    pytest.mark.usefixtures("sandbox"),
    pytest.mark.skipif(not DATA.exists(), reason=f"there is no {DATA}"),
]
PATIENT = Limits(test=10.0, program=30.0)
STILL_PASS = 12
"""Mutants that pass: 8 were seen, whose change makes no difference that the tests can see."""


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


def passing(problems: list[Problem], body: Callable[[Problem], str], limits: Limits) -> set[str]:
    """Those whose tests all pass with another body."""
    found = set()
    for problem in problems:
        source = problem.prompt + body(problem)
        results = run_asserts(
            source, problem.test, problem.entry_point, problem.prompt, limits=limits
        )
        assert results
        if all(result.status == "passed" for result in results):
            found.add(problem.task_id)
        else:
            assert all(result.status != "infrastructure" for result in results)
    return found


def test_all_solutions_pass(problems: list[Problem]) -> None:
    passed = passing(problems, lambda problem: problem.canonical_solution, PATIENT)
    assert len(problems) == 164
    assert sorted({problem.task_id for problem in problems} - passed) == []


def test_all_empty_bodies_fail(problems: list[Problem]) -> None:
    assert passing(problems, lambda problem: "    pass\n", PATIENT) == set()


# --- mutants --------------------------------------------------------------------------------------

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
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
            yield lambda node=node: setattr(node, "op", _SWAPS[type(node.op)]())  # type: ignore[misc]
        elif isinstance(node, ast.Compare):
            for k, op in enumerate(node.ops):
                if type(op) in _SWAPS:
                    yield lambda node=node, k=k, op=op: node.ops.__setitem__(k, _SWAPS[type(op)]())  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            by = rng.choice((-1, 1))
            yield lambda node=node, by=by: setattr(node, "value", node.value + by)  # type: ignore[misc]


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
    without = sorted(task for task, source in mutants.items() if source is None)
    changed = [problem for problem in problems if mutants[problem.task_id] is not None]
    whole = [problem._replace(prompt="") for problem in changed]
    prompts = {problem.task_id: problem.prompt for problem in problems}
    survivors = {
        problem.task_id
        for problem in whole
        if all(
            result.status == "passed"
            for result in run_asserts(
                mutants[problem.task_id] or "",
                problem.test,
                problem.entry_point,
                prompts[problem.task_id],
                limits=Limits(test=2.0, program=4.0),
            )
        )
    }
    assert len(without) == UNCHANGED
    assert len(survivors) <= STILL_PASS, sorted(survivors)
