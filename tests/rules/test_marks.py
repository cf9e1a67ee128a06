"""Marks of tests are read back as they were written."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.marks import TestStatus, marked, marks_of

STATUSES = st.lists(st.sampled_from(get_args(TestStatus)), min_size=1)


@given(STATUSES, st.text())
def test_marks_come_back(statuses: list[TestStatus], why: str) -> None:
    assert marks_of(marked(statuses, why)) == statuses


@pytest.mark.parametrize("why", ["", " ..", "x.. failed", "1 of 2"])
def test_other_words_are_refused(why: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        marks_of(why)
