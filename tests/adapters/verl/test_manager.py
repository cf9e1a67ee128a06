"""The reward manager by its contract, with what it takes of verl put in verl's place."""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rewardsmith.adapters import verl
from rewardsmith.adapters.verl.rows import row_of, row_of_item
from rewardsmith.core.errors import MissingColumn, ScoreError

HOUSE = """
def matches(completion, completion_ids, answer):
    if not completion:
        return None
    return float(completion == answer) + len(completion_ids) / 100

def hints(completion, hint):
    return 1.0
"""
MODULES = ("verl", "verl.experimental", "verl.experimental.reward_loop")
BASE = "verl.experimental.reward_loop.reward_manager"


class Base:
    """What verl's base class keeps."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any) -> None:
        self.config, self.tokenizer, self.compute_score = config, tokenizer, compute_score


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    registered: dict[str, Any] = {}

    def register(name: str) -> Any:
        return lambda kind: registered.setdefault(name, kind)

    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    package, base = ModuleType(BASE), ModuleType(f"{BASE}.base")
    package.register, base.RewardManagerBase = register, Base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, BASE, package)
    monkeypatch.setitem(sys.modules, f"{BASE}.base", base)
    name = "rewardsmith.adapters.verl.manager"
    monkeypatch.delitem(sys.modules, name, raising=False)
    made = importlib.import_module(name).RewardManager
    assert verl.RewardManager is made
    assert registered == {"rewardsmith": made}
    yield made
    del sys.modules[name]


class Letters:
    """A tokenizer of letters; 0 is special."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def batch_decode(self, ids: list[list[int]], skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        self.calls.append(len(ids))
        return ["".join(chr(i) for i in row if i) for row in ids]


class Proto:
    """A ``DataProto``: rows by number, of tensors and of columns of objects."""

    def __init__(self, batch: dict[str, Any], columns: dict[str, list[Any]]) -> None:
        self.batch, self.columns = batch, columns

    def __len__(self) -> int:
        return len(self.batch["responses"])

    def __getitem__(self, i: int) -> Any:
        batch = {name: column[i] for name, column in self.batch.items()}
        return SimpleNamespace(
            batch=batch, non_tensor_batch={name: column[i] for name, column in self.columns.items()}
        )


def sample(text: str, width: int = 6, **columns: Any) -> Proto:
    ids = [ord(letter) for letter in text]
    spare = width - len(ids)
    known: dict[str, Any] = {
        "data_source": np.array(["d"]),
        "reward_model": [{"style": "rule", "ground_truth": "g"}],
        "extra_info": [{"answer": "yes", "index": 3}],
    }
    return Proto(
        {
            "responses": torch.tensor([ids + [0] * spare]),
            "attention_mask": torch.tensor([[0, 1] + [1] * len(ids) + [0] * spare]),
        },
        known | {name: [value] for name, value in columns.items()},
    )


def config(path: Any = None, **options: Any) -> Any:
    function = {"path": path, "name": "compute_score", "reward_kwargs": options}
    return SimpleNamespace(reward={"custom_reward_function": function})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "house.py").write_text(HOUSE)
    path = tmp_path / "reward.yaml"
    path.write_text("reward: {function: {call: ./house.py:matches}}\n")
    return path


def asked(made: Any, *data: Proto) -> list[dict[str, Any]]:
    async def together() -> Any:
        return await asyncio.gather(*[made.run_single(one) for one in data])

    found: list[dict[str, Any]] = asyncio.run(together())
    return found


def test_it_decodes_and_scores_together(manager: Any, file: Path) -> None:
    letters = Letters()
    made = manager(config(reward=file, missing=-1.0, executor="inline"), letters, None)
    texts = ["yes", "no", "yes", ""] * 16
    found = asked(made, *[sample(text) for text in texts])
    assert [said["reward_score"] for said in found] == pytest.approx([1.03, 0.02, 1.03, -1.0] * 16)
    assert all(said["reward_extra_info"]["score"] == said["reward_score"] for said in found)
    assert found[3]["reward_extra_info"]["status/abstained"] == 1.0
    assert sum(letters.calls) == 64
    assert len(letters.calls) <= 16


def test_raise_ends_the_run(manager: Any, file: Path) -> None:
    made = manager(config(reward=file, missing="raise", executor="inline"), Letters())
    with pytest.raises(ScoreError, match="abstained"):
        asked(made, sample(""))


def test_a_column_that_is_not_there(manager: Any, file: Path) -> None:
    file.write_text("reward: {function: {call: ./house.py:hints}}\n")
    made = manager(config(reward=file, missing=0.0, executor="inline"), Letters())
    with pytest.raises(MissingColumn, match=r"no column 'hint', .*present: answer, completion,"):
        asked(made, sample("yes"))
    assert asked(made, sample("yes", hint="h"))[0]["reward_score"] == 1.0


