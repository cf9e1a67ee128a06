"""Screening: a decision among a few labels, and how much of its rationale is evidence (061)."""

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from .verdict import Verdict
from .views import view

SHORTEST = 4
"""Letters of a word that counts as evidence; shorter ones are in every text."""


# "not", "isn't", "cannot", and up to two words more: "should not be SELECTED".
_NOT = r"(?:(?<!\w)(?:not|never|cannot)|n['\u2019]t)(?:[ \t]{1,4}\w{1,12}){0,2}[ \t*\"'`]{1,4}"


def decision_of(text: str, labels: Sequence[str]) -> str | None:
    """The label that a text decides for, or None where it is not clear.

    It is the label that follows the last ``decision`` (as in ``Decision: SELECTED`` or
    ``"decision": "SELECTED"``); without such a place, the only label that the text holds as a word.
    Case does not count.

    Not clear is a label with a ``not`` (``never``, ``n't``) before it, and a decision with another
    label behind it in its line, whatever stands between: ``SELECTED/REJECTED`` decides nothing,
    and neither does ``SELECTED, not REJECTED``. Behind a label in quotes, as in JSON, only another
    one in quotes counts, so that a rationale may follow.
    """
    by_name = {label.casefold(): label for label in labels}
    choice = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    # The label is tried first: it may begin with a "not" itself.
    word = rf"({_NOT})??(?<!\w)({choice})(?!\w)"
    # At most a few marks stand between, so that the search is linear.
    stated = deque(
        re.finditer(rf"(?<![^\W_])decision\W{{1,16}}?{word}", text, re.IGNORECASE), maxlen=1
    )
    if stated:
        last = stated[0]
        rest = text[last.end() :].split("\n", 1)[0]
        quoted = text[last.start(2) - 1] == '"' == rest[:1]
        more = rf'"({choice})"' if quoted else rf"(?<!\w)({choice})(?!\w)"
        others = re.findall(more, rest, re.IGNORECASE)
        clear = not last[1] and {other.casefold() for other in others} <= {last[2].casefold()}
        return by_name.get(last[2].casefold()) if clear else None
    found = {(bool(no), name.casefold()) for no, name in re.findall(word, text, re.IGNORECASE)}
    negated, name = found.pop() if len(found) == 1 else (True, "")
    return None if negated else by_name.get(name)


def decision(
    completion: str,
    gold: Any,
    labels: Sequence[str] = ("SELECTED", "REJECTED"),
    penalty: float = 0.0,
) -> float | Verdict:
    """1 for the right decision, ``-penalty`` for a wrong one or none.

    Only the answer is read: what is thought, up to ``</think>``, decides nothing.

    Raises:
        ValueError: ``gold`` is none of the labels.
    """
    wanted = gold.strip().casefold() if isinstance(gold, str) else None
    if wanted not in [label.casefold() for label in labels]:
        raise ValueError(f"the reference decision is {gold!r:.80}, not one of {list(labels)}")
    found = decision_of(view(completion), labels)
    if found is None:
        return Verdict(-penalty, "no clear decision")
    return 1.0 if found.casefold() == wanted else -penalty


def evidence_overlap(completion: str, document: Any) -> float | Verdict:
    """The share of the completion's distinct words that stand in a document, in [0, 1].

    Words of four letters and more count, without regard to case; so does what is thought, for
    that is where a rationale stands.

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
