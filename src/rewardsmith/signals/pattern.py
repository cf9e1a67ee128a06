"""Regular expressions in linear time, and keywords."""

from collections.abc import Sequence
from typing import get_args

from ..core.catalog import method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.pattern import KeywordMode, PatternMode, compiled, grade, keywords


@method("pattern", kind="signal")
class Pattern(RowReward):
    """1 if a regular expression matches; with ``mode="count"``, ``min(matches, most) / most``.

    Expressions are RE2's: linear time whatever a completion holds, and so neither backreferences
    nor lookahead and lookbehind. ``.`` does not match a newline unless ``(?s)`` says so, ``$`` is
    the end of the text. A surrogate, which no UTF-8 can hold, is read as U+FFFD.

    Args:
        pattern: the expression.
        mode: it matches somewhere (``"search"``) or the whole text (``"fullmatch"``), or how often
            it matches without overlap (``"count"``).
        most: how many matches earn 1, with ``"count"``; no more are looked for.
        case: whether upper and lower case differ.
        completion: the column.

    Raises:
        ValueError: RE2 does not take the expression; ``most`` below 1, or without ``"count"``.
    """

    contract = Contract(
        full={"completion": "The answer is 42."},
        zero={"completion": "The answer is unknown."},
        malformed={"completion": ""},
        arguments={"pattern": r"answer is \d+"},
    )

    def __init__(
        self,
        pattern: str,
        mode: PatternMode = "search",
        most: int = 1,
        case: bool = True,
        completion: str = "completion",
    ) -> None:
        super().__init__()
        if mode not in get_args(PatternMode):
            raise ValueError(f"pattern: mode is {mode!r}, not one of {get_args(PatternMode)}")
        if most < 1 or (most > 1 and mode != "count"):
            raise ValueError(f"pattern: most is {most}; it counts matches, with mode='count'")
        compiled(pattern, case)
        self.pattern, self.mode, self.most = pattern, mode, most
        self.case, self.completion = case, completion
        options = {"pattern": pattern, "mode": mode, "most": most, "case": case}
        self.by_row(grade, (completion,), options, preload=("re2",))


@method("keywords", kind="signal")
class Keywords(RowReward):
    """1 if all (or any) of some words occur in a completion, or the fraction that does.

    A word is found as a whole: a letter, digit or underscore right before or after makes it another
    one. So "1" is not in "21"; it is in "1.5", and what a number is worth is for a verifier of
    numbers to say. It says nothing of order, negation or how often.

    Args:
        words: the words, or phrases; white space is as it stands.
        mode: ``"all"``, ``"any"`` or ``"fraction"``.
        case: whether upper and lower case differ.
        whole_words: False finds them anywhere, as scripts without spaces need.
        completion: the column.

    Raises:
        ValueError: no words, a blank one, one twice, or an unknown mode.
    """

    contract = Contract(
        full={"completion": "First the premise, then the conclusion."},
        zero={"completion": "Premises and conclusions."},
        malformed={"completion": ""},
        arguments={"words": ["premise", "conclusion"]},
    )

    def __init__(
        self,
        words: Sequence[str],
        mode: KeywordMode = "all",
        case: bool = False,
        whole_words: bool = True,
        completion: str = "completion",
    ) -> None:
        super().__init__()
        if isinstance(words, str) or not words:
            raise ValueError(f"keywords: words are a list of some, this is {words!r}")
        if not all(str(word).strip() for word in words):
            raise ValueError(f"keywords: {list(words)} holds a blank word")
        if len({word if case else word.casefold() for word in words}) < len(words):
            raise ValueError(f"keywords: {list(words)} holds a word twice")
        if mode not in get_args(KeywordMode):
            raise ValueError(f"keywords: mode is {mode!r}, not one of {get_args(KeywordMode)}")
        self.words, self.mode, self.case = list(words), mode, case
        self.whole_words, self.completion = whole_words, completion
        options = {"words": self.words, "mode": mode, "case": case, "whole_words": whole_words}
        self.by_row(keywords, (completion,), options)
