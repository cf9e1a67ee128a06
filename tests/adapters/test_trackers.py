"""Trackers with made-up packages: what they are told, and that whatever they do costs only values.

``tests/contracts/test_trackers.py`` holds the made-up packages against the real ones.
"""

import gc
import logging
import resource
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.adapters.worlds import PLAN, Walk

from rewardsmith.adapters import trackers
from rewardsmith.adapters.sb3 import RewardCallback, RewardVecEnv
from rewardsmith.adapters.trackers import BestEffort, TrackerWriter, check_tracker, tracker
from rewardsmith.core.errors import SpecError
from rewardsmith.signals.env_reward import EnvReward

# The thread of TensorBoard that finds the disk full; ours have other names.
pytestmark = pytest.mark.filterwarnings("ignore:Exception in thread Thread-")

CONFIG = {"seed": 3, "spec": {"weighted_sum": {"weights": {"env": 1.0}, "parts": {}}}}
RUN = {"name": "sparse/0", "group": "door_key", "config": CONFIG}
VALUES = {"reward/total": 1.5, "evaluation/gold": 0.25}


# --- made-up packages -----------------------------------------------------------------------------


class Told(list):
    """Every call that a package got: its name and its arguments."""

    def names(self):
        return [name for name, _ in self]

    def last(self, name):
        return [arguments for called, arguments in self if called == name][-1]


def fake_wandb(told):
    class Run:
        config = SimpleNamespace(update=lambda d, allow_val_change=None: told.append(("text", d)))

        def log(self, data, step=None):
            told.append(("log", {**data, "step": step}))

        def finish(self, exit_code=None):
            told.append(("finish", exit_code))

    def init(project=None, mode=None, name=None, config=None, group=None, reinit=None):
        told.append(("init", {k: v for k, v in locals().items() if k not in ("told", "Run")}))
        return Run()

    return SimpleNamespace(init=init, Run=Run)


def fake_mlflow(told, experiments=()):
    made = list(experiments)

    class MlflowClient:
        def __init__(self, tracking_uri=None):
            told.append(("client", tracking_uri))

        def create_experiment(self, name):
            if name in made:
                raise RuntimeError("RESOURCE_ALREADY_EXISTS")
            made.append(name)
            return f"id of {name}"

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id=f"id of {name}") if name in made else None

        def create_run(self, experiment_id, tags=None, run_name=None):
            told.append(("init", (experiment_id, run_name, tags)))
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def log_batch(self, run_id, metrics=(), params=()):
            assert run_id == "r1"
            if metrics:
                told.append(("log", {m.key: m.value for m in metrics} | {"step": metrics[0].step}))
            if params:
                told.append(("params", {p.key: p.value for p in params}))

        def log_text(self, run_id, text, artifact_file):
            told.append(("text", {artifact_file: text}))

        def set_terminated(self, run_id, status=None):
            told.append(("finish", status))

    class Metric:
        def __init__(self, key, value, timestamp, step):
            self.key, self.value, self.timestamp, self.step = key, value, timestamp, step

    class Param:
        def __init__(self, key, value):
            self.key, self.value = key, value

    entities = SimpleNamespace(Metric=Metric, Param=Param)
    return SimpleNamespace(
        MlflowClient=MlflowClient, entities=entities, get_tracking_uri=lambda: "sqlite:///it.db"
    )


def fake_trackio(told):
    class Run:
        def log(self, metrics, step=None):
            told.append(("log", {**metrics, "step": step}))

        def finish(self):
            told.append(("finish", None))

    def init(project, name=None, group=None, space_id=None, config=None, embed=True):
        told.append(("init", {k: v for k, v in locals().items() if k not in ("told", "Run")}))
        return Run()

    def Markdown(text=""):  # noqa: N802 - a class there
        return f"markdown: {text}"

    return SimpleNamespace(init=init, Run=Run, Markdown=Markdown)


FAKES = {"wandb": fake_wandb, "mlflow": fake_mlflow, "trackio": fake_trackio}


@pytest.fixture
def told(monkeypatch):
    told = Told()
    for name, fake in FAKES.items():
        monkeypatch.setitem(sys.modules, name, fake(told))
    return told


