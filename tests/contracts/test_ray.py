"""The Ray executor on a local cluster of two CPUs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.contracts

ray = pytest.importorskip("ray")

from rewardsmith.adapters.scorer import Scorer  # noqa: E402
from rewardsmith.core.execution import Execution, using  # noqa: E402
from rewardsmith.core.outcome import Status  # noqa: E402
from rewardsmith.core.reward import Reward  # noqa: E402
from rewardsmith.core.rollouts import Rollouts  # noqa: E402
from rewardsmith.core.scores import Scores  # noqa: E402
from rewardsmith.core.spec import loads  # noqa: E402
from rewardsmith.engine.ray import Ray  # noqa: E402

JOBS = """
import os, pathlib, sys, time

def letters(completion):
    return float(len(completion))

def poisoned(completion):
    if completion == "9":
        time.sleep(60)
    return 1.0

def slow(completion, note):
    pathlib.Path(note, f"{time.monotonic_ns()}-{os.getpid()}").write_text(completion)
    time.sleep(0.02)
    return float(completion)

def torch(completion):
    return float("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.py"
    path.write_text(JOBS)
    return path


def scored(jobs: Path, name: str, rollouts: Rollouts, **options: float) -> Scores:
    reward: Reward = loads(f"reward: {{function: {{call: {jobs}:{name}}}}}")
    with using(Execution(Ray(workers=2, **options))):  # type: ignore[arg-type]
        return reward(rollouts)


def texts(n: int, **columns: list[str]) -> Rollouts:
    return Rollouts.from_text(["?"] * n, [str(i) for i in range(n)], **columns)


def test_every_row_in_its_place(cluster: None, jobs: Path) -> None:
    scores = scored(jobs, "letters", texts(2000))
    assert scores.values.tolist() == [float(len(str(i))) for i in range(2000)]
    assert bool((scores.status == Status.SCORED).all())


def test_what_the_caller_has_set_up_stays(
    cluster: None, jobs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    context = ray.data.DataContext.get_current()
    node = ray.get_runtime_context().get_node_id()
    for shown in (True, False):
        monkeypatch.setattr(context, "enable_progress_bars", shown)
        capfd.readouterr()
        scored(jobs, "letters", texts(64))
        assert context.enable_progress_bars is shown
        assert "Running Dataset" not in capfd.readouterr().err
    assert ray.get_runtime_context().get_node_id() == node


def test_workers_import_no_torch(cluster: None, jobs: Path) -> None:
    assert scored(jobs, "torch", texts(8)).values.tolist() == [0.0] * 8


def test_a_row_that_hangs_is_timed_out_alone(cluster: None, jobs: Path) -> None:
    scores = scored(jobs, "poisoned", texts(64), timeout=1.0)
    expected = [Status.TIMEOUT if i == 9 else Status.SCORED for i in range(64)]
    assert scores.status.tolist() == expected


def test_an_actor_that_is_killed_in_the_middle_loses_nothing(
    cluster: None, jobs: Path, tmp_path: Path
) -> None:
    import threading

    import psutil

    notes = tmp_path / "notes"
    notes.mkdir()
    killed: list[int] = []

    def kill() -> None:
        while len(list(notes.iterdir())) < 50:
            time.sleep(0.05)
        *_, last = sorted(path.name for path in notes.iterdir())
        # A worker is forked by the fork server that the actor started.
        actor = psutil.Process(int(last.partition("-")[2])).parents()[1]
        killed.append(actor.pid)
        actor.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    scores = scored(jobs, "slow", texts(400, note=[str(notes)] * 400))
    thread.join()
    assert len(killed) == 1
    assert scores.values.tolist() == [float(i) for i in range(400)]
    # What the dead actor had under way was done again, and hardly more than that.
    assert 400 < len(list(notes.iterdir())) < 700


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_scorer_travels_to_an_actor_and_ends_what_hangs_there(
    cluster: None, jobs: Path, kind: str
) -> None:
    spec = f"reward: {{function: {{call: {jobs}:poisoned}}}}"
    scorer = Scorer(loads(spec), timeout=1.0)

    class Threads:
        def statuses(self, scorer: Scorer, texts: list[str]) -> list[str]:
            return [row.status.name for row in scorer.each([{"completion": t} for t in texts])]

    class Asyncio:
        async def statuses(self, scorer: Scorer, texts: list[str]) -> list[str]:
            return [row.status.name for row in scorer.each([{"completion": t} for t in texts])]

    made = ray.remote(num_cpus=1)(Threads if kind == "threads" else Asyncio)
    actor = made.options(max_concurrency=4).remote()
    asked = [["9", "1"], ["2", "3"], ["4", "5"]]
    found = ray.get([actor.statuses.remote(scorer, texts) for texts in asked], timeout=120)
    assert found == [["TIMEOUT", "SCORED"], ["SCORED", "SCORED"], ["SCORED", "SCORED"]]
    ray.kill(actor)
