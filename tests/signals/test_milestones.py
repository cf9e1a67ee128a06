import json
import pickle
from functools import cache
from types import SimpleNamespace

import pytest

import rewardsmith as rs
from rewardsmith.core.errors import SpecError
from rewardsmith.core.reference import Reference, resolve
from rewardsmith.engine import sandbox
from rewardsmith.rules.milestones import mark
from rewardsmith.signals.milestones import Milestones

HARNESS = '''
def instrument(source, announce):
    """After each line that begins so, what it has reached."""
    compile(source, "program", "exec")
    after = {"import ": "imports done", "data =": "data loaded", "model =": "model trained"}
    lines = []
    for line in source.split("\\n"):
        lines.append(line)
        lines += [announce(text) for start, text in after.items() if line.startswith(start)]
        if line.startswith("error ="):
            lines.append(announce("score:", "error"))
    return "\\n".join(lines)


def broken(source, announce):
    raise ValueError("no harness today")


def grader(output, gold):
    try:
        said = [float(word) for word in output.split()]
    except ValueError:
        return None
    return sum(a == b for a, b in zip(said, gold)) / len(gold) if len(said) == len(gold) else None


def has_torch(output):
    import sys
    return float("torch" in sys.modules)
'''
THREE = {"imports": "imports done", "data": "data loaded", "model": "model trained"}
GOOD = "import json\ndata = [1, 2]\nmodel = sum(data)\nerror = 0.25\n"


@cache
def isolated():
    try:
        return sandbox.run_script("pass").status == "passed"
    except OSError:
        return False


@pytest.fixture
def box():
    if not isolated():
        pytest.skip("there is no bubblewrap here, or the kernel does not let it")


@pytest.fixture
def harness(tmp_path):
    (tmp_path / "harness.py").write_text(HARNESS)
    return lambda name: resolve(Reference.parse(f"./harness.py:{name}", tmp_path))


@pytest.fixture
def ran(monkeypatch):
    """Programs do not run; what they are said to print is what a test puts here."""
    told = SimpleNamespace(status="passed", output=b"", seconds=0.1, why="", calls=[])

    def run_script(source, **options):
        told.calls.append((source, options))
        return told

    monkeypatch.setattr(sandbox, "run_script", run_script)
    monkeypatch.setattr("rewardsmith.signals._sandboxed.see_to_sandbox", lambda setting: None)
    return told


def scored(reward, *programs, **columns):
    rollouts = rs.Rollouts({"completion": list(programs), **columns})
    with rs.executor("inline", dedupe=False):
        return reward(rollouts)


# --- what is run, without running it --------------------------------------------------------------


def test_lines_without_a_mark_do_not_count(ran, harness):
    ran.output = b"imports done\ndata loaded\nscore: 1.0\n" + mark("guess", "x").encode() + b"\tx\n"
    scores = scored(Milestones(THREE, instrument=harness("instrument")), GOOD)
    assert scores.values.tolist() == [-10.0]
    assert scores.info["why"][0] == "0 of 3 milestones; no score was printed"


def test_columns_and_options_reach_the_sandbox(ran):
    ran.output = b"0.5"
    reward = Milestones({}, score="(.+)", stdin="data", limits={"test": 1.0}, packages=True)
    assert scored(reward, "pass", data=["1 2"]).values.tolist() == [0.5]
    ((source, options),) = ran.calls
    assert (source, options["stdin"], options["limits"].test) == ("pass", b"1 2", 1.0)
    assert options["setting"].packages
    assert not options["setting"].unsafe


def test_a_broken_sandbox_is_no_score(ran, monkeypatch):
    ran.status, ran.why = "infrastructure", "no space left"
    scores = scored(Milestones(THREE), GOOD)
    assert scores.status.tolist() == [rs.Status.FAILED]
    assert "no space left" in scores.errors[0][1]

    def refuse(source, **options):
        raise sandbox.SandboxError("bubblewrap is not there")

    monkeypatch.setattr(sandbox, "run_script", refuse)
    scores = scored(Milestones(THREE), GOOD)
    assert scores.status.tolist() == [rs.Status.FAILED]
    assert "bubblewrap" in scores.errors[0][1]


