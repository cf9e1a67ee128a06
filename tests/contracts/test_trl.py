"""TRL's trainers with rewards of ours, and its reward functions as signals."""

import asyncio
import json
import multiprocessing
import os
import pickle
import queue
import re
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tests import five_statuses

import rewardsmith as rs
from rewardsmith.adapters.trl import TRLReward, to_trl
from rewardsmith.adapters.trl.glue import glue
from rewardsmith.core import spec
from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.transforms.running import RunningNorm

pytestmark = [pytest.mark.contracts, pytest.mark.usefixtures("trl")]
G = 8
CALLS: list[int] = []


@pytest.fixture(scope="module")
def trl() -> Any:
    torch.set_num_threads(1)
    return pytest.importorskip("trl")


def length(completion: str) -> float:
    return float(len(completion))


def digits(completion: str) -> float | None:
    """How many digits; a completion of an even length is not judged."""
    CALLS.append(1)
    return float(sum(map(str.isdigit, completion))) if len(completion) % 2 else None


def breaks(completion: str) -> float:
    if len(completion) % 3 == 0:
        raise RuntimeError("the service is down")
    return 1.0


def tree() -> WeightedSum:
    parts = {"length": Function(length), "digits": Function(digits)}
    return WeightedSum(parts, {"length": 0.25, "digits": 2.0})


def trainer_of(reward_funcs: Any, out: Path, kind: str = "GRPO", **options: Any) -> Any:
    """The smallest real trainer: its model speaks tags and digits at random."""
    import trl
    from examples.addition.train import make_model, make_tokenizer, rows

    settings: dict[str, Any] = {
        "per_device_train_batch_size": 2 * G,
        "num_generations": G,
        "max_completion_length": 6,
        "max_steps": 2,
        "beta": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
    }
    return getattr(trl, f"{kind}Trainer")(
        model=make_model(0),
        reward_funcs=reward_funcs,
        args=getattr(trl, f"{kind}Config")(output_dir=str(out), **(settings | options)),
        train_dataset=rows([(a, b) for a in range(5) for b in range(5)]),
        processing_class=make_tokenizer(),
    )