# --- what the packages are told -------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAKES)
def test_a_run_from_beginning_to_end(told, kind):
    log = tracker(kind, **RUN)
    log.log(VALUES, 128)
    log.log({"reward/total": np.float32(2.0), "count": torch.tensor(3)}, np.int64(256))
    log.text("note", "as it was")
    log.close()
    logged = [arguments for name, arguments in told if name == "log"]
    assert logged[:2] == [
        {**VALUES, "step": 128},
        {"reward/total": 2.0, "count": 3.0, "step": 256},
    ]
    assert all(type(value) is float for value in logged[1].values() if value != 256)
    assert "as it was" in str(told)
    assert told.names()[-1] == "finish"
    assert (log.given, log.lost, log.not_finite) == (4, 0, 0)


def test_wandb_is_told_whose_run_it_is(told):
    tracker("wandb", **RUN, project="mine", mode="offline").close(failed=True)
    assert told.last("init") == {
        "project": "mine",
        "mode": "offline",
        "name": "sparse/0",
        "group": "door_key",
        "config": CONFIG,
        "reinit": "create_new",
    }
    assert told.last("finish") == 1


def test_wandb_gets_no_step_that_it_would_leave_out(told, caplog):
    log = tracker("wandb", **RUN)
    log.log(VALUES, 9)
    log.log(VALUES, 5)
    log.log(VALUES, 9)
    log.close()
    assert told.names() == ["init", "log", "log", "finish"]
    assert log.lost == 2
    assert "no step before its last one, 9" in caplog.text


def test_mlflow_is_told_whose_run_it_is(told):
    log = tracker("mlflow", **RUN, tracking_uri="sqlite:///here.db")
    log.log({"loss (mean)": 1.0}, 1)
    log.close(failed=True)
    assert told.last("client") == "sqlite:///here.db"
    assert told.last("init") == ("id of rewardsmith", "sparse/0", {"group": "door_key"})
    assert told.last("params") == {
        "seed": "3",
        "spec.weighted_sum.weights.env": "1.0",
        "spec.weighted_sum.parts": "{}",
    }
    assert told.last("log") == {"loss _mean_": 1.0, "step": 1}
    assert told.last("finish") == "FAILED"


def test_mlflow_takes_few_parameters_at_once(told):
    tracker("mlflow", name="a", config={f"p{i}": i for i in range(250)}).close()
    assert [len(batch) for name, batch in told if name == "params"] == [100, 100, 50]


def test_mlflow_joins_an_experiment_that_is_there(told, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(told, experiments=["rewardsmith"]))
    tracker("mlflow", name="a").close()
    assert told.last("init") == ("id of rewardsmith", "a", {})
    sys.modules["mlflow"].MlflowClient.get_experiment_by_name = lambda self, name: None
    tracker("mlflow", name="a").close()
    assert "RESOURCE_ALREADY_EXISTS" in caplog.text


@pytest.mark.parametrize(("uri", "together"), [("sqlite:///a.db", 1), ("http://host", 2)])
def test_mlflow_makes_one_database_at_a_time(told, uri, together):
    """Real ones break it for each other: see ``tests/contracts/test_trackers.py``."""
    inside, most = [], []

    class MlflowClient(sys.modules["mlflow"].MlflowClient):
        def __init__(self, tracking_uri):
            inside.append(self)
            time.sleep(0.1)
            most.append(len(inside))
            inside.remove(self)

    sys.modules["mlflow"].MlflowClient = MlflowClient
    logs = [tracker("mlflow", name=str(i), tracking_uri=uri) for i in range(2)]
    for log in logs:
        log.close()
    assert max(most) == together


def test_trackio_is_told_whose_run_it_is(told):
    tracker("trackio", **RUN).close()
    assert told.last("init") == {
        "project": "rewardsmith",
        "name": "sparse/0",
        "group": "door_key",
        "space_id": None,
        "config": CONFIG,
        "embed": False,
    }


