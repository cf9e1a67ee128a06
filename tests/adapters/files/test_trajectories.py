import io

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.adapters import worlds
from tests.generated import control_rollouts, mixed_rollouts
from tests.laws import TYPE_CHECKS

from rewardsmith.adapters.files import hdf5
from rewardsmith.adapters.files.trajectories import Trajectories, write_trajectories
from rewardsmith.adapters.gymnasium import wrap
from rewardsmith.core.errors import SpecError
from rewardsmith.core.rollouts import Rollouts

SUFFIXES = (".hdf5", ".parquet")


def by_episode(rollouts):
    """Each episode's columns by path, cut by hand: dummy steps and padding are nobody's."""
    found = []
    for i in range(len(rollouts)):
        for t in range(rollouts.n_steps):
            if not rollouts.action_mask[i, t]:
                continue
            if rollouts.first()[i, t]:
                found.append({})
            for path, column in leaves(rollouts.steps):
                if path != "first":
                    found[-1].setdefault(path, []).append(column[i, t].numpy())
    return found


def leaves(columns, above=""):
    for name, column in columns.items():
        if isinstance(column, dict):
            yield from leaves(column, f"{above}{name}/")
        else:
            yield f"{above}{name}", column


def assert_same_episodes(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for path in a:
            np.testing.assert_array_equal(np.stack(a[path]), np.stack(b[path]), err_msg=path)


def assert_comes_back(rollouts, path, size):
    expected = by_episode(rollouts)
    assert write_trajectories(path, rollouts) == len(expected)
    data = Trajectories(path)
    assert len(data) == len(expected)
    read = [episode for chunk in data.chunks(size) for episode in by_episode(chunk)]
    assert_same_episodes(read, expected)


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("obs", ["vector", "image", "dict"])
def test_rollouts_come_back(tmp_path, suffix, obs):
    assert_comes_back(mixed_rollouts(obs), tmp_path / f"data{suffix}", size=2)


@pytest.mark.filterwarnings(TYPE_CHECKS)
@settings(max_examples=20)
@given(rollouts=control_rollouts(), suffix=st.sampled_from(SUFFIXES), size=st.integers(1, 5))
def test_any_rollouts_come_back(tmp_path_factory, rollouts, suffix, size):
    assert_comes_back(rollouts, tmp_path_factory.mktemp("data") / f"data{suffix}", size)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_and_row_columns_come_back(tmp_path, suffix):
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rollouts = Rollouts(
        {"seed": torch.tensor([7, 8]), "task": ["push", "pull"], "unknown": [None, 0.5]},
        {
            "obs": torch.arange(12, dtype=torch.uint8).reshape(2, 3, 2),
            "action": torch.zeros(2, 3, dtype=torch.int64),
            "terminated": mask,
        },
        mask=mask,
    )
    path = tmp_path / f"data{suffix}"
    write_trajectories(path, rollouts)
    (read,) = Trajectories(path).chunks()
    assert read["seed"] == [7, 8]
    assert read["task"] == ["push", "pull"]
    assert read["unknown"] == [None, 0.5]
    assert read["episode"] == [0, 1]
    assert read["obs"].dtype == torch.uint8
    assert read["action"].dtype == torch.int64
    assert read["terminated"].dtype == torch.bool
    assert read.mask.tolist() == mask.tolist()
    # There was no last observation to write.
    assert "next_obs" not in read


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_chunk_at_a_time_is_written(tmp_path, suffix):
    rollouts = mixed_rollouts("dict")
    path = tmp_path / f"data{suffix}"
    write_trajectories(path, (rollouts.select([i]) for i in range(len(rollouts))))
    (read,) = Trajectories(path).chunks(100)
    assert_same_episodes(by_episode(read), by_episode(rollouts))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["shaped by obs", "shaped by info", "moved", "env"])
def test_a_file_is_scored_as_acting_paid(tmp_path, suffix, name):
    path = tmp_path / f"walk{suffix}"
    paid = record(path, worlds.REWARDS[name]())
    reward = worlds.REWARDS[name]()
    reward.bind(gamma=worlds.GAMMA)
    totals = torch.cat([reward(chunk).total() for chunk in Trajectories(path).chunks(3)])
    np.testing.assert_allclose(totals, paid, rtol=1e-5)


