import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.laws import cell, height

from rewardsmith.adapters.files.label_table import Piece, table
from rewardsmith.adapters.files.labeling import check, label, tag
from rewardsmith.adapters.files.labels import Labels
from rewardsmith.adapters.files.trajectories import Trajectories, write_trajectories
from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.catalog import method
from rewardsmith.core.errors import ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm

LENGTHS = (3, 1, 2, 4, 1, 2, 3)


def rollouts(lengths=LENGTHS):
    """Episode i pays i at each of its steps."""
    t = max(lengths)
    mask = torch.arange(t)[None, :] < torch.tensor(lengths)[:, None]
    number = torch.arange(len(lengths), dtype=torch.float64)[:, None].expand(-1, t)
    obs = number + torch.arange(t)
    return Rollouts(
        steps={
            "obs": obs,
            "next_obs": obs + 1,
            "action": torch.zeros(len(lengths), t),
            "env_reward": number.clone(),
            "terminated": torch.zeros(len(lengths), t, dtype=torch.bool),
            "truncated": torch.zeros(len(lengths), t, dtype=torch.bool),
        },
        mask=mask,
    )


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.hdf5"
    write_trajectories(path, rollouts())
    return Trajectories(path)


def run(reward, source, out, chunk=2, rows=None, **options):
    rows = len(source) if rows is None else rows
    missing = options.pop("missing", None)
    labels = Labels(out, rows, tag(reward, source), missing if missing != "raise" else None)
    options["raises"] = missing == "raise"
    seen = list(label(reward, source, labels, chunk=chunk, **options))
    if not labels.complete:
        labels.finish()
    return seen


def odd(env_reward):
    """Raises for odd episodes, and does not know the first one."""
    return [None if x == 0 else 1 / (1 - int(x) % 2) for x in env_reward]


def odd_episode(env_reward):
    if env_reward[0] % 2:
        raise RuntimeError("odd")
    return None if env_reward[0] == 0 else float(env_reward[0])


# --- what is written ------------------------------------------------------------------------------


def test_a_row_per_episode_with_sums_and_parts(tmp_path, data):
    reward = WeightedSum({"env": EnvReward(), "own": Function(odd_episode)}, {"env": 1, "own": 10})
    out = tmp_path / "out.parquet"
    assert run(reward, data, out) == [0, 2, 4, 6, 7]
    rows = pq.read_table(out).to_pylist()
    assert [row["row"] for row in rows] == list(range(7))
    assert [row["status"] for row in rows] == ["scored", "failed"] * 3 + ["scored"]
    sums = [n * i for i, n in enumerate(LENGTHS)]
    assert [row["reward/env"] for row in rows] == sums
    assert [row["status/own"] for row in rows][:3] == ["abstained", "failed", "scored"]
    assert [row["reward/own"] for row in rows] == [None, None, 2, None, 4, None, 6]
    # An abstaining part is left out of a sum; a failed one voids it.
    assert [row["reward"] for row in rows] == [0, None, 4 + 20, None, 4 + 40, None, 18 + 60]
    assert rows[1]["error"] == "own: raised RuntimeError: odd"
    assert rows[0]["error"] is None


def test_what_a_missing_row_is_worth(tmp_path, data):
    reward = Function(odd_episode)
    run(reward, data, tmp_path / "out.parquet", missing=-1.5)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["reward"] for row in rows] == [-1.5, -1.5, 2, -1.5, 4, -1.5, 6]
    # What happened is still told.
    assert [row["status"] for row in rows][:3] == ["abstained", "failed", "scored"]
    assert rows[1]["error"] == "raised RuntimeError: odd"
    with pytest.raises(ScoreError, match="row 3: failed: raised RuntimeError: odd"):
        run(Rest(reward), data, tmp_path / "other.parquet", missing="raise")


