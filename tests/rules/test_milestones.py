import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.milestones import (
    announced,
    announcement,
    grade,
    hits,
    mark,
    printed_score,
    reward_range,
    unmarked,
)

STAGES = ["imports", "loaded", "built", "trained", "predicted", "saved", "checked"]
SEVEN = {name: rf"\b{name} done\b" for name in STAGES}
SCORE = r"score: (\S+)"
KEY = "drawn for this run"


def line(text, value="", key=KEY):
    return f"{mark(key, text)}\t{text}\t{value}\n"


def graded(output, source="", **options):
    return grade(output, source, milestones=SEVEN, score=SCORE, **options)


# --- the value ------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(STAGES)))
def test_a_failed_run_earns_the_failure_and_its_milestones(reached):
    output = "".join(f"{name} done\n" for name in reached)
    told = graded(output)
    assert told.value == pytest.approx(-10 + 0.1 * len(reached))
    assert f"{len(reached)} of 7 milestones" in told.why
    assert all(name in told.why for name in reached)
    assert told == graded(output * 2)  # each counts once


@given(st.sets(st.sampled_from(STAGES)), st.floats(-1, 1), st.booleans())
def test_no_failed_run_outranks_a_valid_one(reached, score, lower):
    output = "".join(f"{name} done\n" for name in reached)
    failed = graded("".join(f"{name} done\n" for name in STAGES), lower_is_better=lower)
    valid = graded(f"{output}score: {score!r}\n", lower_is_better=lower)
    assert valid.value == pytest.approx(-score if lower else score)
    assert valid.value > failed.value
    low, high = reward_range(SEVEN, SCORE, lower_is_better=lower)
    assert low == -10 <= failed.value < valid.value <= high == 1


def test_the_score_takes_the_place_of_milestones():
    told = graded("loaded done\nscore: 0.25\n")
    assert told == (0.25, "score 0.25; 1 of 7 milestones: loaded")


def test_zero_has_no_sign():
    assert str(graded("score: 0", lower_is_better=True).value) == "0.0"


def test_a_run_that_ended_badly_has_no_score():
    told = graded("loaded done\nscore: 0.9\n", ended="timeout")
    assert told.value == pytest.approx(-9.9)
    assert told.why.endswith("timeout")


@pytest.mark.parametrize("said", ["nan", "inf", "-inf", "high", "1e999"])
def test_a_score_that_is_no_finite_number_is_none(said):
    told = graded(f"score: {said}\n")
    assert told == (-10.0, "0 of 7 milestones; no score was printed")


@pytest.mark.parametrize("score", ["1.01", "-3"])
def test_a_score_outside_the_declared_range(score):
    with pytest.raises(ValueError, match=r"not in the declared range \[-1, 1\]"):
        graded(f"score: {score}\n")


def test_the_range_is_of_the_score_before_its_sign_changes():
    assert graded("score: 30", bounds=(0, 50), lower_is_better=True, failure=-60).value == -30
    with pytest.raises(ValueError, match="range"):
        graded("score: -30", bounds=(0, 50), lower_is_better=True, failure=-60)


def test_the_last_score_counts():
    assert graded("score: 0.1\nscore: 0.4\nscore: ?\n").value == -10.0
    assert graded("score: 0.1\nscore: 0.4\n").value == 0.4


def test_a_grader_takes_the_place_of_the_printed_score():
    seen = []

    def grader(output):
        seen.append(output)
        return 1 if "42" in output else None

    output = line("loaded done") + "the answer is 42\nscore: 0.3\n"
    told = graded(output, key=KEY, grader=grader)
    assert told == (1.0, "score 1; 1 of 7 milestones: loaded")
    assert type(told.value) is float
    assert seen == ["the answer is 42\nscore: 0.3\n"]
    told = graded("nothing", grader=grader)
    assert told == (-10.0, "0 of 7 milestones; the grader found no valid solution")
    assert seen[1:] == ["nothing"]


def test_a_grader_is_not_asked_about_a_run_that_ended_badly():
    told = graded("loaded done", ended="crashed", grader=lambda output: 1 / 0)
    assert told.why == "1 of 7 milestones: loaded; crashed"


