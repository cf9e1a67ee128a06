"""Whether two expressions are equal, where that takes algebra: math-verify reads, sympy computes.

Equality is that of exact values. Two expressions without variables are equal if their difference
is zero to 500 digits; two with variables if their difference is a small polynomial that is zero, or
else if it is zero wherever it is evaluated, at points that depend on both texts; two equations or
inequalities if they differ by a constant factor. What is none of these (sets, chains of
inequalities) math-verify compares.

Nothing here has a deadline: an executor that can end a process has. Importing it is slow.
"""

import random
import re
from functools import lru_cache
from typing import Any

import math_verify
from latex2sympy2_extended import NormalizationConfig
from math_verify import grader, parser
from math_verify.errors import TimeoutException
from sympy import (
    Derivative,
    Expr,
    Float,
    I,
    Integral,
    Limit,
    MatrixBase,
    Poly,
    Pow,
    Rational,
    Sum,
    Symbol,
    exp,
    gamma,
    nan,
    oo,
    zoo,
)
from sympy.core.function import AppliedUndef
from sympy.core.relational import Equality, Relational
from sympy.functions.combinatorial.factorials import CombinatorialFunction
from sympy.polys.polyerrors import BasePolynomialError

# It warns once that it has no deadline; that is what is wanted here.
parser.TIMEOUT_WARNING_SHOWN = grader.TIMEOUT_WARNING_SHOWN = True

_DEGREES = re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})")
_NAMES = re.compile(r"(?<![\\A-Za-z])(pi|theta|sin|cos|tan|ln|log|exp)(?![A-Za-z])")
_CANNOT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BasePolynomialError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
_DIGITS = 500
_DEGREE = 8
_POINTS = 8
_FAR = (10**3, 10**6)
"""How much farther out it is looked as well: |x + 20| is x + 20 near to zero."""
_CONFIG = math_verify.LatexExtractionConfig(
    # Its list of units holds letters and words that are no units: "3 ab" would be 3.
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
)


def equal(gold: str, answer: str) -> bool:
    """Whether an answer equals the gold one; both in LaTeX, without dollars.

    What cannot be read equals nothing.
    """
    try:
        right, given = _gold(gold), _parsed(answer)
        if right is None or given is None:
            return False
        return _compared(right, given, random.Random(f"{gold}\n{answer}"))
    except TimeoutException as error:  # derives from BaseException, which nothing above expects
        raise TimeoutError(str(error)) from error


@lru_cache(maxsize=4096)
def _gold(text: str) -> Any:
    """Once for all the answers that are compared with it: reading takes longer than comparing."""
    return _parsed(text)


def _parsed(text: str) -> Any:
    """What a text says to math-verify, exactly; None if nothing."""
    text = _DEGREES.sub(r"\\cdot\\frac{\\pi}{180}", text)
    text = _NAMES.sub(r"\\\1 ", text)
    # In dollars, or it would only look for numbers in it.
    found = math_verify.parse(
        f"${text}$", extraction_config=[_CONFIG], fallback_mode="no_fallback", parsing_timeout=None
    )
    if not found or isinstance(found[0], str):
        return None
    expr = found[0]
    exact = {number: Rational(str(number)) for number in expr.atoms(Float)}
    imaginary = {s: I for s in expr.free_symbols if s.name == "i"}
    try:
        return expr.xreplace(exact | imaginary) if exact or imaginary else expr
    except TypeError:  # i < 2: a variable after all
        return expr.xreplace(exact)


def _compared(gold: Any, answer: Any, chance: random.Random) -> bool:
    try:
        return _equal(gold, answer, chance)
    except _CANNOT:  # what sympy cannot compare with the gold answer is another
        return False


def _equal(gold: Any, answer: Any, chance: random.Random) -> bool:
    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        pairs = zip(gold.flat(), answer.flat(), strict=False)
        return gold.shape == answer.shape and all(_equal(a, b, chance) for a, b in pairs)
    if _plain_relation(gold) and _plain_relation(answer):
        return _same_relation(gold, answer, chance)
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        return _same_value(gold, answer, chance)
    return bool(
        math_verify.verify(
            gold,
            answer,
            numeric_precision=_DIGITS,
            allow_set_relation_comp=True,
            timeout_seconds=None,
        )
    )


def _same_value(gold: Expr, answer: Expr, chance: random.Random) -> bool:
    gold, answer = _evaluated(gold), _evaluated(answer)
    undefined = (nan, zoo)
    if gold in undefined or answer in undefined:
        return False
    if gold == answer:
        return True
    if oo in (gold, -gold) or oo in (answer, -answer):
        return False
    difference = gold - answer
    if difference.has(Integral, Sum, Limit, Derivative):
        return bool(math_verify.verify(gold, answer, timeout_seconds=None))
    polynomial = _polynomial(difference)
    if polynomial is not None:
        return bool(polynomial.is_zero)
    return _vanishes(difference, chance) and not _parted(gold, answer, chance)


