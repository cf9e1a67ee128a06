"""States as tables of objects and attributes, and how far one attains the other (017)."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from .assignment import best_total
from .jsontext import parsed
from .pattern import folded

Similarity: TypeAlias = Callable[[str, str], float]
"""How alike two short texts are: 1 for equal ones."""

LONGEST = 1000
"""Characters of an identity, a key or a value; what is longer names nothing."""


class Item(NamedTuple):
    """An object of a state: what it is called, and its attributes."""

    identity: str
    attrs: dict[str, str]


def parse(state: Any) -> list[Item]:
    """Read the objects of a state.

    Args:
        state: a list of ``{"identity": ..., "attrs": {key: value}}``, as it is or as JSON text; or
            text of one object per line, ``object: key=value, key=value`` (attributes may be left
            out, and so may lines). Values may be numbers and truth values.

    Raises:
        ValueError: it is neither, or an object has two values of one key; the message says where.
    """
    if isinstance(state, str):
        text = state.strip()
        if not text.startswith("["):
            return [_line(line, n) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            state = parsed(text)
        except ValueError as error:
            raise ValueError(f"the state is no JSON: {error}") from None
    if not isinstance(state, list | tuple):
        raise ValueError(f"a state is a list of objects or text, this is {type(state).__name__}")
    return [_object(value, i) for i, value in enumerate(state)]


def _line(line: str, number: int) -> Item:
    identity, _, rest = line.partition(":")
    attrs = {}
    for pair in filter(str.strip, rest.split(",")):
        key, found, value = pair.partition("=")
        if not found:
            raise ValueError(f"line {number}: {_cut(pair)!r} is no key=value")
        if key.strip() in attrs:
            raise ValueError(f"line {number}: the key {_cut(key)!r} stands twice")
        attrs[key.strip()] = value.strip()
    return _checked(identity.strip(), attrs, f"line {number}")


def _object(value: Any, i: int) -> Item:
    if not isinstance(value, Mapping) or not isinstance(value.get("identity"), str):
        raise ValueError(f"object {i} is no {{'identity': text, 'attrs': {{key: value}}}}")
    attrs = value.get("attrs")
    if attrs is None:
        attrs = {}
    if not isinstance(attrs, Mapping):
        raise ValueError(f"object {i}: its attrs are {type(attrs).__name__}, not a mapping")
    read = {}
    for key, attribute in attrs.items():
        if not isinstance(attribute, str | int | float):
            raise ValueError(f"object {i}: the value of {_cut(str(key))!r} is no text or number")
        plain = attribute if isinstance(attribute, str) else json.dumps(attribute)
        read[str(key).strip()] = plain.strip()
    return _checked(value["identity"].strip(), read, f"object {i}")


def _checked(identity: str, attrs: dict[str, str], where: str) -> Item:
    if not identity:
        raise ValueError(f"{where}: the object has no name")
    for text in (identity, *attrs, *attrs.values()):
        if len(text) > LONGEST:
            raise ValueError(f"{where}: {_cut(text)!r} has more than {LONGEST} characters")
    return Item(identity, attrs)


def _cut(text: str) -> str:
    return text.strip() if len(text) <= 40 else text.strip()[:40] + "..."


def texts(items: Iterable[Item]) -> Iterable[str]:
    """Every text that similarities are asked about."""
    for item in items:
        yield item.identity
        yield from item.attrs
        yield from item.attrs.values()


def repeated(state: Iterable[Item], goal: Iterable[Item]) -> str | None:
    """An identity that a state has more often than its goal does, and more than once.

    Such a state tries out what an object may be like: the best of its candidates would be paid, as
    in ``a: x=1``, ``a: x=2``, ``a: x=3`` for the goal ``a: x=2``. Case and spaces make no other
    identity. That it is refused is our rule, not the paper's.
    """
    allowed = Counter(_name(item) for item in goal)
    seen = Counter[str]()
    for item in state:
        name = _name(item)
        seen[name] += 1
        if seen[name] > max(1, allowed[name]):
            return item.identity
    return None


def _name(item: Item) -> str:
    return " ".join(folded(item.identity).split())


def attainment(
    state: Sequence[Item],
    goal: Sequence[Item],
    similarity: Similarity,
    assignment: Literal["max", "hungarian"] = "max",
) -> float:
    """How far a state attains a goal, in [0, 1].

    For goal object j and state object i, with sim between identities, keys and values::

        score_ij = sim(id_i, id_j) * mean_k sim(value_i[k*], value_j[k])
        k* = the key of i that is most like k
        R = mean_j max_i score_ij

    The mean is over the attributes that j requires; without any, the score is that of the
    identities. With ``"max"``, as in the paper, one state object may satisfy several goal objects;
    with ``"hungarian"`` each satisfies one at most, in the best way. An empty state attains 0.

    Similarities below 0 count as 0, lest two opposites make an agreement, and a goal object may
    stay unmatched: our reading. So a further object never lowers R, and a state may not name one
    object again and again: ask :func:`repeated` first.

    Raises:
        ValueError: the goal has no object.
    """
    if not goal:
        raise ValueError("the goal has no object")
    if not state:
        return 0.0
    scores = [[_score(item, wanted, similarity) for item in state] for wanted in goal]
    if assignment == "max":
        return sum(max(row) for row in scores) / len(goal)
    return best_total(scores) / len(goal)


def _score(item: Item, wanted: Item, similarity: Similarity) -> float:
    alike = _positive(similarity(item.identity, wanted.identity))
    if not wanted.attrs or alike == 0.0:
        return alike
    total = 0.0
    for key, value in wanted.attrs.items():
        if item.attrs:
            # The first of equally good keys, in an order that is not the state's.
            best = max(sorted(item.attrs), key=lambda k: similarity(k, key))
            total += _positive(similarity(item.attrs[best], value))
    return alike * total / len(wanted.attrs)


def _positive(similarity: float) -> float:
    return min(1.0, max(0.0, similarity))