def asked(trainer: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """What a trainer's own code gets from its reward functions."""
    prompts, completions = ([row[key] for row in rows] for key in ("prompt", "completion"))
    inputs = [{k: v for k, v in row.items() if k != "completion"} for row in rows]
    ids = [[1, 2] for _ in rows]
    return trainer._calculate_rewards(inputs, prompts, completions, ids)


# --- the same totals ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    reward, data = five_statuses.write(tmp_path_factory.mktemp("five"))
    return reward, five_statuses.labels(reward, data)


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_the_same_totals(kind: str, five: Any, tmp_path: Path) -> None:
    file, labels = five
    reward = to_trl(file, timeout=five_statuses.TIMEOUT)
    trainer = trainer_of(reward, tmp_path, kind)
    found = asked(trainer, five_statuses.rows())
    assert found.shape == (512, 1)
    assert [None if v != v else v for v in found[:, 0].tolist()] == [r["reward"] for r in labels]
    logged = {name: values[0] for name, values in trainer._pending_metrics.items()}
    for status in ("scored", "abstained", "timeout", "failed", "bad_value"):
        share = sum(row["status"] == status for row in labels) / 512
        assert logged[f"status/{status}"] == share > 0
    for part in ("condition", "of", "of/correct", "of/format"):
        values = [v for row in labels if (v := row[f"reward/{part}"]) is not None]
        assert logged[f"reward/{part}"] == pytest.approx(statistics.fmean(values))
        assert logged[f"scored/{part}"] == len(values) / 512
    extra = trainer._pending_extra_logs
    assert extra["status"] == [row["status"] for row in labels]
    assert extra["reward/of/correct"] == [row["reward/of/correct"] for row in labels]


def test_the_worker_of_asynchronous_grpo_gets_the_same(five: Any) -> None:
    from accelerate import PartialState
    from trl.experimental.async_grpo import async_rollout_worker as worker

    PartialState(cpu=True)  # its logger wants one
    file, labels = five
    rows = five_statuses.rows()
    for options in ({}, {"asynchronous": True}):
        functions = [to_trl(file, timeout=five_statuses.TIMEOUT, **options)]
        for first in (0, 200):  # one row abstains; one is a bad value, and one abstains
            some, told = rows[first : first + G], labels[first : first + G]
            loop = SimpleNamespace(
                reward_funcs=functions,
                reward_func_names=["total"],
                _env_reward_types=[],
                _provides_rollout_reward=False,
            )
            group = worker.RolloutGroup(
                prompts=[row["prompt"] for row in some],
                reward_kwargs={key: [row[key] for row in some] for key in ("answer", "problem")},
                completions=[row["completion"] for row in some],
                completions_ids=[[1]] * G,
                completions_sequences=[
                    [SimpleNamespace(input_ids=[1], completion_mask=[1], old_log_probs=[0.0])]
                ]
                * G,
                tool_call_counts=[0] * G,
                tool_failure_counts=[0] * G,
                model_version=0,
                group_id=0,
                env_rewards=[None] * G,
                rollout_rewards=[None] * G,
            )
            samples = asyncio.run(worker._AsyncRolloutLoop._score_group(loop, group))
            found = [sample.metrics["reward"] for sample in samples]
            assert [None if v != v else v for v in found] == [row["reward"] for row in told]
            unscored = [
                sample.advantage for sample, v in zip(samples, found, strict=True) if v != v
            ]
            assert unscored == [0.0] * (2 if first else 1)


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_parts_add_up_to_the_total_from_one_evaluation(asynchronous: bool, tmp_path: Path) -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    functions = to_trl(tree(), split=True, asynchronous=asynchronous, executor="inline")
    assert [is_async_callable(f) for f in functions] == [asynchronous] * 2
    assert [get_callable_name(f) for f in functions] == ["length", "digits"]
    trainer = trainer_of(functions, tmp_path)
    assert trainer._has_async_funcs == asynchronous
    rows = [{"prompt": "p", "completion": "1" * n, "answer": "0"} for n in range(16)]
    CALLS.clear()
    found = asked(trainer, rows)
    assert len(CALLS) == 16
    assert asked(trainer, rows).nan_to_num(-1).equal(found.nan_to_num(-1))
    assert len(CALLS) == 32
    whole = tree()(Rollouts({"completion": [row["completion"] for row in rows]}))
    assert found.nansum(dim=1).tolist() == whole.total().tolist()
    assert found[:, 1].isnan().tolist() == [n % 2 == 0 for n in range(16)]


def test_own_scores_and_weights_for_gdpo(tmp_path: Path) -> None:
    functions = to_trl(tree(), split=True, weighted=False, executor="inline")
    weights = [f.weight for f in functions]
    assert weights == [0.25, 2.0]
    trainer = trainer_of(
        functions,
        tmp_path,
        reward_weights=weights,
        multi_objective_aggregation="normalize_then_sum",
        max_steps=1,
    )
    seen = spied(trainer)
    trainer.train()
    rewards, advantages, texts = seen[0]
    assert rewards[:, 0].tolist() == [length(text) for text in texts]
    assert [None if v != v else v for v in rewards[:, 1].tolist()] == [digits(t) for t in texts]
    total = torch.zeros(2 * G)
    for weight, own in zip(weights, rewards.T, strict=True):
        for group in range(2):
            rows = slice(group * G, group * G + G)
            known = own[rows][~own[rows].isnan()]
            normal = (own[rows] - known.mean()) / (known.std() + 1e-4)
            total[rows] += weight * normal.nan_to_num(0.0)
    expected = (total - total.mean()) / (total.std() + 1e-4)
    assert torch.allclose(advantages, expected, atol=1e-4)


def spied(trainer: Any) -> list[tuple[torch.Tensor, torch.Tensor, list[str]]]:
    """The rewards, the advantages and the completions of each batch that the trainer makes."""
    seen: list[tuple[torch.Tensor, torch.Tensor, list[str]]] = []
    held: list[torch.Tensor] = []
    rewards_of, batch_of = trainer._calculate_rewards, trainer._generate_and_score_completions

    def rewards(*arguments: Any) -> torch.Tensor:
        held.append(rewards_of(*arguments))
        return held[-1].clone()

    def batch(inputs: Any) -> Any:
        made = batch_of(inputs)
        # TRL keeps those of the last batch there, of all ranks.
        seen.append((held[-1], made["advantages"].clone(), list(trainer._logs["completion"])))
        return made

    trainer._calculate_rewards, trainer._generate_and_score_completions = rewards, batch
    return seen


# --- rows without a score -------------------------------------------------------------------------


def test_rows_without_a_score_have_no_advantage_and_no_part_in_the_baseline(
    tmp_path: Path,
) -> None:
    trainer = trainer_of(to_trl(Function(digits), executor="inline"), tmp_path, max_steps=1)
    seen = spied(trainer)
    trainer.train()
    rewards, advantages = seen[0][0][:, 0], seen[0][1]
    assert 0 < rewards.isnan().sum() < 2 * G
    for group in range(2):
        own, given = (x[group * G : group * G + G] for x in (rewards, advantages))
        known = ~own.isnan()
        assert given[~known].tolist() == [0.0] * int((~known).sum())
        expected = (own[known] - own[known].mean()) / (own[known].std() + 1e-4)
        assert torch.allclose(given[known], expected, atol=1e-4)


# --- logs -----------------------------------------------------------------------------------------


def test_metrics_and_the_table_of_completions(tmp_path: Path) -> None:
    functions = [to_trl(tree(), executor="inline"), to_trl(tree(), name="b", executor="inline")]
    trainer = trainer_of(functions, tmp_path, log_completions=True)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(history) == 2
    keys = [{k for k in e if k.startswith(("reward/", "scored/", "status/"))} for e in history]
    assert keys[0] == keys[1]
    assert keys[0] == {
        *(f"{kind}/{part}" for kind in ("reward", "scored") for part in ("length", "digits")),
        *(f"status/{name}" for name in ("scored", "abstained", "timeout", "failed", "bad_value")),
    }
    for step, entry in enumerate(history, 1):
        table = pq.read_table(tmp_path / "completions" / f"completions_{step:05d}.parquet")
        rows = table.to_pylist()
        own = [digits(row["completion"]) for row in rows]
        assert [row["reward/digits"] for row in rows] == own
        assert [row["b/reward/digits"] for row in rows] == own
        assert {row["status"] for row in rows} == {"scored"}
        known = [value for value in own if value is not None]
        assert entry["reward/digits"] == pytest.approx(statistics.fmean(known))
        assert entry["b/scored/digits"] == pytest.approx(len(known) / len(own))
        assert entry["rewards/total/mean"] == entry["rewards/b/mean"]


def test_a_part_that_nobody_scored_keeps_its_key(tmp_path: Path) -> None:
    tree = WeightedSum({"a": Function(length), "b": Function(silent)})
    trainer = trainer_of(to_trl(tree, executor="inline"), tmp_path)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert [entry["reward/b"] for entry in history] == [None, None]
    assert [entry["scored/b"] for entry in history] == [0.0, 0.0]


def silent(completion: str) -> None:
    return None


def test_why_rows_broke_is_in_the_table_and_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(
        to_trl(Function(breaks), executor="inline"), tmp_path, log_completions=True, max_steps=1
    )
    trainer.train()
    rows = pq.read_table(tmp_path / "completions" / "completions_00001.parquet").to_pylist()
    broke = [len(row["completion"]) % 3 == 0 for row in rows]
    assert 0 < sum(broke) < len(rows)
    why = "raised RuntimeError: the service is down"
    assert [row["error"] for row in rows] == [why if there else None for there in broke]
    said = [r.getMessage() for r in caplog.records if r.name.startswith("rewardsmith")]
    assert len(said) == 1
    assert said[0].startswith(f"a row broke; row {broke.index(True)}: failed: {why}")


def test_two_rewards_without_a_name_are_told(tmp_path: Path) -> None:
    functions = [to_trl(Function(call), executor="inline") for call in (length, digits)]
    with pytest.warns(UserWarning, match="two rewards of one trainer are called 'total'"):
        trainer_of(functions, tmp_path, max_steps=1).train()


def test_groups_of_one_prompt_by_the_trainers_number(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "1" * n, "answer": "0"} for n in range(2 * G)]
    trainer = trainer_of(to_trl(AboveMean(), executor="inline"), tmp_path / "a")
    with pytest.raises(rs.SpecError, match=r"same prompt.*num_generations"):
        asked(trainer, rows)
    by_number = to_trl(AboveMean(), executor="inline", num_generations=G)
    found = asked(trainer_of(by_number, tmp_path / "b"), rows)[:, 0]
    assert found.tolist() == [n - (G - 1) / 2 for n in range(G)] * 2


