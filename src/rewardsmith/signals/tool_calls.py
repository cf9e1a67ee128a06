"""Tool calls against the reference's, in part (028, ToolRL)."""

import math
from typing import get_args

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.calls import Template
from ..rules.tool_calls import Matching, Variant, score_tool_calls


@method(
    "tool_calls",
    kind="signal",
    seed=28,
    paper=Paper("2504.13958", "ToolRL: Reward is All Tool Learning Needs", 2025),
)
class ToolCalls(RowReward):
    """``correctness + format (+ length)`` of the tool calls that a completion makes.

    The correctness grades names, argument names and values of a set of calls, linearly between its
    bounds: ``low + (high - low) S / S_max`` with ``S = J(names) + sum over the reference's calls of
    (J(argument names) + equal values)`` for the calls that they are matched with and ``S_max`` the
    same for a perfect set; J is the overlap of two multisets, ``|A and B| / |A or B|``. Equal lists
    get the upper bound, and what cannot be read as calls the lower, with the reason. Where the
    reference makes no call it is 0. Format is the upper bound of ``form`` for a response of the
    template's blocks and else the lower. ``info["why"]`` tells the terms of each row.

    **Further calls cost little**: they only lower ``J(names)``. With the reference ``a(x=1, y=2)``
    the hundred calls ``a(x=1, y=k)`` for k from 0 to 99 have a correctness of 1.515, and one wrong
    guess has 1.5; with "intermediate" it is 0.03 against 0. Where calls act, or a policy learns to
    list all guesses, give ``extra``.

    Bounds that move with training: :mod:`rewardsmith.rules.tool_schedule`.

    Args:
        gold: the column of the reference: a list of calls ``{"name": ..., "parameters": {...}}``,
            JSON text of one, or a response with ``<tool_call>`` and ``<response>`` blocks.
        completion: the column of text with ``<tool_call>`` blocks (JSON objects or lists of them;
            what is thought does not count), or of chat messages with ``tool_calls``.
        variant: "fine"; "coarse" (any difference, of order too, is the lower bound); "refined"
            (names and argument names match exactly or score 0, values are still graded);
            "intermediate" (a call counts only if it is identical).
        strict: with "refined", order matters too, as in the authors' code.
        matching: "greedy", each reference call in turn takes the best call that is left, as in the
            authors' code; or "optimal".
        correct: the least and the largest correctness.
        form: what the format is worth when it is wrong and when it is right.
        template: the blocks that make the format: "tools" (think, tool_call), "answer" (think,
            response), "both", "neither" (think), or "auto": what the reference holds.
        length: with a number, ``min(1, words of thought / length)`` is added.
        extra: what is taken off the correctness, down to its lower bound, for each call more than
            the reference has. 0 is the paper's; ours.

    Raises:
        ValueError: bounds that are not two finite numbers in order, a length that is not positive,
            an extra that is negative or not finite, or an unknown variant, matching or template.
    """

    contract = Contract(
        full={
            "completion": "<think>x</think>\n<tool_call>\n"
            '{"name": "add", "parameters": {"a": 1}}\n</tool_call>',
            "answer": [{"name": "add", "parameters": {"a": 1}}],
        },
        zero={
            "completion": '<tool_call>{"name": "mul", "parameters": {}}</tool_call>',
            "answer": [{"name": "add", "parameters": {"a": 1}}],
        },
        malformed={
            "completion": "<tool_call>{'name': add</tool_call>",
            "answer": [{"name": "add", "parameters": {"a": 1}}],
        },
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        variant: Variant = "fine",
        strict: bool = False,
        matching: Matching = "greedy",
        correct: tuple[float, float] = (-3.0, 3.0),
        form: tuple[float, float] = (0.0, 1.0),
        template: Template = "auto",
        length: float | None = None,
        extra: float = 0.0,
    ) -> None:
        super().__init__()
        chosen = {"variant": (variant, Variant), "matching": (matching, Matching)}
        for name, (value, kinds) in {**chosen, "template": (template, Template)}.items():
            if value not in get_args(kinds):
                raise ValueError(f"{name} is {value!r}, not one of {', '.join(get_args(kinds))}")
        for name, pair in (("correct", correct), ("form", form)):
            if not all(map(math.isfinite, pair)) or pair[0] > pair[1]:
                raise ValueError(f"{name} is {pair}, not two finite numbers in order")
        if length is not None and not (math.isfinite(length) and length > 0):
            raise ValueError(f"length is {length}, it must be a positive number of words")
        if not (math.isfinite(extra) and extra >= 0):
            raise ValueError(f"extra is {extra}, it must be a number of at least 0")
        self.gold, self.completion, self.variant, self.strict = gold, completion, variant, strict
        self.extra = float(extra)
        self.matching, self.template, self.length = matching, template, length
        self.correct = (float(correct[0]), float(correct[1]))
        self.form = (float(form[0]), float(form[1]))
        longest = 0.0 if length is None else 1.0
        # A reference without calls has a correctness of 0, which may lie outside its bounds.
        low, high = min(self.correct[0], 0.0), max(self.correct[1], 0.0)
        names = ("variant", "strict", "matching", "correct", "form", "template", "length", "extra")
        self.by_row(
            score_tool_calls,
            (completion, gold),
            {name: getattr(self, name) for name in names},
            bounds=(low + self.form[0], high + self.form[1] + longest),
            text=False,
        )