def record(path, reward, episodes=5):
    """Act in a world that pays a reward, and keep what happened by hand; returns its sums."""
    env, paid, kept = wrap(worlds.Walk(), reward, gamma=worlds.GAMMA), [], []
    for _ in range(episodes):
        obs, info = env.reset()
        states, steps, done = [(obs, info)], [], False
        while not done:
            action = len(steps) % 3
            obs, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            states.append((obs, info))
            steps.append((action, info["env_reward"], terminated, truncated, info["gain"]))
        paid.append(info["reward_sums"]["total"])
        names = ("action", "env_reward", "terminated", "truncated", "info/gain")
        columns = dict(zip(names, map(list, zip(*steps, strict=True)), strict=True))
        columns["obs"] = [obs for obs, _ in states]
        for key in ("x", "odd", "room"):
            columns[f"info/{key}"] = [info[key] for _, info in states]
        kept.append(columns)
    if path.suffix == ".hdf5":
        write_groups(path, kept)
    else:
        obs = [[list(map(float, entry)) for entry in columns.pop("obs")] for columns in kept]
        pq.write_table(pa.Table.from_pylist(kept).append_column("obs", [obs]), path)
    return paid


def write_groups(path, episodes):
    """Episodes as Minari writes them, without our writer."""
    with h5py.File(path, "w") as file:
        for i, columns in enumerate(episodes):
            group = file.create_group(f"episode_{i}")
            for name, values in columns.items():
                ours, slash, below = name.partition("/")
                data = np.array(values)
                text = data.dtype.kind == "U"
                group.create_dataset(
                    hdf5.NAMES.get(ours, ours) + slash + below,
                    data=data.astype(object) if text else data,
                    dtype=h5py.string_dtype() if text else None,
                )


# --- what is read ---------------------------------------------------------------------------------


def plain(t=2, **more):
    """An episode of t steps in HDF5's terms."""
    return {
        "obs": np.arange(2.0 * (t + 1)).reshape(t + 1, 2),
        "action": np.zeros(t),
        "env_reward": np.arange(t, dtype=float),
        "terminated": [False] * (t - 1) + [True],
        "truncated": [False] * t,
        **more,
    }


def test_the_resets_info_is_the_prev_info_of_the_first_step(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain() | {"info/x": [5, 6, 7], "info/gain": [1.0, 2.0]}])
    (read,) = Trajectories(path).chunks()
    assert read.steps["prev_info"]["x"].tolist() == [[5, 6]]
    assert read.steps["info"]["x"].tolist() == [[6, 7]]
    assert read["gain"].tolist() == [[1.0, 2.0]]
    assert "gain" not in read.steps["prev_info"]


def test_text_is_left_out_and_told(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain() | {"info/room": ["a", "b", "c"], "info/x": [1, 2, 3]}])
    data = Trajectories(path)
    assert data.text == ["info/room"]
    assert "x" in data.columns
    assert "room" not in data.columns


def test_nested_infos(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain() | {"info/pose/x": [1, 2, 3]}])
    (read,) = Trajectories(path).chunks()
    assert read.steps["prev_info"]["pose"]["x"].tolist() == [[1, 2]]
    assert read["pose"]["x"].tolist() == [[2, 3]]


def test_episodes_come_in_the_order_of_their_numbers(tmp_path):
    path = tmp_path / "data.hdf5"
    # Sorted as text, the tenth would come after the first.
    write_groups(path, [plain() | {"env_reward": [i, i]} for i in range(12)])
    read = [chunk["env_reward"][:, 0].tolist() for chunk in Trajectories(path).chunks(5)]
    assert read == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


@pytest.fixture(params=["hdf5", "row per episode", "row per step"])
def ten(request, tmp_path):
    """Ten episodes of 2 or 3 steps, whose env_reward tells which they are."""
    plans = [plain(2 + i % 2) | {"env_reward": [float(i)] * (2 + i % 2)} for i in range(10)]
    if request.param == "hdf5":
        path = tmp_path / "data.hdf5"
        write_groups(path, plans)
        return path
    path = tmp_path / "data.parquet"
    if request.param == "row per episode":
        rows = [{k: np.asarray(v).tolist() for k, v in plan.items()} for plan in plans]
    else:
        rows = [
            {"episode": f"e{i}", "step": t, "obs": plan["obs"][t].tolist()}
            | {"next_obs": plan["obs"][t + 1].tolist()}
            | {k: np.asarray(plan[k])[t].item() for k in list(plan)[1:]}
            for i, plan in enumerate(plans)
            for t in range(len(plan["action"]))
        ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    return path


def told(chunks):
    return [int(x) for chunk in chunks for x in chunk["env_reward"][:, 0]]


def test_every_format_reads_the_same(ten):
    data = Trajectories(ten)
    assert len(data) == 10
    (read,) = data.chunks(10)
    assert read["obs"].shape == (10, 3, 2)
    assert read["obs"][1].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert read["next_obs"][0].tolist() == [[2, 3], [4, 5], [0, 0]]
    assert read.mask.sum(dim=1).tolist() == [2, 3] * 5
    assert read["terminated"].dtype == torch.bool


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (3, None), (3, 8), (9, 10), (0, 99), (4, 4)]
)
@pytest.mark.parametrize("size", [1, 4, 10])
def test_any_stretch_can_be_read(ten, start, stop, size):
    chunks = list(Trajectories(ten).chunks(size, start, stop))
    assert told(chunks) == list(range(10))[start:stop]
    assert all(len(chunk) == size for chunk in chunks[:-1])


