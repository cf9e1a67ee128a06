"""Files that hold no trajectories, or broken ones, and rollouts that cannot be written."""

import json
from importlib import import_module

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.adapters.files.test_trajectories import plain, write_groups

from rewardsmith.adapters.files import hdf5
from rewardsmith.adapters.files.trajectories import Trajectories, write_trajectories
from rewardsmith.core.errors import SpecError
from rewardsmith.core.rollouts import Rollouts


def refused(path):
    with pytest.raises(SpecError) as caught:
        list(Trajectories(path).chunks(2))
    assert str(path) in str(caught.value)
    return str(caught.value)


BROKEN = {
    "actions too few": (
        {"action": [0.0]},
        "episode_1: its columns differ in length: 'actions' 1, 'rewards' 2",
    ),
    "observations too many": (
        {"obs": np.zeros((5, 2))},
        "episode_1: 'observations' has 5 entries, expected 2 or 3: the episode has 2 steps",
    ),
    "ragged": (
        {"obs": np.zeros((3, 4))},
        "episode_1: column 'observations' has entries of shape [4], those of the first episode "
        "have [2]",
    ),
    "text": ({"env_reward": ["a", "b"]}, "episode_1: column 'rewards' does not hold numbers"),
    "gone": ({"env_reward": None}, "episode_1: it has no column 'rewards', which the first has"),
    "no last observation": ({"obs": np.zeros((2, 2))}, "columns"),
    "no steps": (
        {k: np.asarray(v)[:0] for k, v in plain().items()} | {"obs": np.zeros((1, 2))},
        "episode_1: it has no steps",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_episode_is_named(tmp_path, name):
    change, message = BROKEN[name]
    second = {k: v for k, v in (plain() | change).items() if v is not None}
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain(), second])
    assert message in refused(path)


def test_files_that_are_none(tmp_path):
    assert "there is no such file" in refused(tmp_path / "missing.hdf5")
    for suffix, kind in ((".hdf5", "HDF5"), (".parquet", "Parquet")):
        path = tmp_path / f"data{suffix}"
        path.write_bytes(b"")
        assert f"cannot read it as {kind}" in refused(path)
        path.write_bytes(b"no such thing " * 100)
        assert f"cannot read it as {kind}" in refused(path)
    (tmp_path / "data.csv").write_text("a,b")
    assert "trajectories are .hdf5" in refused(tmp_path / "data.csv")


def test_files_that_hold_nothing(tmp_path):
    path = tmp_path / "data.hdf5"
    with h5py.File(path, "w") as file:
        file.create_group("observations")
    assert "no groups named episode_0, episode_1, ...; what is there: observations" in refused(path)
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"action": pa.array([], pa.list_(pa.float32()))}), path)
    assert "it holds no rows" in refused(path)
    pq.write_table(pa.table({"prompt": ["a"]}), path)
    assert "no column tells its steps" in refused(path)
    assert "columns present: episode, prompt" in refused(path)


def test_a_file_that_was_cut(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain(400) for _ in range(3)])
    path.write_bytes(path.read_bytes()[:-8000])
    assert "cannot read it" in refused(path)


def test_a_file_with_a_damaged_middle(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "data.parquet"
    rollouts = Rollouts(steps={"action": torch.from_numpy(rng.normal(size=(300, 200)))})
    write_trajectories(path, rollouts)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
    path.write_bytes(data)
    assert "cannot read it as Parquet" in refused(path)


def test_an_episode_that_points_nowhere(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain(), plain()])
    with h5py.File(path, "a") as file:
        del file["episode_1"]["rewards"]
        file["episode_1"]["rewards"] = h5py.ExternalLink("gone.hdf5", "/rewards")
    assert "episode_1: cannot read it: rewards is a link to nothing; the file is b" in refused(path)


