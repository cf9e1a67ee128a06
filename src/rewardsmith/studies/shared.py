"""What every study says, whatever it trains, and how its file is read where it says something."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from ..adapters.trackers import BestEffort, check_tracker
from ..audit.hacking import MINIMUM_STEPS
from ..core import spec
from ..core.document import Document, Place
from ..core.errors import SpecError
from ..core.fingerprint import digest
from ..core.reference import Reference, resolve
from ..core.reward import Reward
from .records import Run
from .seeds import drawn_from, spread


class Section(BaseModel):
    """A part of a ``study.yaml``; what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class LearnerSection(Section):
    """Who learns, and for how long."""

    algorithm: str
    params: dict[str, Any] = Field(default_factory=dict)
    """Further arguments; ``module:Name`` or ``./file.py:Name`` stands for what it names."""


class EvaluationSection(Section):
    """When policies are evaluated."""

    every: PositiveInt
    """Steps of the learner between two evaluations."""
    threshold: float | None = None
    """The gold for which ``steps to threshold`` is told."""


class GoldSection(Section):
    """What really counts; the learner never sees it."""

    kind: str
    call: str | None = None
    """With ``function``: the reference."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        for kind, key in {"function": "call", **self.keys}.items():
            if (self.kind == kind) != (getattr(self, key) is not None):
                raise ValueError(f"gold of kind {kind!r} needs `{key}`, and only it takes one")
        return self

    keys: ClassVar[Mapping[str, str]] = {}
    """Further kinds, and the key that each needs."""


class StudySection(Section):
    """A whole ``study.yaml``: the keys of every study."""

    learner: LearnerSection
    evaluation: EvaluationSection
    gold: GoldSection
    seeds: PositiveInt = 5
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


class Work(Protocol):
    """What does a study's work: a module, ``control.work`` or ``language.work``."""

    PACKAGES: Sequence[str]
    """Whose versions a run's numbers depend on."""

    def check(self, study: Any) -> None:
        """Build what the study names and try it; see :func:`~.study.check`."""

    def carry_out(
        self, study: Any, run: Run, constant: Mapping[str, Any], trackers: Sequence[BestEffort]
    ) -> dict[str, Any]:
        """Train, evaluate, save; ``constant`` goes into every record. Returns the run's facts."""

    def earned(self, study: Any, run: Run, source: Run, policy: str) -> float:
        """What the ``initial`` or the final ``policy`` of a run earns under another's reward."""

    def show(self, study: Any, run: Run) -> None:
        """Keep something of the run for the report."""


@dataclass
class Study:
    """A study that was read and checked; it pickles, so that a worker sees what its parent saw."""

    section: StudySection
    document: Document

    sections: ClassVar[type[StudySection]]
    """What its file is read as."""
    kind: ClassVar[str]
    """``"control"`` or ``"language"``."""
    extra: ClassVar[str]
    """How what it needs is installed."""
    unit: ClassVar[str]
    """What the correlation is over: ``"step"`` or ``"row"``."""
    filmed: ClassVar[bool] = False
    """Whether the report shows a run of each reward that has to be drawn."""

    @property
    def name(self) -> str:
        """As its file is called, or the file's folder if that is ``study.yaml``."""
        path = Path(self.document.file or "study").resolve()
        return path.parent.name if path.name == "study.yaml" else path.stem

    @property
    def reference(self) -> str:
        return self.section.reference or next(iter(self.section.rewards))

    @property
    def work(self) -> Work:
        """What trains and evaluates.

        Raises:
            SpecError: its packages are not installed.
        """
        try:
            return import_module(f".{self.kind}.work", __package__)
        except ModuleNotFoundError as error:
            raise SpecError(
                f"this study needs more packages ({error.name} is missing): {self.extra}"
            ) from error

    @property
    def steps(self) -> int:
        """How long each run is."""
        raise NotImplementedError

    @property
    def judged(self) -> tuple[str, int]:
        """The setting that says how much of the initial policy each run plays, and its value."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """What the report says of the study: its environment or data, its learner, its gold."""
        raise NotImplementedError

    def identity(self, name: str) -> dict[str, Any]:
        """Plain data that makes a run under a reward what it is, the seed apart."""
        raise NotImplementedError

    def gold_function(self) -> Callable[..., Any] | None:
        """The gold measure, where it is a function."""
        call = self.section.gold.call
        return None if call is None else self.resolve(call, ("gold", "call"))

    def params(self) -> dict[str, Any]:
        """The learner's further arguments, with what their references name."""
        found: dict[str, Any] = self.named(self.section.learner.params, ("learner", "params"))
        return found

    def reward(self, name: str, *, seed: int | None = None) -> Reward:
        """A fresh reward by its name; a run's seed decides the weights that it draws."""
        data, place = self.section.rewards[name], ("rewards", name)
        if seed is None:
            return self.build(data, place)
        with drawn_from(spread(seed, "reward")):
            return self.build(data, place)

    def build(self, data: Any, place: Place) -> Reward:
        """The reward that stands at a place.

        Raises:
            SpecError: it is none, with the place.
        """
        node = spec.build(data, self.document, place)
        if not isinstance(node, Reward):
            raise self.document.error("this node is not a reward", place)
        return node

    def resolve(self, text: str, place: Place) -> Any:
        """A callable that the study names, with the place in the file if it cannot be had."""
        try:
            return resolve(Reference.parse(text, self.document.base))
        except SpecError as error:
            raise self.document.error(error.message, place) from error.__cause__

    def named(self, value: Any, place: Place) -> Any:
        """Arguments with what their references name.

        Raises:
            SpecError: one names nothing, or is a number that YAML takes for text.
        """
        if isinstance(value, dict):
            return {key: self.named(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            return self.resolve(value, place)
        if isinstance(value, str) and _FLOAT.fullmatch(value):
            raise self.document.error(f"YAML reads {value} as text; write {float(value)}", place)
        return value

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

    def doubt(self) -> str:
        """Why the verdict could not be trusted, before anything is trained; else empty."""
        setting, each = self.judged
        if self.section.seeds * each >= MINIMUM_STEPS:
            return ""
        return (
            f"{self.section.seeds} seeds of {each:,} {setting} are fewer than the "
            f"{MINIMUM_STEPS:,} {self.unit}s that the verdict needs: rewards may come out as "
            "undefined"
        )

    def folder(self, name: str) -> str:
        """Where the runs under a reward lie: its name and fingerprint."""
        return f"{name}-{self.fingerprint(name)}"

    def fingerprint(self, name: str) -> str:
        """What the file and the functions that it names make of a run, its seed apart.

        The versions of packages are not in it, nor is an environment's own code; records hold the
        versions.
        """
        return digest(self.identity(name))


def callables(value: Any) -> list[Any]:
    """The callables among arguments, whose sources make a run what it is."""
    if isinstance(value, dict):
        return [call for item in value.values() for call in callables(item)]
    return [value] if callable(value) else []


def is_reference(text: str) -> bool:
    """Whether a text is ``module:name`` or ``./file.py:name``."""
    return _REFERENCE.fullmatch(text) is not None


_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""Numbers that YAML takes only with both a point and a sign in the exponent."""
_REFERENCE = re.compile(r"[\w./-]+:[A-Za-z_][\w.]*")
