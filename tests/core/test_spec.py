"""Trees as YAML and back; and every error with its file, line, path and the nearest valid name."""

import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from tests import laws

from rewardsmith.core import algebra
from rewardsmith.core.catalog import methods
from rewardsmith.core.document import parse_document
from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.gate import Gate
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import build, dump, dumps, load, loads, schema
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)
CASES = [(name, i) for name, trees in laws.ACTING.items() for i in range(len(trees))]
FUNCTIONS = """
import rewardsmith as rs

calls = []

@rs.reward(step=True)
def pay(env_reward):
    calls.append(1)
    return 2.0 * env_reward

def height(obs):
    return obs

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    return tmp_path


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


def test_other_rooms_keys_are_left_alone() -> None:
    text = "columns: {prompt: q}\nadvantage: {grpo: {}}\nreward: {env_reward: }"
    assert repr(loads(text)) == "env_reward()"


def test_what_cannot_be_written_says_which_node() -> None:
    tree = algebra.WeightedSum(
        {"fine": EnvReward(), "odd": algebra.Scale(Function(lambda completion: 1.0), 2.0)}
    )
    with pytest.raises(SpecError, match="no importable name") as caught:
        dumps(tree)
    assert caught.value.path == "parts/odd/of/call"


# --- errors ---------------------------------------------------------------------------------------

ERRORS = {
    "unknown method": (
        "reward:\n  weighted_sun: {}",
        2,
        "reward/weighted_sun",
        "unknown method 'weighted_sun'; did you mean 'weighted_sum'?",
    ),
    "misspelt argument": (
        "reward:\n  count_bonus:\n    bta: 1.0",
        3,
        "reward/count_bonus/bta",
        "count_bonus has no argument 'bta'; did you mean 'beta'?",
    ),
    "argument unlike any": (
        "reward:\n  count_bonus:\n    zzz: 1.0",
        3,
        "reward/count_bonus/zzz",
        "valid names: beta, key",
    ),
    "wrong type": (
        "reward:\n  scale:\n    by: much\n    of: {env_reward: {}}",
        3,
        "reward/scale/by",
        "valid number, unable to parse string as a number (got 'much')",
    ),
    "wrong choice": (
        "reward:\n  gate:\n    condition: {env_reward: {}}\n    of: {env_reward: {}}\n"
        "    threshold: 1\n    on_abstained: shut",
        6,
        "reward/gate/on_abstained",
        "'abstain', 'closed', 'open' or 'raise' (got 'shut')",
    ),
    "wrong value": (
        "reward:\n  clip:\n    of: {env_reward: {}}\n    low: 2\n    high: 1",
        2,
        "reward/clip",
        "low 2.0 must lie below high 1.0",
    ),
    "missing argument": (
        "reward:\n  scale:\n    of: {env_reward: {}}",
        2,
        "reward/scale",
        "scale needs the argument 'by'",
    ),
    "arguments that are none": (
        "reward:\n  count_bonus: 0.5",
        2,
        "reward/count_bonus",
        "arguments are a mapping, this is 0.5; count_bonus takes beta, key",
    ),
    "no node": (
        "reward:\n  scale:\n    of: env_reward\n    by: 1",
        3,
        "reward/scale/of",
        "a node is one `name: arguments`, this is 'env_reward'",
    ),
    "two nodes": (
        "reward:\n  env_reward: {}\n  count_bonus: {}",
        1,
        "reward",
        "this is a mapping with keys env_reward, count_bonus",
    ),
    "parts as a list": (
        "reward:\n  weighted_sum:\n    parts: [{env_reward: {}}]",
        3,
        "reward/weighted_sum/parts",
        "parts are a mapping name: node",
    ),
    "no parts": (
        "reward:\n  min:\n    parts: {}",
        3,
        "reward/min/parts",
        "(none)",
    ),
    "illegal part name": (
        "reward:\n  min:\n    parts: {a/b: {env_reward: {}}}",
        2,
        "reward/min",
        "part name 'a/b': use letters, digits",
    ),
    "taken part name": (
        "reward:\n  min:\n    parts: {keys: {env_reward: {}}}",
        2,
        "reward/min",
        "part name 'keys' is taken",
    ),
    "part name that YAML reads as true": (
        "reward:\n  min:\n    parts:\n      on: {env_reward: {}}",
        4,
        "reward/min/parts/True",
        "put it in quotes",
    ),
    "weights of other parts": (
        "reward:\n  weighted_sum:\n    weights: {b: 1}\n    parts: {a: {env_reward: {}}}",
        2,
        "reward/weighted_sum",
        "weights are for ['b'], parts are ['a']",
    ),
    "duplicate key": (
        "reward:\n  count_bonus:\n    beta: 1\n    beta: 2",
        4,
        "reward/count_bonus/beta",
        "key 'beta' is given twice",
    ),
    "key that is no name": ("reward:\n  [a]: 1", 1, "reward", "a key is a name, this is ['a']"),
    "not YAML": ("reward:\n  env_reward: {", 2, "", "it is not YAML"),
    "a tag": ("reward:\n  !!python/name:os.system x: 1", 2, "", "it is not YAML"),
    "unreadable": ("reward: \x07", None, "", "it is not YAML"),
    "itself": ("reward: &a\n  scale: {of: *a, by: 1}", None, "reward/scale/of", "contains itself"),
    "empty": ("# nothing yet\n", None, "", "it is empty"),
    "no reward": ("columns: {}", 1, "", "a mapping with the key 'reward'"),
    "a list": ("- reward", 1, "", "a mapping with the key 'reward'"),
    "unknown top key": (
        "reward: {env_reward: {}}\nadvantages: {}",
        2,
        "advantages",
        "unknown key 'advantages'; did you mean 'advantage'?",
    ),
    "a method that is no node": (
        "reward:\n  hacking_verdict: {}",
        2,
        "reward/hacking_verdict",
        "is a function, it cannot be a node",
    ),
    "no colon": (
        "reward:\n  function:\n    call: pay",
        3,
        "reward/function/call",
        "'pay' names no function: write module:function or ./file.py:function",
    ),
    "no file": (
        "reward:\n  function:\n    call: ./gone.py:pay",
        3,
        "reward/function/call",
        "there is no file",
    ),
    "no module": (
        "reward:\n  function:\n    call: no_such_module:pay",
        3,
        "reward/function/call",
        "cannot import no_such_module: ModuleNotFoundError",
    ),
    "no function in the file": (
        "reward:\n  function:\n    call: ./mine.py:gone",
        3,
        "reward/function/call",
        "mine.py has no 'gone'",
    ),
    "no function at all": (
        "reward:\n  function:\n    call: ./mine.py:number",
        3,
        "reward/function/call",
        "./mine.py:number is 3, not a function",
    ),
    "not even a name": (
        "reward:\n  function:\n    call: 3",
        3,
        "reward/function/call",
        "callable (got 3)",
    ),
    "flags that the code decides": (
        "reward:\n  function:\n    call: ./mine.py:pay\n    step: false",
        4,
        "reward/function/step",
        "decorated with step=True; say it there",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_told_with_its_place(case: str, folder: Path) -> None:
    text, line, path, message = ERRORS[case]
    file = folder / "reward.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load(file)
    error = caught.value
    assert message in error.message
    assert error.path == path
    assert error.file == str(file)
    if line is not None:
        assert error.line == line
        assert str(error).startswith(f"{file}:{line}: ")
    assert len(str(error).splitlines()) <= 3


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.yaml: cannot read it: No such file"):
        load(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(SpecError, match="it is not UTF-8"):
        load(tmp_path / "bytes.yaml")


def test_a_node_that_is_no_reward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardsmith.core import spec
    from rewardsmith.core.bases import Sampler

    class Curriculum(Sampler):
        method_name = "curriculum"

        def __init__(self) -> None:
            super().__init__()

    monkeypatch.setattr(spec, "find", lambda name: Curriculum)
    with pytest.raises(SpecError, match="'curriculum' is a sampler, not a reward"):
        loads("reward: {curriculum: {}}")


def test_errors_without_a_file_name_the_line() -> None:
    with pytest.raises(SpecError, match=r"^line 1: reward/nope: unknown method"):
        loads("reward: {nope: {}}")


def test_a_tree_inside_another_document() -> None:
    document = parse_document("rewards:\n  a: {env_reward: {}}\n  b: {nope: {}}")
    assert repr(build(document.data["rewards"]["a"], document, ("rewards", "a"))) == "env_reward()"
    with pytest.raises(SpecError) as caught:
        build(document.data["rewards"]["b"], document, ("rewards", "b"))
    assert (caught.value.line, caught.value.path) == (3, "rewards/b/nope")


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
    assert accepts(data, schema(), schema())
    try:
        import jsonschema
    except ImportError:
        return
    jsonschema.validate(data, schema())


@pytest.mark.parametrize(
    "case", ["unknown method", "misspelt argument", "wrong type", "missing argument", "two nodes"]
)
def test_the_schema_refuses_what_load_refuses(case: str) -> None:
    assert not accepts(yaml.safe_load(ERRORS[case][0]), schema(), schema())


def test_the_schema_is_one() -> None:
    made = schema()
    rewards = {entry.name for entry in methods()} - {"hacking_verdict"}
    assert rewards <= made["$defs"]["node"]["properties"].keys()
    try:
        import jsonschema
    except ImportError:
        return
    jsonschema.Draft202012Validator.check_schema(made)
