"""Attempts in stages: a beam by process scores, then tests, then the best of what passed (109).

What the paper's sheet leaves open is our reading: the samples of a stage are spread evenly over the
beam, and states that no scorer ranks stay in the order in which they were drawn.

Scorers and tests take many states at once, so that a network or a reward that is run by an executor
sees a batch; :func:`each` makes one of a function of one state.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from ..core.catalog import Paper, method
from ..engine.sandbox import SandboxError
from ..rules.marks import TestStatus

T = TypeVar("T")
Flag: TypeAlias = Literal["", "timeout", "crashed", "infrastructure", "unfinished"]
"""What is to be told of an attempt beside passed or failed."""
Tested: TypeAlias = bool | Sequence[TestStatus] | TimeoutError | SandboxError
"""Of an attempt: whether it passes, the status of each test, or what kept it from being tested."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One stage of an attempt: from where it stands to where it may stand next.

    Raises:
        ValueError: a number to draw or to keep that is no integer of at least 1.
    """

    sample: Callable[[T, int], Sequence[T]]
    """``sample(state, n)`` draws at most n next states."""
    n: int
    """States drawn in this stage, over the whole beam."""
    score: Callable[[Sequence[T]], Sequence[float]] | None = None
    """How promising each state is; None keeps the order in which they were drawn."""
    keep: int | None = None
    """The states that go on to the next stage; None for all."""

    def __post_init__(self) -> None:
        given: dict[str, Any] = (
            {"n": self.n} if self.keep is None else {"n": self.n, "keep": self.keep}
        )
        for name, number in given.items():
            if not isinstance(number, Integral) or number < 1:
                raise ValueError(f"{name} of a stage is {number!r}, not an integer of at least 1")


@dataclass(frozen=True)
class Budget:
    """What a search has used."""

    asked: tuple[int, ...]
    """Samples asked for, by stage; their sum is known before the search."""
    drawn: tuple[int, ...]
    """States that came back, by stage."""
    scored: tuple[int, ...]
    """States scored, by stage."""
    tested: int
    """Attempts tested."""
    ranked: int
    """Attempts that the outcome scorer saw."""


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """What the search ended with: a state of the last stage, or one that is unfinished."""

    value: T
    passed: bool
    flag: Flag = ""
    why: str = ""
    score: float | None = None
    """Of the outcome scorer, which sees only what passed."""
    votes: int = 0
    """How many that passed say the same."""


@dataclass(frozen=True)
class SearchResult(Generic[T]):
    """What a search found."""

    chosen: T | None
    """The best attempt that passed; None where none did."""
    attempts: tuple[Attempt[T], ...]
    """All that the last stage kept, in their order. Where it returned nothing, the beam before it,
    flagged as unfinished: it is neither tested nor chosen."""
    budget: Budget
    empty: tuple[int, ...]
    """Stages that returned nothing, so that the beam before went on."""


def each(call: Callable[[T], Any]) -> Callable[[Sequence[T]], list[Any]]:
    """A function of many states from one of a single state.

    A TimeoutError and a SandboxError stand in the result's place, so that what one attempt does to
    its tests says nothing of the others. Those of a scorer are raised again by the search.
    """

    def told(state: T) -> Any:
        try:
            return call(state)
        except (TimeoutError, SandboxError) as error:
            return error

    return lambda states: [told(state) for state in states]


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
    tests: Callable[[Sequence[T]], Sequence[Tested]] | None = None,
    outcome: Callable[[Sequence[T]], Sequence[float]] | None = None,
    vote: Callable[[T], Hashable] | None = None,
) -> SearchResult[T]:
    """Sample and rank in stages, run the tests, and choose among the attempts that pass.

    Each stage draws ``n`` states from its beam (spread evenly, the first get the rest) and keeps
    the ``keep`` that its scorer likes best; equal ones in the order in which they were drawn. What
    the last stage keeps is tested; of what passes, the outcome scorer's best is chosen, ties by the
    number of votes, then by order. One stage without a scorer is best-of-n.

    A stage that returns nothing leaves the beam as it was, and the next one draws from that
    (``empty`` tells which). If it is the last one, no attempt came to its end: those before it are
    told as unfinished, and none is tested or chosen.

    Args:
        start: the state before the first stage.
        stages: in their order.
        tests: what came of each attempt, in their order: whether it passes, or the status of each
            test, all of which have to be ``"passed"``. A TimeoutError in its place fails the
            attempt, with the flag ``"timeout"``; a SandboxError says nothing of it: it is not
            chosen, and has the flag ``"infrastructure"``. So do these statuses. Where the call
            raises one of the two, it is that of every attempt. None lets all pass.
        outcome: how good each attempt that passed is; None for all the same.
        vote: what an attempt says: those with the same vote for each other. None for the attempt
            itself.

    Raises:
        ValueError: no stages, a stage that returns more than it was asked for, a score that is not
            finite, statuses that are none, tests of which there are none, or not as many results
            as states.
        TypeError: attempts that cannot be compared, and no vote; said before they are tested.
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
    if not drawn[-1]:
        attempts = [
            Attempt(s, False, "unfinished", "the last stage returned nothing") for s in beam
        ]
    else:
        if vote is None:
            _votes(beam)
        attempts = _ranked(_tested(beam, tests), outcome, vote)
    passed = [entry for entry in attempts if entry.passed]
    best = max(passed, key=lambda entry: (entry.score or 0.0, entry.votes), default=None)
    budget = Budget(
        tuple(asked),
        tuple(drawn),
        tuple(scored),
        len(beam) if tests is not None and drawn[-1] else 0,
        len(passed) if outcome is not None else 0,
    )
    return SearchResult(None if best is None else best.value, tuple(attempts), budget, tuple(empty))


