"""One action on a screen against the reference's (136, Mobile-R1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from . import tags
from .boxes import reference as box_of
from .calls import messages_of
from .calls import same as equal
from .jsontext import parsed
from .text import text_of
from .verdict import Verdict
from .views import view

_NESTED = ("arguments", "parameters")
_KINDS = ("kind", "action", "action_type", "type")
_POINTS = ("coordinate", "point", "position")


def grade(
    completion: str,
    gold: Any,
    *,
    blocks: Sequence[str],
    form: float = 1.0,
) -> float | Verdict:
    """``1[the action is right] + form * 1[the blocks are there, in order]``.

    The action is the JSON object in the last of the ``blocks``: its ``kind`` (or ``action``), and
    where the kind takes one a point (``x`` and ``y``, or ``coordinate: [x, y]``) or an argument
    such as ``text`` or ``key``; all may stand below ``arguments``. It is right if its kind is the
    reference's, its point lies in the reference's ``box``, borders included, and every other
    argument of the reference is equal. What more it says does not matter, unless it contradicts:
    two kinds, points in two places or one argument with two values are a fault. What is thought,
    up to ``</think>``, is no action.

    Args:
        completion: the text.
        gold: ``{"kind": ..., "box": [x1, y1, x2, y2]}``, ``{"kind": ..., "text": ...}``, ..., or
            JSON text of that.
        blocks: the tags of the form, each once and with nothing but space between.
        form: what the form is worth.

    Raises:
        ValueError: the reference has no kind or two, or a box without an area.
    """
    wanted = _reference(gold)
    fault = _fault(view(completion), wanted, blocks[-1])
    format_fault = form_fault(completion, blocks)
    value = float(not fault) + form * (not format_fault)
    faults = [text for text in (fault, format_fault) if text]
    return Verdict(value, "; ".join(faults)) if faults else value


def form_of_turns(completion: Any, *, blocks: Sequence[str]) -> float | Verdict:
    """The share of the assistant's messages whose blocks are there, in order.

    Args:
        completion: chat messages, or the text of a single turn.
        blocks: as for :func:`grade`.
    """
    faults = [form_fault(text_of([m]), blocks) for m in messages_of(completion)]
    if not faults:
        return Verdict(0.0, "no turn of the assistant")
    first = next((f"turn {i}: {fault}" for i, fault in enumerate(faults) if fault), "")
    value = faults.count("") / len(faults)
    return Verdict(value, first) if first else value


def form_fault(text: str, blocks: Sequence[str]) -> str:
    """What is wrong with the form; nothing if it is right."""
    judged = tags.grade(text, tags=blocks)
    return judged.why if isinstance(judged, Verdict) else ""


def _fault(completion: str, wanted: Mapping[str, Any], block: str) -> str:
    """Why an action is wrong; nothing if it is right."""
    text = tags.content(completion, block)
    if text is None:
        return f"no <{block}>...</{block}>"
    try:
        read = parsed(text)
    except ValueError as error:
        return f"the action is no JSON object: {str(error)[:80]}"
    try:
        action = _flat(read)
    except ValueError as error:
        return str(error)
    if not equal(action.get("kind"), wanted["kind"]):
        return f"{str(action.get('kind'))[:40]!r} is not {wanted['kind']!r}"
    for name, value in wanted.items():
        if name == "box":
            x, y = action.get("x"), action.get("y")
            if not (_is_number(x) and _is_number(y)):
                return "the point is missing"
            if not (value[0] <= x <= value[2] and value[1] <= y <= value[3]):
                return f"({str(x)[:20]}, {str(y)[:20]}) lies outside {list(value)}"
        elif name not in action:
            return f"the argument {name!r} is missing"
        elif not equal(action[name], value):
            return f"{name} is {str(action[name])[:40]!r}"
    return ""


def _reference(gold: Any) -> dict[str, Any]:
    if isinstance(gold, str):
        gold = parsed(gold)
    wanted = _flat(gold)
    if not isinstance(wanted.get("kind"), str):
        raise ValueError("the reference action has no kind")
    if "box" in wanted:
        wanted["box"] = box_of(wanted["box"])
    elif "x" in wanted or "y" in wanted:
        raise ValueError("the reference action has a point; give the box that points may lie in")
    return wanted


def _flat(action: Any) -> dict[str, Any]:
    """An action with its arguments beside its kind, and its point as x and y.

    Raises:
        ValueError: it is no mapping, or contradicts itself.
    """
    if not isinstance(action, Mapping):
        raise ValueError(f"no JSON object: an action is a mapping, this is {type(action).__name__}")
    flat = dict(action)
    nested = [flat.pop(name) for name in _NESTED if isinstance(flat.get(name), Mapping)]
    tool = {}
    if nested:
        # A tool call has the name of its tool; where the arguments tell no kind, that is it.
        tool = {"kind": flat.pop("name")} if "name" in flat else {}
        if flat.get("type") == "function":
            del flat["type"]
    for inner in nested:
        twice = [name for name in inner if name in flat and not equal(inner[name], flat[name])]
        if twice:
            raise ValueError(f"the action has two values of {str(twice[0])[:40]!r}")
        flat |= inner
    kinds = [flat.pop(name) for name in _KINDS if name in flat]
    if not all(equal(kind, kinds[0]) for kind in kinds):
        raise ValueError(f"the action is of two kinds: {', '.join(str(k)[:40] for k in kinds)}")
    return (tool | {"kind": kinds[0]} if kinds else tool) | _with_point(flat)


def _with_point(flat: dict[str, Any]) -> dict[str, Any]:
    # Where it is text, as in {"position": "top"}, it is an argument like any other.
    fields = [name for name in _POINTS if name in flat and not isinstance(flat[name], str)]
    if len(fields) + ("x" in flat or "y" in flat) > 1:
        raise ValueError("the action has its point in two places")
    for name in fields:
        point = flat.pop(name)
        if isinstance(point, list | tuple) and len(point) == 2:
            flat["x"], flat["y"] = point
    return flat


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
