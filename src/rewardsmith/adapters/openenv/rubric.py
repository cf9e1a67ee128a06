"""Our reward as a tree of OpenEnv's rubrics, one for each environment."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any, Literal

from openenv.core.rubrics import Rubric

from ...core.errors import ScoreError, SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..batcher import Batcher
from ..fields import fields, plain
from ..scorer import Scored, Scorer, decided
from ..versions import note_version

Row = dict[str, Any]
_NOTHING = object()
BEFORE_THE_END = 0.0
"""What a step is paid that is not scored; OpenEnv's own outcome rubrics pay this too."""


class PartRubric(Rubric):  # type: ignore[misc]  # its package need not be there
    """A part of a reward: shows what its root found, and computes nothing.

    ``last_score`` is None where the part has no score.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: Any = _NOTHING

    def forward(self, action: Any, observation: Any) -> float:
        """What the root found.

        Raises:
            ScoreError: it was called by itself.
        """
        found, self._found = self._found, _NOTHING
        if found is _NOTHING:
            raise ScoreError(
                "a part of a reward is scored with the whole: call the root rubric and read "
                "last_score here"
            )
        return float(found)

    def show(self, action: Any, observation: Any, value: float | None) -> None:
        """Take a value as if it had been computed here, so that hooks on this rubric run."""
        if value is not None:
            self._found = value
            self(action, observation)


class RewardRubric(Rubric):  # type: ignore[misc]
    """A whole reward; its parts are its children. Made by :func:`to_openenv`.

    Beside ``last_score``, ``last_status`` says of the last step ``scored``, ``abstained``,
    ``timeout``, ``failed`` or ``bad_value`` (``unscored`` where nothing was asked yet), and
    ``last_error`` what went wrong.
    """

    def __init__(self, source: "Source") -> None:
        super().__init__()
        self.last_status, self.last_error = "unscored", ""
        self._source = source
        self._steps = self._asked = 0
        self._parts: dict[str, PartRubric] = {}
        for path, node in source.scorer.reward.walk():
            if path and isinstance(node, Reward):
                self._grow(path)

    def _grow(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        # A part lies under a node that is no reward, where a reward scores changed rollouts.
        parent: Rubric = self._parts.get(above, self) if above else self
        part = self._parts[path] = PartRubric()
        setattr(parent, free_name(parent, name), part)

    def forward(self, action: Any, observation: Any) -> float:
        """The reward of a step: the score, or what the caller gives for none.

        Raises:
            MissingColumn: action and observation do not have what the reward reads.
            ScoreError: the step has no score and ``missing`` is ``"raise"``.
        """
        if not self._due(observation):
            return BEFORE_THE_END
        return self._told(action, observation, self._source.rows(self._row(action, observation)))

    def _row(self, action: Any, observation: Any) -> Mapping[str, Any]:
        return self._source.row(action, observation)

    def _due(self, observation: Any) -> bool:
        """Whether this step is scored; whatever becomes of it, it is not the last one's score."""
        self._forget()
        self._steps += 1
        if self._source.score == "step":
            return True
        done = (fields(observation) or {}).get("done", getattr(observation, "done", None))
        if done is None:
            raise SpecError(
                f"{type(observation).__name__} has no field 'done', which says when an outcome is "
                "known: give score='step' to score every step"
            )
        return bool(done)

    def _told(self, action: Any, observation: Any, scored: Scored) -> float:
        self._asked += 1
        self.last_status, self.last_error = scored.status.name.lower(), scored.error
        for path, part in self._parts.items():
            has = scored.numbers.get(f"scored/{path}", 0.0)
            value = scored.numbers[f"reward/{path}"] if has else None
            part.show(action, observation, value)
        value = scored.given(self._source.scorer.missing)
        if value is None:
            raise ScoreError(
                "abstained: the reward says nothing of this step; give missing a number"
            )
        return value

    def reset(self) -> None:
        """Begin an episode; called by the environment's ``_reset_rubric``."""
        if self._steps and not self._asked:
            warnings.warn(
                f"an episode of {self._steps} steps ended and none of them was done, so nothing "
                "was scored: where every action is judged by itself, give score='step'",
                stacklevel=2,
            )
        self._steps = self._asked = 0
        self._forget()

    def _forget(self) -> None:
        self.last_score, self.last_status, self.last_error = None, "unscored", ""
        for part in self._parts.values():
            part.last_score = None


