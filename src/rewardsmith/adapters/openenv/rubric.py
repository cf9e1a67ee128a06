"""Our reward as a tree of OpenEnv's rubrics, one for each environment."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any, Literal, Unpack

from openenv.core.rubrics import Rubric

from ...core.errors import MissingColumn, ScoreError, SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..fields import fields, plain
from ..row_scorer import RowScorer
from ..scorer import Options, Scored
from ..versions import note_version

BEFORE_THE_END = 0.0
"""What a step is paid that is not scored; OpenEnv's own outcome rubrics pay this too."""


class PartRubric(Rubric):  # type: ignore[misc]  # its package need not be there
    """A part of a reward: shows what its root found, and computes nothing.

    ``last_score`` is None where the part has no score.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[int, int], float] = {}

    def forward(self, action: Any, observation: Any) -> float:
        """What the root found.

        Raises:
            ScoreError: it was called by itself.
        """
        # By the step: hooks that are awaited may let another one in between.
        found = self._found.pop((id(action), id(observation)), None)
        if found is None:
            raise ScoreError(
                "a part of a reward is scored with the whole: call the root rubric and read "
                "last_score here"
            )
        return found

    def show(self, action: Any, observation: Any, value: float) -> Any:
        """Take a value as if it had been computed here, so that hooks on this rubric run."""
        self._found[id(action), id(observation)] = value
        return self(action, observation)


class AsyncPartRubric(PartRubric):
    """The same, for hooks that are coroutine functions."""

    async def forward(self, action: Any, observation: Any) -> float:  # type: ignore[override]
        return super().forward(action, observation)


class RewardRubric(Rubric):  # type: ignore[misc]
    """A whole reward; its parts are its children. Made by :func:`to_openenv`.

    Beside ``last_score``, ``last_status`` says of the last step ``scored``, ``abstained``,
    ``timeout``, ``failed`` or ``bad_value`` (``unscored`` where nothing was asked yet), and
    ``last_error`` what went wrong.

    Args:
        rows: scores rows, for this and the rubrics of other environments.
        row: ``(action, observation)`` -> columns.
        score: which steps are scored.
    """

    part: type[PartRubric] = PartRubric

    def __init__(
        self,
        rows: RowScorer,
        row: Callable[[Any, Any], Mapping[str, Any]],
        score: Literal["done", "step"],
    ) -> None:
        super().__init__()
        self.last_status, self.last_error = "unscored", ""
        self._rows, self._row, self._score = rows, row, score
        self._steps = self._asked = 0
        self._parts: dict[str, PartRubric] = {}
        for path, node in rows.scorer.reward.walk():
            if path and isinstance(node, Reward):
                self._grow(path)

    def _grow(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        # A part lies under a node that is no reward, where a reward scores changed rollouts.
        parent: Rubric = self._parts.get(above, self) if above else self
        part = self._parts[path] = self.part()
        setattr(parent, free_name(parent, name), part)

    def forward(self, action: Any, observation: Any) -> float:
        """The reward of a step: the score, or what the caller gives for none.

        Raises:
            MissingColumn: action and observation do not have what the reward reads.
            ScoreError: the step has no score and ``missing`` is ``"raise"``.
        """
        if not self._due(observation):
            return BEFORE_THE_END
        row = self._row(action, observation)
        try:
            scored = self._rows(row)
        except MissingColumn as error:
            raise _with_paths(error, row) from None
        for part, value in self._told(scored):
            part.show(action, observation, value)
        return self._rows.number(scored)

    def _due(self, observation: Any) -> bool:
        """Whether this step is scored; whatever becomes of it, it is not the last one's score."""
        self._forget()
        self._steps += 1
        if self._score == "step":
            return True
        done = (fields(observation) or {}).get("done", getattr(observation, "done", None))
        if done is None:
            raise SpecError(
                f"{type(observation).__name__} has no field 'done', which says when an outcome is "
                "known: give score='step' to score every step"
            )
        return bool(done)

    def _told(self, scored: Scored) -> list[tuple[PartRubric, float]]:
        """The parts that have a score, with it."""
        self._asked += 1
        self.last_status, self.last_error = scored.status.name.lower(), scored.error
        numbers = scored.numbers
        has = [path for path in self._parts if numbers.get(f"scored/{path}")]
        return [(self._parts[path], numbers[f"reward/{path}"]) for path in has]

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

    part = AsyncPartRubric

    async def forward(self, action: Any, observation: Any) -> float:  # type: ignore[override]
        if not self._due(observation):
            return BEFORE_THE_END
        row = self._row(action, observation)
        try:
            scored = await self._rows.ask(row)
        except MissingColumn as error:
            raise _with_paths(error, row) from None
        for part, value in self._told(scored):
            await part.show(action, observation, value)
        return self._rows.number(scored)


