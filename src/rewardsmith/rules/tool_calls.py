"""A set of tool calls against the reference's, in part (028, ToolRL; arXiv 2504.13958)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from .assignment import best_total
from .calls import Call, NotCalls, Template, calls_of, messages_of, outlined, reference_of, same
from .text import text_of
from .verdict import Verdict

Variant: TypeAlias = Literal["fine", "coarse", "refined", "intermediate"]
Matching: TypeAlias = Literal["greedy", "optimal"]
Bounds: TypeAlias = tuple[float, float]

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "tools": ("think", "tool_call"),
    "answer": ("think", "response"),
    "both": ("think", "tool_call", "response"),
    "neither": ("think",),
}
"""The blocks of a response, in their order."""


def score_tool_calls(
    completion: Any,
    gold: Any,
    *,
    variant: Variant = "fine",
    strict: bool = False,
    matching: Matching = "greedy",
    correct: Bounds = (-3.0, 3.0),
    form: Bounds = (0.0, 1.0),
    template: Template = "auto",
    length: float | None = None,
    extra: float = 0.0,
) -> Verdict:
    """``correctness + format (+ length)`` of one response.

    The correctness is ``low + (high - low) share`` with the :func:`share` of the reference's calls
    that the response has; what cannot be read as calls has a share of 0. It is 0, and within no
    bounds, where the reference makes no call. See :func:`well_formed` for the format, and
    :func:`length_score` for the length.

    Args:
        completion: text with ``<tool_call>`` blocks, or chat messages; see :func:`calls_of`.
        gold: the reference; see :func:`reference_of`.
        variant: what a partial match is worth; see :func:`share`.
        strict: with "refined", names must also come in the reference's order.
        matching: who matches whom; see :func:`share`.
        correct: the least and the largest correctness.
        form: what a response without and with the template's form gets.
        template: the form; "auto" takes it from the reference.
        length: with a number, the words of thought that earn all of the length term.
        extra: taken off the correctness, down to its least, for each call more than the reference
            has.

    Raises:
        ValueError: the reference cannot be read.
    """
    expected, auto = reference_of(gold)
    told, correctness = "", 0.0
    if expected:
        surplus = 0
        try:
            calls = calls_of(completion)
            found = share(expected, calls, variant, strict, matching)
            surplus = max(0, len(calls) - len(expected))
        except NotCalls as error:
            found, told = 0.0, f" ({error})"
        correctness = correct[0] + (correct[1] - correct[0]) * found
        correctness = max(correct[0], correctness - extra * surplus)
    fits = well_formed(completion, auto if template == "auto" else template)
    total = correctness + form[fits]
    why = f"correctness {correctness:g}{told}, format {form[fits]:g}"
    if length is not None:
        long = length_score(text_of(completion), length)
        total, why = total + long, f"{why}, length {long:g}"
    return Verdict(total, why)


# --- the score ------------------------------------------------------------------------------------


def share(
    gold: Sequence[Call],
    found: Sequence[Call],
    variant: Variant = "fine",
    strict: bool = False,
    matching: Matching = "greedy",
) -> float:
    """``S / S_max`` in [0, 1]; 1 for the same calls in the same order.

    ``S = J(names) + sum over gold calls of the score of the call that it is matched with``, where a
    pair of one name scores ``J(argument names) + number of equal values``, J is the overlap of
    multisets, ``|A and B| / |A or B|``, and ``S_max = 1 + sum_g (1 + |arguments of g|)``. Variants:
    "coarse" is 1 or 0; in "refined" J is 1 for equal multisets (``strict``: lists) and else 0; in
    "intermediate" a pair scores 1 if it is identical, else 0, and ``S_max = 1 + |gold|``.

    A call that no gold call needs costs little: it only lowers ``J(names)``, so that all guesses at
    once are worth a little more than one wrong guess, whatever the variant but "coarse".

    Each found call is matched once. "greedy" (published) gives each gold call in turn the best one
    that is left; where two of one name compete, the first may take what the second needs, and
    "optimal" finds the best total.

    Source: the authors' code. It tells 1 from true no more than Python does; here they differ.
    """
    if len(gold) == len(found) and all(_same_call(g, p) for g, p in zip(gold, found, strict=True)):
        return 1.0
    if variant == "coarse":
        return 0.0
    exact = variant == "refined"
    names = _overlap([g.name for g in gold], [p.name for p in found], exact, strict)

    def pair(g: Call, p: Call) -> float:
        if variant == "intermediate":
            return float(_same_call(g, p))
        if g.name != p.name:
            return 0.0
        keys = _overlap(list(g.parameters), list(p.parameters), exact, strict)
        equal = sum(
            key in p.parameters and same(value, p.parameters[key])
            for key, value in g.parameters.items()
        )
        return keys + equal

    if matching == "optimal":
        matched = best_total([[pair(g, p) for p in found] for g in gold])
    else:
        matched = _greedy(gold, found, pair)
    whole = 1.0 + sum(1 if variant == "intermediate" else 1 + len(g.parameters) for g in gold)
    return (names + matched) / whole


def _greedy(gold: Sequence[Call], found: Sequence[Call], pair: Any) -> float:
    total, used = 0.0, set[int]()
    for g in gold:
        best, at = 0.0, -1
        for i, p in enumerate(found):
            if i not in used and (value := pair(g, p)) > best:
                best, at = value, i
        # None was better than nothing: -1 is no call.
        used.add(at)
        total += best
    return total


def _overlap(left: list[str], right: list[str], exact: bool, ordered: bool) -> float:
    """J of two multisets; two empty ones are equal."""
    if left == right:
        return 1.0
    if exact:
        return 0.0 if ordered else float(Counter(left) == Counter(right))
    common = (Counter(left) & Counter(right)).total()
    return common / (len(left) + len(right) - common)


def _same_call(left: Call, right: Call) -> bool:
    return left.name == right.name and same(left.parameters, right.parameters)


# --- form and length ------------------------------------------------------------------------------


def well_formed(completion: Any, template: str) -> bool:
    """Whether a response consists of a template's blocks, in their order and each once.

    A line break stands between blocks, and inside ``<tool_call>`` at both ends. Calls that come as
    ``tool_calls`` of a message have been taken out of the text, so that no template can be seen:
    such a response is well-formed if the template has calls and its own can be read.
    """
    if not isinstance(completion, str) and any(
        m.get("tool_calls") for m in messages_of(completion)
    ):
        try:
            return "tool_call" in TEMPLATES[template] and bool(calls_of(completion))
        except NotCalls:
            return False
    # Tags in an argument are none of the response's.
    text, at = outlined(text_of(completion)).strip(), 0
    for i, tag in enumerate(TEMPLATES[template]):
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return False
        if tag == "tool_call":
            opening, closing = f"{opening}\n", f"\n{closing}"
        if i:
            opening = f"\n{opening}"
        end = text.find(closing, at + len(opening))
        if not text.startswith(opening, at) or end < 0:
            return False
        at = end + len(closing)
    return at == len(text)


def length_score(text: str, target: float) -> float:
    """``min(1, round(words of thought / target, 2))``; 0 without ``<think>...</think>``."""
    text = outlined(text)
    thought, closed, _ = text.rpartition("<think>")[2].partition("</think>")
    if "<think>" not in text or not closed:
        return 0.0
    return min(1.0, round(len(thought.split()) / target, 2))
