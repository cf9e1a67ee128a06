"""Our reward as the functions that a task of verifiers calls: ``async (task, trace)``."""

from importlib.util import find_spec
from os import PathLike
from typing import Any, Literal, NamedTuple, Unpack

from ...core.errors import SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..row_scorer import RowScorer
from ..scorer import Options, Scored, Scorer
from ..versions import note_version
from .groups import OWN
from .once import Once
from .rows import row_of_trace


class TotalHook:
    """``await total(task, trace)``: the reward, or what each of its parts contributes."""

    def __init__(self, rows: RowScorer, once: Once[Scored], split: bool) -> None:
        # verifiers sorts and records its functions by their names.
        self.__name__ = "total"
        self._rows, self._once = rows, once
        self._weights = rows.scorer.weights() if split else None

    async def __call__(self, task: Any, trace: Any) -> float | dict[str, float]:
        """The reward; with ``split`` a mapping part -> what it contributes.

        Raises:
            ScoreError: there is none, and ``missing`` is no number. None is not for verifiers:
                ``float()`` would fail on it with less to say.
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: the completion is token ids.
        """
        scored = await _asked(self._once, self.__name__, task, trace)
        if self._weights is None:
            return self._rows.number(scored)
        return contributions(self._rows.scorer, self._weights, scored)


class PartsHook:
    """``await parts(task, trace)``: the numbers of a rollout, for the metrics."""

    def __init__(self, once: Once[Scored]) -> None:
        self.__name__ = "parts"
        self._once = once

    async def __call__(self, task: Any, trace: Any) -> dict[str, float]:
        """``reward/PATH``, ``scored/PATH`` and ``status/NAME``, also where there is no score.

        Raises:
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: the completion is token ids.
        """
        return (await _asked(self._once, self.__name__, task, trace)).numbers


class Hooks(NamedTuple):
    """What a task of ``verifiers.v1`` is plugged with; both are called asynchronously, and pickle.

    Pickled together they still share what is scored.
    """

    total: TotalHook
    parts: PartsHook


def to_verifiers(
    reward: Reward | str | PathLike[str],
    *,
    split: bool = False,
    missing: Missing | None = None,
    api: Literal["v1", "legacy"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """A reward as verifiers takes it: :class:`Hooks` for ``verifiers.v1``, or a legacy ``Rubric``.

    Rollouts that are scored at the same time are scored together, and what the functions say of one
    rollout comes from one scoring. The reward does not learn here.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        split: one reward for each part of a weighted sum, under its name, instead of their sum.
        missing: what a row without a score gets. In v1 a number, else the function raises: the
            rollout is marked as failed and has no reward. In legacy it has to be said, a number or
            ``"raise"``.
        api: which of its two stacks; default legacy where it is installed (verifiers <= 0.3.1).
        options: see :class:`~..scorer.Options`; for ``columns``, :func:`~.rows.row_of_trace` and
            :func:`~.rows.row_of_state` say what there is.

    Raises:
        SpecError: the file cannot be read, the reward compares rows that this stack does not score
            together, ``split`` where the root is no weighted sum, or the rubrics of the verifiers
            that is installed are not there or too old.
        ValueError: ``api`` is neither, ``missing`` was not decided in legacy, or as
            :class:`~..scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """
    if api not in (None, "v1", "legacy"):
        raise ValueError(f"api is {api!r}; it is 'v1' or 'legacy'")
    note_version("verifiers")
    if (api or _installed()) == "legacy":
        return _rubric(reward, split, missing, **options)
    rows = RowScorer(
        reward,
        "a task of verifiers",
        missing=missing,
        leaves_out=True,
        own=OWN,
        instead="score an episode's rollouts together with to_verifiers_episode in Env.finalize",
        **options,
    )
    once = Once(rows.submit)
    return Hooks(TotalHook(rows, once, split), PartsHook(once))


async def _asked(once: Once[Scored], asker: str, task: Any, trace: Any) -> Scored:
    row = row_of_trace(task, trace)
    return await once.ask(trace, asker, row, (row["completion"], row["messages"]))


def contributions(scorer: Scorer, weights: dict[str, float], scored: Scored) -> dict[str, float]:
    """Part -> what it adds to a row's reward; a part that abstained adds nothing.

    Where ``missing`` is a number there is a further part of that name, which is paid in their
    place.

    Raises:
        ScoreError: the row has no score, and ``missing`` is no number.
    """
    whole = scored.number(scorer.missing)
    has = scored.value is not None
    paid = {
        name: weight * scored.numbers[f"reward/{name}"] if has else 0.0
        for name, weight in weights.items()
    }
    return paid if isinstance(scorer.missing, str) else paid | {"missing": 0.0 if has else whole}


def _rubric(
    reward: Reward | str | PathLike[str],
    split: bool,
    missing: Missing | None,
    **options: Unpack[Options],
) -> Any:
    try:
        from .rubric import rubric
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "verifiers":
            raise
        raise SpecError(
            "api='legacy' makes a Rubric, which the verifiers that is installed (if any) does not "
            "have: install verifiers==0.3.1, or take api='v1'"
        ) from error
    return rubric(reward, split, missing, **options)


def _installed() -> Literal["v1", "legacy"]:
    """The stack of what is installed; both come with 0.3, where the rubrics are what people use."""
    if find_spec("verifiers") is None:
        return "v1"
    # Before there were two, there was the one of the rubrics.
    both = find_spec("verifiers.v1") and find_spec("verifiers.legacy")
    return "legacy" if both or not find_spec("verifiers.v1") else "v1"
