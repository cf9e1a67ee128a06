"""The completion inside a query."""

import pickle
import unicodedata
import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewardsmith.adapters.openrlhf.query import (
    END_TOKENS,
    Completions,
    _note_end,
    without_ends,
)

PROMPT = "<|im_start|>user\nHow many legs have 3 cats?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.filterwarnings("ignore:a completion ends with")
@given(st.text(), st.text())
@example("0" * 17, "")
def test_what_follows_the_prompt_is_the_completion(prompt: str, completion: str) -> None:
    """But for a prompt whose end repeats its beginning, where a cut one would look the same."""
    dark = "".join(prompt.split())
    if any(dark.startswith(dark[k:]) for k in range(1, len(dark))):
        with suppress(ValueError):
            assert Completions(special_tokens=[]).within(prompt + completion, prompt) == completion
        return
    assert Completions(special_tokens=[]).within(prompt + completion, prompt) == completion


@pytest.mark.parametrize("end", END_TOKENS)
def test_the_end_of_a_completion_is_no_part_of_it(end: str) -> None:
    found = Completions().within(f"{PROMPT} 12 {end} or 12 {end}{end}", PROMPT)
    assert found == f" 12 {end} or 12 "


def test_other_ends_can_be_said() -> None:
    assert Completions(special_tokens=["[STOP]"]).within("p a</s>[STOP]", "p") == " a</s>"
    assert without_ends("a<e><e>>", ["<e>", "<e>>", ""]) == "a"
    with pytest.raises(TypeError, match=r"give a list: \['</s>'\]"):
        Completions(special_tokens="</s>")


def test_an_end_that_nobody_named_is_told_once() -> None:
    completions = Completions()
    with pytest.warns(UserWarning, match=r"'<\|fin_told_once\|>', which may be a special token"):
        assert completions.ended("12<|fin_told_once|>") == "12<|fin_told_once|>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completions.ended("13<|fin_told_once|>")
        assert completions.ended("a |>") == "a |>"


@pytest.mark.parametrize("kept", range(16, len(PROMPT)))
def test_a_prompt_that_was_cut_on_the_left(kept: int) -> None:
    assert Completions().within(PROMPT[-kept:] + "12<|im_end|>", PROMPT) == "12"


def test_a_cut_within_a_letter() -> None:
    assert Completions().within("\ufffd\ufffd" + PROMPT[20:] + "12", "é" + PROMPT) == "12"


def test_a_tokenizer_that_composes_letters_or_moves_spaces() -> None:
    prompt = unicodedata.normalize("NFD", "Où est  le café ?") + "\n"
    composed = unicodedata.normalize("NFC", prompt)
    assert Completions().within(composed + " Ici.", prompt) == " Ici."
    assert Completions().within(" Où est le café?\n Ici.", prompt) == " Ici."
    # What the model wrote is left as it is.
    decomposed = unicodedata.normalize("NFD", "é")
    assert Completions().within(composed + decomposed, prompt) == decomposed


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        ("HOW MANY? 12", "How many?"),
        ("12", "How many?"),
        ("", "How many?"),
        ("any? 12", "How many?"),  # too short for more than a chance likeness
    ],
)
def test_a_prompt_that_is_not_there(query: str, prompt: str) -> None:
    with pytest.raises(ValueError, match=r"does not begin with its prompt: .*give tokenizer="):
        Completions().within(query, prompt)


def test_a_cut_prompt_whose_end_repeats_itself() -> None:
    prompt = "Start. " + "ab" * 40
    with pytest.raises(ValueError, match="nobody can tell where the completion begins"):
        Completions().within("ab" * 30 + "12", prompt)


@pytest.mark.parametrize(
    ("prompt", "cut", "completion"),
    [
        ("abc de " * 9, 7, "abc de abc"),  # the whole prompt is there, with some of the completion
        ("ab" * 40, 20, "ababab" * 4 + "12"),
        ("| 1 | 2 |\n" * 12, 30, "| 1 | 2 |\n| 3 |"),
        ("Q: so?  A: no. " * 6, 0, "Q: so? A: no."),
    ],
)
def test_a_prompt_that_can_be_found_in_two_ways(prompt: str, cut: int, completion: str) -> None:
    with pytest.raises(ValueError, match="nobody can tell where the completion begins"):
        Completions(special_tokens=[]).within((prompt + completion)[cut:], prompt)


@given(st.text("ab", min_size=5, max_size=20), st.integers(0, 60), st.text("ab \n"))
def test_a_completion_is_right_or_there_is_none(unit: str, kept: int, completion: str) -> None:
    prompt = f"{unit} " * 8
    kept = min(len(prompt), kept + 24)
    try:
        found = Completions(special_tokens=[]).within(prompt[-kept:] + completion, prompt)
    except ValueError:
        return
    assert found == completion


def test_a_cut_prompt_with_other_spaces() -> None:
    query = "a  b  c d e f g h? Why so?\n It is 4."
    prompt = "To begin: a b c  d e f g h ? Why so?\n"
    assert Completions().within(query, prompt) == " It is 4."


@pytest.mark.filterwarnings("ignore:a completion ends with")
def test_what_ends_so_as_text_stays() -> None:
    for text in ("strike <s>x</s>", "the end token is <eos>"):
        assert Completions().within(f"p {text}", "p ") == text
    for end in ("</s>", "<eos>"):
        assert Completions(special_tokens=[end]).within(f"p 4{end}", "p ") == "4"


@pytest.mark.parametrize("end", ["</s>", "<eos>"])
def test_an_end_that_may_be_text_is_told(end: str) -> None:
    _note_end.cache_clear()
    with pytest.warns(UserWarning, match=f"'{end}', which may be a special token.*special_tokens"):
        Completions().ended(f"4{end}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Completions(special_tokens=[]).ended(f"4{end}")


class Upper:
    """A tokenizer that decodes capitals."""

    all_special_tokens = ("</S>",)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert not skip_special_tokens
        return "".join(map(chr, tokens)).upper()


def test_a_tokenizer_says_how_the_prompt_decodes_and_what_ends_there_are() -> None:
    completions: Any = pickle.loads(pickle.dumps(Completions(tokenizer=Upper())))
    assert completions.within("HOW MANY? 12</s></S>", "How many?") == " 12</s>"
