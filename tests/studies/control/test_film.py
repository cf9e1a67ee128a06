"""The film of a reward: whose it is, what it shows, and what happens where nothing can be drawn."""

import sys

import pytest

from rewardsmith.studies.control import film
from rewardsmith.studies.records import Run
from rewardsmith.studies.run import train
from rewardsmith.studies.shown import read_film
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study


@pytest.fixture
def trained(study, tmp_path):
    made, run = study(), Run("count", 0, tmp_path / "count-0" / "0")
    train(made, run)
    return made, run


def test_frames_of_one_episode(trained):
    film.draw(*trained)
    strip = read_film(trained[1].folder)
    frames = strip["frames"]
    assert strip["gold"] == strip["length"] == frames[-1]["step"]
    assert frames[0]["step"] == 1
    assert len(frames) == min(strip["length"], 10)
    assert all(frame["png"].startswith(b"\x89PNG") for frame in frames)
    for frame in frames:
        assert frame["total"] == pytest.approx(frame["parts"]["env"] + frame["parts"]["novelty"])
    assert trained[1].note("no_film") is None


def test_without_a_display_mujoco_is_not_asked(trained, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco", sys)
    film.draw(*trained)
    assert read_film(trained[1].folder) is None
    assert "set MUJOCO_GL=egl or osmesa" in trained[1].note("no_film")["reason"]
    monkeypatch.setenv("MUJOCO_GL", "egl")
    film.draw(*trained)
    assert read_film(trained[1].folder) is not None
    assert trained[1].note("no_film") is None


def test_the_median_run_is_filmed_and_no_other(write, tmp_path):
    path, out = write(("seeds: 2", "seeds: 3")), tmp_path / "out"
    run_study(read_study(path), out, workers=1)
    for name in ("sparse", "count"):
        runs = [run for run in plan(read_study(path), out) if run.reward == name]
        golds = {run.seed: run.records()[-1]["gold"] for run in runs}
        median = sorted(golds, key=lambda seed: (golds[seed], seed))[1]
        assert [run.seed for run in runs if read_film(run.folder)] == [median]