def test_what_it_cannot_work_with_is_told_when_it_is_made(manager: Any, file: Path) -> None:
    with pytest.raises(ValueError, match="verl cannot leave a row without a score out"):
        manager(config(reward=file), Letters())
    with pytest.raises(ValueError, match="calls no other reward function: leave it out"):
        manager(config("pkg://verl.utils.reward_score.gsm8k", reward=file, missing=0.0), Letters())
    with pytest.raises(TypeError, match="takes no option 'worker'; did you mean 'workers'"):
        manager(config(reward=file, missing=0.0, worker=3), Letters())
    made = manager(
        config("pkg://rewardsmith/adapters/verl", reward=file, missing=0.0),
        Letters(),
        print,
        reward_router_address="127.0.0.1:1",
        reward_model_tokenizer=None,
    )
    assert made.scorer.missing == 0.0


# --- rows -----------------------------------------------------------------------------------------


def test_everything_that_verl_knows_is_a_column() -> None:
    messages = np.array([{"role": "user", "content": "?"}], dtype=object)
    data = sample(
        "yes",
        uid=np.str_("u"),
        raw_prompt=messages,
        __num_turns__=np.int32(3),
        tool_extra_fields={"tool": 7, "answer": "by the tool"},
        reward_scores={"inner": 0.5},
    )
    row = row_of_item(data[0])
    assert row["completion_ids"] == [ord(letter) for letter in "yes"]
    assert row["prompt"] == row["raw_prompt"] == [{"role": "user", "content": "?"}]
    assert (row["uid"], row["num_turns"], row["tool"], row["index"]) == ("u", 3, 7, 3)
    assert type(row["uid"]) is str
    assert type(row["data_source"]) is str
    assert type(row["num_turns"]) is int
    # verl lets tools have the last word.
    assert row["answer"] == row["extra_info"]["answer"] == "by the tool"
    assert row["ground_truth"] == "g"
    assert row["reward_model"]["style"] == "rule"
    assert row["rollout_reward_scores"] == {"inner": 0.5}


def test_the_same_types_in_every_way_in() -> None:
    """What verl's data sets read: arrays in mappings in arrays."""
    extra = {
        "answer": np.str_("4"),
        "tests": np.array([{"in": np.array([1, 2]), "n": np.int64(3)}], dtype=object),
        "pair": (np.float32(0.5), "b"),
    }
    truth = np.array([np.array(["a", "b"], dtype=object), None], dtype=object)
    wanted = {"answer": "4", "tests": [{"in": [1, 2], "n": 3}], "pair": (0.5, "b")}
    data = sample("yes", extra_info=extra, reward_model={"ground_truth": truth})
    for row in (row_of_item(data[0]), row_of("d", "yes", truth, extra)):
        assert row["ground_truth"] == row["reward_model"]["ground_truth"] == [["a", "b"], None]
        for found in (row, row["extra_info"]):
            assert {name: found[name] for name in wanted} == wanted
            assert type(found["answer"]) is str
            assert type(found["tests"][0]["n"]) is int
            assert type(found["pair"][0]) is float


def test_the_prompt_of_a_file_is_that_of_recorded_data(manager: Any, file: Path) -> None:
    (file.parent / "house.py").write_text("def asks(prompt):\n    return float(len(prompt))\n")
    file.write_text(
        "columns: {prompt: question, completion: old}\n"
        "reward: {function: {call: ./house.py:asks}}\n"
    )
    made = manager(config(reward=file, missing="raise", executor="inline"), Letters())
    said = asked(made, sample("yes", raw_prompt=[{"role": "user", "content": "?"}]))
    assert said[0]["reward_score"] == 1.0


def test_the_data_keeps_its_own_prompt() -> None:
    row = row_of_item(sample("a", prompt="text", raw_prompt=[{"role": "user"}])[0])
    assert row["prompt"] == "text"


def test_the_length_of_the_last_of_several_sequences() -> None:
    # Padded behind prompt and response together: the end of the mask counts prompt tokens.
    data = sample("yes")
    data.batch["attention_mask"] = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    data.columns["response_len"] = [np.int64(3)]
    assert row_of_item(data[0])["completion_ids"] == [ord(letter) for letter in "yes"]


@pytest.mark.parametrize("width", [0, 3])
def test_an_empty_response(width: int) -> None:
    assert row_of_item(sample("", width)[0])["completion_ids"] == []


def test_nothing_but_tokens() -> None:
    data = Proto({"responses": torch.tensor([[65]]), "attention_mask": torch.ones(1, 2)}, {})
    row = row_of_item(data[0])
    assert row["completion_ids"] == [65]
    assert row["extra_info"] == {"num_turns": None, "rollout_reward_scores": {}}
    assert "ground_truth" not in row