def test_a_broken_harness_is_no_score(ran, harness):
    scores = scored(Milestones(THREE, instrument=harness("broken")), GOOD)
    assert scores.status.tolist() == [rs.Status.FAILED]
    assert "no harness today" in scores.errors[0][1]
    assert not ran.calls


def test_a_score_out_of_range_is_no_score(ran):
    ran.output = b"score: 7"
    scores = scored(Milestones(THREE), GOOD)
    assert scores.status.tolist() == [rs.Status.FAILED]
    assert "not in the declared range" in scores.errors[0][1]


@pytest.mark.parametrize(
    "program", ["\x00 = 1", "x = '\ud800'", "def f(:", "(" * 1000, "-" * 100_000]
)
def test_what_is_no_program_is_a_failed_one(ran, harness, program):
    scores = scored(Milestones(THREE, instrument=harness("instrument")), program)
    assert scores.values.tolist() == [-10.0]
    assert scores.status.tolist() == [rs.Status.SCORED]
    assert not ran.calls


def test_standard_input_that_is_no_text_fails_the_row(ran):
    reward = Milestones({}, stdin="data")
    assert scored(reward, "pass", data=[5]).status.tolist() == [rs.Status.FAILED]


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"gold": "labels"}, "is for a grader"),
        ({"limits": {"speed": 1}}, "speed"),
        ({"limits": {"test": 0}}, "not a positive number"),
        ({"score": "score"}, "one group"),
        ({"score_bounds": (-9.5, 0.0), "bonus": 0.2}, "would earn -9.4"),
        ({"milestones": {"x": "("}}, "RE2"),
    ],
)
def test_refusals(arguments, told):
    with pytest.raises(ValueError, match=told):
        Milestones(**{"milestones": THREE, **arguments})


def test_bounds_are_those_of_its_scores():
    assert Milestones(THREE).bounds == (-10.0, 1.0)
    errors = Milestones(THREE, score_bounds=(0.0, 5.0), lower_is_better=True)
    assert errors.bounds == (-10.0, 0.0)


def test_running_without_isolation_is_told(ran):
    reward = Milestones(THREE, unsafe=True)
    assert "without isolation" in reward.caution
    with pytest.warns(RuntimeWarning, match="without isolation"):
        scored(reward, "pass")
    assert ran.calls[0][1]["setting"].unsafe
    assert Milestones(THREE).caution == ""


def test_it_is_written_and_read(harness, tmp_path):
    made = Milestones(THREE, instrument=harness("instrument"), grader=harness("grader"), gold="y")
    from rewardsmith.core.spec import dumps, loads

    text = dumps(made, base=tmp_path)
    assert "./harness.py:instrument" in text
    again = loads(text, base=tmp_path)
    assert dumps(again, base=tmp_path) == text
    plain = Milestones(THREE)
    json.dumps(dict(plain.rowcall.options))
    assert pickle.loads(pickle.dumps(plain.rowcall)) == plain.rowcall


def test_a_lambda_cannot_be_sent():
    reward = Milestones(THREE, grader=lambda output: 0.0)
    with pytest.raises(SpecError, match="no importable name"):
        pickle.dumps(reward.rowcall)


# --- in the sandbox -------------------------------------------------------------------------------


