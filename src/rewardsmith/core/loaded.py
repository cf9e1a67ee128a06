"""Whether a file still says what was imported of it.

A file may be edited after its functions were imported (beside a notebook, say); what they then do
is not what their file says. Seen are the bodies of functions and methods, their defaults, and names
that are bound once, to a plain constant. What a file computes where it is imported is not.
"""

import ast
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any


def as_loaded(module: ModuleType, path: Path, tree: ast.Module, names: Collection[str]) -> bool:
    """Whether what a module holds under some names is what its file says now.

    Args:
        module: the module.
        path: its file.
        tree: what that says.
        names: at the top of the module.
    """
    shapes = _shapes(path, tree)
    held = vars(module)
    for name in names:
        if name not in held:
            continue
        if any(_shape(c) not in shapes for c in _codes(held[name]) if _is_of(c, path)):
            return False
        if any(_differs(statement, held[name]) for statement in _only(tree, name)):
            return False
    return True


def _only(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The statement that binds a name, if there is just that one."""
    if any(name in node.names for node in ast.walk(tree) if isinstance(node, ast.Global)):
        return []
    found: list[ast.stmt] = []
    for statement in tree.body:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        names |= {getattr(statement, "name", "")}
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {statement.name}
        if name in names:
            found.append(statement)
    return found if len(found) == 1 else []


def _differs(statement: ast.stmt, value: Any) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        function = next(_functions(value), None)
        if function is None or function.__name__ != statement.name or statement.decorator_list:
            return False
        named = function.__kwdefaults__ or {}
        held = [*(function.__defaults__ or ()), *named.values()]
        said = [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
        return len(held) != len(said) or any(map(_is_other, said, held))
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return isinstance(targets[0], ast.Name) and _is_other(statement.value, value)
    return False


def _is_other(said: ast.expr, value: Any) -> bool:
    """Whether an expression is a plain constant, which is not this value."""
    try:
        constant = ast.literal_eval(said)
    except (ValueError, TypeError):
        return False
    # Others may change while the program runs.
    plain = isinstance(constant, str | bytes | int | float | complex | tuple | None)
    return plain and repr(constant) != repr(value)


def _functions(value: Any) -> Iterator[FunctionType]:
    """A function, or those that a class, a wrapper or a reward is made of."""
    if isinstance(value, FunctionType):
        yield value
        yield from _functions(vars(value).get("__wrapped__"))
    elif isinstance(value, staticmethod | classmethod):
        yield from _functions(value.__func__)
    elif isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _functions(part)
    elif isinstance(value, type):
        for held in list(vars(value).values()):
            if not isinstance(held, type):
                yield from _functions(held)
    elif isinstance(getattr(value, "__dict__", None), dict):
        # What the decorator `reward` or `functools.cache` has made of it.
        for key in ("call", "__wrapped__"):
            yield from _functions(vars(value).get(key))


def _codes(value: Any) -> Iterator[CodeType]:
    for function in _functions(value):
        yield function.__code__


def _is_of(code: CodeType, path: Path) -> bool:
    """Whether it was written in a file; decorators and dataclasses bring code of their own."""
    return code.co_filename == str(path) or Path(code.co_filename).resolve() == path


@lru_cache(maxsize=128)
def _shapes(path: Path, tree: ast.Module) -> frozenset[Any]:
    """What each function of a file does, as it would be loaded now."""
    return frozenset(_inside(compile(tree, str(path), "exec", dont_inherit=True)))


def _inside(code: CodeType) -> Iterator[Any]:
    yield _shape(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _inside(constant)


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What a function's code does; not where it stands."""
    return (
        code.co_qualname,
        code.co_code,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        tuple(map(_constant, code.co_consts)),
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    if isinstance(value, frozenset):
        return frozenset(map(_constant, value))
    # 1, 1.0 and True are equal.
    return type(value), repr(value)
