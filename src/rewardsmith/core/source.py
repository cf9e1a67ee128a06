"""A digest of what a function does: its code and the code of this project that it uses.

It does not change with the function's name, place, comments or layout; it does with any function,
class or constant of its file that it refers to, with the other files of the project that it imports
from, and with the version of what is installed.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = __name__.partition(".")[0]


@lru_cache(maxsize=256)
def code_digest(call: Callable[..., Any]) -> str | None:
    """The digest of a function (or of a callable object's class); None where there is no source.

    It is of the code as it was when first asked for.
    """
    function = inspect.unwrap(call)
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    name = str(getattr(function, "__qualname__", ""))
    path = _file(module)
    if module is None or path is None or "<" in name:
        return None
    tree = _parsed(path, path.stat().st_mtime_ns)
    top, _, inner = name.partition(".")
    if _definition(tree, top) is None:
        return None
    pieces = [inner, *sorted(_pieces(tree, top, module, set()))]
    return hashlib.sha256("\n".join(pieces).encode()).hexdigest()


def _pieces(tree: ast.Module, top: str, module: ModuleType, seen: set[str]) -> Iterator[str]:
    """The code behind a name of a file, and behind every name that it uses."""
    pending = [top]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        definition = _definition(tree, name)
        if definition is None:
            continue
        if isinstance(definition, ast.Import | ast.ImportFrom):
            yield from _imported(definition, name, module)
            continue
        code = ast.dump(definition)
        # What the function itself is called does not matter, also where it calls itself.
        yield code.replace(f"'{name}'", "'_'") if name == top else code
        pending += [node.id for node in ast.walk(definition) if isinstance(node, ast.Name)]


def _definition(tree: ast.Module, name: str) -> ast.stmt | None:
    """The last statement at the top of a file that binds a name."""
    return next((s for s in reversed(tree.body) if name in _bound(s)), None)


def _bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _imported(statement: ast.Import | ast.ImportFrom, name: str, module: ModuleType) -> list[str]:
    """What an imported name brings along."""
    root = module.__name__.partition(".")[0]
    alias = next(a for a in statement.names if (a.asname or a.name).partition(".")[0] == name)
    if isinstance(statement, ast.Import):
        return [alias.name, *_files(sys.modules.get(alias.name), root, set())]
    package = statement.module or ""
    if statement.level:
        base = (module.__package__ or "").rsplit(".", statement.level - 1)[0]
        package = f"{base}.{package}" if package else base
    # What is imported may be a module itself.
    source = sys.modules.get(f"{package}.{alias.name}") or sys.modules.get(package)
    return [alias.name, *_files(source, root, set())]


def _files(module: ModuleType | None, root: str, seen: set[str]) -> Iterator[str]:
    """The digest of a file of the project and of those that it imports; versions of the others."""
    path = _file(module)
    if module is None or path is None or module.__name__ in seen:
        return
    seen.add(module.__name__)
    if not _is_local(module, path, root):
        yield _version(module.__name__.partition(".")[0])
        return
    yield hashlib.sha256(path.read_bytes()).hexdigest()
    for value in list(vars(module).values()):
        source = value if isinstance(value, ModuleType) else _home(value)
        yield from _files(source, root, seen)


def _home(value: Any) -> ModuleType | None:
    return sys.modules.get(str(getattr(value, "__module__", None)))


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


@lru_cache
def _version(package: str) -> str:
    try:
        return f"{package} {version(package.replace('_', '-'))}"
    except PackageNotFoundError:
        return package


@lru_cache(maxsize=128)
def _parsed(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
