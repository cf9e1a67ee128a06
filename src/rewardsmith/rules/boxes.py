"""The overlap of a predicted box with the reference's (159, Mixed-R1; arXiv 2505.24164)."""

import math
import re
from collections import deque
from collections.abc import Mapping
from typing import Any, TypeAlias

from .verdict import Verdict
from .views import view

Box: TypeAlias = tuple[float, float, float, float]
"""``(x1, y1, x2, y2)`` with x1 < x2 and y1 < y2."""

# Farther out, areas would be no numbers.
_FARTHEST = 1e15

# Whatever Python writes for a float. Bounded, so that a text of digits or spaces is read in linear
# time.
_NUMBER = r"\s{0,9}([-+]?(?:\d{1,20}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?)\s{0,9}"
_BETWEEN = r"(?:,|[\])]\s{0,9},?\s{0,9}[\[(])"
_BOX = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}{_BETWEEN}{_NUMBER},{_NUMBER}[\])]")


def grade(completion: str, gold: Any, *, threshold: float | None = None) -> float | Verdict:
    """The intersection over union of the last box of a completion with the reference.

    A box is ``[x1, y1, x2, y2]`` or ``(x1, y1), (x2, y2)``, wherever it stands: in JSON,
    ``<box>...</box>`` or a sentence. Of several the last one counts, as the final answer. What is
    thought, up to ``</think>``, does not; corners beyond 1e15 are none.

    Args:
        completion: the text.
        gold: four numbers, or text with one box.
        threshold: pay 1 where the overlap reaches this and else 0, instead of the overlap.

    Raises:
        ValueError: the reference is no box: not four finite numbers, or x2 <= x1, or y2 <= y1.
    """
    right = reference(gold)
    found = deque(_BOX.finditer(view(completion)), maxlen=1)
    if not found:
        return Verdict(0.0, "no box")
    box = _corners(found[0])
    if max(map(abs, box)) > _FARTHEST:
        return Verdict(0.0, f"the box {list(box)} is too far out")
    if box[2] <= box[0] or box[3] <= box[1]:
        return Verdict(0.0, f"the box {list(box)} has no area")
    overlap = iou(box, right)
    return overlap if threshold is None else float(overlap >= threshold)


def iou(a: Box, b: Box) -> float:
    """``|A and B| / |A or B|`` of two boxes with areas, in [0, 1]; 1 only for equal boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def reference(gold: Any) -> Box:
    """The box of a reference: four numbers, or text with one box.

    Raises:
        ValueError: it is none, or one without an area.
    """
    if isinstance(gold, str):
        found = list(_BOX.finditer(gold))
        if len(found) != 1:
            raise ValueError(f"the reference holds {len(found)} boxes, not one")
        gold = _corners(found[0])
    # Arrays come from Parquet; they have no other sign of being lists.
    if hasattr(gold, "tolist"):
        gold = gold.tolist()
    if isinstance(gold, list | tuple):
        gold = [number.item() if hasattr(number, "item") else number for number in gold]
    if isinstance(gold, Mapping) or not isinstance(gold, list | tuple) or len(gold) != 4:
        raise ValueError(f"the reference is {str(gold)[:40]!r}, not four numbers")
    for value in gold:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > _FARTHEST:
            raise ValueError(f"the reference box holds {value!r}, not a finite number")
    x1, y1, x2, y2 = map(float, gold)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"the reference box {[x1, y1, x2, y2]} has no area")
    return x1, y1, x2, y2


def _corners(found: re.Match[str]) -> Box:
    x1, y1, x2, y2 = map(float, found.groups())
    return x1, y1, x2, y2
