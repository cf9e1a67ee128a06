"""Countdown: an expression that uses each given number once and gives the number asked for."""

import ast
import random
from itertools import permutations, product

from .tasks import Row, Task

_LONGEST_EXPRESSION = 64


def reaches(completion: str, answer: str, numbers: str) -> float:
    """1 where the completion is an expression that uses each number once and gives the answer.

    Integers, ``+ - * /`` and brackets; every quotient has to be whole. Leading zeros are allowed.

    Args:
        completion: such as ``12+07-03``.
        answer: the number to reach, in digits.
        numbers: those to use, separated by spaces.
    """
    used: list[int] = []
    try:
        value = _value(_parsed(completion), used)
    except _NoExpressionError:
        return 0.0
    given = sorted(int(number) for number in numbers.split())
    return float(sorted(used) == given and value == int(answer))


class _NoExpressionError(Exception):
    """The text is no expression of integers."""


def _parsed(text: str) -> ast.expr:
    allowed = set("0123456789+-*/()")
    if not text or len(text) > _LONGEST_EXPRESSION or not allowed.issuperset(text):
        raise _NoExpressionError
    digits = "".join(c if c.isdigit() else f" {c} " for c in text).split()
    plain = "".join(str(int(word)) if word.isdigit() else word for word in digits)
    try:
        return ast.parse(plain, mode="eval").body
    except SyntaxError:
        raise _NoExpressionError from None


def _value(node: ast.expr, used: list[int]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            used.append(number)
            return number
        case ast.BinOp(left=left, op=operation, right=right):
            a, b = _value(left, used), _value(right, used)
            match operation:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div() if b and a % b == 0:
                    return a // b
    raise _NoExpressionError


def countdown(train: int = 4000, held_out: int = 500, largest: int = 20, seed: int = 0) -> Task:
    """``03 07 12|16=`` is answered by ``12+07-03``, or another expression that gives 16.

    Three different numbers from 1 to ``largest`` and a number from 1 to 99 that ``+ - *`` reach
    from them without brackets. A demonstration is one such expression, drawn evenly.

    Args:
        train: how many problems to train on.
        held_out: how many others to measure on.
        largest: at most 20.
        seed: of the problems and the split.

    Raises:
        ValueError: ``largest`` outside [4, 20], or more problems than there are.
    """
    if not 4 <= largest <= 20:
        raise ValueError(f"countdown: largest is {largest}, it must be within 4 and 20")
    rows = []
    for a in range(1, largest + 1):
        for b in range(a + 1, largest + 1):
            for c in range(b + 1, largest + 1):
                targets = {value for value, _ in _expressions((a, b, c)) if 1 <= value <= 99}
                rows += [_countdown_row((a, b, c), target) for target in sorted(targets)]
    if min(train, held_out) < 1 or train + held_out > len(rows):
        raise ValueError(
            f"countdown: {train} problems to train on and {held_out} held out, "
            f"there are {len(rows)}: ask for at least one of each, and fewer in all"
        )
    random.Random(seed).shuffle(rows)
    return Task(
        f"countdown_{largest}_{train}_{held_out}_{seed}",
        reaches,
        tuple(rows[:train]),
        tuple(rows[train : train + held_out]),
        _expression,
        9,
    )


def _countdown_row(numbers: tuple[int, ...], target: int) -> Row:
    given = " ".join(f"{number:02}" for number in numbers)
    return {
        "prompt": f"{given}|{target:02}=",
        "answer": str(target),
        "numbers": given,
        "task": f"countdown:{given}|{target}",
    }


def _expressions(numbers: tuple[int, ...]) -> list[tuple[int, str]]:
    """The value and the text of each expression of three numbers without brackets."""
    found = []
    for a, b, c in permutations(numbers):
        for first, second in product("+-*", repeat=2):
            if second == "*" and first != "*":
                value = _apply(a, first, b * c)
            else:
                value = _apply(_apply(a, first, b), second, c)
            found.append((value, f"{a:02}{first}{b:02}{second}{c:02}"))
    return found


def _apply(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _expression(row: Row, rng: random.Random) -> str:
    numbers = tuple(int(number) for number in row["numbers"].split())
    target = int(row["answer"])
    return rng.choice([text for value, text in _expressions(numbers) if value == target])
