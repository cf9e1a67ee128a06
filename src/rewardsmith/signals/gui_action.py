"""Actions on a screen: one at a time, and the form of all turns of a task (136, Mobile-R1)."""

import math
from collections.abc import Sequence

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.actions import form_of_turns, grade
from ..rules.tags import check_tags

BLOCKS = ("think", "action", "tool_call")
_CLICK = '{"action": "click", "x": 3, "y": 4}'


@method(
    "gui_action",
    kind="signal",
    seed=136,
    paper=Paper(
        "2506.20332",
        "Mobile-R1: Towards Interactive Reinforcement Learning for VLM-Based Mobile Agent via "
        "Task-Level Rewards",
        2025,
    ),
)
class GuiAction(RowReward):
    """``R_act + form * R_fmt`` of one action: right, and in the right form.

    ``R_act`` is 1 if the JSON object in the last of the blocks has the reference's kind, its point
    lies in the reference's box (borders included) and its other arguments are those of the
    reference. An action that contradicts itself (two kinds, points in two places) and one that is
    only thought are wrong. ``R_fmt`` is 1 if all blocks are there, each once and in order. What is
    wrong stands in ``info["why"]``. The exact comparison of arguments, and that only space may
    stand between blocks, are our reading.

    It is the first of two stages. In the second a whole task is scored: 1 or 0 by a judge of the
    trajectory plus the mean form of its turns. That is a sum of two parts, whose judge leaves the
    row without a score where it breaks::

        WeightedSum({"trajectory": judge, "form": TurnForm()})

    Args:
        gold: the column of references: ``{"kind": "click", "box": [x1, y1, x2, y2]}`` for an action
            with a point, ``{"kind": "type", "text": "hello"}`` or any other argument, or JSON text
            of one. A reference without a kind, or whose box has no area, fails its row.
        completion: the column of text or chat messages.
        blocks: the tags of the form; the action stands in the last.
        form: what the form is worth beside the action's 1.

    Raises:
        ValueError: blocks that are no tags, or a form that is negative or not finite.
    """

    contract = Contract(
        full={
            "completion": "<think>The button.</think><action>Tap it.</action>\n"
            f"<tool_call>{_CLICK}</tool_call>",
            "answer": {"kind": "click", "box": [3, 3, 5, 5]},
        },
        zero={
            "completion": f"<tool_call>{_CLICK}</tool_call>",
            "answer": {"kind": "click", "box": [4, 3, 5, 5]},
        },
        malformed={
            "completion": "<tool_call>click(3, 4)</tool_call>",
            "answer": {"kind": "click", "box": [3, 3, 5, 5]},
        },
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        blocks: Sequence[str] = BLOCKS,
        form: float = 1.0,
    ) -> None:
        super().__init__()
        check_tags(blocks)
        if not (math.isfinite(form) and form >= 0):
            raise ValueError(f"gui_action: form is {form}, it must be a number of at least 0")
        self.gold, self.completion = gold, completion
        self.blocks, self.form = tuple(blocks), float(form)
        options = {"blocks": self.blocks, "form": self.form}
        self.by_row(grade, (completion, gold), options, bounds=(0.0, 1.0 + self.form))


@method("turn_form", kind="signal", seed=136)
class TurnForm(RowReward):
    """The share of a trajectory's turns, in [0, 1], that consist of the blocks in their order.

    A turn is a message of the assistant; text is a single turn. No turn scores 0.

    Args:
        completion: the column of chat messages or text.
        blocks: the tags of the form.

    Raises:
        ValueError: blocks that are no tags.
    """

    contract = Contract(
        full={
            "completion": [
                {"role": "assistant", "content": "<think>a</think><tool_call>{}</tool_call>"},
                {"role": "tool", "content": "done"},
            ]
        },
        zero={"completion": "<think>a</think>"},
        malformed={"completion": []},
        arguments={"blocks": ["think", "tool_call"]},
    )

    def __init__(self, completion: str = "completion", blocks: Sequence[str] = BLOCKS) -> None:
        super().__init__()
        check_tags(blocks)
        self.completion, self.blocks = completion, tuple(blocks)
        self.by_row(form_of_turns, (completion,), {"blocks": self.blocks}, text=False)
