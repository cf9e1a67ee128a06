"""Trees as YAML and back: a node is a single-key mapping ``name: arguments``.

What a node takes is read from its class: a parameter typed as a node is a child, one typed as a
callable is a reference, a mapping of nodes holds named children, and the rest is checked by type.
"""

import inspect
import types
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from .catalog import find, methods, nearest
from .document import Document, Place, parse_document, read_document
from .errors import SpecError
from .function import Function
from .node import Node, parameters
from .reference import Reference, resolve
from .reward import Reward

TRAINING = ("advantage", "loss", "sampler", "relabel")
"""The keys of a ``reward.yaml`` that only a trainer of ours reads; each names a method of its own
kind. What else reads the file checks the names and scores without them."""
TOP_LEVEL = ("columns", "reward", *TRAINING)
"""The keys of a ``reward.yaml``."""


def load(path: str | PathLike[str]) -> Reward:
    """Read the reward of a ``reward.yaml``.

    Raises:
        SpecError: what is wrong, with file, line, the path in the tree and the nearest valid name.
    """
    return _reward_of(read_document(path))


def columns(path: str | PathLike[str]) -> dict[str, str]:
    """The key ``columns`` of a ``reward.yaml``: our names: those of the data.

    Raises:
        SpecError: it is no mapping of names.
    """
    document = read_document(path)
    names = (document.data.get("columns") if isinstance(document.data, Mapping) else None) or {}
    if not isinstance(names, dict) or not all(
        isinstance(word, str) for pair in names.items() for word in pair
    ):
        raise document.error("columns are a mapping, ours: theirs", ("columns",))
    return names


def loads(text: str, *, base: Path | None = None) -> Reward:
    """As :func:`load`, from text; files are below ``base`` (default: the current folder)."""
    document = parse_document(text)
    return _reward_of(document, base)


def _reward_of(document: Document, base: Path | None = None) -> Reward:
    data = document.data
    if not isinstance(data, Mapping) or "reward" not in data:
        found = f", this has {', '.join(map(repr, data))}" if isinstance(data, Mapping) else ""
        raise document.error(f"a reward spec is a mapping with the key 'reward'{found}", ())
    for key in data:
        if key not in TOP_LEVEL:
            raise document.error(f"unknown key {key!r}{nearest(str(key), TOP_LEVEL)}", (key,))
        if key in TRAINING:
            named(data[key], document, (key,), key)
    node = build(data["reward"], document, ("reward",), base=base)
    if not isinstance(node, Reward):
        raise document.error(f"{node.method_name!r} is a {_base(node)}, not a reward", ("reward",))
    return node


def training(path: str | PathLike[str]) -> list[str]:
    """The keys of a ``reward.yaml`` that only a trainer of ours reads."""
    data = read_document(path).data
    return [key for key in TRAINING if isinstance(data, Mapping) and key in data]


def named(data: Any, document: Document, place: Place, kind: str) -> tuple[str, dict[str, Any]]:
    """One ``name: arguments``, or a bare name, of a method of that kind.

    Raises:
        SpecError: it is something else, with the place and the nearest valid name.
    """
    data = {data: None} if isinstance(data, str) else data
    if not isinstance(data, Mapping) or len(data) != 1:
        raise document.error(f"{kind} is one `name: arguments`, this is {_brief(data)}", place)
    ((name, arguments),) = data.items()
    known = [entry.name for entry in methods() if entry.kind == kind]
    if name not in known:
        raise document.error(f"unknown {kind} {name!r}{nearest(str(name), known)}", (*place, name))
    if arguments is not None and not isinstance(arguments, Mapping):
        told = f"arguments of {name} are a mapping, this is {_brief(arguments)}"
        raise document.error(told, (*place, name))
    return str(name), dict(arguments or {})


def build(data: Any, document: Document, place: Place = (), *, base: Path | None = None) -> Node:
    """Build the tree at a place in a document; an anchored node that is used twice is one object.

    Raises:
        SpecError: as :func:`load`.
    """
    return _Builder(document, base or document.base).node(data, place)


def dump(node: Node, *, base: Path | None = None) -> dict[str, Any]:
    """The tree as plain data; a node that sits at several paths is one object in it.

    Raises:
        SpecError: a node holds a callable that has no importable name; the message says which node.
    """
    return _dump(node, "", base or Path.cwd(), {})