def test_steps_out_of_order(tmp_path):
    path = tmp_path / "data.parquet"
    table = {"episode": [0, 0, 1, 1, 0], "step": [0, 1, 0, 1, 2], "action": [0.0] * 5}
    pq.write_table(pa.table(table), path)
    assert "row 4: episode 0 had ended before; sort the table" in refused(path)
    table["episode"], table["step"] = [0, 0, 1, 1, 1], [0, 1, 0, 2, 1]
    pq.write_table(pa.table(table), path)
    assert "row 3: step 2 of episode 1 is not 1; sort" in refused(path)


def test_empty_cells_and_entries_of_other_lengths(tmp_path):
    path = tmp_path / "data.parquet"
    good = {"action": [1.0, 2.0], "obs": [[1.0], [2.0], [3.0]]}
    pq.write_table(pa.Table.from_pylist([good, good | {"action": [1.0, None]}]), path)
    assert "row 1: column 'action' has empty cells" in refused(path)
    pq.write_table(pa.Table.from_pylist([good, good | {"action": None}]), path)
    assert "row 1: column 'action' has empty cells" in refused(path)
    pq.write_table(pa.Table.from_pylist([good, good | {"obs": [[1.0], [2.0, 3.0], [4.0]]}]), path)
    assert "row 1: column 'obs' has entries of different lengths: [1, 2]" in refused(path)


def test_folders(tmp_path):
    assert "no data/main_data.hdf5" in refused(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    assert "is kept as 'arrow'; only 'hdf5' is read" in refused(tmp_path)
    write_groups(tmp_path / "data" / "main_data.hdf5", [plain()])
    assert len(Trajectories(tmp_path)) == len(Trajectories(tmp_path / "data")) == 1


def test_without_h5py(tmp_path, monkeypatch):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain()])

    def refuse(name, *args):
        if name == "h5py":
            raise ImportError(name)
        return import_module(name, *args)

    monkeypatch.setattr(hdf5, "import_module", refuse)
    with pytest.raises(SpecError, match=r'pip install "rewardsmith\[offline\]"'):
        Trajectories(path)


def test_what_cannot_be_written(tmp_path):
    steps = {"obs": torch.tensor([[[1.0], [2.0]]]), "action": torch.zeros(1, 2)}
    path = tmp_path / "data.hdf5"
    jumping = Rollouts(steps=steps | {"next_obs": torch.tensor([[[5.0], [6.0]]])})
    with pytest.raises(ValueError, match="row 0: 'next_obs' of a step is not 'obs' of the next"):
        write_trajectories(path, jumping)
    with pytest.raises(ValueError, match="column 'a/b': a name that is written"):
        write_trajectories(path, Rollouts(steps=steps | {"info": {"a/b": torch.zeros(1, 2)}}))
    with pytest.raises(ValueError, match="'x' is dict; what is said once"):
        write_trajectories(path, Rollouts({"x": [{}]}, steps))
    with pytest.raises(ValueError, match="no episode to write"):
        write_trajectories(path, [])
    with pytest.raises(ValueError, match="no column tells its steps"):
        write_trajectories(path, Rollouts(steps={"obs": torch.zeros(1, 2, 1)}))
    with pytest.raises(ValueError, match=r"\.hdf5, \.h5 or \.parquet"):
        write_trajectories(tmp_path / "data.txt", Rollouts(steps=steps))
    with pytest.raises(SpecError, match="cannot write it"):
        write_trajectories(tmp_path / "nowhere" / "data.hdf5", Rollouts(steps=steps))
    path = tmp_path / "data.parquet"
    with pytest.raises(ValueError, match="episodes 0 to 0: column 'x': "):
        write_trajectories(path, Rollouts({"x": [object()]}, steps))
    wide = Rollouts(steps=steps | {"obs": torch.zeros(1, 2, 3)})
    with pytest.raises(ValueError, match="episodes 0 to 1: column 'obs': "):
        write_trajectories(path, [Rollouts(steps=steps), wide])
    many = [Rollouts(steps=steps)] * 64
    with pytest.raises(ValueError, match="episodes 64 to 64 have other columns than those before"):
        write_trajectories(path, [*many, wide])
    # Nothing half written stays.
    assert list(tmp_path.iterdir()) == []