def test_columns_that_nobody_needs_are_not_read(ten):
    (read,) = Trajectories(ten, columns={"terminated"}).chunks(10)
    assert set(read.steps) == {"action", "env_reward", "terminated", "truncated"}
    (read,) = Trajectories(ten, columns={"next_obs"}).chunks(10)
    assert "next_obs" in read
    assert {"obs", "next_obs"} <= set(Trajectories(ten, columns=()).columns)


def test_the_file_is_not_read_ahead(tmp_path, monkeypatch):
    path, read = tmp_path / "data.hdf5", []
    write_groups(path, [plain()] * 10)
    original = hdf5.Hdf5Episodes._episode
    monkeypatch.setattr(
        hdf5.Hdf5Episodes,
        "_episode",
        lambda self, file, name, paths: (read.append(name), original(self, file, name, paths))[1],
    )
    chunks = Trajectories(path).chunks(3, start=2)
    next(chunks)
    # The first tells what there is.
    assert read == ["episode_0", "episode_2", "episode_3", "episode_4"]


def test_large_tables_of_steps_are_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("rewardsmith.adapters.files.parquet._ROWS_AT_ONCE", 7)
    path = tmp_path / "data.parquet"
    lengths = [1, 20, 3, 7, 7, 2]
    rows = [(e, t) for e, n in enumerate(lengths) for t in range(n)]
    table = {"episode": [e for e, _ in rows], "step": [t for _, t in rows]}
    pq.write_table(pa.table(table | {"action": [10.0 * e + t for e, t in rows]}), path)
    read = [row for chunk in Trajectories(path).chunks(2) for row in by_episode(chunk)]
    assert [[float(a) for a in e["action"]] for e in read] == [
        [10.0 * e + t for t in range(n)] for e, n in enumerate(lengths)
    ]


def test_other_names(tmp_path):
    path = tmp_path / "data.parquet"
    row = {"state": [[1.0], [2.0], [3.0]], "action": [0, 1], "reward": [1.0, 2.0], "done": [0, 1]}
    pq.write_table(pa.Table.from_pylist([row | {"who": "a"}, row | {"who": "b"}]), path)
    names = {"obs": "state", "env_reward": "reward", "terminated": "done", "group": "who"}
    (read,) = Trajectories(path, names=names).chunks()
    assert read["next_obs"][0].tolist() == [[2.0], [3.0]]
    assert read["terminated"].tolist() == [[False, True]] * 2
    assert read.group.tolist() == [0, 1]
    with pytest.raises(SpecError, match=r"no column 'stat' to be 'obs'; did you mean 'state'"):
        Trajectories(path, names={"obs": "stat"})


def test_a_part_of_a_group_under_another_name(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain() | {"info/x": [1, 2, 3], "qpos": [[0.0], [1.0], [2.0]]}])
    (read,) = Trajectories(path, names={"height": "infos/x"}).chunks()
    assert read["height"].tolist() == [[2, 3]]
    assert read["x"].tolist() == [[2, 3]]
    # A column of no name of ours, known before the first step: it tells of states.
    assert read.steps["prev_info"]["qpos"].tolist() == [[[0.0], [1.0]]]


def test_the_other_byte_order(tmp_path):
    path = tmp_path / "data.hdf5"
    write_groups(path, [plain() | {"action": np.array([1.5, 2.5], dtype=">f4")}])
    (read,) = Trajectories(path).chunks()
    assert read["action"].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("equal", [True, False])
def test_jpeg_frames_are_images(tmp_path, equal):
    frames = [np.full((8, 8, 3), shade, dtype=np.uint8) for shade in (0, 50, 200)]
    if not equal:
        frames[1][:4] = np.random.default_rng(0).integers(0, 256, (4, 8, 3))
    path = tmp_path / "data.hdf5"
    write_groups(path, [{k: v for k, v in plain().items() if k != "obs"}])
    encoded = [jpeg(frame) for frame in frames]
    with h5py.File(path, "a") as file:
        if equal:
            assert len({len(e) for e in encoded}) == 1
            file["episode_0"]["observations"] = np.stack(encoded)
        else:
            kind = h5py.vlen_dtype(np.uint8)
            data = file["episode_0"].create_dataset("observations", (3,), dtype=kind)
            for i, e in enumerate(encoded):
                data[i] = e
    (read,) = Trajectories(path).chunks()
    assert read["obs"].shape == (1, 2, 8, 8, 3)
    assert read["next_obs"].dtype == torch.uint8
    assert np.abs(read["next_obs"][0, 1].numpy().astype(int) - 200).max() <= 3


def jpeg(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG")
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)
