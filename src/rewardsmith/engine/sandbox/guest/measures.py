"""What can be measured of a program: that it compiles, what a linter says, what tests reach.

What runs a program measures it from within, and the program may lie about that.
"""

import ast
import os
from typing import Any

_FILE = "program.py"


def compiled(code: str) -> str:
    """Why a program does not compile, or "" if it does."""
    try:
        compile(code, _FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def complaints(code: str, given: int) -> tuple[int, list[str]]:
    """How many statements a program has, and what pyflakes has to say of it.

    Args:
        code: the program.
        given: how many lines of it were given: what is wrong there, or is there too, is not its.
    """
    from pyflakes.checker import Checker
    from pyflakes.messages import RedefinedWhileUnused

    tree = ast.parse(code)
    found = sorted(Checker(tree, filename=_FILE).messages, key=lambda m: (m.lineno, m.col))
    told = [
        f"line {m.lineno}: {m.message % m.message_args}"
        for m in found
        if m.lineno > given
        and not (isinstance(m, RedefinedWhileUnused) and m.message_args[1] <= given)
    ]
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return sum(node.lineno > given for node in statements), told


def covered(program: str, tests: str) -> tuple[int, int, str]:
    """How many lines of a program some tests reach, of how many, and how they fail.

    Tests are statements, functions ``test...`` or both; all share the names of the program.
    """
    from coverage import Coverage

    path = os.path.abspath(_FILE)
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(program)
    space: dict[str, Any] = {"__name__": "program"}
    measure, why = Coverage(data_file=None, config_file=False, include=[path]), ""
    code = compile(program, path, "exec", dont_inherit=True)
    measure.start()
    try:
        exec(code, space)
        before = set(space)
        exec(compile(tests, "tests.py", "exec", dont_inherit=True), space)
        for name in [name for name in space if name not in before and name.startswith("test")]:
            if callable(space[name]):
                space[name]()
    except BaseException as error:  # noqa: BLE001 - whatever the tests do is their own
        why = f"{type(error).__name__}: {error}"[:300]
    finally:
        measure.stop()
    _, lines, _, missing, _ = measure.analysis2(path)
    return len(lines) - len(missing), len(lines), why