class AsyncRewardRubric(RewardRubric):
    """The same for ``_apply_rubric_async``: while a step is scored, the event loop goes on."""

    async def forward(self, action: Any, observation: Any) -> float:  # type: ignore[override]
        if not self._due(observation):
            return BEFORE_THE_END
        scored = await self._source.rows.ask(self._row(action, observation))
        return self._told(action, observation, scored)


class Source:
    """What the rubrics of several environments share: it scores rows, and remembers none."""

    def __init__(
        self,
        scorer: Scorer,
        row: Callable[[Any, Any], Mapping[str, Any]],
        score: Literal["done", "step"],
    ) -> None:
        self.scorer, self.row, self.score = scorer, row, score
        self.rows: Batcher[Any, Scored] = Batcher(scorer.each)


def to_openenv(
    reward: Reward | str | PathLike[str],
    *,
    missing: Missing,
    columns: Mapping[str, str] | None = None,
    row: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    score: Literal["done", "step"] = "done",
    asynchronous: bool = False,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
) -> RewardRubric:
    """A reward as a rubric whose children are its parts, for one environment.

    What a rubric says of its last step stands on the rubric, so two environments must not have
    one together; for several, see :func:`openenv_factory`. The reward does not learn here.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a step without a score is paid: a number, or ``"raise"``. OpenEnv knows no
            reward that is missing.
        columns: our names: theirs, such as ``{"completion": "action.message"}``; see
            :func:`row_of` for what there is.
        row: ``(action, observation)`` -> columns, in the place of :func:`row_of`.
        score: ``"done"`` scores a step whose observation says ``done``, and pays the others 0, as
            OpenEnv's own outcome rubrics do; ``"step"`` scores every step by itself.
        asynchronous: for environments that call ``_apply_rubric_async``; ``_apply_rubric`` would
            get a coroutine in the place of a number.
        executor: as for :class:`~..scorer.Scorer`.
        workers: likewise.
        timeout: likewise.

    Raises:
        SpecError: the reward compares rows with each other or scores the steps of an episode, or
            ``missing`` is ``"missing"``.
    """
    return openenv_factory(
        reward,
        missing=missing,
        columns=columns,
        row=row,
        score=score,
        asynchronous=asynchronous,
        executor=executor,
        workers=workers,
        timeout=timeout,
    )()


def openenv_factory(
    reward: Reward | str | PathLike[str],
    *,
    missing: Missing,
    columns: Mapping[str, str] | None = None,
    row: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    score: Literal["done", "step"] = "done",
    asynchronous: bool = False,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
) -> Callable[[], RewardRubric]:
    """A function that makes a rubric for each environment; arguments as for :func:`to_openenv`.

    They share the processes that score, and what comes from them at the same time is scored
    together; what they say of their last step is each one's own.
    """
    note_version("openenv")
    missing = decided(missing, "OpenEnv")
    if score not in ("done", "step"):
        raise ValueError(f"score is {score!r}; it is 'done' or 'step'")
    scorer = Scorer(
        reward,
        columns=columns,
        missing=missing,
        executor=executor,
        workers=workers,
        timeout=timeout,
    ).by_row("OpenEnv")
    _check(scorer.reward)
    source = Source(scorer, row or row_of, score)
    kind = AsyncRewardRubric if asynchronous else RewardRubric
    return partial(kind, source)


def row_of(action: Any, observation: Any) -> Row:
    """The columns of a step: the fields of the observation and of the action.

    ``observation.NAME`` and ``action.NAME`` are there always, with what is inside of them
    (``observation.metadata.answer``); ``NAME`` alone where only one of the two has such a field,
    so never ``metadata``, which both have.
    """
    seen, done = _fields(observation), _fields(action)
    both = seen.keys() & done.keys()
    row = {name: value for name, value in (seen | done).items() if name not in both}
    return row | {"observation": seen, "action": done}


def _fields(value: Any) -> Row:
    found = fields(value)
    if found is None:
        found = dict(getattr(value, "__dict__", {}))
    return {name: plain(inner) for name, inner in found.items() if not name.startswith("_")}


def free_name(parent: Rubric, name: str) -> str:
    """A child's name that a rubric has not got already (dots, which it forbids, ours have none).

    A child called ``reset`` would take the place of the method; it is called ``reset_``.
    """
    while hasattr(parent, name):
        name += "_"
    return name


def _check(reward: Reward) -> None:
    if reward.granularity == "dense":
        raise SpecError(
            "this reward scores the steps of an episode, and a rubric is never shown the "
            "observation that an action was taken in: pay it where the environment is stepped "
            "(rewardsmith.adapters.gymnasium)"
        )
