"""The outcome of each test of a program, as the first word of a row's ``why``."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

TestStatus: TypeAlias = Literal["passed", "failed", "timeout", "crashed", "infrastructure"]
"""How a test of a program ended. ``infrastructure``: nothing was learned about the program."""

_LETTERS = dict(zip(get_args(TestStatus), ".FTC?", strict=True))
_STATUSES = {letter: status for status, letter in _LETTERS.items()}


def marked(statuses: Sequence[TestStatus], why: str = "") -> str:
    """``"..F.T why"``: a letter per test, as pytest prints them, and what else there is to say.

    ``.`` passed, ``F`` failed, ``T`` timeout, ``C`` crashed, ``?`` infrastructure.
    """
    return f"{''.join(_LETTERS[status] for status in statuses)} {why}".rstrip()


def marks_of(why: str) -> list[TestStatus]:
    """The statuses that :func:`marked` wrote.

    Raises:
        ValueError: ``why`` does not begin with a word of marks.
    """
    word = why.split(" ", 1)[0]
    if not word or not set(word) <= _STATUSES.keys():
        raise ValueError(f"{why[:40]!r} does not begin with the marks of tests, such as '..F.T'")
    return [_STATUSES[letter] for letter in word]