@method("rest", kind="transform")
class Rest(Reward):
    """Abstains on the first two rows' values, so that the first to break comes in a later chunk."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, rollouts):
        scores = self.of(rollouts)
        early = rollouts["env_reward"][:, 0] < 2
        status = torch.where(early, 1, scores.status).to(torch.int8)
        errors = {i: e for i, e in scores.errors.items() if not early[i]}
        return type(scores).outcome(scores.values, status, errors=errors)


def test_steps_are_lists_without_what_was_not_scored(tmp_path, data):
    reward = Function(odd, step=True, on_step_failure="skip")
    both = WeightedSum({"env": EnvReward(), "odd": reward})
    run(both, data, tmp_path / "out.parquet", steps=True)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["steps/env"] for row in rows] == [[float(i)] * n for i, n in enumerate(LENGTHS)]
    # A part that broke at every step of a row voids it.
    assert [row["steps"] for row in rows] == [
        None if i % 2 else [i + 1.0 if i else 0.0] * n for i, n in enumerate(LENGTHS)
    ]
    assert [row["status/odd"] for row in rows][:3] == ["abstained", "failed", "scored"]
    assert [row["steps/odd"] for row in rows][:3] == [None, None, [1.0, 1.0]]


def test_a_step_that_was_not_scored_is_null():
    scores_of = Function(lambda env_reward: [None if x == 2 else x for x in env_reward], step=True)
    some = Rollouts(steps={"env_reward": torch.tensor([[1.0, 2.0, 3.0]])})
    (row,) = table(scores_of(some), Piece(some, 5), steps=True).to_pylist()
    assert row["steps"] == [1.0, None, 3.0]
    assert row["row"] == 5
    assert row["reward"] == 4.0


def test_values_are_those_of_the_reward(tmp_path, data):
    reward = PotentialShaping(EnvReward(), height, 0.9)
    run(reward, data, tmp_path / "out.parquet", chunk=3, steps=True)
    written = pq.read_table(tmp_path / "out.parquet")
    whole = reward(next(data.chunks(100)))
    np.testing.assert_allclose(written["reward"].to_numpy(), whole.total(), rtol=1e-6)
    np.testing.assert_allclose(
        written["reward/shaping"].to_numpy(), whole.parts["shaping"].total(), rtol=1e-6, atol=1e-6
    )
    assert {"steps", "steps/of", "steps/shaping"} <= set(written.column_names)


def inverse(env_reward):
    with np.errstate(divide="ignore"):
        return 1 / env_reward


def test_what_breaks_is_told_of_its_row_alone(tmp_path, data):
    run(Function(inverse, step=True), data, tmp_path / "out.parquet", chunk=7)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    # Padding is 0 too, and breaks nothing.
    assert [row["status"] for row in rows] == ["bad_value"] + ["scored"] * 6
    assert rows[0]["error"] == "step 0: returned inf"
    np.testing.assert_allclose([row["reward"] for row in rows[1:3]], [1.0, 1.0])


def test_a_reward_that_learns_does_not_learn_here(tmp_path, data):
    reward = WeightedSum({"norm": RunningNorm(EnvReward()), "new": CountBonus(1.0)})
    learn(reward, rollouts((2, 2)))
    before = copy.deepcopy(reward.state_dict())
    assert before["parts.new._extra_state"]
    run(reward, data, tmp_path / "out.parquet")
    after = reward.state_dict()
    assert before.keys() == after.keys()
    assert all(before[key] == after[key] for key in before)
    # And what it has learned is what it scores by: episode 0 is known, the last is new.
    new = pq.read_table(tmp_path / "out.parquet")["reward/new"].to_pylist()
    assert new[0] < LENGTHS[0]
    assert new[-1] == LENGTHS[-1]


# --- going on -------------------------------------------------------------------------------------


@method("stopping", kind="signal")
class Stopping(Reward):
    """The environment's reward; counts its calls and is interrupted at one of them."""

    def __init__(self, at: int = 0) -> None:
        super().__init__()
        self.at, self.calls = at, []
        self.declare(needs={"env_reward"}, granularity="dense")

    def arguments(self):
        return {}

    def forward(self, rollouts):
        self.calls.append(rollouts["env_reward"][:, 0].tolist())
        if len(self.calls) == self.at:
            raise KeyboardInterrupt
        return EnvReward()(rollouts)


def test_it_goes_on_where_it_was_interrupted(tmp_path, data):
    out = tmp_path / "out.parquet"
    first = Stopping(at=3)
    with pytest.raises(KeyboardInterrupt):
        run(first, data, out)
    assert not out.exists()
    second = Stopping()
    # Another chunk size is no other work.
    assert run(second, data, out, chunk=3) == [4, 7]
    assert second.calls == [[4, 5, 6]]
    run(Stopping(), data, tmp_path / "whole.parquet")
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "data.hdf5",
        "out.parquet",
        "whole.parquet",
    ]
    assert Labels(out, 7, tag(Stopping(), data)).complete


def test_a_part_that_was_cut_is_made_again(tmp_path, data):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(at=3), data, out)
    folder = tmp_path / "out.parquet.parts"
    (folder / "000000000004.parquet.part").write_bytes(b"half")
    # A part after a gap is not believed either.
    pq.write_table(pa.table({"row": [6]}), folder / "000000000006.parquet")
    assert run(Stopping(), data, out)[0] == 4
    assert pq.read_table(out)["row"].to_pylist() == list(range(7))


def test_a_limit_may_grow_and_shrink(tmp_path, data):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(at=3), data, out)
    assert run(Stopping(at=1), data, out, rows=3) == [3]
    assert pq.read_table(out)["row"].to_pylist() == [0, 1, 2]
    assert run(Stopping(), data, out, rows=7)[-1] == 7
    assert pq.read_table(out)["row"].to_pylist() == list(range(7))
    # Nothing is left to do.
    assert run(Stopping(at=1), data, out, rows=7) == [7]


