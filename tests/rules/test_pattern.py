"""Patterns in linear time, and keywords that are words."""

import re
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.pattern import compiled, composed, encodable, grade, keywords
from rewardsmith.rules.verdict import Verdict


def value(graded: Any) -> float:
    return float(graded.value if isinstance(graded, Verdict) else graded)


def test_modes() -> None:
    text = "a1 b22 c333"
    assert grade(text, pattern=r"\d{3}") == 1.0
    assert grade(text, pattern=r"\d{3}", mode="fullmatch") == Verdict(
        0.0, "the pattern does not match"
    )
    assert grade(text, pattern=r"[a-c\d ]+", mode="fullmatch") == 1.0
    assert grade(text, pattern=r"\d+", mode="count", most=4) == Verdict(0.75, "3 matches of 4")
    assert grade(text, pattern=r"\d+", mode="count", most=2) == 1.0
    assert value(grade("", pattern="a", mode="count")) == 0.0


def test_what_expressions_mean() -> None:
    assert value(grade("ABC", pattern="b")) == 0.0
    assert grade("ABC", pattern="b", case=False) == 1.0
    assert value(grade("a\nb", pattern="a.b")) == 0.0
    assert grade("a\nb", pattern="(?s)a.b") == 1.0
    assert value(grade("a\n", pattern="a$")) == 0.0
    assert grade("λόγος", pattern=r"^\p{Greek}+$") == 1.0


@given(text=st.text(alphabet="ab1 \n\ud800\0é", max_size=12))
@settings(max_examples=100)
def test_the_same_as_re_where_both_can(text: str) -> None:
    readable = encodable(text)
    for pattern in ("a+b", "^a", "[^b]1", "(a|1)*", "é"):
        assert grade(text, pattern=pattern) in (1.0, Verdict(0.0, "the pattern does not match"))
        assert value(grade(text, pattern=pattern)) == float(
            re.search(pattern, readable) is not None
        )
        assert value(grade(text, pattern=pattern, mode="fullmatch")) == float(
            re.fullmatch(pattern, readable) is not None
        )
        count = len(re.findall(pattern, readable))
        counted = value(grade(text, pattern=pattern, mode="count", most=50))
        assert counted == pytest.approx(count / 50)


def test_no_pattern_takes_long() -> None:
    began = time.process_time()
    assert value(grade("a" * 100_000 + "!", pattern="(a+)+$")) == 0.0
    assert time.process_time() - began < 2
    # To find every match of this takes the square of the length, however each is looked for.
    assert value(grade("a" * 1_000_000, pattern="a.*b|a", mode="count", most=3)) == 1.0
    assert value(grade("\ud800" * 1_000_000, pattern="(a|b)+$")) == 0.0
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", "(?=a)", "(?<!a)b", "(", "*", "(?P<a", r"\Z", "a{1001}", "\ud800"]
)
def test_what_re2_does_not_take(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="RE2 does not take the pattern") as error:
        compiled(pattern)
    assert "no backreferences" in str(error.value)
    assert ": b'" not in str(error.value)
    # RE2 would write its own message to stderr.
    assert capfd.readouterr() == ("", "")


def test_surrogates() -> None:
    assert encodable("a\ud83d\ude00\ud800é") == "a\ufffd\ufffd\ufffdé"
    text = "no surrogate: 😀"
    assert encodable(text) is text


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("1", "1", True),
        ("21", "1", False),
        ("12", "1", False),
        ("2 1", "1", True),
        ("x=1.", "1", True),
        ("_1", "1", False),
        ("21 and 1", "1", True),
        ("the part", "art", False),
        ("Art!", "art", True),
        ("élan", "lan", False),
        ("I like C++ best", "c++", True),
        ("New  York", "New York", False),
        ("a.c", "a.c", True),
        ("abc xa.c", "a.c", False),
        ("STRASSE", "Straße", True),
        ("", "a", False),
    ],
)
def test_whole_words(text: str, word: str, found: bool) -> None:
    assert value(keywords(text, words=[word])) == float(found)


def test_keyword_modes() -> None:
    text = "the premise, and a conclusion"
    words = ["premise", "conclusion", "lemma", "proof"]
    assert keywords(text, words=words) == Verdict(0.0, "missing: lemma, proof")
    assert value(keywords(text, words=words, mode="any")) == 1.0
    assert keywords(text, words=words, mode="fraction") == Verdict(0.5, "missing: lemma, proof")
    assert value(keywords(text, words=["lemma"], mode="any")) == 0.0
    assert keywords(text, words=words[:2]) == 1.0
    assert value(keywords(text, words=["Premise"], case=True)) == 0.0
    assert keywords("21", words=["1"], whole_words=False) == 1.0


@given(
    words=st.lists(st.sampled_from(["a", "b", "cd", "é"]), min_size=1, unique=True),
    text=st.text("abcdé ", max_size=12),
)
@settings(max_examples=80)
def test_modes_agree(words: list[str], text: str) -> None:
    fraction = value(keywords(text, words=words, mode="fraction"))
    found = sum(bool(set(text.split()) & {word}) for word in words)
    assert fraction == pytest.approx(found / len(words))
    assert value(keywords(text, words=words, mode="all")) == float(found == len(words))
    assert value(keywords(text, words=words, mode="any")) == float(found > 0)


def test_keywords_in_five_megabytes() -> None:
    for text in ("1" * 5_000_000, "\ud800" * 5_000_000, "a" * 5_000_000):
        assert value(keywords(text, words=["1", "aaaa"], mode="fraction")) == 0.0


ACCENTED = ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "CAFE\u0301"]


@pytest.mark.parametrize("word", ACCENTED)
@pytest.mark.parametrize("text", ACCENTED)
def test_an_accent_is_one_however_it_is_written(word: str, text: str) -> None:
    for whole in (True, False):
        found = keywords(f"a {text}!", words=[word], whole_words=whole)
        assert value(found) == 1.0
        strict = value(keywords(text, words=[word], case=True, whole_words=whole))
        assert strict == float(word[0] == text[0])
    # The letter without it is another word, in either form.
    assert value(keywords(text, words=["cafe"])) == 0.0


@given(st.text(alphabet="ae\u0301\u0316\u00e9\u1100\u1161\u11a8\u03b1 ", max_size=60))
def test_short_texts_are_composed_as_unicode_says(text: str) -> None:
    assert composed(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["a" + "\u0301\u0316" * 1_000_000, "\ud800\u0301" * 500_000])
def test_runs_of_marks_take_linear_time(text: str) -> None:
    began = time.process_time()
    assert value(keywords(text, words=["caf\u00e9"])) == 0.0
    assert time.process_time() - began < 2.0
