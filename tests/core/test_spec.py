"""Trees as YAML and back; and every error with its file, line, path and the nearest valid name."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from tests import laws

from rewardsmith.core import algebra
from rewardsmith.core.catalog import find, methods
from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.gate import Gate
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dump, dumps, load, loads, schema
from rewardsmith.learners.recipe import read_recipe
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)
SCHEMA = schema()
CASES = [(name, i) for name, trees in laws.ACTING.items() for i in range(len(trees))]


def written(folder: Path, text: str) -> Path:
    path = folder / "reward.yaml"
    path.write_text(textwrap.dedent(text))
    return path


# --- there and back -------------------------------------------------------------------------------


def assert_same(reward: Reward, rollouts: Rollouts) -> None:
    again = loads(dumps(reward))
    assert repr(again) == repr(reward)
    assert dump(again) == dump(reward)
    for tree in (reward, again):
        tree.bind(gamma=laws.GAMMA)
    ours, theirs = dict(reward(rollouts).walk()), dict(again(rollouts).walk())
    assert ours.keys() == theirs.keys()
    for path, scores in ours.items():
        assert torch.equal(scores.values, theirs[path].values), path
        assert torch.equal(scores.status, theirs[path].status), path
    # One object stays one object.
    assert len({*map(id, again.modules())}) == len({*map(id, reward.modules())})


@pytest.mark.parametrize(("name", "i"), CASES)
def test_every_method_comes_back_the_same(name: str, i: int) -> None:
    assert_same(laws.ACTING[name][i](), laws.mixed_rollouts("dict"))


@given(reward=laws.acting_trees(), rollouts=laws.control_rollouts())
@settings(max_examples=15)
def test_every_tree_comes_back_the_same(reward: Reward, rollouts: Rollouts) -> None:
    assert_same(reward, rollouts)


def test_defaults_are_left_out() -> None:
    assert dump(EnvReward()) == {"env_reward": {}}
    assert dump(CountBonus(0.5)) == {"count_bonus": {"beta": 0.5}}
    gate = Gate(EnvReward(), EnvReward("speed"), float("inf"), accumulate=True)
    assert "threshold: .inf" in dumps(gate)
    assert set(dump(gate)["gate"]) == {"condition", "of", "threshold", "accumulate"}


def test_files_are_named_relative_to_the_spec(folder: Path) -> None:
    text = """
        reward:
          potential_shaping:
            of: {function: {call: "./mine.py:pay"}}
            potential: ./mine.py:height
    """
    tree = load(written(folder, text))
    assert isinstance(tree, PotentialShaping)
    assert dump(tree, base=folder) == {
        "potential_shaping": {
            "of": {"function": {"call": "./mine.py:pay", "step": True}},
            "potential": "./mine.py:height",
        }
    }
    assert repr(loads(dumps(tree, base=folder), base=folder)) == repr(tree)
    elsewhere = dump(tree, base=folder / "sub")["potential_shaping"]["potential"]
    assert elsewhere == f"{folder / 'mine.py'}:height"


def test_an_anchored_node_is_one_object_evaluated_once(folder: Path) -> None:
    text = """
        reward:
          weighted_sum:
            parts:
              a: &pay {function: {call: ./mine.py:pay}}
              b: {scale: {of: *pay, by: 3.0}}
              c: *pay
    """
    tree = load(written(folder, text))
    assert isinstance(tree, algebra.WeightedSum)
    assert tree.parts["a"] is tree.parts["c"] is tree.parts["b"].of
    function = tree.parts["a"]
    assert isinstance(function, Function)
    calls = function.call.__globals__["calls"]
    calls.clear()
    rollouts = Rollouts(steps={"env_reward": torch.ones(2, 4)})
    assert tree(rollouts).values.tolist() == [[10.0] * 4] * 2
    assert len(calls) == 4
    tree(rollouts)
    assert len(calls) == 8
    assert dumps(tree, base=folder).count("mine.py:pay") == 1


def test_merged_keys_and_numbers_in_text() -> None:
    text = """
        reward:
          weighted_sum:
            weights: {a: 1e-3, b: 2}
            parts:
              a: {count_bonus: &bonus {beta: 0.5}}
              b: {count_bonus: {<<: *bonus}}
    """
    tree = loads(textwrap.dedent(text))
    assert isinstance(tree, algebra.WeightedSum)
    assert tree.weights == {"a": 0.001, "b": 2.0}
    assert [part.beta for part in tree.parts.values()] == [0.5, 0.5]


def test_keys_of_a_trainer_stand_beside_the_reward() -> None:
    whole = "reward: {env_reward: }\nadvantage: {grpo: {scale: batch}}\nsampler: shuffled"
    assert repr(loads(whole)) == "env_reward()"
    assert repr(loads("columns: {prompt: q}\nreward: {env_reward: }")) == "env_reward()"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("advantage: {gprpo: {}}", "2: advantage/gprpo: unknown advantage 'gprpo'; did you mean"),
        ("loss: {grpo: {}}", "2: loss/grpo: unknown loss 'grpo'"),
        ("sampler: {shuffled: 3}", "2: sampler/shuffled: arguments of shuffled are a mapping"),
        ("advantage: [grpo]", "2: advantage: advantage is one `name: arguments`"),
        ("estimator: {grpo: {}}", "2: estimator: unknown key 'estimator'"),
    ],
)
def test_a_key_of_a_trainer_names_a_method_of_its_kind(line: str, told: str) -> None:
    with pytest.raises(SpecError, match=re.escape(told)):
        loads(f"reward: {{env_reward: }}\n{line}")


def test_what_cannot_be_written_says_which_node() -> None:
    tree = algebra.WeightedSum(
        {"fine": EnvReward(), "odd": algebra.Scale(Function(lambda completion: 1.0), 2.0)}
    )
    with pytest.raises(SpecError, match="no importable name") as caught:
        dumps(tree)
    assert caught.value.path == "parts/odd/of/call"


# --- the schema -----------------------------------------------------------------------------------


def accepts(node: object, where: object, whole: dict[str, object]) -> bool:
    """A small reading of JSON schema: the keywords that our schema uses."""
    if not isinstance(where, dict):
        return bool(where)
    if "$ref" in where:
        kind = where["$ref"].rpartition("/")[2]
        return accepts(node, whole["$defs"][kind], whole)
    if "anyOf" in where:
        return any(accepts(node, option, whole) for option in where["anyOf"])
    if "enum" in where:
        return node in where["enum"]
    names = where.get("type", [])
    kinds = {"object": dict, "string": str, "number": int | float, "boolean": bool}
    kinds |= {"integer": int, "null": type(None), "array": list}
    allowed = [kinds[name] for name in ([names] if isinstance(names, str) else names)]
    if allowed and not any(isinstance(node, kind) for kind in allowed):
        return False
    if isinstance(node, dict):
        known = where.get("properties", {})
        rest = where.get("additionalProperties", True)
        return (
            all(name in node for name in where.get("required", ()))
            and where.get("minProperties", 0) <= len(node) <= where.get("maxProperties", 99)
            and all(accepts(v, known.get(k, rest), whole) for k, v in node.items())
        )
    return True


@example(reward=algebra.Scale(EnvReward(), 2.0))
@given(reward=laws.acting_trees())
@settings(max_examples=15)
def test_the_schema_accepts_what_is_written(reward: Reward) -> None:
    data = yaml.safe_load(dumps(reward))
    assert accepts(data, SCHEMA, SCHEMA)
    try:
        import jsonschema
    except ImportError:
        return
    jsonschema.validate(data, SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "reward: {weighted_sun: {}}",
        "reward: {count_bonus: {bta: 1.0}}",
        "reward: {scale: {by: much, of: {env_reward: {}}}}",
        "reward: {scale: {of: {env_reward: {}}}}",
        "reward: {env_reward: {}, count_bonus: {}}",
        "reward: {clip: {of: {scale: {by: 1}}}}",
        "rewards: {env_reward: {}}",
    ],
)
def test_the_schema_refuses_what_load_refuses(text: str) -> None:
    assert not accepts(yaml.safe_load(text), SCHEMA, SCHEMA)
    with pytest.raises(SpecError):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "columns: {answer: solution}\nloss: dapo\nadvantage: rloo",
        "columns:\nloss: {dapo: {clip: [0.2, 0.28]}}",
        "sampler: {dapo_filter: {of: {vade: {}}}}",
        "sampler: {vade: }\nrelabel: {dot: {success: {math_answer: {}}}}",
        "loss: {dro: {beta: 0.1}}",
    ],
)
def test_the_schema_accepts_what_a_trainer_reads(text: str, tmp_path: Path) -> None:
    path = tmp_path / "reward.yaml"
    path.write_text(f"reward: {{env_reward: {{}}}}\n{text}\n")
    read_recipe(path)
    assert accepts(yaml.safe_load(path.read_text()), SCHEMA, SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "loss: {dapoo: {}}",
        "advantage: dapo",
        "sampler: {vade: {}, dapo_filter: {}}",
        "relabel: {dot: 3}",
        "relabel: {dot: {}}",
        "relabel: dot",
        "loss: dro",
        "sampler: {vade: {sed: 1}}",
    ],
)
def test_the_schema_refuses_what_a_trainer_refuses(text: str, tmp_path: Path) -> None:
    path = tmp_path / "reward.yaml"
    path.write_text(f"reward: {{env_reward: {{}}}}\n{text}\n")
    with pytest.raises(SpecError):
        read_recipe(path)
    assert not accepts(yaml.safe_load(path.read_text()), SCHEMA, SCHEMA)


def test_the_schema_is_one() -> None:
    made = schema()
    found = {entry.name: find(entry.name) for entry in methods()}
    rewards = {
        name
        for name, thing in found.items()
        if isinstance(thing, type) and issubclass(thing, Reward)
    }
    assert made["$defs"]["node"]["properties"].keys() == rewards
    assert {"math_answer", "weighted_sum"} <= rewards
    try:
        import jsonschema
    except ImportError:
        return
    jsonschema.Draft202012Validator.check_schema(made)


class Hundredfold(algebra.WeightedSum):
    """Does more than its base, and has no name of its own."""


def test_a_class_without_a_name_of_its_own_is_not_written_as_its_base() -> None:
    tree = algebra.Scale(Hundredfold({"env": EnvReward()}), 2.0)
    with pytest.raises(SpecError, match="Hundredfold has no name that a spec could hold") as caught:
        dumps(tree)
    assert caught.value.path == "of"


def test_objects_that_a_spec_names_are_written_by_that_name(folder: Path) -> None:
    """A function that was made by another, and an object that is called, know no such name."""
    (folder / "made.py").write_text(
        "import functools\n\n\ndef times(k):\n    return lambda env_reward: k * env_reward\n\n\n"
        "half = times(0.5)\n\n\nclass Judge:\n    def __call__(self, env_reward):\n"
        "        return env_reward\n\n\njudge = Judge()\n\n\n"
        "def plain(env_reward):\n    return env_reward\n\n\n"
        "@functools.wraps(plain)\ndef other(env_reward):\n    return -env_reward\n"
    )
    for name in ("half", "judge", "plain", "other"):
        text = f"reward: {{function: {{call: ./made.py:{name}, step: true}}}}"
        written = dumps(loads(text, base=folder), base=folder)
        assert f"call: ./made.py:{name}" in written
        assert dumps(loads(written, base=folder), base=folder) == written


def test_an_argument_may_be_named_like_something_derived() -> None:
    class Compared(Reward):
        def __init__(self, scope: str = "group") -> None:
            super().__init__()
            self.declare(scope=scope)  # type: ignore[arg-type]

        def arguments(self) -> dict[str, Any]:
            return {"scope": self.scope}

    assert repr(Compared()) == "Compared(scope='group')"
    assert Compared("batch").scope == "batch"