def dumps(reward: Reward, *, base: Path | None = None) -> str:
    """The text of a ``reward.yaml`` for this tree; :func:`loads` gives the same tree back."""
    return yaml.safe_dump({"reward": dump(reward, base=base)}, sort_keys=False)


class _Builder:
    """Holds what one document's trees share: its lines, its folder, its anchored nodes."""

    def __init__(self, document: Document, base: Path) -> None:
        self.document, self.base = document, base
        self.shared: dict[int, Node] = {}

    def node(self, data: Any, place: Place) -> Node:
        if id(data) in self.shared:
            return self.shared[id(data)]
        if not isinstance(data, Mapping) or len(data) != 1:
            raise self.document.error(
                f"a node is one `name: arguments`, this is {_brief(data)}", place
            )
        ((name, arguments),) = data.items()
        place = (*place, name)
        try:
            kind = find(str(name))
        except SpecError as error:
            raise self.document.error(error.message, place) from None
        if not (isinstance(kind, type) and issubclass(kind, Node)):
            raise self.document.error(f"method {name!r} is a function, it cannot be a node", place)
        node = self._make(kind, {} if arguments is None else arguments, place)
        self.shared[id(data)] = node
        return node

    def _make(self, kind: type[Node], arguments: Any, place: Place) -> Node:
        known = parameters(kind)
        if not isinstance(arguments, Mapping):
            raise self.document.error(
                f"arguments are a mapping, this is {_brief(arguments)}; "
                f"{kind.method_name} takes {', '.join(known) or 'none'}",
                place,
            )
        for key in arguments:
            if key not in known:
                message = f"{kind.method_name} has no argument {key!r}{nearest(str(key), [*known])}"
                raise self.document.error(message, (*place, key))
        for key, parameter in known.items():
            if parameter.default is parameter.empty and key not in arguments:
                raise self.document.error(f"{kind.method_name} needs the argument {key!r}", place)
        hints = argument_types(kind)
        values = {
            key: self._value(value, hints[key], (*place, key)) for key, value in arguments.items()
        }
        if kind is Function and isinstance(values["call"], Function):
            return self._decorated(values, place)
        try:
            return kind(**values)
        except (ValueError, TypeError) as error:
            raise self.document.error(str(error), place) from error

    def _decorated(self, values: dict[str, Any], place: Place) -> Function:
        """A reference to a function under ``@reward`` is that reward; its flags are in the code."""
        function: Function = values.pop("call")
        decided = {name: getattr(function, name) for name in ("batched", "on_step_failure")}
        decided["step"] = function.by_step
        for name, value in values.items():
            if value != decided[name]:
                raise self.document.error(
                    f"the function is decorated with {name}={decided[name]!r}; say it there",
                    (*place, name),
                )
        return function

    def _value(self, value: Any, hint: Any, place: Place) -> Any:
        kind = _shape(hint)
        if kind == "node":
            return self.node(value, place)
        if kind == "nodes":
            if isinstance(value, Mapping) and not value:
                raise self.document.error("parts are empty; name at least one", place)
            if not isinstance(value, Mapping):
                raise self.document.error(
                    f"parts are a mapping name: node, this is {_brief(value)}", place
                )
            return {
                self._part_name(key, place): self.node(item, (*place, key))
                for key, item in value.items()
            }
        if kind == "callable" and isinstance(value, str):
            try:
                target = resolve(Reference.parse(value, self.base))
            except SpecError as error:
                raise self.document.error(error.message, place) from error.__cause__
            if not callable(target):
                raise self.document.error(f"{value} is {_brief(target)}, not a function", place)
            return target
        try:
            return _adapter(hint).validate_python(value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise self.document.error(f"{problem} (got {value!r})", place) from None

    def _part_name(self, key: Hashable, place: Place) -> str:
        if not isinstance(key, str):
            # YAML reads on, off, yes and no as truth values.
            raise self.document.error(
                f"a part's name is text, this is {key!r}; put it in quotes", (*place, key)
            )
        return key


def argument_types(kind: type[Node]) -> dict[str, Any]:
    """The types of a node's arguments."""
    hints = get_type_hints(kind.__init__)
    return {name: hints.get(name, Any) for name in parameters(kind)}


def schema() -> dict[str, Any]:
    """The JSON schema of a ``reward.yaml``, for editors; imports every method."""
    kinds = {
        entry.name: thing
        for entry in methods()
        if isinstance(thing := find(entry.name), type) and issubclass(thing, Reward)
    }
    node = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {name: _node_schema(kind) for name, kind in kinds.items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rewardsmith reward",
        "type": "object",
        "required": ["reward"],
        "additionalProperties": False,
        "properties": {
            "columns": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
            "reward": {"$ref": "#/$defs/node"},
            **{key: _named_schema(key) for key in TRAINING},
        },
        "$defs": {"node": node},
    }


def _named_schema(kind: str) -> dict[str, Any]:
    """A method of that kind, as ``name: arguments``, or by its name where it needs none.

    Names of arguments are checked, their values are not.
    """
    known = {entry.name: _options(find(entry.name)) for entry in methods() if entry.kind == kind}
    alone = [name for name, options in known.items() if all(options.values())]
    mapping = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {
            name: {
                "type": ["object", "null"] if name in alone else "object",
                "additionalProperties": False,
                "properties": {option: {} for option in options},
                "required": [option for option, has_default in options.items() if not has_default],
            }
            for name, options in known.items()
        },
    }
    return {"anyOf": [{"enum": alone}, mapping]}