def test_tensorboard_files(tmp_path):
    log = tracker("tensorboard", **RUN, folder=str(tmp_path))
    log.log(VALUES, 128)
    log.log({"reward/total": 2.0}, 256)
    log.close()
    events = EventAccumulator(str(tmp_path / "door_key" / "sparse" / "0")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("reward/total")] == [(128, 1.5), (256, 2.0)]
    assert [(e.step, e.value) for e in events.Scalars("evaluation/gold")] == [(128, 0.25)]
    (text,) = events.Tensors("config/text_summary")
    assert b"    seed: 3\n" in text.tensor_proto.string_val[0]


# --- errors at the start --------------------------------------------------------------------------


def test_an_unknown_tracker():
    with pytest.raises(SpecError, match=r"unknown tracker 'wandbb'; did you mean 'wandb'\?"):
        tracker("wandbb", name="a")


@pytest.mark.parametrize("kind", FAKES)
def test_a_package_that_is_not_there(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(SpecError, match=f"'{kind}' cannot be imported .*: pip install {kind}"):
        tracker(kind, name="a")


def test_a_package_that_is_broken(monkeypatch, tmp_path):
    (tmp_path / "wandb.py").write_text("raise RuntimeError('built for another numpy')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(SpecError, match=r"RuntimeError: built for another numpy.*pip install"):
        check_tracker("wandb", {})


@pytest.mark.parametrize(
    ("kind", "argument", "nearest"),
    [
        ("tensorboard", "foldr", "folder"),
        ("wandb", "projct", "project"),
        ("mlflow", "traking_uri", "tracking_uri"),
        ("trackio", "spaceid", "space_id"),
        ("trackio", "patienc", "patience"),
    ],
)
def test_an_unknown_argument(told, kind, argument, nearest):
    with pytest.raises(SpecError, match=f"takes no '{argument}'; did you mean '{nearest}'"):
        tracker(kind, name="a", **{argument: 1})
    assert told == []


def test_nobody_else_names_the_run(told):
    with pytest.raises(SpecError, match="takes no 'config'"):
        check_tracker("wandb", {"config": {}})


# --- best effort ----------------------------------------------------------------------------------


class Plain:
    """A tracker that keeps what it is given, or fails as a test wants it to."""

    def __init__(self, fails=lambda step: None):
        self.fails, self.kept, self.ended = fails, [], None

    def log(self, values, step):
        self.fails(step)
        self.kept.append((dict(values), step))

    def text(self, name, text):
        self.fails(0)
        self.kept.append((name, text))

    def close(self, failed=False):
        self.fails(-1)
        self.ended = failed


FULL = OSError("No space left on device")


def raising(*steps, error=FULL):
    def fails(step):
        if step in steps:
            raise error

    return fails


@contextmanager
def hanging(step, error=None):
    """A tracker that hangs at a step until the block ends, and may raise then."""
    reached, release = threading.Event(), threading.Event()

    def fails(at):
        if at == step:
            reached.set()
            release.wait()
            if error is not None:
                raise error

    plain = Plain(fails)
    try:
        yield plain, reached
    finally:
        release.set()


def warned(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_tracker_that_raises_is_told_of_once_and_counted(caplog):
    plain = Plain(raising(2, 3, 5))
    log = BestEffort("mine", lambda: plain)
    for step in range(1, 7):
        log.log({"a": 1.0, "b": 2.0}, step)
    log.close()
    assert [step for _, step in plain.kept] == [1, 4, 6]
    assert (log.given, log.lost) == (12, 6)
    first, total = warned(caplog)
    assert first.startswith("tracker 'mine' lost 2 values of step 2: OSError: No space left")
    assert total == "tracker 'mine' lost 6 of 12 values"


def test_a_tracker_that_exits_is_no_worse(caplog):
    plain = Plain(raising(1, error=SystemExit(1)))
    log = BestEffort("mine", lambda: plain)
    log.log({"a": 1.0}, 1)
    log.log({"a": 1.0}, 2)
    log.close()
    assert plain.kept == [({"a": 1.0}, 2)]
    assert log.lost == 1


def test_a_tracker_that_works_says_nothing(caplog):
    plain = Plain()
    log = BestEffort("mine", lambda: plain)
    log.log({"a": 1.0}, 1)
    log.close(failed=True)
    assert plain.ended is True
    assert warned(caplog) == []


def test_a_run_that_cannot_be_opened(caplog):
    def refuses():
        raise PermissionError("no API key")

    log = BestEffort("mine", refuses)
    log.log({"a": 1.0}, 1)
    log.text("note", "text")
    log.close()
    assert log.lost == 1
    first, total = warned(caplog)
    assert "lost the run: it could not be opened: PermissionError: no API key" in first
    assert "lost 1 of 1" in total


def test_an_end_that_fails_is_told_of(caplog):
    log = BestEffort("mine", lambda: Plain(raising(-1)))
    log.log({"a": 1.0}, 1)
    log.close()
    assert log.lost == 0
    assert "lost the end of the run: OSError" in warned(caplog)[0]


def test_a_tracker_that_hangs_costs_neither_time_nor_memory(caplog):
    with hanging(1) as (plain, reached):
        log = BestEffort("mine", lambda: plain, patience=0.2, room=10)
        log.log({"a": 1.0}, 1)
        assert reached.wait(10)
        started = time.monotonic()
        for step in range(2, 1000):
            log.log({"a": 1.0}, step)
        assert time.monotonic() - started < 1.0
        assert log._queue.qsize() == 10
        assert log.lost == 998 - 10
        started = time.monotonic()
        log.close()
        assert 0.15 < time.monotonic() - started < 1.0
        assert (log.given, log.lost) == (999, 999)
    first, total = warned(caplog)
    assert "10 calls before it are still waiting" in first
    assert "lost 999 of 999" in total
    log._thread.join(10)
    # It came back too late: what was counted as lost is neither handed over nor counted again.
    assert not log._thread.is_alive()
    assert plain.kept == [({"a": 1.0}, 1)]
    assert log.lost == 999


def test_what_fails_after_it_was_given_up_is_lost_once():
    with hanging(1, FULL) as (plain, _):
        log = BestEffort("mine", lambda: plain, patience=0.1)
        log.log({"a": 1.0}, 1)
        log.close()
    log._thread.join(10)
    assert not log._thread.is_alive()
    assert (log.given, log.lost) == (1, 1)


def test_a_closed_tracker_is_let_go():
    log = BestEffort("mine", Plain)
    log.close()
    gone = weakref.ref(log)
    del log
    gc.collect()
    assert gone() is None


def test_a_run_that_takes_long_to_open_loses_nothing():
    release, plain = threading.Event(), Plain()

    def slow():
        release.wait()
        return plain

    log = BestEffort("mine", slow)
    log.log({"a": 1.0}, 1)
    release.set()
    log.close()
    assert plain.kept == [({"a": 1.0}, 1)]
    assert log.lost == 0


def test_an_end_that_hangs_is_not_waited_for(caplog):
    with hanging(-1) as (plain, _):
        log = BestEffort("mine", lambda: plain, patience=0.1)
        log.log({"a": 1.0}, 1)
        log.close()
        assert plain.kept == [({"a": 1.0}, 1)]
        assert log.lost == 0
        assert "the end of the run: it was not done after 0.1 s" in warned(caplog)[0]


def test_what_is_not_finite_is_kept_out():
    plain = Plain()
    log = BestEffort("mine", lambda: plain)
    log.log({"a": np.nan, "b": -np.inf, "c": 1.0}, 1)
    log.log({"a": float("inf")}, 2)
    log.close()
    assert plain.kept == [({"c": 1.0}, 1)]
    assert (log.given, log.lost, log.not_finite) == (1, 0, 3)


@pytest.mark.parametrize("value", ["much", None, torch.ones(2), 10**400])
def test_what_is_no_number_is_lost(caplog, value):
    plain = Plain()
    log = BestEffort("mine", lambda: plain)
    log.log({"odd": value, "b": 1.0}, 1)
    log.close()
    assert plain.kept == [({"b": 1.0}, 1)]
    assert (log.given, log.lost) == (2, 1)
    assert "lost odd" in warned(caplog)[0]


def test_values_are_those_of_the_call():
    release, plain, values = threading.Event(), Plain(), {"a": 1.0}

    def slow():
        release.wait()
        return plain

    log = BestEffort("mine", slow)
    log.log(values, 1)
    values["a"] = 2.0
    release.set()
    log.close()
    assert plain.kept == [({"a": 1.0}, 1)]


def test_after_the_end(caplog):
    plain = Plain()
    log = BestEffort("mine", lambda: plain)
    log.close(failed=True)
    log.close()
    log.log({"a": 1.0}, 1)
    assert plain.ended is True
    assert plain.kept == []
    assert log.lost == 1
    assert "it is closed" in warned(caplog)[0]


@given(calls=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=20))
def test_what_was_given_was_kept_or_lost(calls):
    plain = Plain(raising(*[step for step, (_, fails) in enumerate(calls) if fails]))
    log = BestEffort("mine", lambda: plain)
    for step, (n, _) in enumerate(calls):
        log.log({str(i): 0.0 for i in range(n)}, step)
    log.close()
    kept = sum(len(values) for values, _ in plain.kept)
    assert log.given == kept + log.lost == sum(n for n, _ in calls)
    assert log.lost == sum(n for n, fails in calls if fails)


def test_a_full_disk(tmp_path, caplog):
    log = tracker("tensorboard", name="a", folder=str(tmp_path), patience=10)
    log.log({"a": 0.0}, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        for step in range(1, 500):
            log.log({"a": 0.0}, step)
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written = len(EventAccumulator(str(tmp_path / "a")).Reload().Scalars("a"))
    assert 10 < written < 100
    assert log.lost == 500 - written
    assert "OSError" in warned(caplog)[0]


FORGETS = """
import atexit, time
from rewardsmith.adapters.trackers import BestEffort

class Slow:
    ended = False
    def __init__(self):
        # As packages do, which take nothing more once their own exit hook ran.
        atexit.register(lambda: setattr(Slow, "ended", True))
    def log(self, values, step):
        time.sleep(0.05)
        print("late" if self.ended else step, flush=True)
    def close(self, failed=False):
        time.sleep(60)

log = BestEffort("mine", Slow, patience=1.0)
for step in range(5):
    log.log({"a": 1.0}, step)
    time.sleep(0.02)
"""


def test_a_script_that_forgets_to_close():
    """At exit, what is on its way still arrives; an end that hangs does not hold the exit up."""
    command = [sys.executable, "-c", FORGETS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stdout.split() == ["0", "1", "2", "3", "4"]
    assert "tracker 'mine' lost the end of the run: it was not done after 1 s" in done.stderr


def test_the_module_loads_no_trainer_and_no_tracker():
    code = "import rewardsmith.adapters.trackers, sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "stable_baselines3", "tensorboard", *FAKES} & set(loaded)


# --- Stable-Baselines3 ----------------------------------------------------------------------------


def test_sb3_learns_into_a_tracker(tmp_path):
    plain = Plain()
    log = BestEffort("mine", lambda: plain)
    env = RewardVecEnv(DummyVecEnv([lambda: Walk(plan=PLAN)]), EnvReward())
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.set_logger(Logger(str(tmp_path), [TrackerWriter(log)]))
    model.learn(64, callback=RewardCallback())
    model.logger.close()
    steps = [step for _, step in plain.kept]
    assert steps == [32, 64]
    assert "reward/total" in plain.kept[0][0]
    assert "train/loss" in plain.kept[1][0]
    assert "time/total_timesteps" not in plain.kept[0][0]
    assert plain.ended is False
    assert log.lost == 0


def test_sb3_forwards_numbers_only(tmp_path):
    plain = Plain()
    logger = Logger(str(tmp_path), [TrackerWriter(plain)])
    logger.record("a", np.float32(1.0))
    logger.record("long", 2, exclude="stdout")
    logger.record("step", 3, exclude="tensorboard")
    logger.record("text", "words")
    logger.record("histogram", np.ones(3))
    logger.dump(7)
    logger.close()
    assert plain.kept == [({"a": 1.0, "long": 2}, 7)]
    assert plain.ended is False


def test_trackers_are_listed():
    assert set(trackers.TRACKERS) == {"tensorboard", *FAKES}
