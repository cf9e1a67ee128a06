"""The overlap of boxes: its invariants, how boxes are written, and what is none."""

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.boxes import Box, grade, iou, reference
from rewardsmith.rules.verdict import Verdict

GOLD = [0, 0, 4, 2]
# Whole corners and powers of two keep the arithmetic exact.
corners = st.tuples(*[st.integers(-20, 20)] * 2, *[st.integers(1, 20)] * 2)
boxes = corners.map(lambda c: (float(c[0]), float(c[1]), float(c[0] + c[2]), float(c[1] + c[3])))


def value(completion: str, gold: Any = GOLD, **options: Any) -> float | None:
    judged = grade(completion, gold, **options)
    return judged.value if isinstance(judged, Verdict) else judged


@given(boxes, boxes)
def test_it_is_a_similarity(a: Box, b: Box) -> None:
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1
    assert (iou(a, b) == 1) == (a == b)
    apart = (max(a[0], b[0]) >= min(a[2], b[2])) or (max(a[1], b[1]) >= min(a[3], b[3]))
    assert (iou(a, b) == 0) == apart


@given(boxes, boxes, st.integers(-50, 50), st.integers(-50, 50), st.integers(-3, 3))
def test_it_does_not_depend_on_origin_and_unit(
    a: Box, b: Box, dx: int, dy: int, power: int
) -> None:
    def moved(box: Box) -> Box:
        x1, y1, x2, y2 = box
        scale = 2.0**power
        return (x1 + dx) * scale, (y1 + dy) * scale, (x2 + dx) * scale, (y2 + dy) * scale

    assert iou(moved(a), moved(b)) == iou(a, b)


floats = st.floats(1e-12, 1e14)


@given(floats, floats, floats, floats)
def test_any_box_of_python_floats_is_read_as_it_is(x: float, y: float, w: float, h: float) -> None:
    box = [x, y, x + w, y + h]
    if box[0] < box[2] and box[1] < box[3]:
        assert reference(str(box)) == tuple(box)
        assert value(f"It is {box}.", box) == 1.0


def test_by_hand() -> None:
    # 2 x 1 of 8 + 8 - 2.
    assert value("[2, 1, 6, 3]") == 2 / 14
    assert value("[2, 1, 6, 3]", threshold=0.15) == 0.0
    assert value("[1, 0, 4, 2]", threshold=0.75) == 1.0
    assert value("[1, 0, 4, 2]", threshold=0.751) == 0.0


@pytest.mark.parametrize(
    "completion",
    [
        "[0,0,4,2]",
        '```json\n[{"bbox_2d": [0, 0, 4.0, 2], "label": "a"}]\n```',
        "<box>(0,0),(4,2)</box>",
        "<|box_start|>(0,0),(4,2)<|box_end|>",
        "It lies at [[0, 0], [4, 2]].",
        "( 0.0 , -0 )( +4 , 2.00 )",
        "First I thought of [1, 1, 2, 2], but it is [0, 0, 4, 2]; all 3 of them.",
        "[0.0000000000000000,0,4.0000000000000000,2]",
        "[.0, -.0, 4., 2.000000000000000000000000]",
        "[0e0, 0E5, 4e0, +2.0e+00]",
        "[0, 0, 40e-1, 0.0002e4]",
        "<think>[9, 9, 10, 10]</think> [0, 0, 4, 2]",
        "[0, 0, 4, 2] rather than [1, 2, 3, 4, 5] or (1, 2)",
    ],
)
def test_ways_to_write_a_box_of_which_the_last_counts(completion: str) -> None:
    assert value(completion) == 1.0


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("", "no box"),
        ("0, 0, 4, 2", "no box"),
        ("[0, 0, 4]", "no box"),
        ("[0, 0, 4, nan]", "no box"),
        ("<think>it is [0, 0, 4, 2]</think> I do not know", "no box"),
        ("<think>it is [0, 0, 4, 2]", "no box"),
        ("it is [0, 0, 4, 2]</think>", "no box"),
        ("[0, 0, 1e200, 1e200]", "is too far out"),
        ("[0, 0, 1e999, 2]", "is too far out"),
        ("[0, 0, 1e, 2]", "no box"),
        ("[4, 0, 0, 2]", "has no area"),
        ("[0, 2, 4, 2]", "has no area"),
        ("[0, 0, 4, 2] or [4, 0, 0, 2]", "has no area"),
    ],
)
def test_what_is_no_box_is_worth_nothing_and_says_why(completion: str, why: str) -> None:
    judged = grade(completion, GOLD)
    assert isinstance(judged, Verdict)
    assert judged.value == 0.0
    assert why in judged.why


@pytest.mark.parametrize(
    "gold",
    [
        GOLD,
        (0, 0, 4, 2),
        np.array(GOLD),
        np.array(GOLD, dtype=np.float32),
        [np.float32(v) for v in GOLD],
        [np.int64(v) for v in GOLD],
        torch.tensor(GOLD),
        [torch.tensor(v) for v in GOLD],
        "[0, 0, 4, 2]",
        "(0,0),(4,2)",
        "[0e0, .0, 4.0000000000000000, 2]",
    ],
)
def test_ways_to_write_a_reference(gold: Any) -> None:
    assert reference(gold) == (0.0, 0.0, 4.0, 2.0)


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (None, "not four numbers"),
        ([1, 2, 3], "not four numbers"),
        ({"x1": 1}, "not four numbers"),
        ("nowhere", "holds 0 boxes"),
        ("[0, 0, 4, 2] [0, 0, 4, 2]", "holds 2 boxes"),
        ([0, 0, 4, "2"], "'2', not a finite number"),
        ([0, 0, 4, True], "True, not a finite number"),
        ([0, 0, 4, math.nan], "nan, not a finite number"),
        ([0, 0, 4, 1e300], "not a finite number"),
        ("[0, 0, 4, 1e300]", "not a finite number"),
        ([4, 0, 0, 2], "has no area"),
        ([0, 2, 4, 2], "has no area"),
    ],
)
def test_a_broken_reference_is_an_error(gold: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grade("[0, 0, 4, 2]", gold)


@pytest.mark.parametrize(
    "completion",
    [
        "[" * 3_000_000,
        "[1" + " " * 3_000_000,
        "[" + "1" * 3_000_000,
        "[1,1,2,2]" * 300_000,
        "[.1e1,1.,2e" * 300_000,
        "[1,1,2," * 300_000,
        "\x00\ud800[" * 300_000,
    ],
)
def test_time_is_linear_in_the_completion(completion: str) -> None:
    began = time.process_time()
    grade(completion, GOLD)
    assert time.process_time() - began < 3.0
