import re
from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rewardsmith.rules.extraction import clean, find_answer

AUTO = {
    r"It is \boxed{18}.": "18",
    r"It is \boxed {18}.": "18",
    r"\fbox{18}": "18",
    r"\boxed{\frac{1}{2}}": r"\frac{1}{2}",
    r"\boxed{\{1,2\}}": r"\{1,2\}",
    r"\boxed{1} then \boxed{2}": "2",
    r"\boxed{1} and \boxed{2}": "1, 2",
    r"$\boxed{1}$, $\boxed{2}$ or $\boxed{3}$": "1, 2, 3",
    r"\boxed{\boxed{18} + 1}": r"\boxed{18} + 1",
    r"\boxed{5} and \boxed{18": "5",
    r"\boxed{ 5 + \boxed{18}": "18",
    r"\boxed{5} \boxed{}": "5",
    r"a } brace { \boxed{5}": "5",
    r"\boxed{5": None,
    r"\boxed{}": None,
    r"\boxed5": None,
    "<answer>5</answer>": "5",
    "<answer> 5 </answer> <answer>6</answer>": "6",
    "<answer>5": None,
    "5</answer>": None,
    r"\boxed{5} <answer>6</answer>": "6",
    r"<answer>6</answer> \boxed{5}": "5",
    r"<answer>\boxed{6}</answer>": "6",
    r"The answer is 5. \boxed{6}": "6",
    r"\boxed{6}. The answer is 5.": "5",
    "The answer is 18.": "18",
    "The final answer is $18$. I hope it is correct.": "18",
    "Answer: 18": "18",
    "**Answer:** 18": "18",
    "**Final Answer:**\n\n18\n": "18",
    "The answer is:\n\\[\n18\n\\]": "18",
    "The answer is\n$$\nx + 1\n$$": "x + 1",
    "#### 18": "18",
    "#### 17\n#### 18": "18",
    "#### ": None,
    "answer is 3.5 kg": "3.5 kg",
    "Nothing.": None,
    "": None,
    "\x00\ud800": None,
    r"<think>\boxed{1}</think> \boxed{2}": "2",
    r"<think>\boxed{1}</think> Nothing.": None,
    r"<think>\boxed{1}": None,
    r"reasoning without a beginning \boxed{1} </think> \boxed{2}": "2",
    "\\boxed{" + "9" * 5000 + "}": None,
    "\\boxed{18}\n#### 17": "17",
    "\\boxed{18}\n#### ": "18",
    r"-\boxed{18}": "-(18)",
    r"- \boxed{18}": "18",
    r"\boxed{18}\%": "18%",
    r"\boxed{18}^2": r"\boxed{18}^2",
    r"\frac{1}{\boxed{18}}": r"\frac{1}{\boxed{18}}",
    r"\boxed{18} \times 10^3": r"\boxed{18} \times 10^3",
    r"5 + \boxed{5} = 10": "5",
    r"**\boxed{18}**": "18",
    r"\boxed{17}\text{ or }\boxed{18}": "17, 18",
    r"\boxed{17}; \boxed{18}": "17, 18",
    r"\boxed{17}/\boxed{18}": "17, 18",
    r"\boxed{17} \quad \boxed{18}": "17, 18",
    "\\boxed{18}\n\\boxed{18}": "18",
    "<ANSWER>18</ANSWER>": "18",
    "<answer>The answer is 18</answer>": "18",
}


@pytest.mark.parametrize(("text", "answer"), AUTO.items())
def test_auto(text, answer):
    assert find_answer(text) == answer