def test_other_labels_are_not_taken_over(tmp_path, data):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(at=3), data, out)
    labels = Labels(out, 7, "another tag")
    assert labels.stale
    assert labels.done == 0
    run(EnvReward(), data, out)
    labels = Labels(out, 7, tag(Function(odd_episode), data))
    assert not labels.complete
    assert not labels.stale


def test_the_tag_is_of_reward_data_and_options(tmp_path, data):
    tags = {
        tag(EnvReward(), data),
        tag(EnvReward("x"), data),
        tag(EnvReward(), data, 0.9),
    }
    assert len(tags) == 3
    assert tag(EnvReward(), data) in tags
    write_trajectories(data.path, rollouts((1, 1)))
    assert tag(EnvReward(), data) not in tags


def test_a_file_that_is_no_labels_is_left_alone(tmp_path, data):
    out = tmp_path / "out.parquet"
    pq.write_table(pa.table({"a": [1]}), out)
    with pytest.raises(SpecError, match="it exists and holds no labels"):
        Labels(out, 7, "tag")
    with pytest.raises(SpecError, match=r"data.hdf5: labels are written to a .parquet file"):
        Labels(data.path, 7, "tag")
    assert pq.read_table(out)["a"].to_pylist() == [1]


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot write it: Not a directory"):
        Labels(tmp_path / "file" / "out.parquet", 7, "tag")


def test_parts_with_different_columns(tmp_path):
    labels = Labels(tmp_path / "out.parquet", 2, "tag")
    labels.append(pa.table({"row": [0], "status": ["scored"]}))
    labels.append(pa.table({"row": [1], "status": ["failed"], "reward/late": [1.0]}))
    labels.finish()
    assert pq.read_table(labels.out)["reward/late"].to_pylist() == [None, 1.0]


# --- what the data has to have --------------------------------------------------------------------


def test_a_column_that_is_not_there(data):
    reward = WeightedSum({"a": EnvReward(), "speed": EnvReward("speed")})
    with pytest.raises(SpecError) as caught:
        check(reward, data, chunk=2, rows=7)
    assert str(caught.value) == (
        f"{data.path}: no column 'speed', needed by env_reward(column='speed'); columns present: "
        "action, env_reward, episode, next_obs, obs, terminated, truncated; if it has another "
        "name there, say so under `columns:` as ours: theirs"
    )


def test_a_column_of_text(tmp_path):
    path = tmp_path / "data.parquet"
    rows = [{"action": [0.0, 1.0], "info/room": ["a", "b", "c"]}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(SpecError, match="column 'room' holds text"):
        check(EnvReward("room"), Trajectories(path), chunk=1, rows=1)


def test_a_column_whose_name_ends_another_of_text(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist([{"action": [0.0], "info/suffix": ["a", "b"]}]), path)
    with pytest.raises(SpecError, match="no column 'x', needed by env_reward"):
        check(EnvReward("x"), Trajectories(path), chunk=1, rows=1)


def test_a_column_that_is_known_after_steps_only(tmp_path):
    path = tmp_path / "data.parquet"
    row = {"action": [0.0], "env_reward": [0.0], "terminated": [False], "info/x": [1.0]}
    pq.write_table(pa.Table.from_pylist([row]), path)
    reward = PotentialShaping(EnvReward(), cell, 0.9)
    with pytest.raises(SpecError, match=r"rows 0 to 0: no column 'x'.*without the reset's"):
        run(reward, Trajectories(path), tmp_path / "out.parquet")


def test_a_column_of_another_shape_is_bad_input(tmp_path):
    path = tmp_path / "data.parquet"
    row = {"action": [0.0], "env_reward": [[0.0, 1.0]]}
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(SpecError, match="rows 0 to 0: env_reward: column 'env_reward' is not"):
        run(EnvReward(), Trajectories(path), tmp_path / "out.parquet")


def test_a_broken_reward_is_told_with_its_rows(tmp_path, data):
    @method("broken", kind="signal")
    class Broken(EnvReward):
        # A subclass of one that can act: its own forward is what counts.
        def forward(self, rollouts):
            if rollouts["env_reward"][0, 0] == 4:
                raise RuntimeError("a bug")
            return super().forward(rollouts)

    with pytest.raises(RuntimeError) as caught:
        run(Broken(), data, tmp_path / "out.parquet")
    assert caught.value.__notes__ == [f"while scoring rows 4 to 5 of {data.path}"]


class Ranked(Reward):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.declare(needs={"env_reward"}, scope=width)


def test_rollouts_that_are_compared_stay_together(data):
    with pytest.raises(SpecError, match=r"chunks of 2 would part them.*--chunk 7"):
        check(Ranked("batch"), data, chunk=2, rows=7)
    check(Ranked("dataset"), data, chunk=7, rows=7)
    with pytest.raises(SpecError, match="the data has no column 'group'"):
        check(Ranked("group"), data, chunk=7, rows=7)
    check(Ranked("group"), Trajectories(data.path, names={"group": "episode"}), chunk=7, rows=7)
