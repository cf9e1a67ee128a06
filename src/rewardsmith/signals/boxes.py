"""The overlap of a predicted box with the reference's (159, Mixed-R1)."""

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.boxes import grade


@method(
    "box_iou",
    kind="signal",
    seed=159,
    paper=Paper(
        "2505.24164",
        "Mixed-R1: Unified Reward Perspective For Reasoning Capability in Multimodal Large "
        "Language Models",
        2025,
    ),
)
class BoxIoU(RowReward):
    """The intersection over union of a completion's last box with the reference, in [0, 1].

    A box is ``[x1, y1, x2, y2]`` or ``(x1, y1), (x2, y2)`` with x1 < x2 and y1 < y2, in the same
    units as the reference. What is thought, up to ``</think>``, does not count (where a template
    opened the thought, put :class:`~rewardsmith.transforms.View` before it with its ``prefill``).
    A completion without one, or whose last one has no area, scores 0 with
    the reason. That the reward is the overlap itself, and not a threshold on it, is our reading.

    Args:
        gold: the column of reference boxes: four numbers, or text with one box. A reference without
            an area fails its row.
        completion: the column of text or chat messages.
        threshold: pay 1 where the overlap reaches this and else 0.

    Raises:
        ValueError: a threshold outside (0, 1].
    """

    contract = Contract(
        full={"completion": "Seen at <box>(1, 2), (3, 4)</box>.", "answer": [1, 2, 3, 4]},
        zero={"completion": '{"bbox_2d": [5, 5, 6, 6.5]}', "answer": [1, 2, 3, 4]},
        malformed={"completion": "on the left", "answer": [1, 2, 3, 4]},
    )

    def __init__(
        self, gold: str = "answer", completion: str = "completion", threshold: float | None = None
    ) -> None:
        super().__init__()
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"box_iou: threshold is {threshold}, not within 0 and 1")
        self.gold, self.completion, self.threshold = gold, completion, threshold
        self.by_row(grade, (completion, gold), {"threshold": threshold})
