"""Plain data: what arrives is what was sent, of exact types, whoever sends what."""

import collections
import enum
import json
import math
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewardsmith.engine.sandbox.guest.plain import NotPlainError, decode, encode

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
WHOLE = st.integers() | st.integers(-8, 8).map(lambda n: n << 20_000)
LEAVES = st.none() | st.booleans() | WHOLE | st.floats() | TEXT | st.binary(max_size=20)
HASHABLE = st.recursive(
    LEAVES, lambda held: st.tuples(held, held) | st.frozensets(held, max_size=4), max_leaves=8
)
PLAIN = st.recursive(
    LEAVES | st.sets(HASHABLE, max_size=4) | st.complex_numbers(),
    lambda held: (
        st.lists(held, max_size=4)
        | st.tuples(held)
        | st.tuples(held, held, held)
        | st.dictionaries(HASHABLE, held, max_size=4)
    ),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda held: (
        st.lists(held, max_size=4)
        | st.dictionaries(st.sampled_from("tdsfbci") | TEXT, held, max_size=2)
    ),
    max_leaves=20,
)


def told(value: Any) -> Any:
    """A value with the types of all that it holds; equal for equal values of equal types only."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [told(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(told(item)) for item in value)
    if kind is dict:
        return kind, [(told(k), told(v)) for k, v in value.items()]
    if kind is float:
        return kind, "nan" if math.isnan(value) else (value, math.copysign(1.0, value))
    if kind is complex:
        return kind, told(value.real + 0.0), told(value.imag + 0.0)
    if kind is int:
        return kind, hex(value)  # its decimal digits are too many to print
    if kind in (type(None), bool, str, bytes):
        return kind, value
    raise AssertionError(f"a {kind} came back")


def decoded(text: bytes) -> Any:
    """What comes of it; nothing but NotPlainError may."""
    try:
        return decode(text)
    except NotPlainError:
        return None


# --- what arrives ---------------------------------------------------------------------------------


@given(PLAIN)
@example({True: 1, "t": [{}], (): {"d": []}})
@example([1.0, 1, True, -0.0, {"b": b"b"}, "\ud800", [[]], ((),), {frozenset(): set()}])
def test_plain_data_arrives_as_it_was_sent(value: Any) -> None:
    assert told(decode(encode(value))) == told(value)


@given(PLAIN)
def test_what_is_sent_is_json_on_one_line(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert b"\n" not in text
    json.loads(text)


class Yes:
    """Says that it equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


class YesInt(Yes, int):
    __hash__ = int.__hash__

    def __add__(self, other: object) -> Any:
        return Yes()

    def __reduce__(self) -> Any:
        return Yes, ()


class YesText(Yes, str):
    __hash__ = str.__hash__

    def __getitem__(self, key: Any) -> Any:
        return Yes()

    def encode(self, *_: Any) -> Any:
        return Yes()


class YesList(Yes, list[Any]):
    def __iter__(self) -> Any:
        return iter([Yes()])


class YesDict(Yes, dict[Any, Any]):
    def items(self) -> Any:
        return [(Yes(), Yes())]

    __iter__ = keys = items


class YesTuple(Yes, tuple[Any, ...]):
    __hash__ = tuple.__hash__

    def __iter__(self) -> Any:
        return iter([Yes()])


class YesFloat(Yes, float):
    __hash__ = float.__hash__

    def __mul__(self, other: object) -> Any:
        return Yes()


class Point(NamedTuple):
    x: int
    y: int


class Color(enum.IntEnum):
    RED = 3


SUBCLASSES = [
    (YesInt(3), 3),
    (YesText("abc"), "abc"),
    (YesList([1, 2]), [1, 2]),
    (YesDict({1: 2}), {1: 2}),
    (YesTuple((1, 2)), (1, 2)),
    (YesFloat(1.5), 1.5),
    (Color.RED, 3),
    (Point(1, 2), (1, 2)),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (collections.defaultdict(list, a=[1]), {"a": [1]}),
]


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES, ids=lambda value: type(value).__name__)
def test_a_subclass_goes_as_what_it_extends(value: Any, plain: Any) -> None:
    for nested, expected in (
        (value, plain),
        ([value], [plain]),
        ({"k": (value,)}, {"k": (plain,)}),
    ):
        assert told(decode(encode(nested))) == told(expected)


