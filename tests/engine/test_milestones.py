"""One program under a harness: what is run, and what is made of how it ended. Nothing runs here."""

from types import SimpleNamespace

import pytest

from rewardsmith.engine import sandbox
from rewardsmith.engine.milestones import run_and_grade
from rewardsmith.rules.milestones import mark

TWO = {"loaded": "^loaded$", "built": "^built$"}
SCORE = r"score: (\S+)"


@pytest.fixture
def ran(monkeypatch):
    """Programs do not run; what they are said to print is what a test puts here."""
    told = SimpleNamespace(status="passed", output=b"", why="", calls=[])

    def run_script(source, **options):
        told.calls.append((source, options))
        return told

    monkeypatch.setattr(sandbox, "run_script", run_script)
    return told


def graded(completion, *rest, terms=None, **options):
    given = {"given": (), "milestones": TWO, "score": SCORE, "terms": terms or {}}
    return run_and_grade(completion, *rest, **{**given, **options})


def keyed(ran, *texts):
    """A harness that lets a program print marked lines, each made with the key of its run."""

    def instrument(source, announce):
        written = SimpleNamespace(write=lambda descriptor, line: lines.append(line))
        lines = []
        for text in texts:
            exec(announce(text), {"__import__": lambda name: written})
        ran.output += b"".join(lines)
        return f"{source}# with {len(texts)} announcements"

    return instrument


# --- what is run ----------------------------------------------------------------------------------


def test_the_last_block_is_the_program(ran):
    graded("x = 1")
    graded("So:\n```python\nx = 1\n```\nor\n```python\ny = 2\n```\n")
    assert [source for source, _ in ran.calls] == ["x = 1", "y = 2\n"]


def test_the_harness_gets_a_key_of_its_own_for_each_run(ran):
    lines = []

    def instrument(source, announce):
        lines.append(announce("loaded"))
        return f"{lines[-1]}\n{source}"

    for _ in range(2):
        graded("x = 1", instrument=instrument)
    assert lines[0] != lines[1]
    assert [source for source, _ in ran.calls] == [f"{line}\nx = 1" for line in lines]


def test_options_reach_the_sandbox(ran):
    graded("x", "1 2", given=["stdin"], limits={"test": 1.5}, unsafe=True, packages=True)
    graded("x")
    (_, first), (_, second) = ran.calls
    assert first["stdin"] == b"1 2"
    assert first["limits"].test == 1.5
    assert first["setting"] == sandbox.Setting(unsafe=True, packages=True)
    assert second == {"setting": sandbox.Setting(unsafe=False, packages=False)}


def test_standard_input_is_text(ran):
    graded("x", b"raw", given=["stdin"])
    assert ran.calls[0][1]["stdin"] == b"raw"
    with pytest.raises(TypeError, match="standard input is text, this is int"):
        graded("x", 5, given=["stdin"])


@pytest.mark.parametrize("program", ["\x00 = 1", "x = '\ud800'"])
def test_what_python_does_not_read_is_a_failed_program(ran, program):
    told = graded(program)
    assert told == (-10.0, "0 of 2 milestones; the program is no text that Python reads")
    assert not ran.calls


@pytest.mark.parametrize("error", [SyntaxError("line 1"), RecursionError("deep"), MemoryError()])
def test_what_does_not_parse_is_a_failed_program(ran, error):
    def instrument(source, announce):
        raise error

    told = graded("def f(:", instrument=instrument)
    assert told == (-10.0, f"0 of 2 milestones; the program does not parse: {error}")
    assert not ran.calls


def test_a_broken_harness_is_nobodys_program(ran):
    def instrument(source, announce):
        raise ValueError("no harness today")

    with pytest.raises(ValueError, match="no harness today"):
        graded("x", instrument=instrument)


def test_a_broken_sandbox_tells_nothing(ran):
    ran.status, ran.why = "infrastructure", "no space left"
    with pytest.raises(OSError, match="the sandbox failed: no space left"):
        graded("x")


# --- what is made of it ---------------------------------------------------------------------------


def test_with_a_harness_only_marked_lines_count(ran):
    ran.output = b"built\nscore: 1.0\n" + mark("guess", "built").encode() + b"\tbuilt\n"
    told = graded("x = 1", instrument=keyed(ran, "loaded"))
    assert told == (-9.9, "1 of 2 milestones: loaded; no score was printed")
    assert ran.calls[0][0] == "x = 1# with 1 announcements"


def test_without_one_what_the_program_says_itself_does_not_count(ran):
    ran.output = b"loaded\nscore: 0.5\n"
    one = {"loaded": "loaded"}
    assert graded("x", milestones=one) == (0.5, "score 0.5; 1 of 1 milestones: loaded")
    forged = "print('loaded'); print('score: 0.5')"
    assert graded(forged, milestones=one).value == -10.0


@pytest.mark.parametrize("status", ["failed", "timeout", "crashed"])
def test_a_run_that_ended_badly_has_its_milestones_and_no_score(ran, status):
    ran.status, ran.why, ran.output = status, "first\nValueError: no\n", b"score: 1.0"
    told = graded("x", instrument=keyed(ran, "loaded", "built"), grader=lambda output: 1 / 0)
    assert told.value == pytest.approx(-9.8)
    assert told.why == f"2 of 2 milestones: loaded, built; {status}: ValueError: no"


def test_the_terms_are_those_of_the_rule(ran):
    ran.output = b"score: 4"
    terms = {"bounds": (0, 9), "lower_is_better": True, "failure": -20.0, "bonus": 1.0}
    assert graded("x", terms=terms).value == -4.0
    ran.status = "crashed"
    assert graded("x", terms=terms).value == -20.0
    ran.status = "passed"
    with pytest.raises(ValueError, match="declared range"):
        graded("x")


def test_a_grader_sees_what_the_program_printed_and_the_reference(ran):
    seen = []

    def grader(*arguments):
        seen.append(arguments)
        return 0.5

    ran.output = b"4 9\xff\n"
    assert graded("x", instrument=keyed(ran, "loaded"), grader=grader).value == 0.5
    assert seen == [("4 9\ufffd\n",)]
    graded("x", [1, 2], given=["gold"], grader=grader)
    assert seen[1][1] == [1, 2]


def test_a_grader_that_finds_no_solution(ran):
    told = graded("x", grader=lambda output: None)
    assert told == (-10.0, "0 of 2 milestones; the grader found no valid solution")
