import pytest
import torch
from jaxtyping import TypeCheckError

from rewardsmith.policy.advantages.spans import numbered

ALL = torch.ones(1, 6, dtype=torch.bool)


def test_spans_are_numbered_in_order_and_counted():
    ids = torch.tensor([[0, 0, 1, 2, 2, 2], [4, 4, 4, 7, 7, -1]])
    mask = torch.tensor([[True] * 6, [True] * 5 + [False]])
    number, count = numbered("m", "turn", ids, mask)
    assert number.tolist() == [[0, 0, 1, 2, 2, 2], [0, 0, 0, 1, 1, -1]]
    assert count.tolist() == [3, 2]


def test_spans_without_a_marked_step_do_not_count():
    ids = torch.tensor([[0, 0, 1, 1, 2, 2]])
    mask = torch.tensor([[False, True, False, False, True, False]])
    number, count = numbered("m", "turn", ids, mask)
    assert number.tolist() == [[-1, 0, -1, -1, 1, -1]]
    assert count.tolist() == [2]


def test_a_row_without_a_marked_step_has_no_span():
    number, count = numbered("m", "turn", torch.full((1, 6), -1), ~ALL)
    assert number.tolist() == [[-1] * 6]
    assert count.tolist() == [0]
    assert numbered("m", "turn", torch.zeros(2, 0).long(), torch.zeros(2, 0).bool())[
        1
    ].tolist() == [0, 0]


def test_a_marked_step_outside_of_spans_is_named():
    ids = torch.tensor([[0, 0, -1, 1, 1, 1]])
    with pytest.raises(ValueError, match="m: row 0, step 2 lies in no span 'turn'"):
        numbered("m", "turn", ids, ALL)


def test_a_span_that_comes_back_is_named():
    ids = torch.tensor([[0, 0, 1, 1, 0, 1]])
    with pytest.raises(ValueError, match="m: row 0 is in turn 0 again at step 4, after turn 1"):
        numbered("m", "turn", ids, ALL)


def test_shapes_have_to_agree():
    with pytest.raises((ValueError, TypeCheckError), match="mask"):
        numbered("m", "turn", torch.zeros(1, 5).long(), ALL)