def _polynomial(expr: Any) -> Poly | None:
    """A small polynomial with rational coefficients, multiplied out; None of all else."""
    symbols = sorted(expr.free_symbols, key=str)
    powers = expr.atoms(Pow)
    small = all(p.exp.is_Integer and 0 <= p.exp <= _DEGREE and not p.base.has(Pow) for p in powers)
    if not symbols or not small or sum(p.exp for p in powers) > 4 * _DEGREE:
        return None
    try:
        return Poly(expr, *symbols, domain="QQ")
    except BasePolynomialError:
        return None


def _evaluated(expr: Expr) -> Any:
    """With sums and integrals carried out, and ``f(x)`` as a variable."""
    expr = expr.doit()
    return expr.xreplace({f: Symbol(str(f)) for f in expr.atoms(AppliedUndef)})


def _vanishes(difference: Any, chance: random.Random) -> bool:
    """Whether an expression is zero wherever it was evaluated."""
    symbols = sorted(difference.free_symbols, key=str)
    if not symbols:
        return _is_zero(difference) is True
    seen = 0
    for k in range(_POINTS):
        zero = _is_zero(difference.subs(_point(symbols, k, chance)))
        if zero is False:
            return False
        seen += zero is True
    return seen >= _POINTS // 2


def _parted(gold: Any, answer: Any, chance: random.Random) -> bool:
    """Whether two expressions differ, by more than rounding, far out: |x + 20| and x + 20.

    Not asked of what grows faster than any exponential: there it would take too long.
    """
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if not symbols or any(map(_explodes, (gold, answer))):
        return False
    for point in [_point(symbols, k, chance, scale) for scale in _FAR for k in (0, 5, 7)]:
        a, b = gold.subs(point).evalf(15), answer.subs(point).evalf(15)
        if a.is_Float and b.is_Float and abs(a - b) > Float(1e-6) * max(abs(a), abs(b)):
            return True
    return False


def _explodes(expr: Any) -> bool:
    towers = (power for power in expr.atoms(Pow, exp) if power.exp.free_symbols)
    return expr.has(CombinatorialFunction, gamma) or any(t.exp.has(Pow, exp) for t in towers)


def _point(symbols: list[Any], k: int, chance: random.Random, scale: int = 1) -> dict[Any, Any]:
    """Both signs of every variable turn up: the root of x squared is x for one of them only."""
    return {
        s: Rational(scale * chance.randint(101, 9973), 997) * (-1 if (k >> (i % 3)) & 1 else 1)
        for i, s in enumerate(symbols)
    }


def _is_zero(value: Any) -> bool | None:
    """Whether a number is zero; None if it is no number."""
    if value.is_Rational:
        return bool(value == 0)
    real, imaginary = value.evalf(15, maxn=_DIGITS).as_real_imag()
    parts = (real, imaginary)
    if not all(part.is_Number and part.is_finite for part in parts):
        return None
    # With one bit of precision no digit is known but that there is none.
    return all(part == 0 or (part.is_Float and part._prec == 1) for part in parts)


def _plain_relation(expr: Any) -> bool:
    return isinstance(expr, Relational) and all(isinstance(side, Expr) for side in expr.args)


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _same_relation(gold: Relational, answer: Relational, chance: random.Random) -> bool:
    """Whether ``f = 0`` and ``g = 0`` have ``f = c g``, with c of the right sign for ``<``."""
    if isinstance(gold, Equality) != isinstance(answer, Equality):
        return False
    f, g = _evaluated(gold.lhs - gold.rhs), _evaluated(answer.lhs - answer.rhs)
    symbols = sorted(f.free_symbols | g.free_symbols, key=str)
    at = _point(symbols, 0, chance)
    left, right = f.subs(at), g.subs(at)
    if _is_zero(left) is not False or _is_zero(right) is not False:
        return bool(f == g and gold.rel_op == answer.rel_op)
    factor = left / right
    if isinstance(gold, Equality):
        return _vanishes(f - factor * g, chance) and not _parted(f, factor * g, chance)
    same = gold.rel_op == answer.rel_op
    flipped = _FLIPPED.get(gold.rel_op) == answer.rel_op
    wanted = same if factor.is_positive else flipped if factor.is_negative else False
    return wanted and _vanishes(f - factor * g, chance) and not _parted(f, factor * g, chance)
