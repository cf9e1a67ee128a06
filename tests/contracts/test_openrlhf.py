"""OpenRLHF's own executors and sample generator, with our reward behind all three doors."""

import asyncio
import importlib.util
import logging
import socket
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import five_statuses

from rewardsmith.adapters.openrlhf import RewardFunction, agent_executor
from rewardsmith.adapters.openrlhf.glue import glue
from rewardsmith.core.errors import ScoreError

pytestmark = pytest.mark.contracts
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
DOORS = ("function", "agent", "server")


def tokenizer_of(**parts: Any) -> Any:
    """A tokenizer of bytes, with the special tokens of a chat model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(made, name, part)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_of()


class Engine:
    """Generates one given completion, as token ids that end with the model's end."""

    def __init__(self, tokenizer: Any, completion: str) -> None:
        self.tokens = tokenizer(completion + "<|im_end|>")["input_ids"]

    async def generate(self, prompt: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        made = SimpleNamespace(token_ids=self.tokens, text="", finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[made])


def params(most: int | None = None) -> Any:
    return SimpleNamespace(max_tokens=most, logprobs=None)


def asked(executor: Any, tokenizer: Any, rows: list[dict[str, Any]], **more: Any) -> list[Any]:
    """What an executor makes of rows, all under way together."""

    async def run() -> list[Any]:
        return await asyncio.gather(
            *(
                executor.execute(
                    prompt=CHAT.format(row["prompt"]),
                    label=row.get("answer", ""),
                    sampling_params=params(more.get("most")),
                    max_length=more.get("length", 4096),
                    hf_tokenizer=tokenizer,
                    llm_engine=Engine(tokenizer, row["completion"]),
                )
                for row in rows
            )
        )

    return asyncio.run(run())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: Any) -> Path:
    """A folder with the reward, the rows and the generated files, which give -1 for no score."""
    folder: Path = tmp_path_factory.mktemp("exported")
    five_statuses.write(folder)
    for name, text in glue("reward.yaml").items():
        decided = f"missing=-1.0, timeout={five_statuses.TIMEOUT},"
        (folder / name).write_text(
            text.replace('missing="raise",', decided).replace("5000", str(PORT)), encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="module")
def labels(exported: Path) -> list[dict[str, Any]]:
    return five_statuses.labels(exported / "reward.yaml", exported / "rows.jsonl")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


PORT = free_port()
URL = f"http://127.0.0.1:{PORT}/get_reward"


