"""A digest of what a function does: its code and the code of this project that it uses.

It does not change with the function's name, place, comments or layout; it does with any function,
class or constant of its file that it refers to, with the other files of the project that it imports
from, and with the version of what is installed.
"""

import ast
import copy
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from .loaded import as_loaded

_OURS = __name__.partition(".")[0]
_Import: TypeAlias = ast.Import | ast.ImportFrom
_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@lru_cache(maxsize=256)
def code_digest(call: Callable[..., Any]) -> str | None:
    """The digest of a function, or of another callable that stands at the top of its file.

    None of what has no source, or no name there: what it does is not in its class alone. None too
    where a file was edited since it was imported, or an import hook has made something else of it.
    It is of the code as it was when first asked for.
    """
    module = sys.modules.get(str(getattr(call, "__module__", "")))
    path = _file(module)
    if module is None or path is None:
        return None
    name = _name_in(module, call)
    if name is None:
        return None
    top, _, inner = name.partition(".")
    tree = _parsed(path, path.stat().st_mtime_ns)
    if not _statements(tree, top):
        return None
    try:
        pieces = [inner, *sorted(set(_pieces(tree, top, module, path)))]
    except _EditedError:
        return None
    return hashlib.sha256("\n".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()


def is_of_project(module: ModuleType) -> bool:
    """Whether a module is a file of the user's: neither installed, nor Python's, nor of ours."""
    path = _file(module)
    return path is not None and _is_local(module, path, "")


def _name_in(module: ModuleType, call: Any) -> str | None:
    """What a callable is called in its file; a wrapper is often not what it says it is."""
    name = str(getattr(call, "__qualname__", ""))
    found: Any = module
    for key in name.split("."):
        found = inspect.getattr_static(found, key, None)
        found = found.__func__ if isinstance(found, staticmethod) else found
    # A reward made of a function by `@reward` stands under its name.
    if found is call or (found is not None and getattr(found, "call", None) is call):
        return name
    return next((key for key, value in vars(module).items() if value is call), None)


class _EditedError(Exception):
    """A file does not say what was imported of it."""


def _pieces(tree: ast.Module, top: str, module: ModuleType, path: Path) -> Iterator[str]:
    """The code behind a name of a file, and behind every name that it uses.

    Raises:
        _EditedError: the file says something else by now.
    """
    seen = {module.__name__}
    names, pending = {top}, [top]
    while pending:
        name = pending.pop()
        for statement in _statements(tree, name):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                yield from _imported(statement, module, seen, name)
                continue
            yield ast.dump(_anonymous(statement, top) if name == top else statement)
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield from _imported(node, module, seen)
                elif isinstance(node, ast.Name) and node.id not in names:
                    names.add(node.id)
                    pending.append(node.id)
    if _is_local(module, path, "") and not as_loaded(module, path, tree, names):
        raise _EditedError


def _anonymous(statement: ast.stmt, name: str) -> ast.stmt:
    """What a function is called does not matter, also where it calls itself."""
    statement = copy.deepcopy(statement)
    for node in ast.walk(statement):
        if isinstance(node, _Definition) and node.name == name:
            node.name = "_"
        elif isinstance(node, ast.Name) and node.id == name:
            node.id = "_"
    return statement


def _statements(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The statements at the top of a file that bind a name, or change what it holds."""
    found = [statement for statement in tree.body if name in _bound(statement)]
    if found:
        return found
    # It may come with all that another file has.
    return [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.names[0].name == "*"]


def _bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, _Definition):
        return {statement.name}
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, _Definition):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            if not isinstance(node.ctx, ast.Load):
                found.add(_root(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.add(_root(node.func))  # a method may change its object
    return found


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _imported(
    statement: _Import, module: ModuleType, seen: set[str], name: str | None = None
) -> Iterator[str]:
    """What an import brings along; of a name, where only that is used."""
    root = module.__name__.partition(".")[0]
    package = ""
    if isinstance(statement, ast.ImportFrom):
        package = statement.module or ""
        if statement.level:
            base = (module.__package__ or "").rsplit(".", statement.level - 1)[0]
            package = f"{base}.{package}" if package else base
    for alias in statement.names:
        bound = (alias.asname or alias.name).partition(".")[0]
        if name is not None and bound not in (name, "*"):
            continue
        yield alias.name
        inside = f"{package}.{alias.name}" if package else alias.name
        # What is imported may be a module itself.
        source = _module(inside, root) or (_module(package, root) if package else None)
        if source is None:
            yield _version((package or alias.name).partition(".")[0])
        else:
            yield from _files(source, root, seen)


def _module(name: str, root: str) -> ModuleType | None:
    """A module; one that only a function imports is imported here, if it is the project's."""
    first = name.partition(".")[0]
    if name not in sys.modules and (first == root or _is_near(first)):
        try:
            return import_module(name)
        except ImportError:
            return None
    return sys.modules.get(name)


def _is_near(name: str) -> bool:
    """Whether a package that may not be imported yet belongs to the project."""
    if name in sys.stdlib_module_names or name == _OURS:
        return False
    for folder in map(Path, sys.path):
        if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
            return folder.resolve() not in _INSTALLED
    return False


def _files(module: ModuleType, root: str, seen: set[str]) -> Iterator[str]:
    """The digest of a file of the project and of those that it imports; versions of the others."""
    if module.__name__ in seen:
        return
    seen.add(module.__name__)
    path = _file(module)
    if path is None or not _is_local(module, path, root):
        yield _version(module.__name__.partition(".")[0])
        return
    yield hashlib.sha256(path.read_bytes()).hexdigest()
    tree = _parsed(path, path.stat().st_mtime_ns)
    if _is_local(module, path, "") and not as_loaded(module, path, tree, list(vars(module))):
        raise _EditedError
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node, module, seen)


def _file(module: ModuleType | None) -> Path | None:
    path = getattr(module, "__file__", None)
    return Path(path).resolve() if path and path.endswith(".py") else None


def _is_local(module: ModuleType, path: Path, root: str) -> bool:
    """Whether a file belongs to the project: it is neither installed nor Python's own."""
    package = module.__name__.partition(".")[0]
    if package == _OURS:
        return root == _OURS
    return not any(path.is_relative_to(folder) for folder in _INSTALLED)


_INSTALLED = {
    Path(sysconfig.get_path(kind)).resolve()
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
}


@cache
def _version(package: str) -> str:
    if package in sys.stdlib_module_names:
        return package
    try:
        return f"{package} {version(package.replace('_', '-'))}"
    except PackageNotFoundError:
        # A package may be called otherwise than what it holds.
        found = _distributions().get(package, [])
        return " ".join([package, *(version(name) for name in found)])


_distributions = cache(packages_distributions)


@lru_cache(maxsize=128)
def _parsed(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
