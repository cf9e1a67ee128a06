"""A whole ``reward.yaml``: the reward, and what a trainer does with its scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from ..core import spec
from ..core.bases import Estimator, Relabel
from ..core.catalog import find
from ..core.document import Document, Place, read_document
from ..core.node import Node
from ..core.reward import Reward
from ..policy.estimator import Estimated
from ..policy.objective import Objective
from ..samplers.prompts import PromptSampler

N = TypeVar("N", bound=Node)
T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What :class:`~.grpo.GRPOTrainer` trains with; None leaves it to the trainer."""

    reward: Reward
    advantage: Estimator | None = None
    loss: Objective | None = None
    sampler: PromptSampler | None = None
    relabel: Relabel | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our names of columns: those of the data set."""


def read_recipe(path: str | PathLike[str]) -> Recipe:
    """Read a ``reward.yaml`` with all of its keys.

    Raises:
        SpecError: what is wrong, with file, line, the path in the tree and the nearest valid name.
    """
    reward = spec.load(path)
    document = read_document(path)
    given = {key: document.data[key] for key in spec.TRAINING if key in document.data}
    parts = {key: BUILDERS[key](data, document, (key,)) for key, data in given.items()}
    return Recipe(reward=reward, columns=spec.columns(path), **parts)


def build_advantage(data: Any, document: Document, place: Place) -> Estimator:
    """The estimator that ``name: options`` at a place stands for.

    Raises:
        SpecError: there is no such estimator, or it has no such option; with the place.
    """
    name, options = spec.named(data, document, place, "advantage")
    found = find(name)
    if isinstance(found, type):
        return _node(Estimator, data, document, place)
    place = (*place, name)
    return _made(Estimated, found, options, document, place)


def build_loss(data: Any, document: Document, place: Place) -> Objective:
    """The policy loss that ``name: options`` at a place stands for.

    Raises:
        SpecError: as :func:`build_advantage`.
    """
    name, options = spec.named(data, document, place, "loss")
    found, place = find(name), (*place, name)
    return _made(Objective, found, options, document, place)


def build_sampler(data: Any, document: Document, place: Place) -> PromptSampler:
    """The sampler of prompts that ``name: arguments`` at a place stands for.

    Raises:
        SpecError: as :func:`build_advantage`.
    """
    spec.named(data, document, place, "sampler")
    return _node(PromptSampler, data, document, place)


def build_relabel(data: Any, document: Document, place: Place) -> Relabel:
    """The relabelling that ``name: arguments`` at a place stands for.

    Raises:
        SpecError: as :func:`build_advantage`.
    """
    spec.named(data, document, place, "relabel")
    return _node(Relabel, data, document, place)


BUILDERS: Mapping[str, Callable[[Any, Document, Place], Any]] = {
    "advantage": build_advantage,
    "loss": build_loss,
    "sampler": build_sampler,
    "relabel": build_relabel,
}


def _node(kind: type[N], data: Any, document: Document, place: Place) -> N:
    made = spec.build({data: None} if isinstance(data, str) else data, document, place)
    if not isinstance(made, kind):
        told = f"{made.method_name!r} is no {kind.__name__}, which is what a trainer uses here"
        raise document.error(told, place)
    return made


def _made(
    kind: Callable[[Any, Mapping[str, Any]], T],
    function: Any,
    options: Mapping[str, Any],
    document: Document,
    place: Place,
) -> T:
    options = _typed(function, options, document, place)
    try:
        return kind(function, options)
    except ValueError as error:
        raise document.error(str(error), place) from error


def _typed(
    function: Callable[..., Any], options: Mapping[str, Any], document: Document, place: Place
) -> dict[str, Any]:
    """Options as what the function's signature says that they are; those it lacks as they are."""
    hints = get_type_hints(function)
    made = dict(options)
    for name in options.keys() & hints.keys():
        try:
            made[name] = TypeAdapter(hints[name]).validate_python(options[name])
        except PydanticSchemaGenerationError:
            continue  # tensors, which are no options: the caller says so
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            told = f"{problem} (got {options[name]!r})"
            raise document.error(told, (*place, name)) from None
    return made