@pytest.fixture(scope="module")
def served(exported: Path) -> Iterator[str]:
    """The generated server, as its file is run."""
    process = subprocess.Popen([sys.executable, str(exported / "serve.py")])
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as answer:
                    assert b'"status":"ok"' in answer.read()
                    break
            except OSError:
                time.sleep(0.1)
        yield URL
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def executor(request: Any, exported: Path) -> Any:
    from openrlhf.utils.agent import AgentExecutorBase, SingleTurnAgentExecutor

    if request.param == "function":
        return SingleTurnAgentExecutor([str(exported / "reward_func.py")])
    if request.param == "server":
        return SingleTurnAgentExecutor([request.getfixturevalue("served")])
    spec: Any = importlib.util.spec_from_file_location("agent_module", exported / "agent_func.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert issubclass(module.AgentExecutor, AgentExecutorBase)
    return module.AgentExecutor()


def plain(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)


@pytest.mark.parametrize("executor", DOORS, indirect=True)
def test_the_same_totals(executor: Any, tokenizer: Any, labels: list[dict[str, Any]]) -> None:
    found = asked(executor, tokenizer, five_statuses.rows())
    assert {label["status"] for label in labels} == {
        "scored",
        "abstained",
        "timeout",
        "failed",
        "bad_value",
    }
    for output, label in zip(found, labels, strict=True):
        scored = label["status"] == "scored"
        assert plain(output["reward"]) == (label["reward"] if scored else -1.0)
        assert plain(output["scores"]) == plain(output["reward"])
        logs = {name: plain(value) for name, value in output["extra_logs"].items()}
        assert logs[f"status/{label['status']}"] == 1.0
        assert sum(value for name, value in logs.items() if name.startswith("status/")) == 1.0
        for part in ("condition", "of", "of/correct", "of/format"):
            known = label[f"status/{part}"] == "scored"
            assert logs[f"scored/{part}"] == known
            assert logs[f"reward/{part}"] == (label[f"reward/{part}"] if known else 0.0)


class Ray:
    """As much of ray as the sample generator asks of it: everything is there at once."""

    @staticmethod
    def get(refs: Any) -> Any:
        return refs

    @staticmethod
    def wait(refs: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return refs[:num_returns], refs[num_returns:]


@pytest.fixture
def trainer(monkeypatch: Any) -> Any:
    """OpenRLHF's sample generator and experience maker, without what they are run by."""
    # They are imported for what this test does not reach: the GPU workers and their models.
    for name in ("deepspeed", "openrlhf.models", "openrlhf.trainer.ray"):
        stub = types.ModuleType(name)
        stub.__path__ = []
        monkeypatch.setitem(sys.modules, name, stub)
    vllm = SimpleNamespace(SamplingParams=lambda **given: SimpleNamespace(**given))
    engine = SimpleNamespace(batch_vllm_engine_call=None)
    launcher = SimpleNamespace(RayActorGroup=None)
    monkeypatch.setitem(sys.modules, "ray", Ray())
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "openrlhf.trainer.ray.vllm_engine", engine)
    monkeypatch.setitem(sys.modules, "openrlhf.trainer.ray.launcher", launcher)
    import openrlhf

    path = Path(openrlhf.__path__[0]) / "models" / "utils.py"
    spec: Any = importlib.util.spec_from_file_location("openrlhf.models.utils", path)
    utils = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "openrlhf.models.utils", utils)
    spec.loader.exec_module(utils)
    names = ("samples_generator", "experience_maker")
    for name in names:
        monkeypatch.delitem(sys.modules, f"openrlhf.trainer.ppo_utils.{name}", raising=False)
    made = [importlib.import_module(f"openrlhf.trainer.ppo_utils.{name}") for name in names]
    return SimpleNamespace(generator=made[0].SamplesGenerator, maker=made[1].RemoteExperienceMaker)


GROUP = five_statuses.GROUP


def settings() -> Any:
    return SimpleNamespace(
        rollout=SimpleNamespace(n_samples_per_prompt=GROUP, micro_batch_size=3),
        algo=SimpleNamespace(
            dynamic_filtering_range=(0.0, 1.0),
            advantage=SimpleNamespace(is_correction_level="off", estimator="dr_grpo", gamma=1.0),
        ),
        train=SimpleNamespace(dynamic_batch_enable=False),
        reward=SimpleNamespace(clip_range=(-10, 10)),
        data=SimpleNamespace(max_len=4096),
    )


class Remote:
    """A rollout actor that is here: each prompt's completions, one after the other."""

    def __init__(self, executor: Any, rows: list[dict[str, Any]]) -> None:
        self.executor = executor
        self.completions = {CHAT.format(row["prompt"]): [] for row in rows}
        for row in rows:
            self.completions[CHAT.format(row["prompt"])].append(row["completion"])
        self.generate_responses = SimpleNamespace(remote=self._generate)
        self.get_num_unfinished_requests = SimpleNamespace(remote=lambda: 0)

    def _generate(self, prompt: str, label: str, num_samples: int, **given: Any) -> list[Any]:
        assert num_samples == len(self.completions[prompt])
        given |= {"images": None, "prompt": prompt, "label": label}

        async def run() -> list[Any]:
            engines = [Engine(given["hf_tokenizer"], c) for c in self.completions[prompt]]
            return await asyncio.gather(
                *(self.executor.execute(llm_engine=engine, **given) for engine in engines)
            )

        return asyncio.run(run())


def generated(trainer: Any, executor: Any, tokenizer: Any, rows: list[Any], keep: bool) -> Any:
    """Experiences of rows through OpenRLHF's generator; ``keep`` all, or filter groups."""
    strategy = SimpleNamespace(args=settings())
    remote = Remote(executor, rows)
    generator = trainer.generator(strategy, None, None, tokenizer, [remote])
    gold = {CHAT.format(row["prompt"]): row["answer"] for row in rows}
    batches = iter([(None, [prompt], [answer], [None]) for prompt, answer in gold.items()])
    found, _, _ = generator._generate_vllm(
        dataloader_iter=batches,
        num_prompts=len(gold),
        dynamic_filtering=not keep,
        max_len=4096,
    )
    return found


