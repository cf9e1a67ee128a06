"""Bounds of the tool-call score that move with training (028, ToolRL; arXiv 2504.13958).

Each function gives arguments of ``ToolCalls`` for a training step: rebuild the reward with them,
``ToolCalls(**smooth(step))``. In the paper's study the moving bounds did not pay, and the length
term did not help; they are here to be compared with.
"""

from .tool_calls import Bounds


def two_stage(
    step: int,
    correct: Bounds = (-3.0, 3.0),
    form: Bounds = (0.0, 1.0),
    switch: int = 30,
) -> dict[str, Bounds]:
    """First the format, then the calls: from ``switch`` on half the format, thrice the correctness.

    ``correct`` are the bounds of the second stage and ``form`` those of the first.
    """
    if step < switch:
        return {"correct": (correct[0] / 3, correct[1] / 3), "form": form}
    return {"correct": correct, "form": (form[0] / 2, form[1] / 2)}


def smooth(
    step: int,
    correct: Bounds = (-3.0, 3.0),
    form: Bounds = (0.0, 1.0),
    horizon: int = 150,
) -> dict[str, Bounds]:
    """From bounds of -2 and 2 towards the given ones, in a straight line over ``horizon`` steps.

    ``2 + (M - 2) step / horizon`` and its mirror image; the correctness stays within [-3, 3], and
    the format does not come within (-1, 1): the published form, so that a least format of 0 is
    never reached.
    """
    t = step / horizon
    return {
        "correct": (max(-3.0, -2 + (correct[0] + 2) * t), min(3.0, 2 + (correct[1] - 2) * t)),
        "form": (min(-1.0, -2 + (form[0] + 2) * t), max(1.0, 2 + (form[1] - 2) * t)),
    }


def growing_length(step: int) -> dict[str, float]:
    """The words of thought that earn all of the length term: ``384 + 256 step / 105``."""
    return {"length": 384 + 256 * step / 105}