# --- learning -------------------------------------------------------------------------------------


def state_of(reward: Reward) -> str:
    """All that it knows, in full."""
    return json.dumps(reward.state_dict(), default=lambda value: value.tolist())


def test_neither_training_nor_evaluation_changes_a_reward_that_learns(tmp_path: Path) -> None:
    parts = {"length": RunningNorm(Function(length)), "digits": RunningNorm(Function(digits))}
    reward = WeightedSum(parts)
    seen: list[str] = []

    def spy(completions: Any, **given: Any) -> list[float]:
        seen.extend(completions)
        return [0.0] * len(completions)

    rs.learn(reward, Rollouts({"completion": ["1", "22"]}))
    before = state_of(reward)
    with pytest.warns(UserWarning, match="does not learn here"):
        functions = to_trl(reward, split=True, executor="inline")
    trainer = trainer_of([*functions, spy], tmp_path, per_device_eval_batch_size=2 * G)
    trainer.train()
    trained, texts = state_of(reward), len(seen)
    trainer.evaluate(trainer.train_dataset)
    evaluated = state_of(reward)
    assert 0 < texts < len(seen)
    assert before == trained == evaluated
    # These very completions would have changed it.
    for some in (seen[:texts], seen[texts:]):
        rs.learn(reward, Rollouts({"completion": some}))
        after = state_of(reward)
        assert after != before
        before = after


