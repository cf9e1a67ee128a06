"""YAML files that remember their lines, so that an error can point at one."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .catalog import nearest
from .errors import SpecError

M = TypeVar("M", bound=BaseModel)
Place = tuple[Hashable, ...]
# The key `<<`, which takes over another mapping's keys.
_MERGE = "tag:yaml.org,2002:merge"


@dataclass
class Document:
    """A YAML file's data, and the line of every place in it."""

    data: Any
    file: str | None = None
    lines: dict[Place, int] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The folder that relative paths in the document start from."""
        return Path(self.file).resolve().parent if self.file else Path.cwd()

    def error(self, message: str, place: Place) -> SpecError:
        """An error about a place, or about the nearest place above it that has a line."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.lines:
                line = self.lines[place[:end]]
                break
        else:
            line = None
        path = "/".join(str(key) for key in place)
        return SpecError(message, path=path, file=self.file, line=line)

    def validate(self, model: type[M]) -> M:
        """The document as a pydantic model.

        Raises:
            SpecError: the first thing wrong, with its line and, for a key, the nearest valid one.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            # A misspelt key is also a missing one; the misspelling is what helps.
            problems = error.errors(include_url=False)
            first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
            place = tuple(first["loc"])
            message = first["msg"]
            if first["type"] == "extra_forbidden":
                valid = _fields(model, place[:-1])
                message = f"unknown key {str(place[-1])!r}{nearest(str(place[-1]), valid)}"
            elif first["type"] != "missing":
                message += f" (got {first['input']!r})"
            raise self.error(message, place) from None


def read_document(path: str | PathLike[str]) -> Document:
    """Read a YAML file.

    Raises:
        SpecError: the file is missing, is no YAML, or gives a key twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read it: {error.strerror}", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise SpecError(f"it is not UTF-8: {error.reason}", file=str(path)) from None
    return parse_document(text, file=str(path))


def parse_document(text: str, *, file: str | None = None) -> Document:
    """As :func:`read_document`, from text."""
    document = Document(None, file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise SpecError("it is empty", file=file)
        _note(root, (), document, set())
        # Aliases come out as one object each: that is how a spec shares a node.
        document.data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else None
        raise SpecError(f"it is not YAML: {error.problem}", file=file, line=line) from None
    except yaml.YAMLError as error:
        raise SpecError(f"it is not YAML: {error}", file=file) from None
    return document


def _note(node: yaml.Node, place: Place, document: Document, above: set[int]) -> None:
    document.lines.setdefault(place, node.start_mark.line + 1)
    if id(node) in above:
        raise document.error("a node contains itself", place)
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key_node, value in node.value:
            if key_node.tag == _MERGE:
                _note(value, place, document, above)
                continue
            key = yaml.constructor.SafeConstructor().construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise document.error(f"a key is a name, this is {key!r}", place)
            document.lines[(*place, key)] = key_node.start_mark.line + 1
            if key in seen:
                raise document.error(f"key {key!r} is given twice", (*place, key))
            seen.add(key)
            _note(value, (*place, key), document, above)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _note(value, (*place, i), document, above)


def _fields(model: type[BaseModel], place: Sequence[Hashable]) -> list[str]:
    """The keys that are valid at a place in a model."""
    kind: Any = model
    for key in place:
        annotation = kind.model_fields[key].annotation if _is_model(kind) else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((option for option in options if _is_model(option)), None)
    return list(kind.model_fields) if _is_model(kind) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
