"""Judgments of observations: how episodes are read, and what a judgment is worth."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.self_check import (
    Checked,
    checked_observations,
    grade,
    keep,
    overlap,
)
from rewardsmith.rules.verdict import Verdict

PARIS, LYON = "Paris is the capital.", "Lyon is a city."


def episode(*steps: tuple[str, str | None], answer: str = "") -> str:
    """A text of observations and their judgments."""
    blocks = [
        f"<search>q</search><information>{seen}</information>"
        + ("" if judgment is None else f"\nHmm. <judge> {judgment} </judge>")
        for seen, judgment in steps
    ]
    return "".join(blocks) + (f"<answer>{answer}</answer>" if answer else "")


def value(verdict: Any) -> Any:
    return verdict.value if isinstance(verdict, Verdict) else verdict


def test_blocks_of_a_text() -> None:
    text = episode((PARIS, "Good"), (LYON, None), (LYON, "bad"))
    assert checked_observations(text) == (
        [Checked(PARIS, "good"), Checked(LYON, None), Checked(LYON, "bad")],
        0,
    )
    assert checked_observations("no block at all") == ([], 0)


@pytest.mark.parametrize(
    ("text", "found", "unmatched"),
    [
        # Before any observation, and a second one of the same: they are not counted.
        ("<judge>good</judge>" + episode((PARIS, "bad")), [Checked(PARIS, "bad")], 1),
        (episode((PARIS, "bad")) + "<judge>good</judge>", [Checked(PARIS, "bad")], 1),
        # What an observation holds is no judgment.
        (f"<information>{PARIS}<judge>good</judge></information>", None, 0),
        # Blocks that are never closed are none; a closing tag alone neither.
        ("</judge><information>" + PARIS, [], 0),
        (f"<information>{PARIS}</information><judge>good", [Checked(PARIS, None)], 0),
        (
            f"<information>{PARIS}</information><judge>go<judge>bad</judge>",
            [Checked(PARIS, "bad")],
            0,
        ),
    ],
)
def test_odd_texts(text: str, found: list[Checked] | None, unmatched: int) -> None:
    expected = [Checked(f"{PARIS}<judge>good</judge>", None)] if found is None else found
    assert checked_observations(text) == (expected, unmatched)


def test_messages() -> None:
    messages = [
        {"role": "assistant", "content": "<judge>good</judge>"},
        {"role": "tool", "content": PARIS + "<judge>bad</judge>"},
        # Who judges cannot also write what is judged.
        {"role": "assistant", "content": f"<information>{LYON}</information><judge>good</judge>"},
        {
            "role": "user",
            "content": [{"type": "text", "text": f"<information>{LYON}</information>"}],
        },
        {"role": "user", "content": "<judge>good</judge>"},
        {"role": "system", "content": f"<information>{LYON}</information>"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "<judge>bad</judge>"},
    ]
    assert checked_observations(messages) == (
        [Checked(PARIS + "<judge>bad</judge>", "good"), Checked(LYON, "bad")],
        1,
    )


@pytest.mark.parametrize("completion", [3, None, [3], [{"content": "x"}]])
def test_what_is_no_episode(completion: Any) -> None:
    with pytest.raises(TypeError, match=r"neither text nor|not of messages"):
        checked_observations(completion)


verdicts = st.lists(
    st.tuples(st.sampled_from([PARIS, LYON]), st.sampled_from(["good", "bad", "yes", "no", "hm"])),
    min_size=1,
    max_size=6,
)


@given(verdicts, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60)
def test_the_formula_and_its_bounds(
    steps: list[tuple[str, str]], match: float, mismatch: float
) -> None:
    right = sum(
        word in (("good", "yes") if seen == PARIS else ("bad", "no")) for seen, word in steps
    )
    total = match * right - mismatch * (len(steps) - right)
    options = {"match": match, "mismatch": mismatch}
    text = episode(*steps)
    assert value(grade(text, "Paris", normalize=False, **options)) == pytest.approx(total)
    assert value(grade(text, "Paris", **options)) == pytest.approx(total / len(steps))
    assert abs(total) <= len(steps) * max(match, mismatch) + 1e-9
    assert value(grade(text, "Paris", match=0, mismatch=0)) == 0


@given(st.lists(st.sampled_from([PARIS, LYON]), min_size=1, max_size=6))
@settings(max_examples=30)
def test_judging_more_does_not_pay_more(seen: list[str]) -> None:
    right = [(text, "good" if text == PARIS else "bad") for text in seen]
    assert value(grade(episode(*right), "Paris")) == pytest.approx(0.1)


def test_nothing_judged_and_unknown_words() -> None:
    assert grade("just text", "Paris") == Verdict(0.0, "nothing was judged")
    assert grade(episode((PARIS, None)), "Paris") == Verdict(0.0, "nothing was judged")
    assert grade(episode((PARIS, "perhaps")), "Paris") == pytest.approx(-0.1)
    assert grade(episode((PARIS, "good"), (LYON, None)), "Paris") == pytest.approx(0.1)
    early = grade("<judge>good</judge>" + episode((PARIS, "good")), "Paris")
    assert early == Verdict(0.1, "1 judgments had no observation of their own")


def test_references() -> None:
    text = episode((LYON, "good"))
    assert grade(text, ["Paris", "Lyon"]) == 0.1
    assert grade(episode(("7 bridges", "good")), 7) == 0.1
    for gold in (None, "", " ", [], ["Paris", None], {"a": 1}):
        with pytest.raises(ValueError, match="the reference is"):
            grade(text, gold)
    with pytest.raises(ValueError, match="holds no word"):
        grade(text, "?!")


def test_a_question_that_holds_the_reference_is_told() -> None:
    told = grade(episode((PARIS, "good")), "Paris", "Is Paris or Lyon the capital?")
    assert told == Verdict(0.1, "the question holds the reference: what repeats it looks useful")
    chat = [{"role": "system", "content": "x"}, {"role": "user", "content": "Is it Paris?"}]
    assert isinstance(grade(episode((PARIS, "good")), "Paris", chat), Verdict)
    assert grade(episode((PARIS, "good")), "Paris", "Which city is it?") == 0.1


def test_settled_by_the_answer() -> None:
    bridge = ("The bridge.", "good")
    assert grade(episode(bridge, answer="paris!"), "Paris") == -0.1
    assert grade(episode(bridge, answer="paris!"), "Paris", settled=True) == 0.1
    assert grade(episode(bridge, answer="Lyon"), "Paris", settled=True) == -0.1
    # Only good is excused: dropping what held the answer is wrong all the same.
    assert grade(episode((PARIS, "bad"), answer="Paris"), "Paris", settled=True) == -0.1


def test_the_overlap() -> None:
    assert overlap("New York, NY", "new york") == 1.0
    assert overlap("York", "New York") == 0.5
    assert grade(episode(("York", "good")), "New York", threshold=0.6) == -0.1


def test_a_scorer_of_ones_own() -> None:
    text = episode((LYON, "good"))
    assert grade(text, "Paris", scorer=lambda observation, reference: 0.5) == 0.1
    with pytest.raises(ValueError, match="the scorer gave"):
        grade(text, "Paris", scorer=lambda observation, reference: float("nan"))


def test_the_context() -> None:
    seen = ["a", "b", "c", "d"]
    assert keep(seen, ["good", "BAD ", None, "hm"]) == ["a", "c", "d"]
    assert keep(seen, ["good"] * 4) == seen
    assert keep(seen, ["no"] * 4) == []
    with pytest.raises(ValueError, match="4 observations and 1 judgments"):
        keep(seen, ["good"])


def test_long_and_odd_texts_are_survived() -> None:
    for odd in ("<judge>" * 700_000, "<information>" * 400_000, "\x00\ud800" * 2_500_000):
        assert value(grade(odd, "Paris")) == 0.0
    many = episode((PARIS, "good")) * 20_000
    assert grade(many, "Paris") == pytest.approx(0.1)


@pytest.mark.parametrize("n", [20_000, 80_000])
def test_judgments_are_counted_in_linear_time(n: int) -> None:
    episode = "<information>Paris</information><judge>good</judge>" * n
    began = time.process_time()
    assert grade(episode, "Paris") == pytest.approx(0.1)
    assert (time.process_time() - began) / n < 5e-5
