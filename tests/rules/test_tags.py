"""Tagged sections: what is well-formed, what is not, and partial credit."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.tags import check_prefill, check_tags, content, grade
from rewardsmith.rules.verdict import Verdict

TAGS = ["think", "answer"]
space = st.text(alphabet=" \n\t", max_size=3)
words = st.text(alphabet="ab<>/ \n", max_size=8).filter(lambda text: "<a" not in text)


def value(graded: Any) -> float:
    return float(graded.value if isinstance(graded, Verdict) else graded)


def why(completion: str, **options: Any) -> str:
    graded = grade(completion, **{"tags": TAGS, **options})
    assert isinstance(graded, Verdict)
    assert graded.value == 0.0
    return graded.why


@given(
    names=st.lists(
        st.sampled_from(["think", "answer", "x-1", "tool_call"]), min_size=1, unique=True
    ),
    data=st.data(),
)
@settings(max_examples=60)
def test_well_formed_is_1_and_without_any_one_tag_0(names: list[str], data: st.DataObject) -> None:
    parts = [data.draw(space)]
    for name in names:
        parts += [f"<{name}>", data.draw(words), f"</{name}>", data.draw(space)]
    assert grade("".join(parts), tags=names) == 1.0
    for i in [i for i in range(len(parts)) if i % 4 in (1, 3)]:
        left = "".join(parts[:i] + parts[i + 1 :])
        assert grade(left, tags=names) == Verdict(0.0, f"{parts[i]} is missing")
        twice = "".join([*parts[:i], parts[i], *parts[i:]])
        assert grade(twice, tags=names) == Verdict(0.0, f"{parts[i]} stands 2 times")


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", "<think> is missing"),
        ("<think>a</think>", "<answer> is missing"),
        ("<think>a<answer>b</think></answer>", "<answer> does not follow </think>"),
        ("<think>a<answer>b</answer></think>", "<answer> does not follow </think>"),
        ("<answer>b</answer><think>a</think>", "<answer> does not follow </think>"),
        ("</think>a<think><answer>b</answer>", "</think> does not follow <think>"),
        ("<think>a</think>so<answer>b</answer>", "there is text between </think> and <answer>"),
        ("So <think>a</think><answer>b</answer>", "there is text before <think>"),
        ("<think>a</think><answer>b</answer>.", "there is text after </answer>"),
        ("<Think>a</Think><answer>b</answer>", "<think> is missing"),
        ("<think>a</think><answer>b</answer>\0", "there is text after </answer>"),
    ],
)
def test_what_is_wrong_is_said(completion: str, reason: str) -> None:
    assert why(completion) == reason


def test_text_around() -> None:
    before, after = "Hm. <think>a</think>", "<think>a</think> 42"
    assert [value(grade(before, tags=["think"], strict=s)) for s in (True, "start", False)] == [
        0,
        0,
        1,
    ]
    assert [value(grade(after, tags=["think"], strict=s)) for s in (True, "start", False)] == [
        0,
        1,
        1,
    ]


def test_a_prefilled_tag() -> None:
    text = "6 * 7</think> <answer>42</answer>"
    assert why(text) == "<think> is missing"
    assert grade(text, tags=TAGS, prefill="<think>\n") == 1.0
    assert why(f"<think>{text}", prefill="<think>") == "<think> stands 2 times"
    assert grade("<answer>42</answer>", tags=TAGS, prefill="<think>\n\n</think>\n") == 1.0


def test_partial_credit_counts_conditions() -> None:
    def partial(completion: str, **options: Any) -> float:
        return value(grade(completion, tags=TAGS, partial=True, **options))

    # Of 9: two tags once, one section closed, nothing before it; then with the second one.
    assert partial("<think>a</think>") == pytest.approx(4 / 9)
    assert partial("<think>a</think><answer>b") == pytest.approx(6 / 9)
    assert partial("<think>a</think><answer>b</answer>") == 1.0
    assert partial("<think>a</think>!<answer>b</answer>") == pytest.approx(8 / 9)
    assert partial("no tags") == 0.0
    # Two conditions of nine are the prefill's own.
    assert partial("", prefill="<think>") == 0.0
    assert partial("a</think>", prefill="<think>") == pytest.approx(2 / 7)
    assert partial("a</think><answer>b</answer>", prefill="<think>") == 1.0
    assert partial("<think>", prefill="<think>") == 0.0


@given(text=st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a", " "])))
@settings(max_examples=100)
def test_partial_credit_is_full_only_where_all_is_well(text: list[str]) -> None:
    completion = "".join(text)
    for options in ({}, {"prefill": "<think>"}, {"strict": False}, {"strict": "start"}):
        whole = value(grade(completion, tags=TAGS, **options))
        part = value(grade(completion, tags=TAGS, partial=True, **options))
        assert 0.0 <= part <= 1.0
        assert (part == 1.0) == (whole == 1.0)


def test_five_megabytes() -> None:
    for text in ("<think>" * 700_000, "\ud800" * 5_000_000, "<" * 5_000_000, "\0" * 5_000_000):
        assert value(grade(text, tags=TAGS)) == 0.0
    assert grade(f"<think>{'a<' * 2_500_000}</think><answer></answer>", tags=TAGS) == 1.0


@pytest.mark.parametrize("tags", [[], "think", ["a b"], ["<a>"], ["a", "a"], [""], ["/a"], [1]])
def test_what_are_no_tags(tags: Any) -> None:
    with pytest.raises(ValueError, match="tag"):
        check_tags(tags)


@pytest.mark.parametrize(
    "prefill",
    [
        "think",
        "<answer>",
        "<think><think>",
        "So <think>",
        "<think></think>so",
        "<think></think><answer></answer>",
    ],
)
def test_what_is_no_prefill(prefill: str) -> None:
    with pytest.raises(ValueError, match="does not begin a completion"):
        check_prefill(prefill, TAGS, True)


def test_what_a_section_holds() -> None:
    assert content("<a>1</a> <a>2</a>", "a") == "2"
    assert content("<a>1</a> <a>2", "a") == "1"
    assert content("</a><a>", "a") is None
    assert content("", "a") is None
    assert content("<a></a>", "a") == ""
