"""verl 0.9.1: its own loaders, reward managers, workers and estimators around our reward."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.contracts

pytest.importorskip("verl")
import ray  # noqa: E402
import tests.five_statuses as five  # noqa: E402
from hydra import compose, initialize_config_module  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402
from verl.experimental.reward_loop import RewardLoopManager, RewardLoopWorker  # noqa: E402
from verl.protocol import DataProto  # noqa: E402
from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager  # noqa: E402

from rewardsmith.adapters import verl as ours  # noqa: E402
from rewardsmith.adapters.verl.glue import glue  # noqa: E402
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError  # noqa: E402
from rewardsmith.core.outcome import Status  # noqa: E402
from rewardsmith.core.rollouts import Rollouts  # noqa: E402
from rewardsmith.core.spec import loads  # noqa: E402

MISSING = -7.0
PACKAGE = "pkg://rewardsmith.adapters.verl"
FUNCTION = {
    "reward.custom_reward_function.path": PACKAGE,
    "reward.custom_reward_function.name": "compute_score",
}
MANAGER = {
    "reward.reward_manager.source": "importlib",
    "reward.reward_manager.name": "RewardManager",
    "reward.reward_manager.module.path": PACKAGE,
}
WAYS = {"function": FUNCTION, "manager": MANAGER}
KWARGS = "+reward.custom_reward_function.reward_kwargs."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verl")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    """Bytes as tokens: every text comes back as it was."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<end>", pad_token="<pad>")
    made.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    made.save_pretrained(folder / "model")
    return made


@pytest.fixture(scope="module")
def labels(folder: Path) -> list[dict[str, Any]]:
    return five.labels(*five.write(folder))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


def configured(folder: Path, *settings: dict[str, Any], **kwargs: Any) -> Any:
    """verl's own configuration with settings, and options for our reward."""
    given = {"actor_rollout_ref.model.path": folder / "model"}
    given |= {KWARGS + name: value for name, value in kwargs.items()}
    for more in settings:
        given |= more
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [f"{name}={value}" for name, value in given.items()])


def batch(tokenizer: Any, rows: Sequence[dict[str, Any]], texts: Sequence[str]) -> DataProto:
    """A batch as the trainer hands it over: prompts padded left, responses right."""
    prompts = [tokenizer(row["prompt"][0]["content"])["input_ids"] for row in rows]
    answers = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    wide, long = max(map(len, prompts)), max(map(len, answers))
    pad = tokenizer.pad_token_id
    tensors = {
        "prompts": [[pad] * (wide - len(ids)) + ids for ids in prompts],
        "responses": [ids + [pad] * (long - len(ids)) for ids in answers],
        "attention_mask": [
            [0] * (wide - len(p)) + [1] * (len(p) + len(a)) + [0] * (long - len(a))
            for p, a in zip(prompts, answers, strict=True)
        ],
    }
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns["raw_prompt"] = columns["prompt"]
    columns["uid"] = [row["extra_info"].get("problem", "p") for row in rows]
    return DataProto(
        batch=TensorDict({k: torch.tensor(v) for k, v in tensors.items()}, batch_size=len(rows)),
        non_tensor_batch={name: objects(values) for name, values in columns.items()},
    )


