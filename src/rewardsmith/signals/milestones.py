"""Partial credit for programs: the task's score, or how far they came (102)."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.reference import ByName
from ..engine.milestones import run_and_grade
from ..rules.milestones import reward_range
from ._sandboxed import Sandboxed

SCORE = r"(?i)\bscore\s*[:=]\s*(\S+)"
"""The default pattern of the score."""


@method(
    "milestones",
    kind="signal",
    seed=102,
    paper=Paper(
        "2509.01684", "Reinforcement Learning for Machine Learning Engineering Agents", 2025
    ),
)
class Milestones(Sandboxed):
    r"""The score of a program that does its task; of one that does not, -10 and 0.1 per milestone.

    ``r = s`` (``-s`` where lower is better) if the program exits with 0 and a score is found, else
    ``r = failure + bonus * |milestones hit|``. Programs run in the sandbox. That failed runs get
    the sum of both is our reading; no failed run can outrank a valid one.

    With ``instrument``, a frozen function of yours puts announcements into the program before it
    runs: ``announce("data loaded")`` gives a line of Python that prints this text behind a mark of
    16 bytes, ``announce("score:", "auc")`` one that prints the value of an expression behind it.
    The marks are made of a key drawn for each run; only marked lines are read, and a mark is good
    for its text alone. Without ``instrument`` the patterns are looked for in all that is printed.
    What stands in the program (escapes resolved, literals put together) then does not count, which
    stops the plainest forgeries and no others.

    What is put into a program, it may look up: in its own code, or by taking over what announces.
    That can buy the bonus of all milestones, and, where the score is read from the output, the
    score. So have a ``grader`` give the score: it runs after the program and outside of the
    sandbox, on what was printed, which it has to take for hostile text; it returns None where that
    is no valid solution, and what it raises fails the row.

    ``info["seconds"]`` of the scores is what ``duration_weights`` of
    :mod:`rewardsmith.policy.advantages` takes; it is NaN for rows that were cached or equal to
    another.

    Args:
        milestones: name -> RE2 pattern. The paper has 7.
        score: an RE2 pattern whose one group is the score; its last match counts.
        instrument: ``(source, announce) -> source``. What is no Python may raise a SyntaxError.
        grader: ``(output) -> score or None``, or ``(output, gold)``; ``score`` is then not read.
        score_bounds: the least and the largest score that the task knows; one outside fails the
            row.
        lower_is_better: whether the score is an error.
        failure: what total failure earns.
        bonus: what each milestone adds.
        gold: the column that the grader gets.
        stdin: the column with the program's standard input.
        limits: other limits than those of :class:`rewardsmith.engine.sandbox.Limits`, by name.
        unsafe: run them without isolation, where there is no bubblewrap. What they do to this
            machine is then up to them.
        packages: let programs import the packages that are installed here.
        completion: the column of completions; the program is the last fenced block, or all of it.

    Raises:
        ValueError: patterns that RE2 does not take, a score's without one group, bounds that are
            not in order, a gold column without a grader, unknown limits, or numbers by which a
            failed run could reach a valid one.
        SpecError: when it scores: there is no sandbox to be had here, with what to do about it; or
            the executor ends rows before ``limits.program`` is over.
    """

    contract = Contract(
        full={"completion": "print('data loaded ' * 2)\nprint('score:', 2 - 1)"},
        zero={"completion": "raise SystemExit(1)"},
        malformed={"completion": "def f(:"},
        arguments={"milestones": {"loaded": "data loaded"}},
    )

    def __init__(
        self,
        milestones: Mapping[str, str],
        score: str = SCORE,
        instrument: Callable[..., str] | None = None,
        grader: Callable[..., float | None] | None = None,
        score_bounds: tuple[float, float] = (-1.0, 1.0),
        lower_is_better: bool = False,
        failure: float = -10.0,
        bonus: float = 0.1,
        gold: str | None = None,
        stdin: str | None = None,
        limits: Mapping[str, float] | None = None,
        unsafe: bool = False,
        packages: bool = False,
        completion: str = "completion",
    ) -> None:
        super().__init__()
        if gold is not None and grader is None:
            raise ValueError("milestones: the gold column is for a grader, and there is none")
        self.milestones, self.score, self.bonus = dict(milestones), score, float(bonus)
        self.instrument, self.grader, self.failure = instrument, grader, float(failure)
        low, high = map(float, score_bounds)
        self.score_bounds, self.lower_is_better = (low, high), lower_is_better
        self.gold, self.stdin = gold, stdin
        self.packages, self.completion = packages, completion
        self.sandboxed(limits, unsafe, packages=packages)
        terms: dict[str, Any] = {
            "bounds": [low, high],
            "lower_is_better": lower_is_better,
            "failure": self.failure,
            "bonus": self.bonus,
        }
        reached = reward_range(self.milestones, score, **terms)
        options: dict[str, Any] = {"milestones": self.milestones, "score": score, "terms": terms}
        extra = {"stdin": stdin, "gold": gold}
        given = {name: column for name, column in extra.items() if column is not None}
        options |= {"given": [*given], "limits": self.limits}
        options |= {"unsafe": unsafe, "packages": packages}
        for name, call in (("instrument", instrument), ("grader", grader)):
            if call is not None:
                options[name] = ByName(call)
        columns = (completion, *given.values())
        self.by_row(run_and_grade, columns, options, bounds=reached, preload=("re2",))
