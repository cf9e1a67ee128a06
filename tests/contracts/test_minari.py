"""Minari, as it is: what its recorder writes is read, and what we write it opens."""

import json
import re

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text
from tests.adapters.files.test_broken_trajectories import refused
from tests.adapters.files.test_trajectories import by_episode

from rewardsmith.adapters.files.trajectories import Trajectories, write_trajectories
from rewardsmith.core.rollouts import Rollouts

pytestmark = [pytest.mark.contracts, pytest.mark.filterwarnings("ignore::UserWarning")]


class Camera(gymnasium.Env):
    """Dict observations with an image and a text, and infos; pays the time."""

    observation_space = Dict(
        {"camera": Box(0, 255, (32, 32, 3), np.uint8), "arm": Box(-9, 9, (2,)), "told": Text(9)}
    )
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen()

    def step(self, action):
        self.t += 1
        obs, info = self._seen()
        return obs, float(self.t), self.t == 4, False, info

    def _seen(self):
        camera = np.full((32, 32, 3), 40 * self.t, dtype=np.uint8)
        obs = {"camera": camera, "arm": np.full(2, self.t, np.float32), "told": "go"}
        return obs, {"x": 0.5 * self.t, "pose": {"y": np.full(3, 1.0 * self.t)}}


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return pytest.importorskip("minari")


def recorded(minari, env, episodes, **options):
    """A data set by Minari's own recorder, and what was seen."""
    pytest.importorskip("jax", reason="Minari's recorder needs it")
    env, seen = minari.DataCollector(env, record_infos=True, **options), []
    env.action_space.seed(0)
    for i in range(episodes):
        obs, info = env.reset(seed=i)
        seen.append([(None, obs, 0.0, False, False, info)])
        while not (seen[-1][-1][3] or seen[-1][-1][4]):
            action = env.action_space.sample()
            seen[-1].append((action, *env.step(action)))
    return env.create_dataset("test/recorded-v0"), seen


def test_what_minari_records_is_read(tmp_path, minari):
    _, seen = recorded(minari, gymnasium.make("CartPole-v1"), 6)
    data = Trajectories(tmp_path / "test" / "recorded-v0")
    assert len(data) == 6
    read = [episode for chunk in data.chunks(4) for episode in by_episode(chunk)]
    for episode, steps in zip(read, seen, strict=True):
        obs = np.stack([step[1] for step in steps])
        np.testing.assert_array_equal(np.stack(episode["obs"]), obs[:-1])
        np.testing.assert_array_equal(np.stack(episode["next_obs"]), obs[1:])
        for i, name in enumerate(("action", "obs", "env_reward", "terminated", "truncated")):
            if name != "obs":
                assert np.stack(episode[name]).tolist() == [step[i] for step in steps[1:]]
    assert next(data.chunks(6))["seed"] == list(range(6))


@pytest.mark.parametrize("jpeg_encoding", [True, False])
def test_what_minari_records_of_dicts_images_and_infos(tmp_path, minari, jpeg_encoding):
    recorded(minari, Camera(), 2, jpeg_encoding=jpeg_encoding)
    data = Trajectories(tmp_path / "test" / "recorded-v0")
    assert data.text == ["obs/told"]
    (read,) = data.chunks()
    assert read["next_obs"]["arm"][1, :, 0].tolist() == [1, 2, 3, 4]
    assert read["obs"]["camera"].shape == (2, 4, 32, 32, 3)
    seen = read["obs"]["camera"][0, :, 0, 0, 0].numpy().astype(int)
    np.testing.assert_allclose(seen, [0, 40, 80, 120], atol=2)
    assert read.steps["prev_info"]["x"].tolist() == [[0.0, 0.5, 1.0, 1.5]] * 2
    assert read["x"].tolist() == [[0.5, 1.0, 1.5, 2.0]] * 2
    assert read["pose"]["y"][0, :, 2].tolist() == [1, 2, 3, 4]


def metadata(minari):
    """What the docstring of :func:`write_trajectories` says to write beside the file."""
    from minari.serialization import serialize_space

    obs = Dict({"camera": Box(0, 255, (32, 32, 3), np.uint8), "arm": Box(-9, 9, (2,))})
    return {
        "data_format": "hdf5",
        "dataset_id": "test/ours-v0",
        "minari_version": minari.__version__,
        "total_episodes": 2,
        "total_steps": 8,
        "observation_space": serialize_space(obs),
        "action_space": serialize_space(Discrete(3)),
        "jpeg_encoding": False,
    }