MARKED = [
    ("A: 18", "A:", "18"),
    ("x\n A: 18\n", "A:", "18"),
    ("A: 17\nA: 18", "A:", "18"),
    ("A: 17\nA:", "A:", None),
    ("A:\n18", "A:", "18"),
    ("**A:** 18", "A:", "18"),
    ("> A: 18", "A:", "18"),
    ("Publisher A: 17", "A:", None),
    ("Publisher A: 17\nA: 18\nPublisher A: 19", "A:", "18"),
    ("GPA: 4", "A:", None),
    ("a: 18", "A:", None),
    ("ANSWER: 18", "answer:", "18"),
    ("So THE ANSWER IS 18", "the answer is", "18"),
    ("So breathe answer is 18", "the answer is", None),
    ("A: 18. That is all.", "A:", "18"),
    ("A: 0.5", "A:", "0.5"),
    ("\u0130\u0130 answer: 18", "my answer:", None),
    ("\u0130\u0130 my answer: 18", "my answer:", "18"),
    ("18", "A:", None),
]


@pytest.mark.parametrize(("text", "marker", "answer"), MARKED)
def test_markers(text, marker, answer):
    assert find_answer(text, marker) == answer


@pytest.mark.parametrize(
    ("text", "where", "answer"),
    [
        (r"\boxed{5} <answer>6</answer>", "boxed", "5"),
        (r"<answer>5</answer> \boxed{6}", "tag", "5"),
        ("18 then 1,234.5 end", "last number", "1,234.5"),
        ("3/4 of x2 and B12", "last number", "3/4"),
        ("-5", "last number", "-5"),
        ("none", "last number", None),
        (" 5 ", "all", "5"),
        ("the answer is 5", "boxed", None),
    ],
)
def test_other_places(text, where, answer):
    assert find_answer(text, where) == answer


CLEANED = {
    " **18** ": "18",
    "18.": "18",
    "18...": "18...",
    "$18$": "18",
    "$18": "$18",
    "$18$ dollars": "18 dollars",
    r"\$18": r"\$18",
    "$$18$$.": "18",
    r"\(18\)": "18",
    r"\[ 18 \]": "18",
    r"\boxed{18}": "18",
    r"\text{18}": "18",
    r"\frac{1}{2}": r"\frac{1}{2}",
    r"\text{a} + \text{b}": r"\text{a} + \text{b}",
    "18<|im_end|>": "18",
    "18</s>": "18",
    "`18`": "18",
    "1\u200b8\u200e": "18",
    "cafe\u0301": "café",
    r"\underline{18}": "18",
    r"\textcolor{red}{18}": "18",
    "1 < 2 > 1": "1 < 2 > 1",
}


@pytest.mark.parametrize(("text", "cleaned"), CLEANED.items())
def test_clean(text, cleaned):
    assert clean(text) == cleaned


@given(st.text(max_size=200), st.sampled_from(["auto", "boxed", "tag", "last number", "all", "A:"]))
def test_what_was_found_is_clean(text, where):
    found = find_answer(text, where)
    assert found is None or (found and found == clean(found))


@given(st.lists(st.sampled_from(["\\boxed{", "\\fbox{", "{", "}", "y", "x ", "\\{"]), max_size=20))
def test_the_last_box_is_the_one_that_closes_last(pieces):
    """A slow search: of every box with its matching brace, the one whose brace is last."""
    text = "".join(pieces)
    # Behind a brace a box may be the next of a list, or a denominator: the answer is then more.
    assume(not re.search(r"\}\{?\\(boxed|fbox)", text))
    closed, stack = [], []
    for i, piece in enumerate(pieces):
        if piece.endswith("{") and piece != "\\{":
            stack.append(i)
        elif piece == "}" and stack:
            begin = stack.pop()
            inner = "".join(pieces[begin + 1 : i])
            if pieces[begin] != "{" and inner.strip():
                closed.append(inner)
    expected = clean(closed[-1]) or None if closed else None
    assert find_answer(text, "boxed") == expected


@pytest.mark.parametrize("where", ["auto", "boxed", "tag", "A:", "the answer is", "last number"])
@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "\\boxed{1}", "A:", "A:\n", "the answer is ", "<answer>", "</answer>", "{", "9",
    "$",
     "\n", "\x00", "cat ", "\ud800", "#### ", "</think>"],
)  # fmt: skip
def test_five_megabytes_take_milliseconds(piece, where):
    text = piece * (5_000_000 // len(piece))
    started = process_time()
    find_answer(text, where)
    assert process_time() - started < 0.25
