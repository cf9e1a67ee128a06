"""reasoning-gym's scorers and problems, with a small package in its place."""

import json
import re
import subprocess
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.adapters import versions
from rewardsmith.adapters.reasoning_gym import ReasoningGymReward, rows
from rewardsmith.adapters.reasoning_gym.entry import _data_set, packed, unpacked
from rewardsmith.adapters.reasoning_gym.reward import _EVALUATED
from rewardsmith.core import spec
from rewardsmith.core.errors import SpecError
from rewardsmith.core.execution import Execution, Inline, using
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts


class Counting:
    """A data set: sums whose metadata is a tuple, and a scorer that compares with it."""

    def __init__(self, size: int = 2, seed: int = 0, worth: float = 1.0) -> None:
        assert size > 0, "size must be positive"
        self.size, self.seed, self.worth = size, seed, worth

    def __getitem__(self, i: int) -> dict[str, Any]:
        terms = (self.seed, i)
        metadata = {"source_dataset": "counting", "terms": terms, "by": {1: "one"}}
        return {"question": f"{self.seed} + {i}?", "answer": str(sum(terms)), "metadata": metadata}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> Any:
        assert entry["metadata"]["by"] == {1: "one"}
        if answer is None:
            return 0
        if answer == "none":
            return None
        if answer == "nan":
            return float("nan")
        return self.worth if int(answer) == sum(entry["metadata"]["terms"]) else 0.25


@pytest.fixture
def gym(monkeypatch: pytest.MonkeyPatch) -> None:
    top: Any = types.ModuleType("reasoning_gym")
    factory: Any = types.ModuleType("reasoning_gym.factory")
    utils: Any = types.ModuleType("reasoning_gym.utils")
    factory.DATASETS = {"counting": Counting, "string_insertion": Counting, "composite": None}
    top.create_dataset = lambda name, **config: factory.DATASETS[name](**config)
    utils.SYSTEM_PROMPTS = {"default": "Answer in tags.\n", "simple": "Answer."}

    def extract_answer(completion: str, tag_name: str) -> str | None:
        found = re.findall(f"<{tag_name}>(.*?)</{tag_name}>", completion, re.DOTALL)
        return found[-1].strip() if found else None

    utils.extract_answer = extract_answer
    for module in (top, factory, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    _data_set.cache_clear()


def scored(reward: ReasoningGymReward, completions: list[str], entries: list[Any]) -> Any:
    names = entries[0]
    columns = {name: [entry[name] for entry in entries] for name in names}
    with using(Execution(Inline())):
        return reward(Rollouts({"completion": completions, **columns}))


@pytest.mark.usefixtures("gym")
def test_the_scorer_decides_and_what_it_breaks_is_a_status() -> None:
    completions = [
        "It is <answer>3</answer>, no: <answer> 7 </answer>",
        "<answer>6</answer>",
        "7",
        "<answer>seven</answer>",
        "<answer>none</answer>",
        "<answer>nan</answer>",
    ]
    scores = scored(ReasoningGymReward("counting"), completions, [Counting(seed=6)[1]] * 6)
    assert scores.values.tolist() == [1.0, 0.25, 0.0, 0.0, 0.0, 0.0]
    assert [Status(code).name for code in scores.status.tolist()] == [
        *["SCORED"] * 3,
        "FAILED",
        "ABSTAINED",
        "BAD_VALUE",
    ]
    assert "raised ValueError: invalid literal for int()" in scores.errors[3][1]


@pytest.mark.usefixtures("gym")
def test_rows_go_through_json_lines_unchanged() -> None:
    found = [json.loads(json.dumps(row)) for row in rows("counting", 3, 4)]
    assert [row["prompt"] for row in found[:2]] == [
        "Answer in tags.\n\n4 + 0?",
        "Answer in tags.\n\n4 + 1?",
    ]
    assert found[2] | {"metadata": None} == {
        "prompt": "Answer in tags.\n\n4 + 2?",
        "question": "4 + 2?",
        "answer": "6",
        "metadata": None,
        "task": "counting/4/2",
    }
    assert unpacked(found[2]["metadata"]) == Counting(seed=4)[2]["metadata"]
    completions = [f"<answer>{4 + i}</answer>" for i in range(3)]
    for reward in (ReasoningGymReward("counting"), ReasoningGymReward()):
        assert scored(reward, completions, found).values.tolist() == [1.0] * 3
    assert rows("counting", 1, 4, instruction=None)[0]["prompt"] == "4 + 0?"
    assert rows("counting", 1, 4, "simple", worth=0.5)[0]["prompt"] == "Answer.\n\n4 + 0?"


@pytest.mark.usefixtures("gym")
def test_arguments() -> None:
    entry = {"entry": Counting(seed=1)[1]}
    assert scored(ReasoningGymReward(entry="entry"), ["<answer>2</answer>"], [entry]).values == 1
    whole = ReasoningGymReward("counting", {"worth": 0.5}, tag=None)
    assert scored(whole, [" 2\n"], [entry["entry"]]).values.tolist() == [0.5]
    boxed = ReasoningGymReward("counting", tag="final")
    assert scored(boxed, ["<final>2</final>"], [entry["entry"]]).values.tolist() == [1.0]
    again = spec.loads(spec.dumps(whole))
    assert again.arguments() == {"dataset": "counting", "config": {"worth": 0.5}, "tag": None}
    assert boxed.cautions == []
    assert "without isolation" in ReasoningGymReward("string_insertion").cautions[0]


@pytest.mark.usefixtures("gym")
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[1]", "metadata is no JSON object: '\\[1\\]'"),
        ("{", "metadata is no JSON object"),
        (None, "metadata is NoneType, neither a dict nor its text"),
        ({"terms": (1, 1)}, "metadata has no 'source_dataset': say dataset= to the reward"),
    ],
)
def test_metadata_that_cannot_be_read_fails_its_row(metadata: Any, message: str) -> None:
    entry = {"question": "1 + 1?", "answer": "2", "metadata": metadata}
    scores = scored(ReasoningGymReward(), ["<answer>2</answer>"], [entry])
    assert scores.status.tolist() == [Status.FAILED]
    assert re.search(message, scores.errors[0][1])
    scores = scored(ReasoningGymReward(entry="entry"), ["2"], [{"entry": "2"}])
    assert "the entry is no mapping" in scores.errors[0][1]


