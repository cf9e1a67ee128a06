from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.choice import grade
from rewardsmith.rules.verdict import Verdict

B = [
    "B", "(B)", "[B]", "B)", "B.", "B:", "b", "(b)", "**B**", "`B`", "$B$", r"\boxed{B}",
    r"\boxed{(B)}", r"\boxed{\text{B}}", r"\boxed{\textbf{(B)}}", "<answer>B</answer>",
    "The answer is B", "The answer is B.", "The answer is **(B)**.", "The answer is: B",
    "Answer: B", "**Answer:** B", "Answer:\nB", "#### B", "The answer is option B", "Option B: 42",
    "The answer is B: 42", "The answer is (B) 42", "Answer: B. 42 apples", "Answer: B - 42",
    "The answer is B, because A is too small", "The answer is B because A is too small.",
    "B is correct.", "B is the right one", "The correct option is B.",
    "I choose A. No: the answer is B", "<think>The answer is A</think>\nB",
    r"$\boxed{A}$ was wrong, $\boxed{B}$", "The answer is (B) A dog", "The answer is B. A dog",
    "The answer is B<|im_end|>", 'The answer is "B"', "The answer is 'B'.", "B (dog)", "Ｂ",
    "B is the answer", "The answer is (b): dog", "I choose B", "B, B",
]  # fmt: skip
NONE = [
    "", " ", "Nothing", "The answer is Bavaria", "The answer is B or C",
    "The answer is B and C.", "The answer is B, C", "The answer is (B)/(C)",
    "The answer is (B), (C) and (D).", "The answer is not B", "The answer is neither",
    "The answer is A dog", "A dog can bark", "The answer is b is", "The answer is BC",
    "The answer is B'", "The answer is B2", "The answer is B-12", r"\boxed{B} or \boxed{C}",
    r"\boxed{B", r"\boxed{A}, \boxed{B}, \boxed{C}", "The answer is between B and C",
    "<think>The answer is B", "The answer is B both", "\x00", "\ud800B",
    "The answer is (A) (B) (C) (D)", "[A][B][C]", "A) B) C) D)", "A: B: C: D", "(B)(C)", "B. C",
    "B; C", "B - C", "B, also C.", "B: or C", "B = C", "(B) is wrong", "(b) (c)", "B (C)",
    "(B) is incorrect, it is (C)", "(B) no wait (C)", "B because C is also correct",
]  # fmt: skip


def value(*row, **options):
    verdict = grade(*row, **options)
    return verdict.value if isinstance(verdict, Verdict) else verdict


@pytest.mark.parametrize("text", B)
def test_it_names_b(text):
    assert value(text, "B") == 1.0
    assert grade(text, "C") == (0.0, "chose B")


@pytest.mark.parametrize("text", NONE)
def test_it_names_nothing(text):
    for gold in "ABCD":
        assert value(text, gold) == 0.0
    assert "chose" not in grade(text, "B").why


OPTIONS = ["41", "42", "A dog", "1/2"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is 42", "B"),
        ("The answer is 42.0", "B"),
        ("The answer is a dog.", "C"),
        ("The answer is A dog", "C"),
        (r"\boxed{\frac{1}{2}}", "D"),
        ("The answer is B: 42", "B"),
        ("The answer is B: forty-two", None),
        ("The answer is B: not 42, 41", None),
        ("B: 42 or 41", None),
        ("The answer is B: 41", None),
        ("The answer is 43", None),
    ],
)
@pytest.mark.parametrize(
    "options", [OPTIONS, np.array(OPTIONS), dict(zip("ABCD", OPTIONS, strict=True))]
)
def test_options(text, letter, options):
    for gold in "ABCD":
        assert value(text, gold, options) == float(gold == letter)


@pytest.mark.parametrize(
    "gold", ["B", "b", "(B)", " B. ", "42", 1, "B. 42", np.int64(1), np.str_("B"), np.array(1)]
)
def test_golds(gold):
    assert value("(B)", gold, OPTIONS) == 1.0
    assert value("(A)", gold, OPTIONS) == 0.0


@pytest.mark.parametrize(
    "gold", [None, "", "E", "43", 4, -1, True, 1.5, np.bool_(True), np.float64(1)]
)
def test_what_is_no_gold(gold):
    with pytest.raises(ValueError, match="gold"):
        grade("(B)", gold, OPTIONS)


def test_an_index_needs_options():
    with pytest.raises(ValueError, match="gold"):
        grade("(B)", 1)


@pytest.mark.parametrize("options", ["AB", 5, [], {"AB": "x"}, ["x"] * 27, np.array(1)])
def test_what_is_no_options(options):
    with pytest.raises(ValueError, match="options"):
        grade("(B)", "B", options)


def test_two_options_with_one_text_are_not_told_apart():
    assert value("The answer is same", "A", ["same", "same"]) == 0.0


def test_places():
    assert value(r"\boxed{A} A: B", "B", answer="A:") == 0.0
    assert value("\\boxed{A}\nA: B", "B", answer="A:") == 1.0


@given(st.text(max_size=80))
def test_at_most_one_letter_is_right(text):
    assert sum(value(text, gold) for gold in "ABCDEFGHIJKLMNOPQRSTUVWXYZ") <= 1.0


@pytest.mark.parametrize("piece", ["B ", "B,", "(B)", "The answer is B, ", "\x00", "B or "])
def test_five_megabytes_take_milliseconds(piece):
    text = piece * (5_000_000 // len(piece))
    started = process_time()
    grade(text, "B", OPTIONS)
    grade("The answer is " + piece * (3900 // len(piece)), "B", OPTIONS)
    assert process_time() - started < 0.3


def test_a_letter_comes_before_a_text():
    options = {"A": "B", "B": "A"}
    assert value("B", "B", options) == 1.0
    assert value("B", "A", options) == 0.0
