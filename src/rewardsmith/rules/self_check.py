"""Judgments of an agent on what it was shown, checked against the reference (133, ReSeek).

An episode is chat messages, or one text with tagged blocks::

    <search>...</search>
    <information>what came back</information>
    <judge>good</judge>

In messages, what a ``tool`` says is an observation, and so are the ``<information>`` blocks of a
``user``; only the assistant judges, and its own ``<information>`` is none. A plain text does not
say who wrote a block: use it where the agent cannot write ``<information>`` itself.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from .extraction import TAG, find_answer
from .text import text_of
from .verdict import Verdict

GOOD = frozenset({"good", "yes"})
BAD = frozenset({"bad", "no"})
Scorer: TypeAlias = Callable[[str, str], float]
"""How much of a reference (second) an observation (first) holds."""

_TAG = re.compile(r"<(/?)(information|judge)>")


class Checked(NamedTuple):
    """An observation, and what the agent said of it (None: nothing)."""

    observation: str
    judgment: str | None


def checked_observations(completion: Any) -> tuple[list[Checked], int]:
    """The observations of an episode with their judgments, and how many judgments had none.

    A judgment is about the last observation before it. Only the first one of an observation counts:
    it decided what the agent saw from there on. Others, and those before any observation, do not.

    Raises:
        TypeError: the completion is neither text nor chat messages.
    """
    found: list[Checked] = []
    unmatched = 0
    for kind, content in _events(completion):
        if kind == "information":
            found.append(Checked(content, None))
        elif found and found[-1].judgment is None:
            found[-1] = Checked(found[-1].observation, content.strip().casefold())
        else:
            unmatched += 1
    return found, unmatched


def _events(completion: Any) -> Iterator[tuple[str, str]]:
    if isinstance(completion, str):
        yield from _blocks(completion)
        return
    text_of(completion)  # says what is wrong with other things
    messages = [completion] if isinstance(completion, Mapping) else completion
    for message in messages:
        if not isinstance(message, Mapping) or "role" not in message:
            raise TypeError("it is a list, but not of messages {'role': ..., 'content': ...}")
        said = text_of({"role": "assistant", "content": message.get("content")})
        if message["role"] == "tool":
            yield "information", said
        elif message["role"] == "user":
            yield from (event for event in _blocks(said) if event[0] == "information")
        elif message["role"] == "assistant":
            yield from _blocks(said, only="judge")


def _blocks(text: str, only: str = "") -> Iterator[tuple[str, str]]:
    """The closed blocks of a text in their order; what stands in an observation is its content."""
    inside, start = "", 0
    for match in _TAG.finditer(text):
        closing, name = match[1], match[2]
        if only and name != only:
            continue
        if closing and name == inside:
            yield name, text[start : match.start()]
            inside = ""
        elif not closing and inside != "information":
            inside, start = name, match.end()


def overlap(observation: str, reference: str) -> float:
    """The share of a reference's distinct words that an observation holds, in [0, 1].

    Raises:
        ValueError: the reference has no word.
    """
    wanted = set(_words(reference))
    if not wanted:
        raise ValueError(f"the reference {reference!r:.80} holds no word")
    return len(wanted.intersection(_words(observation))) / len(wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def grade(
    completion: Any,
    gold: Any,
    question: Any = None,
    *,
    match: float = 0.1,
    mismatch: float = 0.1,
    threshold: float = 0.5,
    normalize: bool = True,
    settled: bool = False,
    scorer: Scorer | None = None,
) -> float | Verdict:
    """``sum_t (match if j_t = j*_t else -mismatch)``, per judgment if ``normalize``.

    ``j*_t`` is good if the scorer gives the observation and a reference at least ``threshold``. A
    judgment that is neither good (yes) nor bad (no) is a mismatch; none at all is worth 0.

    Args:
        completion: the episode.
        gold: the reference, or several of which any will do.
        question: what was asked; that it holds the reference already is told.
        match: paid for a right judgment.
        mismatch: taken for a wrong one.
        threshold: of the scorer.
        normalize: divide by the number of judgments.
        settled: count ``good`` as right wherever the final ``<answer>`` is.
        scorer: instead of :func:`overlap`.

    Raises:
        ValueError: there is no reference, or the scorer gave a number that is not finite.
    """
    references = _references(gold)
    score = overlap if scorer is None else scorer

    def useful(text: str) -> bool:
        found = [score(text, reference) for reference in references]
        if not all(math.isfinite(value) for value in found):
            raise ValueError(f"the scorer gave {found}")
        return max(found) >= threshold

    observations, unmatched = checked_observations(completion)
    judged = [checked for checked in observations if checked.judgment is not None]
    won = settled and _answered(completion, references)
    right = 0
    for observation, judgment in judged:
        good = judgment in GOOD
        if good and won:
            right += 1
        elif good or judgment in BAD:
            right += useful(observation) == good
    value = match * right - mismatch * (len(judged) - right)
    if normalize and judged:
        value /= len(judged)
    why = [] if judged else ["nothing was judged"]
    if unmatched:
        why.append(f"{unmatched} judgments had no observation of their own")
    if question is not None and useful(_asked(question)):
        why.append("the question holds the reference: what repeats it looks useful")
    return Verdict(value, "; ".join(why)) if why else value


def _references(gold: Any) -> list[str]:
    given = gold if isinstance(gold, list | tuple) else [gold]
    read = [str(value) for value in given if isinstance(value, str | int | float)]
    if len(read) < len(given) or not read or not all(value.strip() for value in read):
        raise ValueError(f"the reference is {gold!r:.80}, neither text nor a list of texts")
    return read


def _answered(completion: Any, references: Sequence[str]) -> bool:
    answer = find_answer(text_of(completion), TAG)
    return answer is not None and any(_words(answer) == _words(text) for text in references)


def _asked(question: Any) -> str:
    messages = question if isinstance(question, list | tuple) else [question]
    return "\n".join(
        message if isinstance(message, str) else text_of({**message, "role": "assistant"})
        for message in messages
        if isinstance(message, str | Mapping)
    )


def keep(observations: Sequence[str], judgments: Sequence[str | None]) -> list[str]:
    """The observations that stay in the context: ``C_t`` takes in o_t unless it was judged bad.

    What was not judged, or with an unknown word, stays.

    Raises:
        ValueError: there is not one judgment (or None) per observation.
    """
    if len(observations) != len(judgments):
        raise ValueError(f"{len(observations)} observations and {len(judgments)} judgments")
    return [
        observation
        for observation, judgment in zip(observations, judgments, strict=True)
        if judgment is None or judgment.strip().casefold() not in BAD
    ]
