"""Screening decisions and evidence."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.screening import decision, decision_of, evidence_overlap
from rewardsmith.rules.verdict import Verdict

LABELS = ("SELECTED", "REJECTED")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECTED", "SELECTED"),
        ("The candidate is rejected.", "REJECTED"),
        ("**Decision:** SELECTED", "SELECTED"),
        ('{"decision": "rejected", "rationale": "not selected for skills"}', "REJECTED"),
        ("Decision: SELECTED. On reflection, decision: REJECTED", "REJECTED"),
        ("SELECTED or REJECTED? Decision: Selected", "SELECTED"),
        ("selected selected", "SELECTED"),
        ("SELECTED or REJECTED", None),
        ("Decision: SELECTED or REJECTED", None),
        ("Decision: SELECTED/REJECTED", None),
        ("Decision: SELECTED, not REJECTED", None),
        ("Decision: SELECTED. Final: REJECTED", None),
        ("Decision: SELECTED or REJECTED\nDecision: REJECTED", "REJECTED"),
        ("Decision: SELECTED\nDecision: SELECTED or REJECTED", None),
        ("Decision: SELECTED\nNobody else was REJECTED.", "SELECTED"),
        ("Decision: SELECTED. Yes, selected.", "SELECTED"),
        ("Decision: not SELECTED", None),
        ("Decision: NOT **SELECTED**", None),
        ('{"decision": "not selected"}', None),
        ('{"decision": "SELECTED", "final": "REJECTED"}', None),
        ('{"decision": "SELECTED", "final_decision": "REJECTED"}', "REJECTED"),
        ('{"decision": "SELECTED" or "REJECTED"}', None),
        ("The candidate is not selected.", None),
        ("She isn't SELECTED", None),
        ("She isn\u2019t to be SELECTED", None),
        ("SELECTED, certainly; not SELECTED", None),
        ("No degree, and not a day of Python. REJECTED", "REJECTED"),
        ("unselected, rejectedly", None),
        ("Decision: maybe", None),
        ("", None),
        ("decision" + " " * 100 + "SELECTED REJECTED", None),
    ],
)
def test_decisions(text: str, found: str | None) -> None:
    assert decision_of(text, LABELS) == found


def test_a_label_may_begin_with_a_not() -> None:
    labels = ("SELECTED", "NOT SELECTED")
    assert decision_of("Decision: not selected", labels) == "NOT SELECTED"
    assert decision_of("She is not selected.", labels) == "NOT SELECTED"
    assert decision_of("Decision: selected", labels) == "SELECTED"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think>Decision: SELECTED</think>REJECTED", "REJECTED"),
        ("<think>SELECTED or REJECTED?</think>SELECTED", "SELECTED"),
        ("Decision: SELECTED</think>", None),
        ("<think>Decision: SELECTED", None),
    ],
)
def test_what_was_thought_decides_nothing(text: str, found: str | None) -> None:
    for label in LABELS:
        judged = decision(text, label)
        assert (judged == 1.0) == (label == found)


def test_labels_are_no_patterns() -> None:
    labels = ("A+", "A", "(B)")
    assert decision_of("decision: A+", labels) == "A+"
    assert decision_of("decision: a", labels) == "A"
    assert decision_of("(b)", labels) == "(B)"


@pytest.mark.parametrize("penalty", [0.0, 0.25, 3.0])
def test_what_a_decision_is_worth(penalty: float) -> None:
    assert decision("Decision: SELECTED", " selected ", penalty=penalty) == 1.0
    assert decision("Decision: REJECTED", "SELECTED", penalty=penalty) == -penalty
    assert decision("?", "SELECTED", penalty=penalty) == Verdict(-penalty, "no clear decision")


@pytest.mark.parametrize("gold", [None, "", "HIRED", 1])
def test_a_reference_that_is_no_label(gold: Any) -> None:
    with pytest.raises(ValueError, match="not one of"):
        decision("SELECTED", gold)


def test_evidence() -> None:
    resume = "Ten years of Python; led a team of four in Lisbon."
    assert evidence_overlap("Python years, LISBON!", resume) == 1.0
    assert evidence_overlap("Python and Haskell", resume) == 0.5
    # What it cannot see: the whole document copied, or a single word of it.
    assert evidence_overlap(resume, resume) == evidence_overlap("Python", resume) == 1.0
    assert evidence_overlap("a of in", resume) == Verdict(0.0, "no word that could be evidence")


@pytest.mark.parametrize("document", [None, "", "a b", 3])
def test_evidence_needs_a_document(document: Any) -> None:
    with pytest.raises(ValueError, match="there is no document"):
        evidence_overlap("Python", document)


@given(st.text(), st.text(min_size=4))
@settings(max_examples=60)
def test_the_overlap_is_a_share(said: str, document: str) -> None:
    found = evidence_overlap(said, document + " word")
    assert 0 <= (found.value if isinstance(found, Verdict) else found) <= 1


def test_long_and_odd_texts_are_survived() -> None:
    odd = "decision \x00\ud800" * 400_000
    assert decision(odd + "decision: SELECTED", "SELECTED") == 1.0
    assert evidence_overlap(odd, "no such decision") == 1.0
    for spam in ("Decision: not SELECTED ", "not not n't ", "Decision: SELECTED or "):
        assert decision(spam * 100_000, "REJECTED") in (0.0, Verdict(0.0, "no clear decision"))
    spaced = "decision" + " " * 5_000_000
    assert decision_of(spaced, LABELS) is None
