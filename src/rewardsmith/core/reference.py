"""Callables by name: ``module:function`` or ``./file.py:function``.

Rewards travel between processes and into specs by reference, so that what is stored is a name that
a reader can open and not a pickled function.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .catalog import nearest
from .errors import SpecError


@dataclass(frozen=True)
class Reference:
    """Where a callable is found again."""

    where: str
    """A module's name, or the absolute path of a ``.py`` file."""
    qualname: str

    @classmethod
    def parse(cls, text: str, base: Path) -> "Reference":
        """Read ``module:function`` or ``./file.py:function``, the file relative to ``base``.

        Raises:
            SpecError: the text has no colon, or names no file that exists.
        """
        where, _, qualname = text.rpartition(":")
        if not where or not qualname:
            raise SpecError(
                f"{text!r} names no function: write module:function or ./file.py:function"
            )
        if where.endswith(".py"):
            path = (base / where).resolve()
            if not path.is_file():
                hint = nearest(
                    path.name, [file.name for file in path.parent.glob("*.py")], or_all=False
                )
                raise SpecError(f"{text!r}: there is no file {path}{hint}")
            where = str(path)
        return cls(where, qualname)

    @classmethod
    def of(cls, call: Callable[..., Any]) -> "Reference":
        """The reference of a callable: by its own name, or by the one it was resolved from.

        Raises:
            SpecError: it has no importable name (a lambda, a function inside another, or one of a
                notebook).
        """
        qualname = str(getattr(call, "__qualname__", ""))
        module = sys.modules.get(str(getattr(call, "__module__", "")))
        if module is None or not _holds(module, qualname, call):
            if id(call) in _RESOLVED:
                return _RESOLVED[id(call)][1]
            raise SpecError(
                f"{qualname or call!r} has no importable name; move it to the top level of a module"
            )
        file = getattr(module, "__file__", None)
        if module.__name__ == "__main__" and not (file and Path(file).is_file()):
            raise SpecError(
                f"{qualname} stands in a notebook or came by standard input, where no other "
                "process finds it: put it into a .py file, or run its rows inline "
                "(executor='inline')"
            )
        by_file = file is not None and (
            module.__name__ == "__main__" or module.__name__.startswith(_LOADED)
        )
        where = str(Path(file).resolve()) if by_file and file else module.__name__
        return cls(where, qualname)

    def relative_to(self, base: Path) -> str:
        """The text form; a file below ``base`` is written relative to it."""
        if not self.where.endswith(".py"):
            return f"{self.where}:{self.qualname}"
        path = Path(self.where)
        inside = path.is_relative_to(base.resolve())
        shown = f"./{path.relative_to(base.resolve())}" if inside else str(path)
        return f"{shown}:{self.qualname}"


_LOADED = "_rewardsmith_file_"
_RESOLVED: dict[int, tuple[Any, Reference]] = {}
"""What was resolved, by identity, with its name: an object may not know what it is called."""


def _holds(module: ModuleType, qualname: str, call: Any) -> bool:
    """Whether that name in a module is the callable, or a reward made of it by ``@reward``."""
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is not None and (found is call or getattr(found, "call", None) is call)


def resolve(reference: Reference) -> Any:
    """Import what a reference names.

    Raises:
        SpecError: there is no such module or name in it, or the module does not import.
    """
    try:
        target: Any = _module(reference.where)
    except Exception as error:
        raise SpecError(
            f"cannot import {reference.where}: {type(error).__name__}: {error}"
        ) from error
    for name in reference.qualname.split("."):
        if not hasattr(target, name):
            hint = nearest(name, [n for n, v in vars(target).items() if callable(v)], or_all=False)
            raise SpecError(f"{reference.where} has no {reference.qualname!r}{hint}")
        target = getattr(target, name)
    if callable(target):
        _RESOLVED[id(target)] = target, reference
    return target


class ByName:
    """A function that is pickled by its reference, so that one of a file is found elsewhere.

    What is unpickled is the function itself: a process that only runs rows does not import this.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.call(*arguments, **named)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByName) and self.call is other.call

    def __hash__(self) -> int:
        return hash(id(self.call))

    def __deepcopy__(self, memo: dict[int, Any]) -> "ByName":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (Reference.of(self.call),)


def source_hash(call: Any) -> str:
    """A digest of a callable's source file: what it does may change where its name does not."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(call))
    except TypeError:
        path = inspect.getsourcefile(type(call))
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def _module(where: str) -> ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    name = _LOADED + hashlib.sha256(where.encode()).hexdigest()[:16]
    main = sys.modules.get("__main__")
    main_file = getattr(main, "__file__", None)
    if main is not None and main_file and Path(main_file).resolve() == Path(where):
        return main
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, where)
        if spec is None or spec.loader is None:
            raise ImportError(f"{where} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:  # an interrupt, too, must not leave half a module behind
            del sys.modules[name]
            raise
    return sys.modules[name]
