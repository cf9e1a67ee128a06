"""Show a reward the answer or the thinking of a completion, instead of all of it."""

import copy
from typing import Any, get_args

from ..core.catalog import method
from ..core.combination import mapped
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..rules.tags import check_tags
from ..rules.text import text_of
from ..rules.views import Show, view


@method("view", kind="transform")
class View(Reward):
    """``of``, scored on the answer or the thinking of a completion instead of all of it.

    The answer is what follows the last ``</think>``, or what ``<answer>...</answer>`` holds there;
    the thinking is what lies between the first ``<think>`` and the last ``</think>``. A thinking
    that was cut off, never closed, is all that follows; its answer is empty. A completion without
    either tag is all answer. Messages become the text that they end with. A cell that is neither
    text nor messages is passed on as it is, so that its row alone fails.

    Args:
        of: the reward; it finds the view in the column in place of the completion.
        show: ``"answer"`` or ``"thinking"``.
        column: the column of completions.
        prefill: what the chat template writes before the completion, such as ``"<think>"``: the
            completion then begins inside the thinking.
        thinking_tag: the name of the tag around the thinking.
        answer_tag: the name of the tag around the answer, if it has one; the last closed one
            counts, and the answer is empty without it.

    Raises:
        ValueError: an unknown view, a name that is no tag, a prefill without the thinking tag, or
            a child that learns from the column: updates are given whole completions.
    """

    def __init__(
        self,
        of: Reward,
        show: Show = "answer",
        column: str = "completion",
        prefill: str = "",
        thinking_tag: str = "think",
        answer_tag: str = "",
    ) -> None:
        super().__init__()
        if show not in get_args(Show):
            raise ValueError(f"view: show is {show!r}, not one of {get_args(Show)}")
        check_tags([thinking_tag, answer_tag] if answer_tag else [thinking_tag])
        if prefill and f"<{thinking_tag}>" not in prefill:
            raise ValueError(f"view: prefill {prefill!r} does not hold <{thinking_tag}>")
        for path, node in of.walk("of"):
            if not isinstance(node, Reward) or type(node).update is Reward.update:
                continue
            if column in node.needs and not node.children_by_name():
                raise ValueError(
                    f"view: {path} learns from column {column!r}, and would learn from all of it"
                )
        self.of, self.show, self.column, self.prefill = of, show, column, prefill
        self.thinking_tag, self.answer_tag = thinking_tag, answer_tag
        self.declare(needs=(column,))

    def forward(self, rollouts: Rollouts) -> Scores:
        return mapped(self.of(self.shown(rollouts)), lambda values: values)

    def survey(self, rollouts: Rollouts) -> None:
        self.of.survey(self.shown(rollouts))

    def shown(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts with the view in the column; all else is shared."""
        cells = rollouts.column(self.column, needed_by=self.label())
        views: dict[str, str] = {}
        other = copy.copy(rollouts)
        other.rows = {**rollouts.rows, self.column: [self._shown(cell, views) for cell in cells]}
        return other

    def _shown(self, cell: Any, views: dict[str, str]) -> Any:
        try:
            text = text_of(cell)
        except TypeError:
            return cell
        if text not in views:
            views[text] = view(
                text,
                self.show,
                prefill=self.prefill,
                thinking_tag=self.thinking_tag,
                answer_tag=self.answer_tag,
            )
        return views[text]
