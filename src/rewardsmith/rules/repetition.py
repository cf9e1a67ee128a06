"""How much a completion repeats itself."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias, get_args

from .length import token_ids
from .verdict import Verdict

Piece: TypeAlias = Literal["words", "lines", "characters", "tokens"]
PIECES: tuple[str, ...] = get_args(Piece)


def grade(
    completion: Any, *, n: int = 3, max_penalty: float = -1.0, unit: Piece = "words"
) -> float | Verdict:
    """``max_penalty * (1 - distinct / total)`` over the n-grams.

    0 where there is none: the text has fewer than n pieces. ``max_penalty`` is approached by a long
    repetition of one piece and never reached.

    Args:
        completion: the text; with ``tokens``, the list of token ids.
        n: the length of an n-gram.
        max_penalty: a negative number.
        unit: what n-grams consist of: lower-cased words between whitespace, lower-cased lines
            (without the empty ones, and without the space around them), lower-cased characters, or
            token ids.
    """
    pieces = _pieces(completion, unit)
    total = len(pieces) - n + 1
    if total < 1:
        return 0.0
    distinct = len(set(zip(*(islice(pieces, i, None) for i in range(n)), strict=False)))
    if distinct == total:
        return 0.0
    why = f"{total - distinct} of {total} {n}-grams of {unit} are repeated"
    return Verdict(max_penalty * (1.0 - distinct / total), why)


def _pieces(completion: Any, unit: Piece) -> Sequence[Any]:
    if unit == "tokens":
        return token_ids(completion)
    text: str = completion.lower()
    if unit == "words":
        return text.split()
    if unit == "lines":
        return [line for line in map(str.strip, text.splitlines()) if line]
    return text
