"""What stands in tests that are code, before any of it runs."""

import ast
import builtins
from collections.abc import Container
from typing import TypeGuard


def split(module: list[ast.stmt], body: list[ast.stmt]) -> list[ast.stmt]:
    """Put each statement that asserts into ``with __test__(k)``; these, in their order.

    Args:
        module: all statements at the top; functions there that assert make tests of their calls.
        body: those that are split: of the module, or of its function ``check``.
    """
    nodes = [*module, *(body if body is not module else [])]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    asserting = {f.name for f in functions if any(map(_asserts, ast.walk(f)))} - {"check"}
    called = {n.id for node in nodes for n in ast.walk(node) if _is_name(n)}
    for function in functions:
        # As pytest has it: nobody calls them.
        if function.name.startswith("test") and function.name in asserting - called:
            body.append(ast.Expr(ast.Call(ast.Name(function.name, ast.Load()), [], [])))
    tests: list[ast.stmt] = []
    for k, statement in enumerate(body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            continue
        inside = list(ast.walk(statement))
        calls = {n.func.id for n in inside if isinstance(n, ast.Call) and _is_name(n.func)}
        if any(map(_asserts, inside)) or calls & asserting:
            test = ast.Call(ast.Name("__test__", ast.Load()), [ast.Constant(len(tests))], [])
            body[k] = ast.With([ast.withitem(test)], [statement])
            tests.append(statement)
    return tests


def unknown(tree: ast.Module, space: Container[str]) -> tuple[set[str], set[str]]:
    """Names that nothing defines: those that are called, and those that are used otherwise."""
    known = {"__test__", *dir(builtins)}
    called: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_name(node.func):
            called.add(node.func.id)
        if _is_name(node):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            known.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return called - known, set()
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    called = {name for name in called if name not in known and name not in space}
    return called, {n for n in used if n not in known and n not in space and n not in called}


def objects_used(tree: ast.Module, names: set[str]) -> str:
    """An attribute, which plain data do not have, of what functions of the program return.

    Of what a function with a capital returns, which may be a class, any attribute.
    """
    made: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (by := _called(node.value, names)):
            made |= {target.id: by for target in node.targets if _is_name(target)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of = node.value
            by = made.get(of.id, "") if _is_name(of) else _called(of, names)
            if by and (by[0].isupper() or node.attr not in _ATTRIBUTES):
                return f".{node.attr}"
    return ""


def leaves_nothing(*trees: ast.Module) -> bool:
    """Whether code can be seen to change nothing that outlives its own names."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            bad = any(alias.name not in _HARMLESS for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            bad = node.module not in _HARMLESS
        elif isinstance(node, ast.Attribute):
            bad = not isinstance(node.ctx, ast.Load) or node.attr.startswith("__")
        elif isinstance(node, ast.Subscript):
            bad = not isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Attribute)
        else:
            bad = _is_name(node) and node.id in _REACHING
        if bad:
            return False
    return True


_HARMLESS = {"collections", "copy", "fractions", "functools", "hashlib", "heapq", "itertools"}
_HARMLESS |= {"math", "operator", "random", "re", "string", "typing"}
_REACHING = {"__builtins__", "__import__", "compile", "delattr", "eval", "exec", "globals", "open"}
_REACHING |= {"setattr", "vars"}


def _called(node: ast.AST, names: set[str]) -> str:
    """The function that is called there, if it is one of these."""
    if isinstance(node, ast.Call) and _is_name(node.func) and node.func.id in names:
        return node.func.id
    return ""


def _asserts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assert):
        return False
    # `assert True` tests nothing.
    return not (isinstance(node.test, ast.Constant) and node.test.value)


def _is_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_ATTRIBUTES = {name for kind in _PLAIN for name in dir(kind)}