@pytest.mark.parametrize("executor", DOORS, indirect=True)
def test_rewards_and_parts_reach_the_advantages(
    executor: Any, tokenizer: Any, trainer: Any, labels: list[dict[str, Any]]
) -> None:
    # Two groups, of which the first has a row that abstains.
    rows, told = five_statuses.rows()[: 2 * GROUP], labels[: 2 * GROUP]
    samples = generated(trainer, executor, tokenizer, rows, keep=True)
    assert len(samples) == len(rows)
    maker = trainer.maker(
        None,
        None,
        None,
        None,
        SimpleNamespace(value=0.0),
        SimpleNamespace(args=settings()),
        tokenizer,
    )
    batches = maker.split_rollout_samples(samples)
    for batch in batches:
        batch.kl = torch.zeros(batch.action_mask.shape)
    maker.compute_advantages_and_returns(batches)
    rewards = torch.tensor([-1.0 if r["reward"] is None else r["reward"] for r in told])
    assert torch.equal(torch.cat([batch.rewards for batch in batches]).flatten(), rewards)
    groups = rewards.reshape(-1, GROUP)
    centered = (groups - groups.mean(dim=1, keepdim=True)).flatten()
    returns = torch.cat([batch.info["return"] for batch in batches])
    torch.testing.assert_close(returns, centered)
    for name in ("status/abstained", "reward/of/correct", "scored/of/correct", "reward/condition"):
        logged = torch.cat([batch.info[name] for batch in batches]).flatten()
        expected = {
            "status/abstained": [float(r["status"] == "abstained") for r in told],
            "reward/of/correct": [r["reward/of/correct"] for r in told],
            "scored/of/correct": [1.0] * len(told),
            "reward/condition": [r["reward/condition"] or 0.0 for r in told],
        }
        assert logged.tolist() == pytest.approx(expected[name])
    # Apart and together again, as batches are balanced over ranks.
    from openrlhf.trainer.ppo_utils.experience import make_experience_batch, split_experience_batch

    items = [item for batch in batches for item in split_experience_batch(batch)]
    again = make_experience_batch(items)
    assert again.rewards.flatten().tolist() == rewards.tolist()


@pytest.mark.parametrize("door", ["function", "agent"])
def test_dynamic_filtering_reads_the_part_that_is_named(
    door: str, exported: Path, tokenizer: Any, trainer: Any, labels: list[dict[str, Any]]
) -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    function = RewardFunction(
        exported / "reward.yaml", missing=0.0, score_part="of/correct", executor="inline"
    )
    executor = SingleTurnAgentExecutor() if door == "function" else agent_executor(function)()
    if door == "function":
        executor.reward_endpoints, executor.reward_func = ["reward_func.py"], function
    rows = five_statuses.rows()[: 6 * GROUP]
    # One group of right answers only: nothing to learn from.
    for row in rows[:GROUP]:
        row["completion"] = f"<think>.</think><answer>{row['answer']}</answer>"
    kept = generated(trainer, executor, tokenizer, rows, keep=False)
    right = [float(label["reward/of/correct"]) for label in labels[GROUP : 6 * GROUP]]
    means = [1.0, *(sum(right[i : i + GROUP]) / GROUP for i in range(0, len(right), GROUP))]
    prompts = [CHAT.format(row["prompt"]) for row in rows[::GROUP]]
    mixed = [prompt for prompt, mean in zip(prompts, means, strict=True) if 0 < mean < 1]
    assert 0 < len(mixed) < len(prompts)
    assert [sample.prompts[0] for sample in kept[::GROUP]] == mixed