def to_openenv(
    reward: Reward | str | PathLike[str],
    *,
    missing: Missing | None = None,
    row: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    score: Literal["done", "step"] = "done",
    asynchronous: bool = False,
    **options: Unpack[Options],
) -> RewardRubric:
    """A reward as a rubric whose children are its parts, for one environment.

    What a rubric says of its last step stands on the rubric, so two environments must not have
    one together; for several, see :func:`openenv_factory`. The reward does not learn here.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a step without a score is paid: a number, or ``"raise"``. It has to be said:
            OpenEnv knows no reward that is missing.
        row: ``(action, observation)`` -> columns, in the place of :func:`row_of`.
        score: ``"done"`` scores a step whose observation says ``done``, and pays the others 0, as
            OpenEnv's own outcome rubrics do; ``"step"`` scores every step by itself.
        asynchronous: for environments that call ``_apply_rubric_async``; ``_apply_rubric`` would
            get a coroutine in the place of a number.
        options: see :class:`~..scorer.Options`; ``columns`` such as
            ``{"completion": "action.message"}``, of what :func:`row_of` gives.

    Raises:
        SpecError: the reward compares rows with each other or scores the steps of an episode.
        ValueError: ``missing`` was not decided, ``score`` is neither, or as
            :class:`~..scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """
    return openenv_factory(
        reward, missing=missing, row=row, score=score, asynchronous=asynchronous, **options
    )()


def openenv_factory(
    reward: Reward | str | PathLike[str],
    *,
    missing: Missing | None = None,
    row: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    score: Literal["done", "step"] = "done",
    asynchronous: bool = False,
    **options: Unpack[Options],
) -> Callable[[], RewardRubric]:
    """A function that makes a rubric for each environment; arguments as for :func:`to_openenv`.

    They share the processes that score, and what comes from them at the same time is scored
    together; what they say of their last step is each one's own.
    """
    note_version("openenv")
    if score not in ("done", "step"):
        raise ValueError(f"score is {score!r}; it is 'done' or 'step'")
    rows = RowScorer(reward, "OpenEnv", missing=missing, **options)
    _check(rows.scorer.reward)
    kind = AsyncRewardRubric if asynchronous else RewardRubric
    return partial(kind, rows, row or row_of, score)


def row_of(action: Any, observation: Any) -> dict[str, Any]:
    """The columns of a step: the fields of the observation and of the action.

    ``observation.NAME`` and ``action.NAME`` are there always, with what is inside of them
    (``observation.metadata.answer``); ``NAME`` alone where only one of the two has such a field,
    so never ``metadata``, which both have.
    """
    seen, done = _fields(observation), _fields(action)
    both = seen.keys() & done.keys()
    row = {name: value for name, value in (seen | done).items() if name not in both}
    return row | {"observation": seen, "action": done}


def _with_paths(error: MissingColumn, row: Mapping[str, Any]) -> MissingColumn:
    """The same with what is inside of the columns, which is how they are named here."""
    present = [path for name, value in row.items() for path in _paths(name, value)]
    return MissingColumn(error.name, needed_by=error.needed_by, present=present)


def _paths(name: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping) or not value:
        return [name]
    return [path for key, inner in value.items() for path in _paths(f"{name}.{key}", inner)]


def _fields(value: Any) -> dict[str, Any]:
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
