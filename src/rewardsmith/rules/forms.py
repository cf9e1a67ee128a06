"""The form of a mathematical answer: one thing, a list, or something in brackets."""

import re
from typing import NamedTuple

from .glyphs import plain

ONE, LIST, UNION = "one", "list", "union"


class Form(NamedTuple):
    r"""How an answer is put together.

    ``kind`` is ``one``, ``list`` (items with commas, ``and``, ``or`` between them), ``union`` (with
    ``\cup``), or the two brackets around the items, such as ``()``, ``[)`` and ``{}``, with or
    without backslashes.
    """

    kind: str
    items: tuple[str, ...]


_TOKEN = re.compile(
    r"\\[{}]|\\cup(?![A-Za-z])|\\[A-Za-z]+|\\.|[()\[\]{}]|[,;=<>]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])",
    re.DOTALL,
)
_OPENING, _CLOSING = frozenset(["(", "[", "{", "\\{"]), frozenset([")", "]", "}", "\\}"])
_THOUSANDS = re.compile(r",(?:\\!)?\d{3}(?!\d)", re.ASCII)


def form_of(text: str) -> Form:
    """The form of an answer, and its items as they are written."""
    text = text.strip()
    if text in ("\\emptyset", "\\varnothing"):
        return Form("{}", ())
    opening = "\\{" if text.startswith("\\{") else text[:1]
    commas, ors, unions, closes = _separators(text)
    if unions:
        return Form(UNION, _cut(text, unions))
    if commas or ors:
        return Form(LIST, tuple(item for item in _cut(text, commas + ors) if item))
    if opening in ("(", "[", "{", "\\{") and closes:
        closing = "\\}" if text.endswith("\\}") else text[-1]
        inner = text[len(opening) : -len(closing)]
        commas = _separators(inner, grouped=False)[0]
        if (commas or opening == "\\{") and ("{" in opening) == ("}" in closing):
            kind = opening[-1] + closing[-1]
            return Form(kind, _cut(inner, commas) if inner.strip() else ())
    return Form(ONE, (text,))


def _separators(
    text: str, grouped: bool = True
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]], bool]:
    """Where commas, words and unions stand outside of brackets, and whether one pair holds all."""
    commas, words, unions = [], [], []
    depth, first_close = 0, -1
    for token in _TOKEN.finditer(text):
        symbol, span = token.group(), token.span()
        if symbol in _OPENING:
            depth += 1
        elif symbol in _CLOSING:
            depth -= 1
            if depth == 0 and first_close < 0:
                first_close = token.end()
        elif depth:
            continue
        elif symbol in (",", ";"):
            if not (grouped and symbol == "," and _grouping(text, span[0])):
                commas.append(span)
        elif symbol in ("and", "or"):
            words.append(span)
        elif symbol == "\\cup":
            unions.append(span)
    return commas, words, unions, first_close == len(text)


def _grouping(text: str, at: int) -> bool:
    """Whether a comma stands between a number's groups of digits."""
    return text[at - 1 : at].isdigit() and bool(_THOUSANDS.match(text, at))


def _cut(text: str, at: list[tuple[int, int]]) -> tuple[str, ...]:
    items, start = [], 0
    for begin, end in sorted(at):
        items.append(_trimmed(text[start:begin]))
        start = end
    return (*items, _trimmed(text[start:]))


_EDGES = re.compile(r"\A(?:\s|\\[,;:! ]|~)+|\s+\Z")


def _trimmed(text: str) -> str:
    """Without space around it, LaTeX's at the front included."""
    return _EDGES.sub("", text)


_NAME = re.compile(r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w{1,9}\}))?(?:\([A-Za-z]\))?'?", re.ASCII)


def equation(text: str) -> tuple[str, ...]:
    """The sides of an equation; a text without ``=`` is one side."""
    sides, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        symbol, at = token.group(), token.start()
        depth += (symbol in _OPENING) - (symbol in _CLOSING)
        if symbol == "=" and not depth and text[at - 1 : at] not in tuple("<>!:=~"):
            sides.append(_trimmed(text[start:at]))
            start = token.end()
    return (*sides, _trimmed(text[start:]))


def is_name(text: str) -> bool:
    """Whether a side of an equation only names the other: ``x``, ``f(x)``, ``(x, y)``."""
    names = text[1:-1].split(",") if text[:1] == "(" and text[-1:] == ")" else [text]
    return all(_NAME.fullmatch(name.strip()) for name in names)


def names_of(form: Form) -> tuple[str, ...] | None:
    """The names in a list ``x = 5, y = 6``, if each item has one of its own."""
    if form.kind != LIST or len(form.items) < 2:
        return None
    sides = [equation(item) for item in form.items]
    names = tuple(canonical(side[0]) for side in sides if len(side) == 2 and is_name(side[0]))
    return names if len(set(names)) == len(form.items) else None


def spread(text: str) -> str:
    """``(x, y) = (5, 6)`` as ``x = 5, y = 6``; else the text."""
    sides = equation(text)
    if len(sides) != 2 or sides[0][:1] != "(" or not is_name(sides[0]):
        return text
    names, values = sides[0][1:-1].split(","), form_of(sides[1])
    if values.kind != "()" or len(values.items) != len(names):
        return text
    return ", ".join(f"{name.strip()} = {v}" for name, v in zip(names, values.items, strict=True))


_DESCENDING = re.compile(r">=?|\\ge(?:q|qslant)?(?![A-Za-z])|\\gt(?![A-Za-z])")


def ascending(text: str) -> str:
    """``3 > x > 1`` as ``1 < x < 3``; else the text."""
    signs = _DESCENDING.findall(text)
    if len(signs) < 2 or "<" in text or "\\l" in text:
        return text
    turned = ["<" if sign in (">", "\\gt") else "\\le " for sign in reversed(signs)]
    sides = [side.strip() for side in reversed(_DESCENDING.split(text))]
    return "".join(f"{side} {sign} " for side, sign in zip(sides, turned, strict=False)) + sides[-1]


_MEMBER = re.compile(
    r"(?P<name>[A-Za-z]|\\[A-Za-z]+)\s*\\in(?![A-Za-z])\s*(?P<set>.*)\Z", re.DOTALL
)
_BUILDER = re.compile(
    r"\\\{\s*[A-Za-z](?:\s*\\in\s*\\mathbb\{R\})?\s*"
    r"(?:\\mid(?![A-Za-z])|\||:)(?P<rule>.*)\\\}\Z",
    re.DOTALL,
)


def set_of(text: str) -> str:
    r"""The set in ``x \in [1, 2]``, and the rule in ``\{x \mid x > 2\}``; else the text."""
    builder = _BUILDER.match(text)
    if builder:
        return builder["rule"].strip()
    member = _MEMBER.match(text)
    return member["set"] if member and form_of(member["set"]).kind != ONE else text


_LAYOUT = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~")
_SAME_COMMANDS = (
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[cl]?dots(?:[bcmi])?(?![A-Za-z])|\.\.\."), r"\\ldots"),
)
_SPACES = re.compile(r"(?<![^\W_]) | (?![^\W_])")
_ONE_IN_BRACES = re.compile(r"([_^])\{(\w)\}(?!\w)")


def canonical(text: str) -> str:
    """A text without differences in layout."""
    text = _LAYOUT.sub(" ", plain(text))
    if "\\" in text or "..." in text:
        for written, same in _SAME_COMMANDS:
            text = written.sub(same, text)
    return _ONE_IN_BRACES.sub(r"\1\2", _SPACES.sub("", " ".join(text.split())))
