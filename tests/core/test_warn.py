import warnings

import torch

from rewardsmith.core.warn import warn_caller

OURS = {"__name__": "rewardsmith.somewhere", "warn_caller": warn_caller, "torch": torch}
exec(
    "class Warns(torch.nn.Module):\n    def forward(self):\n        warn_caller('look here')", OURS
)


def test_it_tells_of_the_line_that_called_through_torch():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        OURS["Warns"]()()  # a frame of ours, two of torch
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