@pytest.mark.usefixtures("box")
class TestInTheSandbox:
    def test_a_valid_program_and_failed_ones(self, harness):
        reward = Milestones(
            THREE, instrument=harness("instrument"), score_bounds=(0, 1), lower_is_better=True
        )
        scores = scored(
            reward,
            GOOD,
            f"Here it is:\n```python\n{GOOD}```\n",
            "import json\ndata = [1, 2]\nmodel = data.fit()\nerror = 0.1\n",
            "import no_such_module\n",
        )
        expected = [-0.25, -0.25, -9.8, -10.0]
        assert scores.values.tolist() == pytest.approx(expected)
        assert "AttributeError" in scores.info["why"][2]
        assert (scores.info["seconds"] > 0).all()

    def test_a_program_that_does_not_end_by_itself_has_failed(self, harness):
        reward = Milestones(THREE, instrument=harness("instrument"), limits={"test": 0.5})
        scores = scored(reward, "while True: pass\n", "__import__('os')._exit(0)\nerror = 0.0\n")
        assert scores.values.tolist() == [-10.0, -10.0]
        assert "timeout" in scores.info["why"][0]

    def test_milestones_before_the_end_count(self, harness):
        reward = Milestones(THREE, instrument=harness("instrument"), limits={"test": 0.5})
        program = "import json\ndata = [1]\nwhile True: pass\n"
        assert scored(reward, program).values.tolist() == pytest.approx([-9.8])

    def test_forged_milestones(self, harness):
        reward = Milestones(THREE, instrument=harness("instrument"))
        forged = [
            "print('imports done')\nprint('score: 1.0')\n",
            "import sys\nsys.stdout.write('data loaded\\nscore: 1.0\\n')\n",
            # What was printed is seen, and printed again for another text.
            "import os\nseen = []\nreal = os.write\n"
            "def write(fd, text):\n    seen.append(text)\n    return real(fd, text)\n"
            "os.write = write\nimport json\n"
            "print(seen[-1].decode().replace('imports done', 'data loaded'))\n",
        ]
        scores = scored(reward, *forged)
        assert scores.values.tolist() == pytest.approx([-10.0, -9.9, -9.9])

    def test_what_a_program_looks_up_buys_the_bonus_and_no_more(self, harness):
        """The announcements are constants of its own code: nothing keeps them from it."""
        reward = Milestones(
            THREE, instrument=harness("instrument"), grader=harness("grader"), gold="labels"
        )
        program = (
            "import sys\n"
            "for c in sys._getframe().f_code.co_consts:\n"
            "    if isinstance(c, bytes): sys.stdout.write(c.decode())\n"
            "if sys.argv is not None: raise SystemExit(1)\n"
            "data = 1\n"
            "model = 1\n"
        )
        scores = scored(reward, program, labels=[[1]])
        assert scores.values.tolist() == pytest.approx([-9.7])

    def test_a_program_that_takes_over_stdout_loses_no_milestone(self, harness):
        program = "import io, sys\nsys.stdout = io.StringIO()\ndata = 1\nerror = 0.5\n"
        reward = Milestones(THREE, instrument=harness("instrument"))
        assert scored(reward, program).values.tolist() == [0.5]

    def test_a_grader_sees_what_was_printed_and_no_marks(self, harness):
        reward = Milestones(
            THREE, instrument=harness("instrument"), grader=harness("grader"), gold="labels"
        )
        scores = scored(
            reward,
            "data = [1, 2, 3]\nfor x in data: print(x)\n",
            "data = 5\nprint(1, 2, 4)\n",
            "data = 5\nprint('nonsense')\n",
            "print(1, 2, 3)\nraise SystemExit(1)\n",
            labels=[[1, 2, 3]] * 4,
        )
        assert scores.values.tolist() == pytest.approx([1.0, 2 / 3, -9.9, -10.0])

    def test_standard_input(self):
        reward = Milestones({}, score="total (.+)", score_bounds=(0, 10), stdin="data")
        program = "print('total', sum(map(int, input().split())))"
        assert scored(reward, program, data=["1 2 3"]).values.tolist() == [6.0]

    def test_workers_run_it_without_torch(self, harness):
        reward = Milestones({}, instrument=harness("instrument"), grader=harness("has_torch"))
        rollouts = rs.Rollouts({"completion": [f"print({i})" for i in range(4)]})
        with rs.executor("processes", workers=1, timeout=20.0):
            scores = reward(rollouts)
        assert scores.errors == {}
        assert scores.values.tolist() == [0.0] * 4