def filter_trajectories(
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
        scores = _finite(stage.score, states, f"stage {number}")
        order = sorted(range(len(states)), key=lambda i: -scores[i])
        states = [states[i] for i in order]
    return states[: stage.keep]


def _finite(
    score: Callable[[Sequence[T]], Sequence[float]], states: Sequence[T], who: str
) -> list[float]:
    numbers: list[float] = []
    for told in _of_each(score(states), states, f"{who}: the scorer"):
        if isinstance(told, BaseException):
            raise told
        numbers.append(float(told))
        if not math.isfinite(numbers[-1]):
            raise ValueError(
                f"{who}: a score is {numbers[-1]}; a state that is worth nothing has a low one"
            )
    return numbers


def _of_each(results: Sequence[Any], states: Sequence[Any], who: str) -> list[Any]:
    found = list(results)
    if len(found) != len(states):
        raise ValueError(f"{who} gave {len(found)} results for {len(states)} states")
    return found


def _tested(
    beam: Sequence[T], tests: Callable[[Sequence[T]], Sequence[Tested]] | None
) -> list[Attempt[T]]:
    if tests is None:
        return [Attempt(state, True) for state in beam]
    try:
        results = _of_each(tests(beam), beam, "the tests")
    except (TimeoutError, SandboxError) as error:
        results = [error] * len(beam)
    return [_attempt(state, told) for state, told in zip(beam, results, strict=True)]


def _attempt(state: T, told: Any) -> Attempt[T]:
    if isinstance(told, TimeoutError):
        return Attempt(state, False, "timeout", str(told))
    if isinstance(told, SandboxError):
        return Attempt(state, False, "infrastructure", str(told))
    if getattr(told, "ndim", None) == 0 and hasattr(told, "item"):
        told = told.item()  # of an array or a tensor
    if isinstance(told, bool):
        return Attempt(state, told)
    statuses = list(told) if isinstance(told, Sequence) else []
    if not statuses or not set(statuses) <= set(get_args(TestStatus)):
        raise ValueError(f"the tests gave {told!r}, which is neither a bool nor statuses of tests")
    passed = statuses.count("passed")
    flags: tuple[Flag, ...] = ("infrastructure", "timeout", "crashed")
    flag: Flag = next((name for name in flags if name in statuses), "")
    return Attempt(state, passed == len(statuses), flag, f"{passed} of {len(statuses)} passed")


def _ranked(
    attempts: list[Attempt[T]],
    outcome: Callable[[Sequence[T]], Sequence[float]] | None,
    vote: Callable[[T], Hashable] | None,
) -> list[Attempt[T]]:
    where = [i for i, entry in enumerate(attempts) if entry.passed]
    values = [attempts[i].value for i in where]
    scores: list[float | None] = [None] * len(where)
    if outcome is not None and values:
        scores = [*_finite(outcome, values, "outcome")]
    votes = _votes(values if vote is None else [vote(value) for value in values])
    ranked = list(attempts)
    for i, score, count in zip(where, scores, votes, strict=True):
        ranked[i] = replace(attempts[i], score=score, votes=count)
    return ranked


def _votes(said: Sequence[Any]) -> list[int]:
    """How many say the same as each, itself included."""
    try:
        counts = Counter(said)
        return [counts[words] for words in said]
    except TypeError:  # lists and dicts, say
        pass
    try:
        return [sum(bool(words == other) for other in said) for words in said]
    except (ValueError, RuntimeError) as error:  # arrays and tensors, which compare by element
        raise TypeError(
            f"attempts or votes of type {type(said[0]).__name__} cannot be compared: give `vote`, "
            "what each attempt says"
        ) from error
