"""verl's function by its contract, without verl: keywords in, a dict of numbers out."""

import asyncio
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardsmith.adapters import verl, versions
from rewardsmith.adapters.verl.rows import row_of
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError

HOUSE = """
import time

def says(completion, answer):
    if completion == "none":
        return None
    if completion == "broken":
        raise OSError("the service is down")
    return float(completion == answer)

def counted(completion, note):
    with open(note, "a") as file:
        file.write(".")
    time.sleep(0.01)
    return float(len(completion))

def seen(completion, data_source, ground_truth, reward_model, extra_info, split):
    types = {type(v).__module__ for v in (completion, data_source, ground_truth, split)}
    assert types == {"builtins"}, types
    return float([completion, data_source, ground_truth, reward_model["ground_truth"], split] ==
                 ["c", "d", "g", "g", "train"] and extra_info["completion"] == "theirs")
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "house.py").write_text(HOUSE)
    for name in ("says", "counted", "seen"):
        text = f"reward: {{function: {{call: ./house.py:{name}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def asked(*texts: str, extra: Any = None, **options: Any) -> list[dict[str, float]]:
    """What verl would get if it asked for these at once."""
    extra = {"answer": "yes"} if extra is None else extra

    async def together() -> Any:
        return await asyncio.gather(
            *[
                verl.compute_score(
                    data_source="d",
                    solution_str=text,
                    ground_truth="yes",
                    extra_info=extra,
                    **({"executor": "inline", "missing": 0.5} | options),
                )
                for text in texts
            ]
        )

    found: list[dict[str, float]] = asyncio.run(together())
    return found


def scores(found: Sequence[dict[str, float]]) -> list[float]:
    return [said["score"] for said in found]


def test_every_sample_has_the_same_numbers(house: Path) -> None:
    found = asked("yes", "no", "none", "broken", reward=house / "says.yaml")
    assert scores(found) == [1.0, 0.0, 0.5, 0.5]
    names = ["scored", "abstained", "timeout", "failed", "bad_value"]
    assert [[*said] for said in found] == [["score", *(f"status/{name}" for name in names)]] * 4
    assert [said["status/failed"] for said in found] == [0.0, 0.0, 0.0, 1.0]
    assert all(type(number) is float for said in found for number in said.values())


def test_samples_that_are_asked_for_at_once_are_scored_once(house: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    texts = ["a" * (1 + i % 8) for i in range(256)]
    found = asked(*texts, extra={"note": str(note)}, reward=house / "counted.yaml")
    assert scores(found) == [float(len(text)) for text in texts]
    assert 8 <= len(note.read_text()) <= 64


def test_raise_ends_the_run(house: Path) -> None:
    file = house / "says.yaml"
    assert scores(asked("no", reward=file, missing="raise")) == [0.0]
    with pytest.raises(ScoreError, match="failed: raised OSError: the service is down"):
        asked("broken", reward=file, missing="raise")
    with pytest.raises(ScoreError, match=r"abstained: .*this trainer cannot leave a row out"):
        asked("none", reward=file, missing="raise")


def test_why_a_sample_got_the_number_is_told_once(
    house: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        asked("broken", "none", "broken", "yes", reward=house / "says.yaml", missing=0.125)
    told = [record.getMessage().partition(" (")[0] for record in caplog.records]
    assert sorted(told) == [
        "a row without a score gets 0.125: abstained: there is no score",
        "a row without a score gets 0.125: failed: raised OSError: the service is down",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_the_row_that_a_reward_sees(house: Path) -> None:
    extra = {"split": "train", "completion": "theirs", "data_source": "theirs"}

    async def one() -> Any:
        return await verl.compute_score(
            np.str_("d"),
            "c",
            np.str_("g"),
            extra,
            reward=house / "seen.yaml",
            missing="raise",
        )

    assert asyncio.run(one())["score"] == 1.0
    assert row_of("d", "c", "g", None)["extra_info"] == {}
    assert row_of("d", "c", "g", "text")["completion"] == "c"


def test_columns_by_other_names(house: Path) -> None:
    file = house / "says.yaml"
    said = asked("yes", extra={}, reward=file, columns={"answer": "ground_truth"})
    assert scores(said) == [1.0]
    # One file for data with completions of its own, and for training.
    file.write_text(
        "columns: {completion: extra_info.old, answer: reward_model.ground_truth}\n"
        + file.read_text()
    )
    assert scores(asked("yes", "no", extra={"old": "no"}, reward=file)) == [1.0, 0.0]
    told = asked("x", extra={"old": "yes"}, reward=file, columns={"completion": "old"})
    assert scores(told) == [1.0]


def test_without_awaiting(house: Path) -> None:
    assert inspect.iscoroutinefunction(verl.compute_score)
    assert not inspect.iscoroutinefunction(verl.compute_score_sync)
    found = []

    def thread() -> None:
        said = verl.compute_score_sync(
            "d", "yes", "g", {"answer": "yes"}, reward=house / "says.yaml", missing=0.0
        )
        found.append(said["score"])

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [1.0] * 4


def test_it_is_loaded_by_name_and_pickles() -> None:
    assert pickle.loads(pickle.dumps(verl.compute_score)) is verl.compute_score
    code = (
        "import sys, rewardsmith.adapters.verl as v; "
        "assert not {'torch', 'verl', 'ray', 'pyarrow'} & sys.modules.keys(); "
        "v.compute_score; assert 'verl' not in sys.modules; print(v.__all__)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "compute_score_sync" in run.stdout
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        verl.nothing  # noqa: B018 - reading it is the test


# --- what cannot work -----------------------------------------------------------------------------


def test_what_has_to_be_said(house: Path) -> None:
    file = house / "says.yaml"
    for missing in (None, "missing"):
        with pytest.raises(ValueError, match=r"verl cannot leave .*kwargs\.missing=raise"):
            asked("yes", reward=file, missing=missing)
    with pytest.raises(ValueError, match="'raise' or a number, not 'rais'"):
        asked("yes", reward=file, missing="rais")
    with pytest.raises(ValueError, match="not finite"):
        asked("yes", reward=file, missing=float("nan"))
    with pytest.raises(SpecError, match=r"say which reward: \+reward\.custom_reward_function"):
        asked("yes")
    with pytest.raises(TypeError, match=r"path of a reward\.yaml, not dict"):
        asked("yes", reward={})
    with pytest.raises(TypeError, match="takes no option 'worker'; did you mean 'workers'"):
        asked("yes", reward=file, worker=3)
    with pytest.raises(TypeError, match=r"compute_score.*no option 'mising'; .*'missing'"):
        asked("yes", reward=file, mising=0.0)
    with pytest.raises(TypeError, match="takes no option 'own'"):
        asked("yes", reward=file, own=[])
    with pytest.raises(ValueError, match="no executor 'ray' here"):
        asked("yes", reward=file, executor="ray")


def test_a_file_that_is_not_there(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"^/no/reward\.yaml: there is no such file$"):
        asked("yes", reward="/no/reward.yaml")
    with pytest.raises(SpecError, match=r"no such file in /.*Ray workers.*: give an absolute path"):
        asked("yes", reward="reward.yaml")
    monkeypatch.chdir(house)
    assert scores(asked("yes", reward="says.yaml")) == [1.0]


def test_a_column_that_is_not_there(house: Path) -> None:
    file = house / "says.yaml"
    with pytest.raises(MissingColumn, match=r"no column 'answer', .*columns present: completion"):
        asked("yes", extra={}, reward=file)
    # Once some sample had it, it is the sample's fault.
    assert scores(asked("yes", reward=file)) == [1.0]
    said = asked("yes", extra={}, reward=file)[0]
    assert (said["score"], said["status/failed"]) == (0.5, 1.0)


def test_tokens_are_no_text(house: Path) -> None:
    with pytest.raises(TypeError, match="token ids; this reward reads text: decode them"):
        asked([1, 2], reward=house / "says.yaml")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token ids"):
        asked(np.array([1, 2]), reward=house / "says.yaml")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*does not learn here")
def test_a_reward_that_compares_rows_is_refused(house: Path) -> None:
    file = house / "groups.yaml"
    file.write_text(
        "reward:\n  verpo:\n    tests:\n      weighted_sum:\n        weights: {a: 1.0}\n"
        "        parts: {a: {function: {call: ./house.py:says}}}\n"
    )
    with pytest.raises(SpecError, match=r"compares the rows of a group, and verl shows one row"):
        asked("yes", reward=file)


def test_a_reward_that_learns_is_told(house: Path) -> None:
    file = house / "learns.yaml"
    file.write_text("reward: {running_norm: {of: {function: {call: ./house.py:says}}}}\n")
    with pytest.warns(UserWarning, match="does not learn here"):
        asked("yes", reward=file)


def test_another_version_is_told(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "0.8.0")
    with pytest.warns(UserWarning, match=r"tested with verl 0\.9\.1, and this is 0\.8\.0"):
        asked("yes", reward=house / "says.yaml")
    versions.note_version.cache_clear()
