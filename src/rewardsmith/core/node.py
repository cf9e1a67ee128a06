"""What the five bases share: a module that knows its place in a tree and how to write itself down.

The one convention: every parameter of ``__init__`` is kept as the attribute of the same name. From
that follow the tree that is printed, the paths of the parts, and the spec.
"""

import html
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn


class Node(nn.Module):
    """A node of a tree; see :class:`~rewardsmith.core.reward.Reward` for the one most met."""

    method_name: str = ""
    """The name in the catalog; set by ``@method``."""

    def arguments(self) -> dict[str, Any]:
        """The arguments that rebuild this node, without those left at their default."""
        given = {}
        for name, parameter in parameters(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, nn.ModuleDict):
                value = dict(value.items())
            if not same(value, parameter.default):
                given[name] = value
        return given

    def branches(self) -> "Iterator[tuple[str, Node]]":
        """The direct children by name: members of a mapping under their key, others as named."""
        for name in parameters(type(self)):
            if isinstance(getattr(type(self), name, None), property):
                continue  # it is derived, from the children perhaps: an argument `scope`, say
            value = getattr(self, name)
            if isinstance(value, Node):
                yield name, value
            elif isinstance(value, nn.ModuleDict):
                yield from ((key, child) for key, child in value.items() if isinstance(child, Node))

    def walk(self, path: str = "") -> "Iterator[tuple[str, Node]]":
        """Every node under its path, this one ("") first; a shared node comes once per path."""
        yield path, self
        for name, child in self.branches():
            yield from child.walk(f"{path}/{name}" if path else name)

    def default_name(self) -> str:
        """What a part is called when nobody names it: the method's name."""
        return self.method_name or type(self).__name__.lower()

    def label(self) -> str:
        """``name(argument=value, ...)`` without the children."""
        plain = [
            f"{name}={_brief(value)}"
            for name, value in self.arguments().items()
            if not isinstance(value, Node) and not _holds_nodes(value)
        ]
        return f"{self.method_name or type(self).__name__}({', '.join(plain)})"

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        lines = [self.label()]
        children = list(self.branches())
        for i, (name, child) in enumerate(children):
            last = i == len(children) - 1
            below = child._lines()
            lines.append(f"{'└─' if last else '├─'} {name}: {below[0]}")
            lines += [f"{'  ' if last else '│ '} {line}" for line in below[1:]]
        return lines

    def _repr_html_(self) -> str:
        """A small table for notebooks: one row per node."""
        rows = "".join(
            f"<tr><td style='text-align:left'><code>{html.escape(path or '·')}</code></td>"
            f"<td style='text-align:left'>{html.escape(node.label())}</td></tr>"
            for path, node in self.walk()
        )
        head = "<thead><tr><th>part</th><th>node</th></tr></thead>"
        return f"<table>{head}<tbody>{rows}</tbody></table>"


def parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    """The parameters of ``kind.__init__`` without ``self``."""
    # mypy takes the hash of modules for that of their classes.
    key: Any = kind
    return _parameters(key)


@cache
def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    items = list(inspect.signature(kind.__init__).parameters.items())[1:]
    return {name: p for name, p in items if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def same(value: Any, other: Any) -> bool:
    """Equal, for plain values of one type (1 is not True, an array is no default)."""
    return type(value) is type(other) and bool(value == other)


def _holds_nodes(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, Node) for v in value.values())


def _brief(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", None) or repr(value))
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