@pytest.mark.usefixtures("gym")
def test_what_cannot_be_used_is_refused() -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"dataset": "countin"}, "no data set 'countin'; did you mean 'counting'"),
        ({"dataset": "composite"}, "leave `dataset` out"),
        ({"dataset": "counting", "config": {"size": 0}}, "refuses .*: size must be positive"),
        ({"dataset": "counting", "config": {"colour": 1}}, "colour"),
        ({"config": {"worth": 1.0}}, "dataset does not say which"),
        ({"dataset": "counting", "tag": ""}, "tag is empty"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            ReasoningGymReward(**arguments)
    with pytest.raises(SpecError, match="no instruction 'simpel'; did you mean 'simple'"):
        rows("counting", 1, 1, instruction="simpel")
    with pytest.raises(SpecError, match="did you mean 'counting'"):
        rows("countin", 1, 1)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    for dataset in ("counting", None):
        with pytest.raises(SpecError, match=r"pip install reasoning-gym==0\.1\.25$"):
            ReasoningGymReward(dataset)
    with pytest.raises(SpecError, match="pip install reasoning-gym"):
        rows("counting", 1, 1)


def test_without_the_package_a_spec_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    path = tmp_path / "reward.yaml"
    path.write_text("reward:\n  reasoning_gym_reward: {dataset: counting}\n")
    with pytest.raises(SpecError, match=r"^.*reward\.yaml:2.*: this needs reasoning-gym: .*$"):
        spec.load(path)


def test_the_page_names_the_data_sets_that_run_answers() -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "reasoning_gym.md"
    lines = [
        line for line in page.read_text().splitlines() if "`eval`" in line or "parse_expr" in line
    ]
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == _EVALUATED


@pytest.mark.usefixtures("gym")
def test_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "0.2.0")
    with pytest.warns(UserWarning, match=r"tested with reasoning-gym 0.1.25, and this is 0.2.0"):
        ReasoningGymReward()
    versions.note_version.cache_clear()


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text())
values = st.recursive(
    plain | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(st.sampled_from(["__tuple__", "__keyed__"]), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), values))
def test_metadata_comes_back_as_it_was(metadata: dict[str, Any]) -> None:
    again = unpacked(json.loads(json.dumps(packed(metadata))))
    assert again == metadata
    assert repr(again) == repr(metadata)


def test_what_json_has_not() -> None:
    text = packed({"a": np.str_("x"), "b": np.float64(0.5), "c": OrderedDict(k=1)})
    assert unpacked(text) == {"a": "x", "b": 0.5, "c": {"k": 1}}
    for value in (np.zeros(2), {1, 2}, b"x", np.int64(1)):
        with pytest.raises(TypeError, match=r"metadata.boards\[1\] is .*, which JSON has not"):
            packed({"boards": [0, value]})
    with pytest.raises(ValueError, match="not finite"):
        packed({"a": float("inf")})


def test_workers_load_no_torch() -> None:
    code = (
        "import sys, rewardsmith.adapters.reasoning_gym.entry;"
        "sys.exit('torch' in sys.modules or 'reasoning_gym' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