def test_what_raising_does(
    exported: Path, tokenizer: Any, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    function = RewardFunction(exported / "reward.yaml", missing="raise", executor="inline")
    executor = SingleTurnAgentExecutor()
    executor.reward_endpoints, executor.reward_func = ["reward_func.py"], function
    rows = five_statuses.rows()[128:136]
    with caplog.at_level(logging.ERROR, logger="rewardsmith"):
        samples = generated(trainer, executor, tokenizer, rows, keep=True)
    message = "part 'condition': failed: raised RuntimeError: the service is down"
    assert message in caplog.text
    # OpenRLHF itself goes on without that reward, and fails where batches are made.
    assert [sample.rewards is None for sample in samples] == [False, False, True] + [False] * 5
    maker = trainer.maker(None, None, None, None, None, SimpleNamespace(args=settings()), tokenizer)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'size'"):
        maker.split_rollout_samples(samples)
    # In an executor of ours, the cause comes out where it is.
    with pytest.raises(ScoreError, match=message):
        generated(trainer, agent_executor(function)(), tokenizer, rows, keep=True)


def prompts_that_change() -> dict[str, Any]:
    from tokenizers import Regex, normalizers

    long = "".join(f"Take {i} away. " for i in range(40))
    return {
        "cut": (None, long, 300),
        "composed": (normalizers.NFC(), "Where is the cafe\u0301?", 4096),
        "spaces": (normalizers.Replace(Regex(" +"), " "), "So   many  spaces. ", 4096),
        "cut and composed": (normalizers.NFC(), "e\u0301" + long, 300),
    }


@pytest.mark.parametrize("name", ["cut", "composed", "spaces", "cut and composed"])
@pytest.mark.parametrize("told", [False, True])
def test_the_completion_is_found(name: str, told: bool, exported: Path) -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    normalizer, prompt, length = prompts_that_change()[name]
    tokenizer = tokenizer_of(**({"normalizer": normalizer} if normalizer else {}))
    seen: list[str] = []

    def length_of(completion: str, prompt: str) -> float:
        seen.append(completion)
        return 1.0

    from rewardsmith.core.function import Function

    function = RewardFunction(
        Function(length_of), missing=-1.0, executor="inline", tokenizer=tokenizer if told else None
    )
    executor = SingleTurnAgentExecutor()
    executor.reward_endpoints, executor.reward_func = ["reward_func.py"], function
    row = {"prompt": prompt, "completion": " So it is 42.\n"}
    (output,) = asked(executor, tokenizer, [row], most=64, length=length)
    assert plain(output["reward"]) == 1.0
    assert seen == [" So it is 42.\n"]
    # An executor of ours has not to look for it.
    (other,) = asked(agent_executor(function)(), tokenizer, [row], most=64, length=length)
    assert other["reward"] == 1.0
    assert seen == [" So it is 42.\n"] * 2


def test_a_prompt_that_is_not_there_fails_its_row(exported: Path) -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor
    from tokenizers import normalizers

    lower = tokenizer_of(normalizer=normalizers.Lowercase())
    rows = [{"prompt": "HOW MANY?", "completion": "<answer>5</answer>", "answer": "5"}]
    for tokenizer, status in ((None, "failed"), (lower, "scored")):
        function = RewardFunction(
            exported / "reward.yaml", missing=-1.0, executor="inline", tokenizer=tokenizer
        )
        executor = SingleTurnAgentExecutor()
        executor.reward_endpoints, executor.reward_func = ["reward_func.py"], function
        (output,) = asked(executor, lower, rows)
        assert plain(output["extra_logs"][f"status/{status}"]) == 1.0
        assert plain(output["reward"]) == (-1.0 if status == "failed" else 1.0)
        names = [*output["extra_logs"]]
        assert "reward/of/correct" in names
        assert len(names) == 5 + 2 * 4


def test_posting_what_cannot_be_used(served: str) -> None:
    import aiohttp

    async def posted(payload: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.post(served, json=payload) as got:
            return got.status, (await got.json())["detail"]

    one = {"query": ["q a"], "prompts": ["q"], "labels": ["1"]}
    bad = {
        "1 queries, 2 prompts, 1 labels": one | {"prompts": ["q", "r"]},
        "queries, row 0: list, not text": one | {"query": [[1, 2]]},
        "no 'labels'": {"query": ["q a"], "prompts": ["q"]},
        "the payload is list": [one],
    }
    for message, payload in bad.items():
        status, detail = asyncio.run(posted(payload))
        assert status == 422
        assert message in detail
