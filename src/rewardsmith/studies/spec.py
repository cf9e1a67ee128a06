"""``study.yaml``: what is trained, under which rewards, and how it is judged."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from ..adapters.trackers import check_tracker
from ..audit.hacking import MINIMUM_STEPS
from ..core import spec
from ..core.catalog import nearest
from ..core.document import Document, read_document
from ..core.errors import SpecError
from ..core.fingerprint import digest, fingerprint
from ..core.reference import Reference, resolve, source_hash
from ..core.reward import Reward


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class EnvSection(_Section):
    """What the learner acts in."""

    id: str
    """A Gymnasium id, ``Name-v0`` or ``module:Name-v0``."""
    kwargs: dict[str, Any] = {}
    """Arguments of ``gymnasium.make``."""
    wrappers: list[str | dict[str, dict[str, Any]]] = []
    """``module:Class`` or ``./file.py:Class``, innermost first; or ``{name: {arguments}}``."""
    n_envs: PositiveInt = 1
    """How many environments one learner steps."""


class LearnerSection(_Section):
    """Who learns, and for how long."""

    algorithm: str
    """A class of Stable-Baselines3 or sb3-contrib, or ``module:Class`` with their interface."""
    policy: str = "MlpPolicy"
    timesteps: PositiveInt
    params: dict[str, Any] = {}
    """Further arguments; ``module:Name`` or ``./file.py:Name`` stands for what it names."""


class EvaluationSection(_Section):
    """When policies are evaluated, and on how many episodes."""

    every: PositiveInt
    """Environment steps between two evaluations."""
    episodes: PositiveInt = 20
    final_episodes: PositiveInt = 100
    deterministic: bool = False
    """Whether policies are evaluated by their most likely action; the initial one never is."""
    threshold: float | None = None
    """The gold return for which ``steps to threshold`` is told."""
    initial_steps: PositiveInt = 5000
    """Steps of the initial policy that each run plays; the verdict needs 20,000 in all."""


class GoldSection(_Section):
    """What really counts; the learner never sees it."""

    kind: Literal["return", "info", "terminated", "function"]
    """The environment's own reward; a key of ``info``; 1 where it terminated; a function."""
    key: str | None = None
    default: float | None = None
    """With ``info``: what a step counts whose info lacks the key. Without it that is an error."""
    call: str | None = None
    """With ``function``: the reference; it gets step columns by argument name, returns [n]."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "GoldSection":
        if (self.kind == "info") != (self.key is not None):
            raise ValueError("gold of kind 'info' needs `key`, and only it takes one")
        if (self.kind == "function") != (self.call is not None):
            raise ValueError("gold of kind 'function' needs `call`, and only it takes one")
        return self

    def __str__(self) -> str:
        return {
            "return": "the environment's own return",
            "info": f"info[{self.key!r}], summed over the episode",
            "terminated": "whether the episode terminated",
            "function": f"{self.call}, summed over the episode",
        }[self.kind]


class StudySection(_Section):
    """A whole ``study.yaml``."""

    env: EnvSection
    learner: LearnerSection
    seeds: PositiveInt = 5
    evaluation: EvaluationSection
    gold: GoldSection
    reference: str | None = None
    """The reward that others are judged against; default: the first."""
    rewards: dict[str, Any] = Field(min_length=1)
    trackers: dict[str, dict[str, Any]] = {}
    """Where the learner's numbers go as well: names, or ``{name: {arguments}}``."""

    @field_validator("trackers", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        entries = [entry if isinstance(entry, dict) else {str(entry): {}} for entry in given]
        items = [item for entry in entries for item in entry.items()]
        if len(dict(items)) < len(items):
            raise ValueError("a tracker is given twice")
        return dict(items)


@dataclass
class Study:
    """A study that was read and checked; it pickles, so that a worker sees what its parent saw."""

    section: StudySection
    document: Document

    @property
    def name(self) -> str:
        """As its file is called, or the file's folder if that is ``study.yaml``."""
        path = Path(self.document.file or "study").resolve()
        return path.parent.name if path.name == "study.yaml" else path.stem

    @property
    def reference(self) -> str:
        return self.section.reference or next(iter(self.section.rewards))

    def reward(self, name: str) -> Reward:
        """A fresh reward by its name."""
        node = spec.build(self.section.rewards[name], self.document, ("rewards", name))
        if not isinstance(node, Reward):
            raise self.document.error("this node is not a reward", ("rewards", name))
        return node

    def resolve(self, text: str, place: tuple[str | int, ...]) -> Any:
        """A callable that the study names, with the place in the file if it cannot be had."""
        try:
            return resolve(Reference.parse(text, self.document.base))
        except SpecError as error:
            raise self.document.error(error.message, place) from error.__cause__

    def wrappers(self) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
        """The environment's wrappers with their arguments."""
        made: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        for i, entry in enumerate(self.section.env.wrappers):
            place = ("env", "wrappers", i)
            if isinstance(entry, str):
                made.append((self.resolve(entry, place), {}))
            elif len(entry) == 1:
                ((name, kwargs),) = entry.items()
                made.append((self.resolve(name, place), kwargs))
            else:
                raise self.document.error("a wrapper is one name, or one {name: arguments}", place)
        return made

    def check_trackers(self) -> None:
        """Import the trackers' packages.

        Raises:
            SpecError: one is unknown, cannot be imported, or takes no such argument.
        """
        for kind, arguments in self.section.trackers.items():
            try:
                check_tracker(kind, arguments)
            except SpecError as error:
                place = ("trackers", kind)
                raise self.document.error(error.message, place) from error.__cause__

    def params(self) -> dict[str, Any]:
        """The algorithm's further arguments, with what their references name."""
        found: dict[str, Any] = self._named(self.section.learner.params, ("learner", "params"))
        return found

    def _named(self, value: Any, place: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {key: self._named(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            return self.resolve(value, place)
        if isinstance(value, str) and _FLOAT.fullmatch(value):
            raise self.document.error(f"YAML reads {value} as text; write {float(value)}", place)
        return value

    def gold_function(self) -> Callable[..., Any] | None:
        """The gold measure, where it is a function."""
        call = self.section.gold.call
        return None if call is None else self.resolve(call, ("gold", "call"))

    def algorithm(self) -> Any:
        """The learner's class, where it is named by reference; None for a known name."""
        name = self.section.learner.algorithm
        return self.resolve(name, ("learner", "algorithm")) if ":" in name else None

    def doubt(self) -> str:
        """Why the verdict could not be trusted, before anything is trained; else empty."""
        planned = self.section.seeds * self.section.evaluation.initial_steps
        if planned >= MINIMUM_STEPS:
            return ""
        return (
            f"{self.section.seeds} seeds of {self.section.evaluation.initial_steps:,} "
            f"evaluation.initial_steps are fewer than the {MINIMUM_STEPS:,} steps that the verdict "
            "needs: rewards may come out as undefined"
        )

    def folder(self, name: str) -> str:
        """Where the runs under a reward lie: its name and fingerprint."""
        return f"{name}-{self.fingerprint(name)}"

    def fingerprint(self, name: str) -> str:
        """What the file and the functions that it names make of a run, its seed apart.

        The environment's own code and the versions of packages are not in it; records hold the
        versions.
        """
        section = self.section
        parts = {
            "env": section.env.model_dump(),
            "learner": section.learner.model_dump(),
            "evaluation": section.evaluation.model_dump(exclude={"threshold"}),
            "gold": section.gold.model_dump(),
            "reward": fingerprint(self.reward(name)),
            "sources": [source_hash(call) for call, _ in self.wrappers()],
            "learner_source": source_hash(self.algorithm()) if self.algorithm() else "",
            "params_sources": [source_hash(call) for call in _callables(self.params())],
            "gold_source": source_hash(f) if (f := self.gold_function()) else "",
        }
        return digest(parts)


_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""Numbers that YAML takes only with both a point and a sign in the exponent."""
_REFERENCE = re.compile(r"[\w./-]+:[A-Za-z_][\w.]*")


def _callables(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [call for item in value.values() for call in _callables(item)]
    return [value] if callable(value) else []


def read_study(path: Path | str, *, seeds: int | None = None) -> Study:
    """Read and check a study, its rewards included.

    Raises:
        SpecError: with file, line, the path in the tree and the nearest valid name.
    """
    document = read_document(path)
    section = document.validate(StudySection)
    if seeds is not None:
        section = section.model_copy(update={"seeds": seeds})
    study = Study(section, document)
    for name in section.rewards:
        if not name.replace("-", "_").isidentifier():
            raise document.error(
                f"reward name {name!r}: use letters, digits, '_' and '-'", ("rewards", name)
            )
        study.reward(name)
    if study.reference not in section.rewards:
        hint = nearest(study.reference, [*section.rewards])
        message = f"reference {study.reference!r} is no reward here{hint}"
        raise document.error(message, ("reference",))
    study.check_trackers()
    return study