def objects(values: Sequence[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def five_batch(tokenizer: Any) -> DataProto:
    rows = ours.verl_rows(five.rows(), data_source="sums")
    return batch(tokenizer, rows, [row["completion"] for row in five.rows()])


def worked(config: Any, data: DataProto) -> list[dict[str, Any]]:
    """What verl's worker says, in this process."""

    async def scored() -> Any:
        return await RewardLoopWorker(config).compute_score_batch(data)

    found: list[dict[str, Any]] = asyncio.run(scored())
    return found


def check(found: Sequence[dict[str, Any]], labels: Sequence[dict[str, Any]]) -> None:
    assert len(found) == len(labels) == five.ROWS
    assert {label["status"] for label in labels} == {
        "scored",
        "abstained",
        "timeout",
        "failed",
        "bad_value",
    }
    for said, label in zip(found, labels, strict=True):
        extras = said["reward_extra_info"]
        expected = label["reward"] if label["status"] == "scored" else MISSING
        assert said["reward_score"] == extras["score"] == expected
        assert extras[f"status/{label['status']}"] == 1.0
        assert sum(v for name, v in extras.items() if name.startswith("status/")) == 1.0
        for part in ("condition", "of", "of/correct", "of/format"):
            has = label[f"status/{part}"] == "scored"
            assert extras[f"scored/{part}"] == has
            assert extras[f"reward/{part}"] == (label[f"reward/{part}"] if has else 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_totals(way: str, folder: Path, tokenizer: Any, labels: Any) -> None:
    config = configured(
        folder, WAYS[way], reward=folder / "reward.yaml", missing=MISSING, timeout=five.TIMEOUT
    )
    check(worked(config, five_batch(tokenizer)), labels)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_totals_from_rays_workers(
    way: str, folder: Path, tokenizer: Any, labels: Any, cluster: None
) -> None:
    config = configured(
        folder,
        WAYS[way],
        {"reward.num_workers": 2},
        reward=folder / "reward.yaml",
        missing=MISSING,
        timeout=five.TIMEOUT,
    )
    data = five_batch(tokenizer)
    manager = RewardLoopManager(config)
    try:
        paid = manager.compute_rm_score(data)
    finally:
        for worker in manager.reward_loop_workers:
            ray.kill(worker)
    totals = paid.batch["rm_scores"].sum(dim=1).tolist()
    # On the last token that counts, where verl looks for it.
    width = data.batch["prompts"].shape[1]
    last = data.batch["attention_mask"][:, width:].sum(dim=1) - 1
    assert totals == paid.batch["rm_scores"][torch.arange(len(data)), last].tolist()
    keys = paid.meta_info["reward_extra_keys"]
    extras = {name: paid.non_tensor_batch[name] for name in keys}
    assert all(column.dtype == np.float64 for column in extras.values())
    found = [
        {"reward_score": total, "reward_extra_info": {k: v[i] for k, v in extras.items()}}
        for i, total in enumerate(totals)
    ]
    check(found, labels)


# What they load


def test_verls_loaders_find_both(folder: Path, tokenizer: Any) -> None:
    file = five.write(folder)[0]
    config = configured(folder, FUNCTION, reward=file, missing=0.5)
    score = get_custom_reward_fn(config)
    row = five.rows()[0]
    said = asyncio.run(
        score(
            data_source="sums",
            solution_str=row["completion"],
            ground_truth=row["answer"],
            extra_info=row,
            reward_router_address="127.0.0.1:1",
            reward_model_tokenizer=tokenizer,
        )
    )
    assert said["status/scored"] == 1.0
    for settings in (MANAGER, FUNCTION | MANAGER):
        config = configured(folder, settings, reward=file, missing=0.5)
        assert type(load_reward_manager(config, tokenizer)) is ours.RewardManager
    # Its own name, where the module was imported.
    named = configured(
        folder, {"reward.reward_manager.name": "rewardsmith"}, reward=file, missing=0
    )
    assert type(load_reward_manager(named, tokenizer)) is ours.RewardManager


HOUSE = """
import json, time
from pathlib import Path

def counted(completion, note):
    time.sleep(0.01)
    with open(note, "a") as file:
        file.write(".")
    return float(len(completion))

def seen(completion, completion_ids, prompt, uid, num_turns, tool, ground_truth, answer, note,
         data_source, extra_info, index):
    Path(note).write_text(json.dumps([completion, completion_ids, prompt, uid, num_turns, tool,
                                      ground_truth, answer, data_source, extra_info, index]))
    return 1.0

def sometimes(completion):
    if completion == "none":
        return None
    if completion == "broken":
        raise OSError("the service is down")
    return 1.0

def needy(completion, hint):
    return 1.0

"""


@pytest.fixture(scope="module")
def house(folder: Path) -> Path:
    five.write(folder)
    (folder / "house.py").write_text(HOUSE)
    for name in ("counted", "seen", "sometimes", "needy"):
        text = f"reward: {{function: {{call: ./house.py:{name}}}}}\n"
        (folder / f"{name}.yaml").write_text(text)
    return folder


def samples(tokenizer: Any, texts: Sequence[str], **columns: Any) -> DataProto:
    rows = [{"prompt": "?", "answer": "a", **columns} for _ in texts]
    return batch(tokenizer, ours.verl_rows(rows, data_source="d"), texts)


@pytest.mark.parametrize("way", WAYS)
def test_samples_under_way_together_are_scored_once(
    way: str, house: Path, tokenizer: Any, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    texts = ["a" * (1 + i % 16) for i in range(512)]
    config = configured(house, WAYS[way], reward=house / "counted.yaml", missing=0.0)
    found = worked(config, samples(tokenizer, texts, note=str(note)))
    assert [said["reward_score"] for said in found] == [float(len(text)) for text in texts]
    assert 16 <= len(note.read_text()) <= 128


@pytest.mark.parametrize("way", WAYS)
def test_what_a_sample_without_a_score_gets(way: str, house: Path, tokenizer: Any) -> None:
    data = samples(tokenizer, ["fine", "none", "broken"])
    file = house / "sometimes.yaml"
    found = worked(configured(house, WAYS[way], reward=file, missing=0.25), data)
    assert [said["reward_score"] for said in found] == [1.0, 0.25, 0.25]
    keys = [list(said["reward_extra_info"]) for said in found]
    assert keys[0] == keys[1] == keys[2]
    strict = configured(house, WAYS[way], reward=file, missing="raise")
    assert worked(strict, data[:1])[0]["reward_score"] == 1.0
    with pytest.raises(ScoreError, match=r"failed: .*the service is down"):
        worked(strict, data[2:])
    with pytest.raises(ScoreError, match=r"abstained: .*this trainer cannot leave a row out"):
        worked(strict, data[1:2])


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_work_is_told(way: str, house: Path, tokenizer: Any) -> None:
    data = samples(tokenizer, ["fine"])
    file = house / "sometimes.yaml"
    with pytest.raises(ValueError, match=r"verl cannot leave .* \(in verl.*\.missing=raise\)"):
        worked(configured(house, WAYS[way], reward=file), data)
    with pytest.raises(SpecError, match=r"say which reward: \+reward.custom"):
        worked(configured(house, WAYS[way], missing=0.0), data)
    with pytest.raises(SpecError, match=r"nowhere.yaml: there is no such file in /.*absolute"):
        worked(configured(house, WAYS[way], reward="nowhere.yaml", missing=0.0), data)
    with pytest.raises(MissingColumn, match=r"no column 'hint', needed by .*present"):
        worked(configured(house, WAYS[way], reward=house / "needy.yaml", missing=0.0), data)
    with pytest.raises(TypeError, match="worker"):
        worked(configured(house, WAYS[way], reward=file, missing=0.0, worker=3), data)


def test_a_manager_calls_no_other_function(house: Path, tokenizer: Any) -> None:
    other = {"reward.custom_reward_function.path": "pkg://verl.utils.reward_score.gsm8k"}
    config = configured(house, MANAGER | other, reward=house / "seen.yaml", missing=0.0)
    with pytest.raises(ValueError, match="calls no other reward function: leave it out"):
        load_reward_manager(config, tokenizer)


# verl's other managers


def test_managers_that_do_not_await(house: Path, tokenizer: Any, labels: Any) -> None:
    """The legacy one, which scores the whole batch in one thread."""
    from verl.workers.reward_manager import NaiveRewardManager

    def score(**sample: Any) -> dict[str, float]:
        return ours.compute_score_sync(
            **sample, reward=house / "reward.yaml", missing=MISSING, timeout=five.TIMEOUT
        )

    data = five_batch(tokenizer)
    said = NaiveRewardManager(tokenizer, 0, score)(data, return_dict=True)
    totals, extras = said["reward_tensor"].sum(dim=1).tolist(), said["reward_extra_info"]
    check(
        [
            {"reward_score": total, "reward_extra_info": {k: v[i] for k, v in extras.items()}}
            for i, total in enumerate(totals)
        ],
        labels,
    )


def test_managers_that_do_not_await_cannot_take_the_async_one(house: Path, tokenizer: Any) -> None:
    from verl.workers.reward_manager import NaiveRewardManager

    async def score(**sample: Any) -> dict[str, float]:
        return await ours.compute_score(**sample, reward=house / "needy.yaml", missing=0.0)

    with pytest.warns(RuntimeWarning, match="never awaited"), pytest.raises(TypeError):
        NaiveRewardManager(tokenizer, 0, score)(samples(tokenizer, ["fine"]))
    remote = {"reward.reward_manager.name": "remote"}
    config = configured(house, FUNCTION | remote, reward=house / "needy.yaml", missing=0.0)
    with pytest.raises(AssertionError, match="Async reward score is not supported in remote"):
        load_reward_manager(config, tokenizer)


def test_the_rate_limited_manager_swallows_errors(house: Path, tokenizer: Any) -> None:
    limited = {"reward.reward_manager.name": "rate_limited"}
    config = configured(house, FUNCTION | limited, reward=house / "sometimes.yaml", missing="raise")
    found = worked(config, samples(tokenizer, ["fine", "broken"]))
    assert [said["reward_score"] for said in found] == [1.0, 0.0]
    assert "status/failed" not in found[1]["reward_extra_info"]


def test_the_remote_manager_has_processes_of_its_own(
    house: Path, tokenizer: Any, cluster: None
) -> None:
    config = configured(
        house,
        FUNCTION
        | {
            "reward.custom_reward_function.name": "compute_score_sync",
            "reward.reward_manager.name": "remote",
            "reward.num_workers": 1,
        },
        reward=house / "sometimes.yaml",
        missing=0.25,
    )
    found = worked(config, samples(tokenizer, ["fine", "none", "broken"]))
    assert [said["reward_score"] for said in found] == [1.0, 0.25, 0.25]


def test_an_actor_with_threads(house: Path, cluster: None) -> None:
    @ray.remote(max_concurrency=8)
    class Actor:
        def score(self, text: str) -> tuple[float, bool]:
            said = ours.compute_score_sync(
                "d", text, "a", {}, reward=house / "sometimes.yaml", missing=0.25
            )
            return said["score"], threading.current_thread() is threading.main_thread()

    actor = Actor.remote()
    found = ray.get([actor.score.remote(text) for text in ["fine", "none", "broken"] * 20])
    ray.kill(actor)
    assert [score for score, _ in found] == [1.0, 0.25, 0.25] * 20
    assert not any(main for _, main in found)


# Streaming, as its agent loop asks


def loop_of(worker: Any) -> Any:
    """What verl's agent loop reads of itself where it asks for a score."""
    return SimpleNamespace(
        reward_loop_worker_handles=[worker],
        _compute_multi_modal_inputs=lambda output, ids: {},
        _compute_position_ids=lambda ids, mask, inputs, options: torch.zeros_like(ids),
        _get_mm_processor_kwargs=lambda audios: {},
    )


def trajectory(tokenizer: Any, turns: Sequence[tuple[str, str]], **fields: Any) -> list[Any]:
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    outputs = []
    for prompt, answer in turns:
        ids = tokenizer(answer)["input_ids"]
        outputs.append(
            AgentLoopOutput(
                prompt_ids=tokenizer(prompt)["input_ids"],
                response_ids=ids,
                response_mask=[1] * len(ids),
                num_turns=3,
                metrics=AgentLoopMetrics(),
                extra_fields=dict(fields),
            )
        )
    return outputs


def test_the_agent_loop_streams_what_it_knows(
    house: Path, tokenizer: Any, tmp_path: Path, cluster: None
) -> None:
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

    config = configured(house, MANAGER, reward=house / "seen.yaml", missing=0.0)
    worker = ray.remote(RewardLoopWorker).remote(config)
    # Two sequences: verl takes the last for the whole. The first is wider, so that the end of the
    # mask does not tell the length of the second.
    outputs = trajectory(tokenizer, [("?", "a long first answer"), ("long prompt", "ok")], tool=7)
    note = tmp_path / "note"
    row = ours.verl_rows([{"prompt": "?", "answer": "a", "note": str(note)}], data_source="d")[0]
    sample = {**row, "raw_prompt": row["prompt"], "uid": "u1"}
    asyncio.run(AgentLoopWorker._compute_score(loop_of(worker), outputs, sample))
    ray.kill(worker)
    assert outputs[-1].reward_score == 1.0
    assert outputs[-1].extra_fields["reward_extra_info"]["status/scored"] == 1.0
    completion, ids, prompt, uid, turns, tool, truth, answer, source, extra, index = json.loads(
        note.read_text()
    )
    assert (completion, ids) == ("ok", tokenizer("ok")["input_ids"])
    assert prompt == [{"role": "user", "content": "?"}]
    assert (uid, turns, tool, truth, answer, source) == ("u1", 3, 7, "a", "a", "d")
    assert index == 0
    assert extra["tool"] == 7
    assert extra["num_turns"] == 3


def test_the_agent_loop_assembles_the_numbers(house: Path, tokenizer: Any, cluster: None) -> None:
    from verl.experimental.agent_loop.agent_loop import (
        AgentLoopWorker,
        _InternalAgentLoopOutput,
    )

    config = configured(house, FUNCTION, reward=house / "sometimes.yaml", missing=0.25)
    worker = ray.remote(RewardLoopWorker).remote(config)
    loop = loop_of(worker)
    inputs = []
    for text in ("fine", "none", "broken"):
        outputs = trajectory(tokenizer, [("?", text)])
        row = ours.verl_rows([{"prompt": "?", "answer": "a"}], data_source="d")[0]
        asyncio.run(AgentLoopWorker._compute_score(loop, outputs, row))
        one = outputs[0]
        ids = torch.tensor([one.response_ids + [0] * (8 - len(one.response_ids))])
        mask = torch.tensor([[1] * len(text) + [0] * (8 - len(text))])
        inputs.append(
            _InternalAgentLoopOutput(
                prompt_ids=torch.tensor([one.prompt_ids]),
                response_ids=ids,
                response_mask=mask,
                input_ids=torch.cat([torch.tensor([one.prompt_ids]), ids], dim=1),
                attention_mask=torch.cat([torch.ones(1, 1, dtype=torch.int64), mask], dim=1),
                position_ids=torch.zeros(1, 9, dtype=torch.int64),
                reward_score=one.reward_score,
                num_turns=2,
                metrics=one.metrics,
                extra_fields=one.extra_fields,
            )
        )
    ray.kill(worker)
    made = AgentLoopWorker._postprocess(loop, inputs)
    assert made.batch["rm_scores"].sum(dim=1).tolist() == [1.0, 0.25, 0.25]
    assert made.non_tensor_batch["status/abstained"].tolist() == [0.0, 1.0, 0.0]
    assert made.non_tensor_batch["status/failed"].tolist() == [0.0, 0.0, 1.0]
    assert "status/failed" in made.meta_info["reward_extra_keys"]


def test_an_empty_response_is_an_empty_completion(house: Path, tokenizer: Any) -> None:
    for width in (0, 4):
        data = DataProto(
            batch=TensorDict(
                {
                    "prompts": torch.tensor([[65]]),
                    "responses": torch.zeros(1, width, dtype=torch.int64),
                    "attention_mask": torch.tensor([[1] + [0] * width]),
                },
                batch_size=1,
            ),
            non_tensor_batch={"data_source": objects(["d"]), "reward_model": objects([{}])},
        )
        config = configured(house, MANAGER, reward=house / "sometimes.yaml", missing=0.0)
        assert worked(config, data)[0]["reward_score"] == 1.0


# What it makes of the numbers


def test_gdpo_reads_the_parts(house: Path, tokenizer: Any) -> None:
    from verl.trainer.ppo.core_algos import compute_gdpo_outcome_advantage

    parts = ["reward/of/correct", "reward/of/format"]
    config = configured(
        house,
        MANAGER
        | {
            "algorithm.adv_estimator": "gdpo",
            "+algorithm.gdpo_reward_keys": json.dumps(parts),
            "+algorithm.gdpo_reward_weights": "[1.0,0.5]",
        },
        reward=house / "reward.yaml",
        missing=0.0,
        timeout=five.TIMEOUT,
    )
    data = five_batch(tokenizer)
    found = worked(config, data)
    extras = [said["reward_extra_info"] for said in found]
    for name in extras[0]:
        data.non_tensor_batch[name] = np.array([said[name] for said in extras])
    width = data.batch["prompts"].shape[1]
    mask = data.batch["attention_mask"][:, width:]
    advantages, _ = compute_gdpo_outcome_advantage(
        torch.zeros(mask.shape),
        mask,
        data.non_tensor_batch["uid"],
        config=config.algorithm,
        non_tensor_batch=data.non_tensor_batch,
        batch=data.batch,
    )
    groups = np.array([row["problem"] for row in five.rows()])
    wanted = np.zeros(five.ROWS)
    for name, weight in zip(parts, (1.0, 0.5), strict=True):
        values = data.non_tensor_batch[name]
        for group in np.unique(groups):
            own = values[groups == group]
            wanted[groups == group] += weight * (own - own.mean()) / (own.std(ddof=1) + 1e-6)
    tokens = mask.sum(dim=1).numpy()
    mean = np.average(wanted, weights=tokens)
    spread = np.sqrt(np.average((wanted - mean) ** 2, weights=tokens))
    np.testing.assert_allclose(advantages[:, 0], (wanted - mean) / spread, atol=1e-3)


def test_an_error_costs_the_default_trainer_a_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/trainers/verl.md says of ``missing=raise``."""
    import verl.trainer.ppo.v1.agent_loop_tq as loops

    said, done = [], []

    async def put(**what: Any) -> None:
        said.append(what["tag"]["status"])

    async def session(*_: Any, session_id: int, **__: Any) -> None:
        if session_id == 1:
            raise ScoreError("failed: the service is down")
        await asyncio.sleep(0.01)
        done.append(session_id)

    monkeypatch.setattr(loops, "tq", SimpleNamespace(async_kv_put=put))
    rollout = SimpleNamespace(n=3, get=lambda *_: None)
    worker = SimpleNamespace(
        config=SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=rollout)),
        _run_agent_loop=session,
    )
    kind = loops.AgentLoopWorkerTQ.__ray_metadata__.modified_class
    asyncio.run(kind._run_prompt(worker, {"uid": "u"}, {}, {"validate": False}))
    assert said == ["running", "failure"]
    assert done == [0, 2]


def test_the_default_trainer_keeps_the_parts_from_gdpo() -> None:
    import inspect

    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    source = inspect.getsource(PPOTrainer._compute_advantage)
    assert 'non_tensor_batch["uid"]' in source
    assert source.count("non_tensor_batch[") == 1


def test_validation_averages_them(house: Path, tokenizer: Any) -> None:
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    config = configured(house, FUNCTION, reward=house / "sometimes.yaml", missing=0.0)
    found = worked(config, samples(tokenizer, ["fine", "none", "broken", "fine"]))
    extras = [said["reward_extra_info"] for said in found]
    lists = {name: [said[name] for said in extras] for name in extras[0]}
    said = process_validation_metrics(["d"] * 4, ["p", "p", "q", "q"], lists)
    assert said["d"]["score"]["mean@2"] == 0.5
    assert said["d"]["status/failed"]["mean@2"] == 0.25


# Data


def test_verl_reads_the_data_that_we_write(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    path = tmp_path / "train.parquet"
    ours.write_parquet(five.rows(), path, data_source="sums")
    settings = {"cache_dir": str(tmp_path), "filter_overlong_prompts_workers": 1}
    read = RLHFDataset(str(path), tokenizer, OmegaConf.create(settings))
    assert len(read) == five.ROWS
    some = collate_fn([read[i] for i in range(4)])
    assert some["reward_model"][3]["ground_truth"] == five.rows()[3]["answer"]
    assert some["extra_info"][3]["problem"] == five.rows()[3]["problem"]
    assert some["raw_prompt"][3] == [{"role": "user", "content": five.rows()[3]["prompt"]}]
    assert some["index"].tolist() == [0, 1, 2, 3]


# Theirs as ours


ROWS = {
    "completion": ["\\boxed{12} #### 12\nAnswer: 12", "\\boxed{3} #### 3\nAnswer: 3", "-"],
    "ground_truth": ["12", "12", "12"],
}


@pytest.mark.parametrize("name", ["gsm8k", "math_dapo", "math_reward"])
def test_verls_own_functions_are_rewards(name: str) -> None:
    from importlib import import_module

    call = import_module(f"verl.utils.reward_score.{name}").compute_score
    said = [call(*row) for row in zip(*ROWS.values(), strict=True)]
    wanted = [one["score"] if isinstance(one, dict) else one for one in said]
    assert len(set(wanted)) == 2
    text = f"reward: {{verl_reward: {{call: 'verl.utils.reward_score.{name}:compute_score'}}}}"
    scores = loads(text)(Rollouts(ROWS))
    assert scores.values.tolist() == wanted
    if isinstance(said[0], dict):
        assert json.loads(scores.info["why"][1]) == {"acc": False, "pred": "3"}


def test_verls_own_choice_is_a_reward() -> None:
    text = (
        "reward: {verl_reward: {call: 'verl.utils.reward_score:default_compute_score', "
        "reward_kwargs: {data_source: openai/gsm8k}}}"
    )
    assert loads(text)(Rollouts(ROWS)).values.tolist() == [1.0, 0.0, 0.0]
    by_row = loads(
        "reward: {verl_reward: {call: 'verl.utils.reward_score:default_compute_score'}}"
    )(Rollouts(ROWS | {"data_source": ["openai/gsm8k", "openai/gsm8k", "unheard of"]}))
    assert by_row.status.tolist() == [Status.SCORED, Status.SCORED, Status.FAILED]


# The export


def test_every_override_of_the_export_exists(tmp_path: Path) -> None:
    """Its script with another ``python``, which shows what it was given."""
    folder = tmp_path / "a run"
    folder.mkdir()
    for name, text in glue('../it\'s "my" reward.yaml').items():
        (folder / name).write_text(text)
    five.write(tmp_path)[0].rename(tmp_path / 'it\'s "my" reward.yaml')
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    fake.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{show}' \"$@\"\n")
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(folder / "run.sh"), "trainer.total_epochs=3"]
    shown = subprocess.run(
        command, env=os.environ | {"PATH": path}, check=True, capture_output=True, text=True
    ).stdout
    module, name, *overrides = json.loads(shown)
    assert [module, name] == ["-m", "verl.trainer.main_ppo"]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides)
    assert config.trainer.total_epochs == 3
    assert config.data.train_files == str(folder / "train.parquet")
    assert config.actor_rollout_ref.rollout.n == 8
    manager = load_reward_manager(config, None)
    assert type(manager) is ours.RewardManager
    assert manager.scorer.missing == "raise"
