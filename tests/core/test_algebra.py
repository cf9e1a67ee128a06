"""The operators on rewards, what they refuse, and how trees are printed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests import laws
from tests.laws import dense, outcome

from rewardsmith.core import algebra
from rewardsmith.core.function import Function
from rewardsmith.core.gate import Gate
from rewardsmith.core.node import Node
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward

A, B = [1.0, 2.0, -3.0], [0.5, -4.0, 0.0]


def values(reward: Reward) -> list[float]:
    return reward(laws.text(3)).values.tolist()


def test_operators_are_arithmetic() -> None:
    a, b = outcome(A), outcome(B)
    pairs = list(zip(A, B, strict=True))
    assert values(a + b) == [x + y for x, y in pairs]
    assert values(a - b) == [x - y for x, y in pairs]
    assert values(a * b) == [x * y for x, y in pairs]
    assert values(a * 2) == values(2 * a) == [2 * x for x in A]
    assert values(-a) == [-x for x in A]
    assert values(a + 1) == values(1 + a) == [x + 1 for x in A]
    assert values(a - 1.5) == [x - 1.5 for x in A]
    assert values(sum([a, b, a])) == [2 * x + y for x, y in pairs]
    assert values(np.float64(2.0) * a) == [2 * x for x in A]
    assert values(0.5 * (a + b) * a - 3) == [0.5 * (x + y) * x - 3 for x, y in pairs]


def test_operators_make_plain_nodes() -> None:
    a, b = EnvReward(), CountBonus()
    assert type(a + b) is algebra.WeightedSum
    assert list((a + b).parts) == ["env_reward", "count_bonus"]
    assert type(a * b) is algebra.Product
    assert type(2 * a) is algebra.Scale
    assert type(a + 1) is algebra.Shift
    assert 0 + a is a


def test_names_that_repeat_or_are_taken_get_a_number() -> None:
    def keys(completion: str) -> float:
        return 1.0

    a, b = EnvReward(), EnvReward("speed")
    assert list((a + b).parts) == ["env_reward", "env_reward_2"]
    # A ModuleDict has a method of that name.
    assert list((Function(keys) * Function(keys)).parts) == ["keys_2", "keys_3"]
    assert list((Function(lambda completion: 1.0) + a).parts) == ["lambda", "env_reward"]


def test_a_chain_of_sums_is_one_flat_sum() -> None:
    a, b = EnvReward("speed"), CountBonus()
    named = algebra.WeightedSum({"near": a, "new": b}, {"near": 2.0, "new": 0.5})
    tree = 3 * a + named - 2 * b
    assert tree.weights == {"env_reward": 3.0, "near": 2.0, "new": 0.5, "count_bonus": -2.0}
    assert (a + named + 0.1 * named).weights == {
        "env_reward": 1.0,
        "near": 2.0,
        "new": 0.5,
        "near_2": 0.2,
        "new_2": 0.05,
    }
    assert named.weights == {"near": 2.0, "new": 0.5}

    class Learned(algebra.WeightedSum):
        """One whose weights are not for others to take apart."""

    kept = a + Learned({"near": b})
    assert kept.weights.keys() == {"env_reward", "weighted_sum"}


def test_a_shared_reward_is_evaluated_once() -> None:
    shared = outcome(A)
    tree = shared + shared * shared
    assert values(tree) == [x + x * x for x in A]
    assert shared.calls == 1
    values(tree)
    assert shared.calls == 2


@pytest.mark.parametrize("kind", [algebra.WeightedSum, algebra.Product, algebra.Min])
@pytest.mark.parametrize(
    ("parts", "error", "told"),
    [
        ({}, ValueError, "at least one part"),
        ({"a b": EnvReward()}, ValueError, "use letters, digits"),
        ({"1a": EnvReward()}, ValueError, "beginning with a letter"),
        ({"a/b": EnvReward()}, ValueError, "part name 'a/b'"),
        ({"": EnvReward()}, ValueError, "part name ''"),
        ({"a.b": EnvReward()}, ValueError, "part name 'a.b'"),
        ({"total": EnvReward()}, ValueError, "'total' is taken"),
        ({"keys": EnvReward()}, ValueError, "'keys' is taken"),
        ({"training": EnvReward()}, ValueError, "'training' is taken"),
        ({"a": torch.nn.Identity()}, TypeError, "part 'a' is a Identity, not a Reward"),
    ],
)
def test_parts_that_are_refused(
    kind: type[Reward], parts: dict[str, Reward], error: type[Exception], told: str
) -> None:
    with pytest.raises((error, TypeCheckError)) as caught:
        kind(parts)
    assert told in str(caught.value) or isinstance(caught.value, TypeCheckError)


def test_legal_part_names() -> None:
    tree = algebra.Min({"a-b": outcome([1.0]), "ü_2": outcome([2.0])})
    assert list(tree(laws.text(1)).parts) == ["a-b", "ü_2"]


def test_weights_that_are_refused() -> None:
    a = EnvReward()
    with pytest.raises(ValueError, match=r"weights are for \['b'\], parts are \['a'\]"):
        algebra.WeightedSum({"a": a}, {"b": 1.0})
    for weight in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the weight of part 'a' is"):
            algebra.WeightedSum({"a": a}, {"a": weight})
    for weight in (0.0, -1.0):
        with pytest.raises(ValueError, match="a mean needs positive weights; that of 'a'"):
            algebra.WeightedMean({"a": a}, {"a": weight})
    for kind in (algebra.Scale, algebra.Shift):
        with pytest.raises(ValueError, match="by is nan"):
            kind(a, float("nan"))


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=4), st.integers(0, 99))
@settings(max_examples=20)
def test_coefficients_rebuild_the_values(weights: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = {f"p{i}": dense(rng.normal(size=(2, 3)).tolist()) for i in range(len(weights))}
    rollouts = Rollouts(mask=torch.ones(2, 3, dtype=torch.bool))
    given_weights = {name: float(w) for name, w in zip(parts, weights, strict=True)}
    positive = {name: abs(w) + 1 for name, w in given_weights.items()}
    for tree in (
        algebra.WeightedSum(parts, given_weights),
        algebra.WeightedMean(parts, positive),
        algebra.Scale(algebra.WeightedSum(parts), -2.0),
    ):
        scores = tree(rollouts)
        rebuilt = sum(f * scores.parts[name].values for name, f in tree.coefficients().items())
        torch.testing.assert_close(scores.values, rebuilt)
    assert algebra.Min(parts).coefficients() == {}


def test_facts_are_derived() -> None:
    class Grouped(laws.Given):
        def __init__(self, scores: Scores) -> None:
            super().__init__(scores)
            self.declare(needs={"completion"}, granularity="outcome", scope="group")

    tree = algebra.WeightedSum(
        {"g": Grouped(outcome(A).scores), "b": CountBonus(), "s": EnvReward("speed")}
    )
    assert tree.needs == {"completion", "next_obs", "speed"}
    assert (tree.granularity, tree.scope) == ("dense", "group")
    assert tree.learns
    assert not tree.acts
    plain = Gate(EnvReward(), EnvReward("speed"), 0.0)
    assert (plain.granularity, plain.scope, plain.learns, plain.acts) == (
        "dense",
        "row",
        False,
        True,
    )
    assert algebra.Min({"a": outcome(A)}).granularity == "outcome"


def test_gradients_flow_through() -> None:
    class Learned(Reward):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, rollouts: Rollouts) -> Scores:
            return Scores.outcome(self.weight * torch.arange(3.0))

    learned = Learned()
    tree = 3 * learned + outcome(A) * learned
    tree(laws.text(3)).values.sum().backward()
    assert learned.weight.grad == 3 * (0 + 1 + 2) + (0 * 1 + 1 * 2 + 2 * -3)


# --- printing -------------------------------------------------------------------------------------


def test_a_tree_prints_itself() -> None:
    tree = algebra.WeightedSum(
        {"env": EnvReward(), "hint": algebra.Scale(CountBonus(0.5, key=laws.cell), 2.0)},
        {"env": 1.0, "hint": 0.1},
    )
    assert repr(tree) == "\n".join(
        [
            "weighted_sum(weights={'env': 1.0, 'hint': 0.1})",
            "├─ env: env_reward()",
            "└─ hint: scale(by=2.0)",
            "   └─ of: count_bonus(beta=0.5, key=cell)",
        ]
    )
    first = algebra.Min({"a": algebra.Scale(EnvReward(), 2.0), "b": EnvReward()})
    assert repr(first).splitlines()[2] == "│  └─ of: env_reward()"
    assert EnvReward("x" * 100).label().endswith("...)")


def test_html_is_escaped() -> None:
    html = algebra.Min({"a": EnvReward("<script>alert(1)</script>")})._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 3


def test_a_node_without_a_method_has_its_class_name() -> None:
    given_scores = outcome([1.0])
    assert given_scores.default_name() == "given"
    assert given_scores.label().startswith("Given(scores=Scores(outcome [1], scored=1")
    assert [path for path, _ in algebra.Min({"a": algebra.Scale(given_scores, 1.0)}).walk()] == [
        "",
        "a",
        "a/of",
    ]
    assert issubclass(laws.Given, Node)


def test_numbers_on_either_side():
    rollouts = Rollouts.from_text(["", ""], ["a", "abc"])
    length = Function(lambda completion: len(completion))
    assert (1 - length)(rollouts).values.tolist() == [0.0, -2.0]
    assert (length / 2)(rollouts).values.tolist() == [0.5, 1.5]
