"""What a reward is, as a short digest: its spec, and the source of every function in it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .node import Node
from .reference import source_hash
from .source import code_digest
from .spec import dump


def fingerprint(node: Node) -> str:
    """Twelve hex digits that change when the tree, an argument or a function does.

    A function does when its file, or what it uses of the project's other files.

    Where a function's file lies does not count, so that a copy of a project has the same digests.

    Raises:
        SpecError: a node holds a callable without an importable name.
    """
    sources = [
        [source_hash(value), code_digest(value)]
        for _, part in node.walk()
        for value in part.arguments().values()
        if callable(value) and not isinstance(value, Node)
    ]
    return digest([_nameless(dump(node)), sources])


def digest(data: Any) -> str:
    """Twelve hex digits of plain data."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _nameless(data: Any) -> Any:
    """Plain data with file references cut down to ``file.py:function``."""
    if isinstance(data, Mapping):
        # Keys of several kinds have no order.
        return {k if isinstance(k, str) else repr(k): _nameless(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_nameless(value) for value in data]
    if isinstance(data, str) and ".py:" in data:
        return Path(data).name
    return data