def test_a_reward_itself_is_taken_for_a_model(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="config"):
        trainer_of(tree(), tmp_path)


# --- several ranks --------------------------------------------------------------------------------


class AboveMean(Reward):
    """A completion's length, less the mean length of its group."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs={"completion"}, scope="group")

    def forward(self, rollouts: Rollouts) -> Scores:
        lengths = torch.tensor([float(len(text)) for text in rollouts["completion"]])
        counts = rollouts.group.bincount()
        means = torch.zeros(len(counts)).index_add(0, rollouts.group, lengths) / counts
        return Scores.outcome(lengths - means[rollouts.group])


def on_rank_0(completion: str) -> float | None:
    return None if os.environ["RANK"] == "1" else float(len(completion))


def not_on_rank_1(completion: str) -> float:
    if os.environ["RANK"] == "1":
        raise RuntimeError("the service is down")
    return 1.0


def rank_main(rank: int, port: int, out: Path) -> None:
    """What each of two processes does; it writes what it saw."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "true",
    }
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    parts = {"above": AboveMean(), "zero": Function(on_rank_0), "none": Function(silent)}
    weights = {"above": 1.0, "zero": 0.0, "none": 1.0}
    # Four rows on each rank: the two of them have the halves of one group.
    options = {"per_device_train_batch_size": G // 2, "num_generations": G, "max_steps": 3}
    # The eight rows of a step are one group, which equal prompts alone do not say.
    reward = to_trl(WeightedSum(parts, weights), executor="inline", num_generations=G)
    trainer = trainer_of(reward, out / str(rank), **options)
    assert trainer.accelerator.num_processes == 2
    metrics: list[dict[str, float]] = []
    log_metric = trainer._log_metric

    def spy(name: str, value: float) -> None:
        if name == "status/scored":
            metrics.append({})
        metrics[-1][name] = value
        log_metric(name, value)

    trainer._log_metric = spy
    seen = spied(trainer)
    trainer.train()
    found["rewards"] = [rewards[:, 0].tolist() for rewards, _, _ in seen]
    found["texts"] = [texts for _, _, texts in seen]
    found["metrics"] = metrics
    found["logged"] = [entry for entry in trainer.state.log_history if "reward" in entry]
    for name, reward in {
        "one": to_trl(Function(not_on_rank_1), missing="raise", executor="inline"),
        "column": to_trl(rs.signals.MathAnswer(gold="nowhere"), executor="inline"),
    }.items():
        try:
            trainer_of(reward, out / str(rank), **options).train()
        except Exception as error:  # noqa: BLE001 - what is raised is what is tested
            found[name] = f"{type(error).__name__}: {error}"
    parts = {"length": Function(length), "zero": Function(on_rank_0), "none": Function(silent)}
    apart = to_trl(WeightedSum(parts), asynchronous=True, executor="inline")
    trainer = trainer_of(apart, out / str(rank), **(options | {"max_steps": 1}))
    seen = spied(trainer)
    trainer.train()
    found["apart"] = seen[0][2], trainer.state.log_history[0]
    later = to_trl(AboveMean(), asynchronous=True, executor="inline")
    try:
        asyncio.run(later(["p"] * G, ["c"] * G))
    except rs.SpecError as error:
        found["asynchronous"] = str(error)
    (out / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(rank_main, args=(port, out), nprocs=2)
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def test_a_group_across_two_ranks(two_ranks: list[dict[str, Any]]) -> None:
    first, second = two_ranks
    assert first["rewards"] == second["rewards"]
    for step, rewards in enumerate(first["rewards"]):
        lengths = [len(text) for text in first["texts"][step]]
        mean = statistics.fmean(lengths)
        assert rewards == pytest.approx([length - mean for length in lengths], abs=1e-5)
        assert len(set(lengths)) > 1


def test_two_ranks_log_the_same_keys_and_global_means(two_ranks: list[dict[str, Any]]) -> None:
    for step, (one, other) in enumerate(zip(*(r["metrics"] for r in two_ranks), strict=True)):
        assert list(one) == list(other) == list(two_ranks[0]["metrics"][0])
        texts = two_ranks[0]["texts"][step][: G // 2]
        for found in (one, other):
            assert found["reward/zero"] == statistics.fmean(map(len, texts))
            assert found["scored/zero"] == 0.5
            assert found["reward/none"] != found["reward/none"]
    logged = two_ranks[0]["logged"]
    assert len(logged) == 3
    assert all(entry["scored/none"] == 0.0 and entry["reward/none"] is None for entry in logged)
    assert all(entry["scored/zero"] == 0.5 for entry in logged)


def test_what_fails_on_one_rank_is_raised_on_both(two_ranks: list[dict[str, Any]]) -> None:
    first, second = two_ranks
    assert "rank 1 of 2 raised ScoreError" in first["one"]
    assert "the service is down" in first["one"]
    assert second["one"].startswith("ScoreError: the reward, row 0: failed: raised RuntimeError")
    for found in two_ranks:
        assert "no column 'nowhere'" in found["column"]
        assert "answer" in found["column"]


def test_what_asynchronous_rewards_log_trl_averages(two_ranks: list[dict[str, Any]]) -> None:
    for texts, logged in (found["apart"] for found in two_ranks):
        lengths = [len(text) for text in texts]
        assert logged["reward/length"] == pytest.approx(statistics.fmean(lengths))
        assert logged["reward/zero"] == pytest.approx(statistics.fmean(lengths[: G // 2]))
        assert logged["scored/zero"] == 0.5
        assert logged["scored/none"] == 0.0
        assert "reward/none" not in logged


def test_asynchronous_groups_on_two_ranks_are_refused(two_ranks: list[dict[str, Any]]) -> None:
    for found in two_ranks:
        assert "asynchronous=False" in found["asynchronous"]


# --- processes ------------------------------------------------------------------------------------


def child_main(sent: bytes, answers: Any) -> None:
    functions = pickle.loads(sent)
    prompts, completions = ["p"] * 2, ["<answer>4</answer>", "<answer>5</answer>"]
    answers.put([f(prompts, completions, answer=["4", "4"]) for f in functions])


def test_the_daemonic_child_of_asynchronous_grpo_scores(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text(
        "reward: {weighted_sum: {weights: {right: 1, form: 0.5}, parts: {right: {math_answer: {}},"
        " form: {tag_format: {tags: [answer]}}}}}\n"
    )
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    sent = pickle.dumps([to_trl(file), *to_trl(file, split=True)])
    child = context.Process(target=child_main, args=(sent, answers), daemon=True)
    child.start()
    try:
        found = answers.get(timeout=120)
    except queue.Empty:
        pytest.fail(f"no answer; the child exited with {child.exitcode}")
    assert found == [[1.5, 0.5], [1.0, 0.0], [0.5, 0.5]]
    child.join(30)
    assert child.exitcode == 0


# --- theirs as ours -------------------------------------------------------------------------------

THOUGHT = "<think>\nfour\n</think>\n\\boxed{4}"


def test_rewards_of_trl_through_yaml(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text(
        "reward:\n  weighted_sum:\n    parts:\n"
        "      form: {trl_reward: {call: 'trl.rewards:think_format_reward', chat: true}}\n"
        "      right: {trl_reward: {call: 'trl.rewards:accuracy_reward', chat: true}}\n"
        "      short: {trl_reward: {call: './own.py:short'}}\n"
    )
    (tmp_path / "own.py").write_text(
        "from trl.rewards import get_soft_overlong_punishment\n"
        "short = get_soft_overlong_punishment(max_completion_len=4, soft_punish_cache=2)\n"
    )
    columns = {
        "completion": [THOUGHT, "4", THOUGHT],
        "solution": ["\\boxed{4}", "\\boxed{4}", "no maths"],
        "completion_ids": [[1], [1] * 3, [1] * 9],
    }
    for reward in (spec.load(file), spec.loads(spec.dumps(spec.load(file)))):
        scores = reward(Rollouts(columns))
        assert scores.parts["form"].values.tolist() == [1.0, 0.0, 1.0]
        assert scores.parts["right"].values.tolist() == [1.0, 0.0, 0.0]
        assert scores.parts["right"].scored.tolist() == [True, True, False]
        assert scores.parts["short"].values.tolist() == [0.0, -0.5, -1.0]
        assert scores.values.tolist() == [2.0, -0.5, 0.0]


def test_a_reward_of_trl_inside_a_reward_of_ours_in_a_trainer(tmp_path: Path) -> None:
    import trl.rewards

    theirs = TRLReward(trl.rewards.think_format_reward)
    functions = pickle.loads(pickle.dumps(to_trl(theirs)))
    trainer = trainer_of([functions, trl.rewards.think_format_reward], tmp_path)
    rows = [
        {"prompt": "p", "completion": [{"role": "assistant", "content": text}], "answer": "0"}
        for text in (THOUGHT, "4")
    ]
    assert asked(trainer, rows).tolist() == [[1.0, 1.0], [0.0, 0.0]]


# --- what is exported -----------------------------------------------------------------------------


def test_the_exported_script_trains(tmp_path: Path) -> None:
    from examples.addition.train import make_model, make_tokenizer

    (tmp_path / "reward.yaml").write_text("reward: {math_answer: {}}\n")
    out = tmp_path / "glue"
    out.mkdir()
    (out / "train.jsonl").write_text('{"prompt": "1+2=", "answer": "3"}\n' * 4)
    for saved in (make_model(0), make_tokenizer()):
        saved.save_pretrained(out / "model")
    text = glue("../reward.yaml")["train.py"]
    assert "generations = 8" in text
    # What fits this model, and nothing else, is changed.
    text = re.sub('MODEL = ".*"', 'MODEL = str(Path(__file__).with_name("model"))', text)
    text = text.replace("max_completion_length=256", "max_completion_length=6, max_steps=1")
    text = text.replace("log_completions=True,", "use_cpu=True, bf16=False, report_to='none',")
    (out / "train.py").write_text(text)
    run = subprocess.run(
        [sys.executable, "train.py"], cwd=out, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (out / "run" / "checkpoint-1").exists()


# --- the example ----------------------------------------------------------------------------------


def test_the_example_learns() -> None:
    from examples.addition.train import train

    found = train(0, steps=150)
    assert found["cold"] < 0.05
    assert found["before"] < 0.5
    assert found["after"] > found["before"] + 0.15
    assert len(found["evaluations"]) == 3
    assert found["kept"]