def _options(thing: Any) -> dict[str, bool]:
    """What a spec can give to a method -> whether it has a default."""
    given = inspect.signature(thing).parameters.values()
    # A function's positional parameters are what a batch gives.
    chosen = [p for p in given if isinstance(thing, type) or p.kind is p.KEYWORD_ONLY]
    return {p.name: p.default is not p.empty for p in chosen}


def _node_schema(kind: type[Node]) -> dict[str, Any]:
    hints, known = argument_types(kind), parameters(kind)
    required = [name for name, p in known.items() if p.default is p.empty]
    made = {
        "type": "object" if required else ["object", "null"],
        "description": (kind.__doc__ or "").split("\n", 1)[0],
        "additionalProperties": False,
        "properties": {name: _argument_schema(hints[name]) for name in known},
    }
    return {**made, "required": required} if required else made


def _argument_schema(hint: Any) -> dict[str, Any]:
    kind = _shape(hint)
    if kind == "node":
        return {"$ref": "#/$defs/node"}
    if kind == "nodes":
        return {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}}
    if kind == "callable":
        return {"type": "string", "description": "module:function or ./file.py:function"}
    return _adapter(hint).json_schema()


def _shape(hint: Any) -> Literal["node", "nodes", "callable", "plain"]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        shapes = {_shape(option) for option in get_args(hint)} - {"plain"}
        return shapes.pop() if len(shapes) == 1 else "plain"
    if isinstance(hint, type) and issubclass(hint, Node):
        return "node"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "nodes" if _shape(get_args(hint)[1]) == "node" else "plain"
    if hint is Callable or origin is Callable:
        return "callable"
    return "plain"


_adapter = cache(TypeAdapter)


def _dump(node: Node, path: str, base: Path, seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
    if id(node) in seen:
        return seen[id(node)]
    arguments = {
        name: _plain(value, f"{path}/{name}" if path else name, base, seen)
        for name, value in node.arguments().items()
    }
    seen[id(node)] = {_catalog_name(node, path): arguments}
    return seen[id(node)]


def _catalog_name(node: Node, path: str) -> str:
    name = vars(type(node)).get("method_name", "")
    if not name:
        raise SpecError(
            f"{type(node).__name__} has no name that a spec could hold; give the class one with "
            '@method("its_name", kind=...)',
            path=path,
        )
    return str(name)


def _plain(value: Any, path: str, base: Path, seen: dict[int, dict[str, Any]]) -> Any:
    if isinstance(value, Node):
        return _dump(value, path, base, seen)
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{path}/{key}", base, seen) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}/{i}", base, seen) for i, item in enumerate(value)]
    if callable(value):
        try:
            return Reference.of(value).relative_to(base)
        except SpecError as error:
            raise SpecError(error.message, path=path) from None
    return value


def _base(node: Node) -> str:
    return next(kind.__name__ for kind in type(node).__mro__ if kind.__mro__[1] is Node).lower()


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with keys {', '.join(map(str, value)) or '(none)'}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
