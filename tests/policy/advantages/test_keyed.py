import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import argument_types
from rewardsmith.policy.advantages.cumulative import CumulativeAdvantage
from rewardsmith.policy.advantages.keyed import keys_of
from rewardsmith.policy.advantages.role_baseline import RoleBaseline
from rewardsmith.policy.advantages.thoughts import ThoughtLevel


@pytest.mark.parametrize("kind", [RoleBaseline, CumulativeAdvantage, ThoughtLevel])
def test_a_spec_can_check_the_arguments(kind):
    for hint in argument_types(kind).values():
        TypeAdapter(hint).json_schema()


@pytest.mark.parametrize(
    "column",
    [[3, 1], torch.tensor([3, 1]), np.array([3, 1]), [np.int64(3), np.int64(1)]],
    ids=["list", "tensor", "array", "scalars"],
)
def test_keys_are_plain_numbers_whatever_the_column_is(column):
    keys = keys_of("m", Rollouts({"task": column}), ["task"])
    assert keys == [3, 1]
    assert [type(key) for key in keys] == [int, int]


def test_several_columns_make_one_key():
    rollouts = Rollouts({"task": ["go", "go"], "info": [{"seat": 0}, {"seat": 1}]})
    assert keys_of("m", rollouts, ["task", "info.seat"]) == [("go", 0), ("go", 1)]


def test_a_row_without_what_a_nested_column_has_is_named():
    rollouts = Rollouts({"info": [{"seat": 0}, {}]})
    with pytest.raises(ValueError, match=r"m: row 1 has MISSING in the column 'info\.seat'"):
        keys_of("m", rollouts, ["info.seat"])


def test_nan_is_no_key_for_it_is_never_found_again():
    rollouts = Rollouts({"task": [1.0, float("nan")]})
    with pytest.raises(ValueError, match="rae: row 1 has nan in the column 'task'"):
        keys_of("rae", rollouts, ["task"])
