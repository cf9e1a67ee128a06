"""Trackers against the real packages, without a network.

The environment: ``pip install wandb mlflow trackio`` on top of the one for development.
"""

import inspect
import json
import multiprocessing
import os
import random
import socket
import sqlite3
import struct
import sys
import time

import numpy as np
import pytest
import torch
from tests.adapters.test_trackers import FAKES
from tests.studies.conftest import write  # noqa: F401 - a fixture

from rewardsmith.adapters.trackers import tracker
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study

pytestmark = [
    pytest.mark.contracts,
    # The packages' own warnings are not ours.
    pytest.mark.filterwarnings("default"),
]

CONFIG = {"seed": 3, "reward_hash": "abc", "spec": {"env_reward": {}}}
RUN = {"name": "sparse/0", "group": "door_key", "config": CONFIG}
KINDS = ("wandb", "mlflow", "trackio")


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory):
    # trackio reads it once, when it is imported.
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture(autouse=True)
def offline(tmp_path, trackio_folder, monkeypatch):
    """Everything stays in the test's folder, and nobody is asked for a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(trackio_folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    if "wandb" in sys.modules:  # it reads its settings once
        sys.modules["wandb"].teardown()


def tracked(kind, failed=False, **arguments):
    log = tracker(kind, **RUN, patience=60, **arguments)
    log.log({"reward/total": 1.5, "reward/env": float("nan")}, 128)
    log.log({"evaluation/gold": 0.25}, 128)
    log.log({"reward/total": 2.5}, 256)
    log.text("note", "as it was")
    log.close(failed)
    assert (log.given, log.lost, log.not_finite) == (3, 0, 1)


HISTORY = {"reward/total": [(128, 1.5), (256, 2.5)], "evaluation/gold": [(128, 0.25)]}


# --- the made-up packages of the other tests ------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_made_up_package_takes_what_the_real_one_takes(kind):
    real, fake = __import__(kind), FAKES[kind]([])
    pairs = []
    for name, thing in vars(fake).items():
        if name == "entities":
            pairs += [(thing.Metric, real.entities.Metric), (thing.Param, real.entities.Param)]
        elif inspect.isclass(thing):
            for method, function in vars(thing).items():
                if inspect.isfunction(function):
                    pairs.append((function, getattr(getattr(real, name), method)))
        else:
            pairs.append((thing, getattr(real, name)))
    assert len(pairs) >= 3
    for made_up, known in pairs:
        theirs = inspect.signature(known).parameters
        for name, parameter in inspect.signature(made_up).parameters.items():
            assert name in theirs, f"{known} has no {name}"
            optional = parameter.default is not inspect.Parameter.empty
            assert optional == (theirs[name].default is not inspect.Parameter.empty), name


# --- each package ---------------------------------------------------------------------------------


def records_of(path):
    """The records of a W&B file: blocks of 32 KiB with pieces [crc, length, type, data]."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last piece
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def wandb_run(folder):
    """What W&B wrote down; of a run that failed it may still be writing when it returns."""
    deadline = time.monotonic() + 30
    while "exit" not in (found := wandb_file(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def wandb_file(folder):
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = {"history": {}, "config": {}}
    for record in records_of(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            for item in record.run.config.update:
                found["config"][item.key] = json.loads(item.value_json)
        elif kind == "config":
            for item in record.config.update:
                found["config"][item.key] = json.loads(item.value_json)
        elif kind == "history":
            for item in record.history.item:
                name = "/".join(item.nested_key) or item.key
                if not name.startswith("_"):
                    point = (record.history.step.num, json.loads(item.value_json))
                    found["history"].setdefault(name, []).append(point)
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


@pytest.mark.parametrize("failed", [False, True])
def test_wandb(tmp_path, failed):
    tracked("wandb", failed, project="mine")
    found = wandb_run(tmp_path)
    run = found["run"]
    assert (run.project, run.display_name, run.run_group) == ("mine", "sparse/0", "door_key")
    assert found["history"] == HISTORY
    assert {name: found["config"][name] for name in CONFIG} == CONFIG
    assert found["config"]["note"] == "as it was"
    assert found["exit"] == int(failed)


def test_wandb_runs_beside_each_other(tmp_path):
    one, other = (tracker("wandb", name=name, patience=60) for name in ("one", "other"))
    one.log({"a": 1.0}, 5)
    other.log({"a": 2.0}, 1)
    one.close()
    other.close()
    assert one.lost == other.lost == 0
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def mlflow_run(uri):
    import mlflow

    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("rewardsmith").experiment_id])
    history = {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    return run, history


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("store", ["sqlite", "files"])
def test_mlflow(tmp_path, monkeypatch, failed, store):
    # MLflow asks for this since 3.13: its file store gets no new features.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/a.db" if store == "sqlite" else (tmp_path / "mlruns").as_uri()
    tracked("mlflow", failed, tracking_uri=uri)
    run, history = mlflow_run(uri)
    assert history == HISTORY
    assert run.data.params == {"seed": "3", "reward_hash": "abc", "spec.env_reward": "{}"}
    assert (run.info.run_name, run.data.tags["group"]) == ("sparse/0", "door_key")
    assert run.info.status == ("FAILED" if failed else "FINISHED")
    (note,) = tmp_path.rglob("note.txt")
    assert note.read_text() == "as it was"


def opens_mlflow(uri):
    log = tracker("mlflow", name=str(os.getpid()), tracking_uri=uri, patience=60)
    log.log({"a": 1.0}, 1)
    log.close()
    os._exit(log.lost)


def test_mlflow_of_workers_that_begin_together(tmp_path):
    uri = f"sqlite:///{tmp_path}/a.db"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=opens_mlflow, args=(uri,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with sqlite3.connect(tmp_path / "a.db") as base:
        assert base.execute("select count(*) from runs").fetchone() == (3,)
        found = base.execute("select count(*) from experiments where name = 'rewardsmith'")
        assert found.fetchone() == (1,)


def test_trackio(trackio_folder):
    tracked("trackio", project="mine")
    (path,) = trackio_folder.glob("mine*.db")
    with sqlite3.connect(path) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by step").fetchall()
        (config,) = base.execute("select config from configs").fetchone()
    history = {}
    for name, step, metrics in rows:
        assert name == "sparse/0"
        for key, value in json.loads(metrics).items():
            history.setdefault(key, []).append((step, value))
    assert "as it was" in str(history.pop("note"))
    assert history == HISTORY
    config = json.loads(config)
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert config["_Group"] == "door_key"


# --- what they must not do ------------------------------------------------------------------------


def generators():
    # Numbers as text: states hold arrays.
    return str((random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_they_leave_the_generators_alone(kind):
    before = generators()
    tracked(kind)
    assert generators() == before


@pytest.fixture
def silent():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


SILENT = {
    "wandb": {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "{}"},
    "mlflow": {"MLFLOW_TRACKING_URI": "{}"},
    "trackio": {"TRACKIO_SERVER_URL": "{}/?write_token=a"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_does_not_answer(monkeypatch, caplog, record_property, silent, kind):
    for name, value in SILENT[kind].items():
        monkeypatch.setenv(name, value.format(silent))
    before = generators()
    # Else the exit hook that ends the test would wait as long for it as an exit would: 90 s.
    own = {"settings": {"init_timeout": 5.0}} if kind == "wandb" else {}
    started = time.monotonic()
    log = tracker(kind, **RUN, patience=3, **own)
    for step in range(100):
        log.log({"a": 1.0}, step)
    logged = time.monotonic() - started
    log.close()
    closed = time.monotonic() - started - logged
    record_property(kind, f"{logged:.3f} s to log, {closed:.2f} s to close, {log.lost} lost")
    assert logged < 1.0
    assert closed < 3.5
    assert log.lost == 100
    assert f"tracker '{kind}' lost 100 of 100 values" in caplog.text
    assert generators() == before


def test_mlflow_retries_leave_the_generators_alone(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    before = generators()
    log = tracker("mlflow", name="a", patience=30)
    log.log({"a": 1.0}, 1)
    log.close()
    assert log.lost == 1
    assert generators() == before


def test_wandb_without_a_key_is_told_of(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "online")
    log = tracker("wandb", name="a", patience=20)
    log.log({"a": 1.0}, 1)
    log.close()
    assert log.lost == 1
    assert "could not be opened" in caplog.text
    assert "wandb login" in caplog.text


# --- a study --------------------------------------------------------------------------------------


def test_a_study(write, tmp_path):  # noqa: F811 - the fixture
    plain = read_study(write())
    run_study(plain, tmp_path / "plain", workers=2)
    given = "[wandb, {mlflow: {experiment: mine}}, {trackio: {project: mine}}]"
    study = read_study(write(("seeds: 2", f"seeds: 2\ntrackers: {given}")))
    assert list(study.section.trackers) == list(KINDS)
    run_study(study, tmp_path / "tracked", workers=2)
    told = {run.name: run.records() for run in plan(study, tmp_path / "tracked")}
    assert told == {run.name: run.records() for run in plan(plain, tmp_path / "plain")}
    assert all(records[-1]["kind"] == "final" for records in told.values())
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 4
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert {run.info.run_name for run in runs} == {"sparse/0", "sparse/1", "count/0", "count/1"}
    for run in runs:
        assert run.info.status == "FINISHED"
        reward, seed = run.info.run_name.split("/")
        (name,) = [name for name in told if name.startswith(f"{reward}-") and name.endswith(seed)]
        records = told[name]
        golds = client.get_metric_history(run.info.run_id, "evaluation/gold")
        assert [(m.step, m.value) for m in golds] == [(r["steps"], r["gold"]) for r in records]
        assert run.data.params["reward_hash"] == records[0]["reward_hash"]
        assert "reward/total" in run.data.metrics
        if reward == "count":
            assert "reward/novelty" in run.data.metrics
