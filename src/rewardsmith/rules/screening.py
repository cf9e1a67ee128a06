"""Screening: a decision among a few labels, and how much of its rationale is evidence (061)."""

import re
from collections.abc import Sequence
from typing import Any

from .verdict import Verdict

SHORTEST = 4
"""Letters of a word that counts as evidence; shorter ones are in every text."""


def decision_of(text: str, labels: Sequence[str]) -> str | None:
    """The label that a text decides for, or None where it is not clear.

    It is the label that follows the last ``decision`` (as in ``Decision: SELECTED`` or
    ``"decision": "SELECTED"``); without such a place, the only label that the text holds as a word.
    Case does not count, and neither does a ``not`` before a label.
    """
    by_name = {label.casefold(): label for label in labels}
    choice = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    label = rf"(?<!\w)({choice})(?!\w)"
    # At most a few marks stand between, so that the search is linear.
    stated = re.findall(rf"(?<!\w)decision\W{{1,16}}{label}", text, re.IGNORECASE)
    if stated:
        return by_name.get(stated[-1].casefold())
    found = {match.casefold() for match in re.findall(label, text, re.IGNORECASE)}
    return by_name.get(found.pop()) if len(found) == 1 else None


def decision(
    completion: str,
    gold: Any,
    labels: Sequence[str] = ("SELECTED", "REJECTED"),
    penalty: float = 0.0,
) -> float | Verdict:
    """1 for the right decision, ``-penalty`` for a wrong one or none.

    Raises:
        ValueError: ``gold`` is none of the labels.
    """
    wanted = gold.strip().casefold() if isinstance(gold, str) else None
    if wanted not in [label.casefold() for label in labels]:
        raise ValueError(f"the reference decision is {gold!r:.80}, not one of {list(labels)}")
    found = decision_of(completion, labels)
    if found is None:
        return Verdict(-penalty, "no clear decision")
    return 1.0 if found.casefold() == wanted else -penalty


def evidence_overlap(completion: str, document: Any) -> float | Verdict:
    """The share of the completion's distinct words that stand in a document, in [0, 1].

    Words of four letters and more count, without regard to case.

    Raises:
        ValueError: the document is no text, or holds no such word.
    """
    known = _words(document) if isinstance(document, str) else set()
    if not known:
        raise ValueError("there is no document to find evidence in")
    said = _words(completion)
    if not said:
        return Verdict(0.0, "no word that could be evidence")
    return len(said & known) / len(said)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) >= SHORTEST}