def objects() -> list[Any]:
    class Pretender:
        __class__ = int  # type: ignore[assignment]

    return [
        object(),
        Yes(),
        Pretender(),
        int,
        len,
        lambda: 1,
        bytearray(b"x"),
        memoryview(b"x"),
        ValueError("x"),
        Ellipsis,
        NotImplemented,
    ]


@pytest.mark.parametrize("value", objects(), ids=lambda value: type(value).__name__)
def test_what_is_no_plain_data_is_refused_by_the_name_of_its_class(value: Any) -> None:
    for nested in (value, [value], (1, value), {"k": value}):
        with pytest.raises(NotPlainError, match=type(value).__qualname__):
            encode(nested)


# --- deep and large -------------------------------------------------------------------------------


def nested(kind: str, depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"list": [value], "tuple": (value,), "dict": {"k": value}}[kind]
    return value


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_data_may_be_nested_a_hundred_deep(kind: str) -> None:
    value = nested(kind, 100)
    assert told(decode(encode(value))) == told(value)
    for depth in (102, 10_000, 200_000):
        with pytest.raises(NotPlainError, match="deep"):
            encode(nested(kind, depth))


def test_data_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotPlainError, match="deep"):
        encode(value)


@pytest.mark.parametrize("depth", [500, 5_000, 1_000_000])
@pytest.mark.parametrize(
    ("opened", "closed"), [("[", "]"), ('{"t":[', "]}"), ('{"d":[["", ', "]]}")]
)
def test_text_that_is_too_deep_is_refused(depth: int, opened: str, closed: str) -> None:
    with pytest.raises(NotPlainError):
        decode((opened * depth + "1" + closed * depth).encode())


def test_whole_numbers_of_any_size_arrive() -> None:
    for value in (10**5_000, -(10**5_000), 2**8192, -(2**8192) + 1, {10**5_000: [10**5_000]}):
        assert told(decode(encode(value))) == told(value)


def test_keys_that_collide_take_no_time() -> None:
    # Whole numbers that are equal modulo 2**61 - 1 have equal hashes.
    keys = [k * ((1 << 61) - 1) for k in range(1, 9_000)]
    texts = [json.dumps([{"s": keys}] * 4), json.dumps([{"d": [[k, 0] for k in keys]}] * 4)]
    began = time.process_time()
    for text in texts:
        decoded(text.encode())
    # Without a look at the clock it takes half as long again.
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    "value",
    [
        range(3),
        (k for k in range(3)),
        map(int, "012"),
        {0: 1, 1: 1, 2: 1}.keys(),
        collections.deque(range(3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_iterated_over_arrives_as_a_list(value: Any) -> None:
    assert decode(encode(value)) == [0, 1, 2]


@pytest.mark.parametrize("value", [Decimal("-1.50"), Fraction(1, 3), Decimal("Infinity")])
def test_exact_numbers_arrive(value: Any) -> None:
    assert decode(encode([value])) == [value]


def test_many_keys_arrive() -> None:
    assert decode(encode(set(range(10_000)))) == set(range(10_000))
    texts = {str(k): k for k in range(50_000)}
    assert decode(encode(texts)) == texts


# --- hostile bytes --------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_bytes_that_nobody_encoded_are_refused_or_plain(text: bytes) -> None:
    told(decoded(text))


@given(JSON)
@example({})
@example({"b": 5})
@example({"b": None})
@example({"b": ["x"]})
@example({"b": "\u20ac"})
@example({"c": 1})
@example({"c": ["1", "2"]})
@example({"c": [[1], 2]})
@example({"c": [10**400, 0]})
@example({"c": "1"})
@example({"c": {"real": 1}})
@example({"i": 5})
@example({"i": "0xg"})
@example({"i": ["0x1"]})
@example({"t": 5})
@example({"t": None})
@example({"t": "ab"})
@example({"s": [[1]]})
@example({"s": [{"d": []}]})
@example({"f": 1.5})
@example({"d": [1]})
@example({"d": [[1]]})
@example({"d": [[1, 2, 3]]})
@example({"d": [[[], 1]]})
@example({"d": "ab"})
@example({"d": ["ab"]})
@example({"d": {"t": []}})
@example({"x": 1})
@example({"t": [], "d": []})
def test_tags_that_hold_anything_are_refused_or_plain(value: Any) -> None:
    told(decoded(json.dumps(value).encode()))


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{", b"\xff\xfe", b"\0", b"nul", b'{"t":[]}x', b"9" * 5_000, b'"\xff"', b"1\n2"],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotPlainError):
        decode(text)
