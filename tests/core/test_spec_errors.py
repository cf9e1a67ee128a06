"""Every error of a spec: file, line, the path in the tree, and the nearest valid name."""

from pathlib import Path

import pytest

from rewardsmith.core.document import parse_document
from rewardsmith.core.errors import SpecError
from rewardsmith.core.spec import build, load, loads

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
        "parts are empty; name at least one",
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
        "reward: {env_reward: {}}\ncolumn: {}",
        2,
        "column",
        "unknown key 'column'; did you mean 'columns'?",
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
