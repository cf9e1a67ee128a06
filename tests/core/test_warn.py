import warnings

import torch

from rewardsmith.core.warn import warn_caller


class Warns(torch.nn.Module):
    def forward(self) -> None:
        warn_caller("look here")


def test_it_tells_of_the_line_that_called_through_torch():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Warns()()
    (warning,) = told
    assert warning.filename == __file__
    assert warning.category is UserWarning
    assert str(warning.message) == "look here"


def test_one_line_is_told_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            warn_caller("look here")
    assert len(told) == 1
