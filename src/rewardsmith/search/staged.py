"""Attempts in stages: a beam by process scores, then tests, then the best of what passed (109).

What the paper's sheet leaves open is our reading: the samples of a stage are spread evenly over the
beam, and states that no scorer ranks stay in the order in which they were drawn.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from ..core.catalog import Paper, method
from ..rules.marks import TestStatus

T = TypeVar("T")
Flag: TypeAlias = Literal["", "timeout", "crashed", "infrastructure"]
"""What is to be told of an attempt beside passed or failed."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One stage of an attempt: from where it stands to where it may stand next.

    Raises:
        ValueError: nothing is drawn or kept.
    """

    sample: Callable[[T, int], Sequence[T]]
    """``sample(state, n)`` draws at most n next states."""
    n: int
    """States drawn in this stage, over the whole beam."""
    score: Callable[[T], float] | None = None
    """How promising a state is; None keeps the order in which they were drawn."""
    keep: int | None = None
    """The states that go on to the next stage; None for all."""

    def __post_init__(self) -> None:
        if self.n < 1 or (self.keep is not None and self.keep < 1):
            raise ValueError(f"a stage draws and keeps at least 1, not {self.n} and {self.keep}")


@dataclass(frozen=True)
class Budget:
    """What a search has used."""

    asked: tuple[int, ...]
    """Samples asked for, by stage; their sum is known before the search."""
    drawn: tuple[int, ...]
    """States that came back, by stage."""
    scored: tuple[int, ...]
    """Calls of the scorer, by stage."""
    tested: int
    """Calls of the tests."""
    ranked: int
    """Calls of the outcome scorer."""


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """An attempt that came through the stages."""

    value: T
    passed: bool
    flag: Flag = ""
    why: str = ""
    score: float | None = None
    """Of the outcome scorer, which sees only what passed."""
    votes: int = 0
    """How many that passed say the same."""


@dataclass(frozen=True)
class Found(Generic[T]):
    """What a search found."""

    chosen: T | None
    """The best attempt that passed; None where none did."""
    attempts: tuple[Attempt[T], ...]
    """All that came through the stages, in the order of the last beam."""
    budget: Budget
    empty: tuple[int, ...]
    """Stages that returned nothing, so that the beam before went on."""


@method(
    "staged_search",
    kind="search",
    seed=109,
    paper=Paper(
        "2503.23803",
        "Thinking Longer, Not Larger: Enhancing Software Engineering Agents via Scaling Test-Time "
        "Compute",
        2025,
    ),
)
def staged_search(
    start: T,
    stages: Sequence[Stage[T]],
    tests: Callable[[T], bool | Sequence[TestStatus]] | None = None,
    outcome: Callable[[T], float] | None = None,
    vote: Callable[[T], Hashable] | None = None,
) -> Found[T]:
    """Sample and rank in stages, run the tests, and choose among the attempts that pass.

    Each stage draws ``n`` states from its beam (spread evenly, the first get the rest) and keeps
    the ``keep`` that its scorer likes best; equal ones in the order in which they were drawn. A
    stage that returns nothing leaves the beam as it was. What the last stage keeps is tested; of
    what passes, the outcome scorer's best is chosen, ties by the number of votes, then by order.
    One stage without a scorer is best-of-n.

    Args:
        start: the state before the first stage.
        stages: in their order.
        tests: whether an attempt passes, or the status of each test, all of which have to be
            ``"passed"``. A TimeoutError fails the attempt, with the flag ``"timeout"``; an OSError,
            as of a broken sandbox, says nothing of it: it is not chosen, and has the flag
            ``"infrastructure"``. So do these statuses. None lets all pass.
        outcome: how good an attempt that passed is; None for all the same.
        vote: what an attempt says: those with the same vote for each other. None for the attempt
            itself.

    Raises:
        ValueError: no stages, a stage that returns more than it was asked for, a score that is not
            finite, statuses that are none, or tests of which there are none.
    """
    if not stages:
        raise ValueError("a search has at least one stage")
    beam: list[T] = [start]
    asked, drawn, scored, empty = [], [], [], []
    for i, stage in enumerate(stages):
        states = _sampled(stage, beam, i)
        asked.append(stage.n)
        drawn.append(len(states))
        scored.append(len(states) if stage.score is not None else 0)
        if states:
            beam = _best(states, stage, i)
        else:
            empty.append(i)
    attempts = _ranked([_tested(attempt, tests) for attempt in beam], outcome, vote)
    passed = [entry for entry in attempts if entry.passed]
    best = max(passed, key=lambda entry: (entry.score or 0.0, entry.votes), default=None)
    budget = Budget(
        tuple(asked),
        tuple(drawn),
        tuple(scored),
        len(beam) if tests is not None else 0,
        len(passed) if outcome is not None else 0,
    )
    return Found(None if best is None else best.value, tuple(attempts), budget, tuple(empty))


def worth_training_on(
    correct: Sequence[bool], base: Sequence[Sequence[bool]], least_failures: int
) -> list[bool]:
    """Which trajectories to keep: correct ones of tasks that the base model does not just solve.

    ``keep_i = correct_i and #{k: not base_ik} >= m``: the filter by accuracy and complexity.

    Args:
        correct: whether each trajectory ends in a solution.
        base: whether each of the base model's attempts at the same task did.
        least_failures: m, how often the base model has to fail.

    Raises:
        ValueError: unequal lengths, m below 0, or fewer attempts than m, which none could pass.
    """
    if least_failures < 0:
        raise ValueError(f"least_failures is {least_failures}, below 0")
    for i, attempts in enumerate(base):
        if len(attempts) < least_failures:
            raise ValueError(
                f"trajectory {i} has {len(attempts)} attempts of the base model, of which "
                f"{least_failures} should fail"
            )
    failures = [sum(not solved for solved in attempts) for attempts in base]
    return [
        bool(right) and count >= least_failures
        for right, count in zip(correct, failures, strict=True)
    ]


def _sampled(stage: Stage[T], beam: Sequence[T], number: int) -> list[T]:
    states: list[T] = []
    share, rest = divmod(stage.n, len(beam))
    for i, state in enumerate(beam):
        n = share + (i < rest)
        if not n:
            break
        found = list(stage.sample(state, n))
        if len(found) > n:
            raise ValueError(f"stage {number} was asked for {n} states and returned {len(found)}")
        states += found
    return states


def _best(states: list[T], stage: Stage[T], number: int) -> list[T]:
    if stage.score is not None:
        scores = [_finite(stage.score(state), f"stage {number}") for state in states]
        order = sorted(range(len(states)), key=lambda i: -scores[i])
        states = [states[i] for i in order]
    return states[: stage.keep]


def _finite(score: float, who: str) -> float:
    number = float(score)
    if not math.isfinite(number):
        raise ValueError(f"{who}: a score is {number}; a state that is worth nothing has a low one")
    return number


def _tested(attempt: T, tests: Callable[[T], bool | Sequence[TestStatus]] | None) -> Attempt[T]:
    if tests is None:
        return Attempt(attempt, True)
    try:
        told = tests(attempt)
    except TimeoutError as error:  # which is an OSError, too
        return Attempt(attempt, False, "timeout", str(error))
    except OSError as error:
        return Attempt(attempt, False, "infrastructure", str(error))
    if isinstance(told, bool):
        return Attempt(attempt, told)
    statuses = list(told)
    if not statuses or not set(statuses) <= set(get_args(TestStatus)):
        raise ValueError(f"the tests gave {told!r}, which is neither a bool nor statuses of tests")
    passed = statuses.count("passed")
    flags: tuple[Flag, ...] = ("infrastructure", "timeout", "crashed")
    flag: Flag = next((name for name in flags if name in statuses), "")
    return Attempt(attempt, passed == len(statuses), flag, f"{passed} of {len(statuses)} passed")


def _ranked(
    attempts: list[Attempt[T]],
    outcome: Callable[[T], float] | None,
    vote: Callable[[T], Hashable] | None,
) -> list[Attempt[T]]:
    def said(entry: Attempt[T]) -> Any:
        return entry.value if vote is None else vote(entry.value)

    votes = Counter(said(entry) for entry in attempts if entry.passed)
    return [
        Attempt(
            entry.value,
            True,
            entry.flag,
            entry.why,
            None if outcome is None else _finite(outcome(entry.value), "outcome"),
            votes[said(entry)],
        )
        if entry.passed
        else entry
        for entry in attempts
    ]