@pytest.mark.parametrize("score", [2.0, float("nan")])
def test_a_grader_is_held_to_the_range(score):
    with pytest.raises(ValueError, match="not in the declared range"):
        graded("x", grader=lambda output: score)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bounds": (-9.3, 1.0)}, "a failed run with all milestones would earn -9.3"),
        ({"bounds": (-20.0, 0.0)}, "lower `failure`"),
        ({"bounds": (0.0, 50.0), "lower_is_better": True}, "the least valid one -50"),
        ({"bonus": 2.0}, "would earn 4"),
        ({"bonus": -0.1}, "bonus -0.1"),
        ({"bonus": float("nan")}, "bonus nan"),
        ({"failure": float("-inf")}, "failure -inf"),
        ({"bounds": (1.0, 1.0)}, "not two finite numbers in order"),
        ({"bounds": (0.0, float("inf"))}, "not two finite numbers in order"),
        ({"milestones": {"any": ".*"}}, "matches the empty text"),
        ({"milestones": {"any": "(?=x)"}}, "RE2 does not take"),
        ({"score": "score"}, "needs one group"),
        ({"score": "(score): (.*)"}, "needs one group"),
    ],
)
def test_arguments(change, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        reward_range(**{"milestones": SEVEN, "score": SCORE, **change})


# --- marks ----------------------------------------------------------------------------------------


def test_only_marked_lines_count():
    output = "loaded done\n" + line("trained done") + line("built done", key="another")
    assert hits(output, "", SEVEN, KEY) == ["trained"]
    assert hits(line("trained done").replace("done", "donex"), "", SEVEN, KEY) == []


def test_a_mark_is_good_for_its_text_alone():
    stolen = mark(KEY, "loaded done")
    assert hits(f"{stolen}\ttrained done\t\n", "", SEVEN, KEY) == []
    assert hits(f"{stolen}\tloaded done\ttrained done\n", "", SEVEN, KEY) == ["loaded"]
    assert hits(f" {stolen}\tloaded done\t\n", "", SEVEN, KEY) == []


def test_what_the_source_says_does_not_matter_to_marks():
    assert hits(line("loaded done"), "print('loaded done')", SEVEN, KEY) == ["loaded"]


def test_a_score_begins_in_the_text_of_the_harness():
    assert printed_score(line("score:", "0.5"), "", SCORE, KEY) == 0.5
    assert printed_score(line("score: 0.5"), "", SCORE, KEY) == 0.5
    assert printed_score(line("rows:", "score: 1.0"), "", SCORE, KEY) is None
    assert printed_score("score: 1.0\n", "", SCORE, KEY) is None


def test_two_announcements_do_not_make_a_third():
    both = {"both": "loaded\ntrained", "start": "^trained$"}
    assert hits(line("loaded") + line("trained"), "", both, KEY) == ["start"]


@given(
    st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["", "1 + 1", "'a' * 2"]),
)
def test_an_announcement_is_a_statement_that_prints_a_marked_line(text, value):
    import os
    from unittest import mock

    if not text.strip():
        return
    statement = announcement(KEY, text, value)
    assert "\n" not in statement
    with mock.patch.object(os, "write") as write:
        exec(statement, {})
    (_, printed), _ = write.call_args
    expected = str(eval(value)) if value else ""
    assert [*announced(f"no end{printed.decode()}", KEY)] == [(text, expected)]


@pytest.mark.parametrize("text", ["", " ", "two\nlines", "a\ttab", "back\r"])
def test_what_cannot_be_announced(text):
    with pytest.raises(ValueError, match="cannot be announced"):
        announcement(KEY, text)


def test_the_output_without_marks():
    output = f"one\n\n{line('loaded done')}two\n\n\n{line('score:', '1')}{mark(KEY, 'x')}\ty\t\n"
    assert unmarked(output, KEY) == f"one\ntwo\n\n{mark(KEY, 'x')}\ty\t\n"


# --- without marks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "print('loaded done')",
        'print("loaded" " " "done")',
        "print('loa' + 'ded done')",
        r"print('\x6coaded done')",
        r"print('\u006coaded d\157ne')",
        r"print('' or'\x6coaded done')",
        "print('''loaded done''')",
        "print('loaded\\\n done')",
        "print(f'loaded {str()}'[:7] + 'done')  # loaded done",
        "x = 'it\\'s'; print(b'loaded done'.decode())",
        '"""a" \'b\' """; print("loaded done")',
    ],
)
def test_what_stands_in_the_source_does_not_count(source):
    assert hits("loaded done\n", source, SEVEN) == []
    assert hits("loaded done\n", "print(data)", SEVEN) == ["loaded"]


def test_raw_literals_have_no_escapes():
    assert hits("loaded done\n", r"x = r'\x6coaded done'", SEVEN) == ["loaded"]
    assert hits("loaded done\n", r"x = Rb'\x6coaded done'", SEVEN) == ["loaded"]


def test_an_anchored_pattern_does_not_hide_what_stands_in_the_source():
    anchored = {"loaded": "(?m)^loaded done$"}
    assert hits("loaded done\n", "print('loaded done')", anchored) == []
    assert hits("loaded done\n", "print(data)", anchored) == ["loaded"]


def test_a_score_that_stands_in_the_source_does_not_count():
    assert printed_score("score: 0.9\n", "print('score: 0.9')", SCORE) is None
    assert printed_score("score: 0.9\n", "print('score:', accuracy)", SCORE) == 0.9
    assert printed_score("score: 0.9\n", "print('score: ' + str(accuracy))", SCORE) == 0.9
    # The last match decides, and no earlier one counts in its place.
    forged = "print('score: 0.9')"
    assert printed_score("score: 0.5\nscore: 0.9\n", forged, SCORE) is None
    assert printed_score("score: 0.9\nscore: 0.5\n", forged, SCORE) == 0.5


@pytest.mark.parametrize(
    "source",
    [
        "'''\\'''" * 200_000,
        '"""' * 500_000,
        "'\\x41'" * 250_000,
        "\\" * 1_500_000,
        "'" * 1_500_001,
        "\ud800\x00" * 700_000,
    ],
    ids=["escaped", "triple", "short", "backslashes", "quotes", "surrogates"],
)
def test_any_source_is_read_in_time(source):
    began = time.process_time()
    assert grade(source, source, milestones={"x": "no such text"}, score=SCORE).value == -10.0
    assert time.process_time() - began < 10
