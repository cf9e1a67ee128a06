"""The thinking and the answer of a completion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.views import split, view


@pytest.mark.parametrize(
    ("text", "prefill", "thinking", "answer"),
    [
        ("<think>a</think>b", "", "a", "b"),
        ("a</think>b", "<think>", "a", "b"),
        ("a</think>b", "", "a", "b"),
        ("So. <think>a</think>\nb ", "", "a", "\nb "),
        ("<think>a", "", "a", ""),
        ("a", "<think>", "a", ""),
        ("a", "", "", "a"),
        ("", "", "", ""),
        ("", "<think>", "", ""),
        ("<think>a</think>b</think>c", "", "a</think>b", "c"),
        ("<think>a</think>b<think>c</think>d", "", "a</think>b<think>c", "d"),
        ("a</think>b<think>c", "", "a", "b<think>c"),
        ("b", "<think>\n\n</think>\n\n", "\n\n", "\n\nb"),
        ("<think>a</think>b", "<think>", "<think>a", "b"),
    ],
)
def test_views(text: str, prefill: str, thinking: str, answer: str) -> None:
    assert view(text, "thinking", prefill=prefill) == thinking
    assert view(text, "answer", prefill=prefill) == answer


def test_the_answer_in_a_tag() -> None:
    def answer(text: str) -> str:
        return view(text, prefill="<think>", answer_tag="answer")

    assert answer("a</think>So <answer>42</answer>.") == "42"
    assert answer("a</think><answer>41</answer><answer>42</answer>") == "42"
    assert answer("a</think><answer>41</answer><answer>42") == "41"
    assert answer("a</think>42") == ""
    # What is answered within the thinking is no answer.
    assert answer("<answer>42</answer></think>") == ""
    assert answer("<answer>42</answer>") == ""
    assert view("<answer>42</answer>", answer_tag="answer") == "42"
    assert view("<thought>a</thought>b", thinking_tag="thought") == "b"


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", "<", "\ud800"])).map("".join))
@settings(max_examples=150)
def test_the_pieces_are_the_text(text: str) -> None:
    pieces = split(text)
    assert "".join(pieces) == text
    assert "</think>" not in pieces.answer
    assert pieces.opening in ("", "<think>")
    if "<think>" in text and "</think>" not in text:
        assert pieces.answer == ""
    if pieces.opening == "":
        assert pieces.before == ""


def test_five_megabytes() -> None:
    for unit in ("<think>", "</think>", "<answer>", "\0"):
        view(unit * (5_000_000 // len(unit)), answer_tag="answer", prefill="<think>")
