"""Our reward as the functions that a task of verifiers calls: ``async (task, trace)``."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from os import PathLike
from typing import Any, Literal, NamedTuple, TypeAlias

from ...core.errors import ScoreError, SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..batcher import Batcher
from ..scorer import Scored, Scorer
from ..versions import note_version
from .once import Once
from .rows import Row, row_of_trace

Hook: TypeAlias = Callable[[Any, Any], Awaitable[Any]]


class Hooks(NamedTuple):
    """What a task of ``verifiers.v1`` is plugged with; both are coroutine functions."""

    total: Hook
    """``(task, trace)`` -> the reward; with ``split`` a mapping part -> what it contributes."""
    parts: Hook
    """``(task, trace)`` -> a mapping for the metrics: ``reward/PATH``, ``scored/PATH`` and
    ``status/NAME``. It never fails for a row without a score."""


def to_verifiers(
    reward: Reward | str | PathLike[str],
    *,
    split: bool = False,
    missing: Missing = "missing",
    columns: Mapping[str, str] | None = None,
    api: Literal["v1", "legacy"] | None = None,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
) -> Any:
    """A reward as verifiers takes it: :class:`Hooks` for ``verifiers.v1``, or a legacy ``Rubric``.

    Rollouts that are scored at the same time are scored together, and what the functions say of one
    rollout comes from one scoring. The reward does not learn here.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        split: one reward for each part of a weighted sum, under its name, instead of their sum.
        missing: what a row without a score gets. In v1 a number, else the function raises: the
            rollout is marked as failed and has no reward. In legacy a number, or ``"raise"``.
        columns: our names: theirs; see :func:`~.rows.row_of_trace` for what there is.
        api: which of its two stacks; default legacy where it is installed (verifiers <= 0.3.1).
        executor: as for :class:`~..scorer.Scorer`.
        workers: likewise.
        timeout: likewise.

    Raises:
        SpecError: the reward compares rows that this stack does not score together, ``split``
            where the root is no weighted sum, or ``missing="missing"`` in legacy.
    """
    note_version("verifiers")
    scorer = Scorer(
        reward,
        columns=columns,
        missing=missing,
        executor=executor,
        workers=workers,
        timeout=timeout,
    )
    if split:
        parts_of(scorer)
    if (api or _installed()) == "legacy":
        from .rubric import rubric

        return rubric(scorer, split)
    return hooks(scorer, split)


def hooks(scorer: Scorer, split: bool) -> Hooks:
    """The two functions, which share what is scored."""
    if scorer.reward.scope != "row":
        raise SpecError(
            "this reward compares the rows of a group, and a task of verifiers scores each rollout "
            "by itself: score an episode's rollouts together with to_verifiers_episode in "
            "Env.finalize"
        )
    rows: Batcher[Row, Scored] = Batcher(scorer.each)
    once = Once(rows.submit)

    async def total(task: Any, trace: Any) -> float | dict[str, float]:
        scored = await _asked(once, "total", task, trace)
        return contributions(scorer, scored) if split else number(scorer, scored)

    async def parts(task: Any, trace: Any) -> dict[str, float]:
        return (await _asked(once, "parts", task, trace)).numbers

    return Hooks(total, parts)


async def _asked(once: Once[Scored], asker: str, task: Any, trace: Any) -> Scored:
    row = row_of_trace(task, trace)
    return await once.ask(trace, asker, row, (row["completion"], row["messages"]))


def number(scorer: Scorer, scored: Scored) -> float:
    """A row's reward.

    Raises:
        ScoreError: it has none, and ``missing`` is no number.
    """
    value = scored.given(scorer.missing)
    if value is None:
        # None is not for them: float() would fail on it with less to say.
        why = scored.error or "the reward abstained"
        raise ScoreError(f"{scored.status.name.lower()}: {why}")
    return value


def contributions(scorer: Scorer, scored: Scored) -> dict[str, float]:
    """Part -> what it adds to a row's reward; a part that abstained adds nothing.

    Where ``missing`` is a number there is a further part of that name, which is paid in their
    place.

    Raises:
        ScoreError: the row has no score, and ``missing`` is no number.
    """
    whole = number(scorer, scored)
    has = scored.value is not None
    weights = scorer.reward.coefficients()
    paid = {
        name: weight * scored.numbers[f"reward/{name}"] if has else 0.0
        for name, weight in weights.items()
    }
    return paid if isinstance(scorer.missing, str) else paid | {"missing": 0.0 if has else whole}


def parts_of(scorer: Scorer) -> list[str]:
    """The names under which a split reward is recorded.

    Raises:
        SpecError: its root is no weighted sum.
    """
    names = list(scorer.reward.coefficients())
    if not names:
        raise SpecError(
            f"{scorer.reward.label()} is no weighted sum, so its parts do not add up to it: leave "
            "out split, and read the parts among the metrics"
        )
    return names if isinstance(scorer.missing, str) else [*names, "missing"]


def _installed() -> Literal["v1", "legacy"]:
    """The stack of what is installed; both come with 0.3, where the rubrics are what people use."""
    if find_spec("verifiers") is None:
        return "v1"
    # Before there were two, there was the one of the rubrics.
    both = find_spec("verifiers.v1") and find_spec("verifiers.legacy")
    return "legacy" if both or not find_spec("verifiers.v1") else "v1"
