"""A study's trackers: told of the numbers that the records hold, and changing none of them."""

import pickle
import sys
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rewardsmith.adapters.trackers import TRACKERS
from rewardsmith.adapters.trackers.backends import Backend
from rewardsmith.core.errors import SpecError
from rewardsmith.core.spec import dump
from rewardsmith.studies.records import Run
from rewardsmith.studies.run import train
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study


class Kept:
    """A tracker that keeps what it is told."""

    made = ()

    def __init__(self, name, group, config, *, tint="none"):
        self.called = {"name": name, "group": group, "config": config, "tint": tint}
        self.points, self.failed = [], None
        Kept.made.append(self)

    def log(self, values, step):
        self.points += [(name, step, value) for name, value in values.items()]

    def text(self, name, text):
        raise AssertionError(name)

    def close(self, failed=False):
        self.failed = failed


class Raises(Kept):
    def log(self, values, step):
        raise OSError("No space left on device")

    def close(self, failed=False):
        raise OSError("No space left on device")


class RefusesToOpen(Kept):
    def __init__(self, name, group, config):
        raise PermissionError("no API key")


class Hangs(Kept):
    release = None

    def log(self, values, step):
        self.release.wait()


@pytest.fixture
def kept(monkeypatch):
    """Trackers by name, and what was made of them."""
    monkeypatch.setattr(Kept, "made", [])
    for kind in (Kept, Raises, RefusesToOpen, Hangs):
        backend = Backend(kind, "json", "kept")
        monkeypatch.setitem(TRACKERS, kind.__name__.lower(), backend)
    monkeypatch.setattr(Hangs, "release", threading.Event())
    yield Kept.made
    Hangs.release.set()


def tracked(given):
    return ("seeds: 2", f"seeds: 2\ntrackers: {given}")


def trained(study, folder, reward="count"):
    run = Run(reward, 1, folder)
    train(study, run)
    return run


# --- the section ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("[kept]", {"kept": {}}),
        ("[kept, {raises: {tint: red}}]", {"kept": {}, "raises": {"tint": "red"}}),
        ("{kept: {tint: red, patience: 2}}", {"kept": {"tint": "red", "patience": 2}}),
        ("[]", {}),
    ],
)
def test_the_section(kept, study, given, read):
    made = pickle.loads(pickle.dumps(study(tracked(given))))
    assert made.section.trackers == read
    assert kept == []  # reading opens nothing


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("[wandbb]", r"trackers/wandbb: unknown tracker 'wandbb'; did you mean 'wandb'"),
        ("[trackio]", r"trackers/trackio: .*pip install trackio"),
        ("{kept: {tnt: red}}", r"trackers/kept: .*takes no 'tnt'; did you mean 'tint'"),
        ("{kept: {name: mine}}", r"takes no 'name'"),
        ("[kept, kept]", "a tracker is given twice"),
        ("{kept: red}", "valid dictionary"),
        ("kept", "valid dictionary"),
    ],
)
def test_points_at_the_line(kept, study, monkeypatch, given, match):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(SpecError, match=match) as caught:
        study(tracked(given))
    assert caught.value.line == 5


def test_trackers_do_not_change_what_a_run_is(kept, study):
    assert study().fingerprint("count") == study(tracked("[kept]")).fingerprint("count")


# --- a run ----------------------------------------------------------------------------------------


def test_a_tracker_is_told_of_a_run(kept, study, tmp_path):
    made = study(tracked("{kept: {tint: red}}"))
    records = trained(made, tmp_path / "a").records()
    (log,) = kept
    assert log.called == {
        "name": "count/1",
        "group": "toy",
        "config": {
            "reward": "count",
            "seed": 1,
            "reward_hash": records[0]["reward_hash"],
            "spec": dump(made.reward("count"), base=made.document.base),
        },
        "tint": "red",
    }
    assert log.failed is False
    for name in ("gold", "proxy", "length"):
        points = [(step, v) for key, step, v in log.points if key == f"evaluation/{name}"]
        assert points == [(record["steps"], record[name]) for record in records]
    names = {name for name, _, _ in log.points}
    assert {"reward/total", "reward/env", "reward/novelty", "train/loss"} <= names
    steps = [step for _, step, _ in log.points]
    assert steps == sorted(steps)


def test_a_run_that_breaks_is_told_of(kept, study, tmp_path):
    crashing = "sparse: {function: {call: ./toy.py:crashes_late}}"
    made = study(tracked("[kept]"), ("sparse: {env_reward: {}}", crashing))
    assert trained(made, tmp_path / "a", "sparse").error is not None
    assert kept[0].failed is True


def test_records_are_the_same_whatever_trackers_do(kept, study, tmp_path):
    plain = trained(study(), tmp_path / "plain")
    given = "[raises, refusestoopen, {hangs: {patience: 0.1}}, kept]"
    run = trained(study(tracked(given)), tmp_path / "tracked")
    assert run.done
    assert run.records() == plain.records()
    golds = [value for name, _, value in kept[-1].points if name == "evaluation/gold"]
    assert golds == [record["gold"] for record in run.records()]


def test_a_package_that_vanished_breaks_the_run_at_its_start(kept, study, tmp_path, monkeypatch):
    made = study(tracked("[kept]"))
    monkeypatch.delitem(TRACKERS, "kept")
    run = trained(made, tmp_path / "a")
    assert "unknown tracker 'kept'" in run.error
    assert run.records() == []


@pytest.mark.slow
def test_workers_track_their_runs(write, tmp_path):
    folder = tmp_path / "events"
    study = read_study(write(tracked(f"{{tensorboard: {{folder: {folder}}}}}")))
    run_study(study, tmp_path / "out", workers=2)
    for run in plan(study, tmp_path / "out"):
        events = EventAccumulator(str(folder / "toy" / run.reward / str(run.seed))).Reload()
        found = [(event.step, event.value) for event in events.Scalars("evaluation/gold")]
        assert found == [
            (record["steps"], pytest.approx(record["gold"])) for record in run.records()
        ]
        assert events.Scalars("reward/total")