def opened(minari, folder, metadata):
    """The episodes of a folder with our file in it."""
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return list(minari.MinariDataset(folder).iterate_episodes())


def seen_by_camera():
    """Two episodes of four steps."""
    states = np.arange(2 * 5).reshape(2, 5)
    camera = np.broadcast_to(states[..., None, None, None], (2, 5, 32, 32, 3)).astype(np.uint8)
    obs = {"camera": camera, "arm": np.stack([states, states], -1).astype(np.float32)}
    return Rollouts(
        steps={
            "obs": {name: column[:, :-1] for name, column in obs.items()},
            "next_obs": {name: column[:, 1:] for name, column in obs.items()},
            "action": np.arange(8).reshape(2, 4) % 3,
            "env_reward": np.arange(8.0).reshape(2, 4),
            "terminated": np.arange(8).reshape(2, 4) % 4 == 3,
            "truncated": np.zeros((2, 4), dtype=bool),
        }
    )


def test_minari_opens_what_we_write_beside_metadata(tmp_path, minari):
    rollouts, described = seen_by_camera(), metadata(minari)
    write_trajectories(tmp_path / "main_data.hdf5", rollouts)
    for i, episode in enumerate(opened(minari, tmp_path, described)):
        for name in ("camera", "arm"):
            seen = episode.observations[name]
            np.testing.assert_array_equal(seen[:-1], rollouts["obs"][name][i])
            np.testing.assert_array_equal(seen[1:], rollouts["next_obs"][name][i])
        np.testing.assert_array_equal(episode.actions, rollouts["action"][i])
        np.testing.assert_array_equal(episode.rewards, rollouts["env_reward"][i])
        np.testing.assert_array_equal(episode.terminations, rollouts["terminated"][i])
    # Everything that the docstring lists is needed, and it lists everything that is.
    listed = re.findall(r"``(\w+)``", write_trajectories.__doc__.partition("has\n")[2])
    assert set(described) <= set(listed)
    for name in described:
        with pytest.raises((KeyError, AssertionError, OSError)):
            opened(minari, tmp_path, {k: v for k, v in described.items() if k != name})


def test_our_file_can_take_the_place_of_minaris(tmp_path, minari):
    # Minari's buffers, not its recorder, so that this runs without jax.
    steps = {
        "actions": np.array([0, 1, 1]),
        "rewards": np.array([1.0, 2.0, 3.0]),
        "terminations": np.array([False, False, True]),
        "truncations": np.array([False] * 3),
    }
    buffer = minari.data_collector.EpisodeBuffer(
        id=0,
        seed=5,
        options={"level": 2},
        observations={"arm": np.arange(8.0, dtype=np.float32).reshape(4, 2)},
        infos={"x": np.arange(4.0)},
        **steps,
    )
    theirs = minari.create_dataset_from_buffers(
        "test/theirs-v0",
        [buffer],
        observation_space=Dict({"arm": Box(-9, 9, (2,))}),
        action_space=Discrete(3),
    )
    folder = theirs.storage.data_path
    (read,) = Trajectories(folder).chunks()
    assert read["seed"] == [5]
    assert read["options/level"] == [2]
    write_trajectories(folder / "main_data.hdf5", read)
    ours = minari.MinariDataset(folder)
    (episode,) = ours.iterate_episodes()
    for name, values in steps.items():
        np.testing.assert_array_equal(getattr(episode, name), values)
    np.testing.assert_array_equal(episode.observations["arm"], buffer.observations["arm"])
    np.testing.assert_array_equal(episode.infos["x"], buffer.infos["x"])
    (metadata,) = ours.storage.get_episode_metadata([0])
    assert metadata["seed"] == 5
    assert metadata["options"] == {"level": 2}
    assert metadata["total_steps"] == 3


def test_minaris_other_formats_are_refused(tmp_path, minari):
    buffer = minari.data_collector.EpisodeBuffer(
        observations=np.zeros((2, 1), np.float32),
        actions=np.zeros(1, int),
        rewards=[0.0],
        terminations=[True],
        truncations=[False],
    )
    minari.create_dataset_from_buffers(
        "test/arrow-v0",
        [buffer],
        observation_space=Box(-9, 9, (1,)),
        action_space=Discrete(3),
        data_format="arrow",
    )
    assert "is kept as 'arrow'; only 'hdf5' is read" in refused(tmp_path / "test" / "arrow-v0")
