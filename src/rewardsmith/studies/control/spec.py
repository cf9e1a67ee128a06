"""What the ``study.yaml`` of a study in an environment says."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from ...core.fingerprint import fingerprint
from ...core.reference import source_hash
from .. import shared
from ..shared import Section, Study, StudySection, callables


class EnvSection(Section):
    """What the learner acts in."""

    id: str
    """A Gymnasium id, ``Name-v0`` or ``module:Name-v0``."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of ``gymnasium.make``."""
    wrappers: list[str | dict[str, dict[str, Any]]] = Field(default_factory=list)
    """``module:Class`` or ``./file.py:Class``, innermost first; or ``{name: {arguments}}``."""
    n_envs: PositiveInt = 1
    """How many environments one learner steps."""


class LearnerSection(shared.LearnerSection):
    """Who learns, and for how long."""

    algorithm: str
    """A class of Stable-Baselines3 or sb3-contrib, or ``module:Class`` with their interface."""
    policy: str = "MlpPolicy"
    timesteps: PositiveInt


class EvaluationSection(shared.EvaluationSection):
    """When policies are evaluated, and on how many episodes."""

    every: PositiveInt
    """Environment steps between two evaluations."""
    episodes: PositiveInt = 20
    final_episodes: PositiveInt = 100
    deterministic: bool = False
    """Whether policies are evaluated by their most likely action; the initial one never is."""
    initial_steps: PositiveInt = 5000
    """Steps of the initial policy that each run plays; the verdict needs 20,000 in all."""


class GoldSection(shared.GoldSection):
    """What really counts; the learner never sees it."""

    kind: Literal["return", "info", "terminated", "function"]
    """The environment's own reward; a key of ``info``; 1 where it terminated; a function."""
    key: str | None = None
    default: float | None = None
    """With ``info``: what a step counts whose info lacks the key. Without it that is an error."""
    call: str | None = None
    """With ``function``: the reference; it gets step columns by argument name, returns [n]."""

    keys: ClassVar = {"info": "key"}

    def __str__(self) -> str:
        return {
            "return": "the environment's own return",
            "info": f"info[{self.key!r}], summed over the episode",
            "terminated": "whether the episode terminated",
            "function": f"{self.call}, summed over the episode",
        }[self.kind]


class ControlSection(StudySection):
    """A whole ``study.yaml`` of a study in an environment."""

    env: EnvSection
    learner: LearnerSection
    evaluation: EvaluationSection
    gold: GoldSection


class ControlStudy(Study):
    """A study of rewards in an environment."""

    section: ControlSection
    sections: ClassVar = ControlSection
    kind: ClassVar = "control"
    extra: ClassVar = 'pip install "rewardsmith[control]"'
    unit: ClassVar = "step"
    filmed: ClassVar = True

    @property
    def steps(self) -> int:
        return self.section.learner.timesteps

    @property
    def judged(self) -> tuple[str, int]:
        return "evaluation.initial_steps", self.section.evaluation.initial_steps

    def told(self) -> dict[str, Any]:
        learner = self.section.learner
        return {
            "kind": self.kind,
            "env": self.section.env.id,
            "learner": f"{learner.algorithm} ({learner.policy})",
            "timesteps": self.steps,
            "gold": str(self.section.gold),
        }

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

    def algorithm(self) -> Any:
        """The learner's class, where it is named by reference; None for a known name."""
        name = self.section.learner.algorithm
        return self.resolve(name, ("learner", "algorithm")) if ":" in name else None

    def identity(self, name: str) -> dict[str, Any]:
        section = self.section
        return {
            "env": section.env.model_dump(),
            "learner": section.learner.model_dump(),
            "evaluation": section.evaluation.model_dump(exclude={"threshold"}),
            "gold": section.gold.model_dump(),
            "reward": fingerprint(self.reward(name)),
            "sources": [source_hash(call) for call, _ in self.wrappers()],
            "learner_source": source_hash(self.algorithm()) if self.algorithm() else "",
            "params_sources": [source_hash(call) for call in callables(self.params())],
            "gold_source": source_hash(f) if (f := self.gold_function()) else "",
        }
