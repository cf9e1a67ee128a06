"""Screening as a reward: plain accuracy, and what a penalty does and does not change."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dump
from rewardsmith.signals.length import Length
from rewardsmith.signals.screening import (
    WEIGHTS,
    EvidenceOverlap,
    Screening,
    screening_sum,
)

decisions = st.lists(st.sampled_from(["SELECTED", "REJECTED"]), min_size=2, max_size=8)


def rollouts(said: list[str], gold: list[Any]) -> Rollouts:
    resume = ["ten years of python"] * len(said)
    return Rollouts({"completion": said, "answer": gold, "document": resume})


def normalized(values: torch.Tensor) -> torch.Tensor:
    """Advantages within one group, by its standard deviation."""
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("kind", [Screening, EvidenceOverlap])
def test_contracts(kind: Any) -> None:
    check_contract(kind(**kind.contract.arguments), kind.contract)


@given(decisions, st.data())
@settings(max_examples=30)
def test_without_a_penalty_it_is_accuracy(gold: list[str], data: st.DataObject) -> None:
    said = [data.draw(st.sampled_from(["SELECTED", "REJECTED"])) for _ in gold]
    values = Screening(penalty=0.0)(rollouts(said, gold)).values
    accuracy = sum(a == b for a, b in zip(said, gold, strict=True)) / len(gold)
    assert float(values.mean()) == pytest.approx(accuracy)


SAID = ["Decision: SELECTED", "Decision: REJECTED python years", "python", "SELECTED ten years"]


def test_alone_a_penalty_changes_no_normalized_advantage() -> None:
    data = rollouts(SAID, ["SELECTED", "SELECTED", "REJECTED", "REJECTED"])
    small, large = (normalized(Screening(penalty=p)(data).values) for p in (0.25, 3.0))
    assert torch.allclose(small, large, atol=1e-6)


def test_beside_other_parts_it_does() -> None:
    data = rollouts(SAID, ["SELECTED"] * 4)

    def advantages(penalty: float, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
        parts = {"decision": Screening(penalty=penalty), "evidence": EvidenceOverlap()}
        total = screening_sum(parts, {"decision": 0.8, "evidence": 0.2})
        return normalized((scale * total + shift)(data).values)

    assert not torch.allclose(advantages(0.25), advantages(3.0), atol=0.05)
    # An affine map of the whole changes nothing: only sizes relative to each other do.
    assert torch.allclose(advantages(0.25), advantages(0.25, 7.0, -2.0), atol=1e-5)


def test_the_sum_keeps_its_parts_visible() -> None:
    parts = {
        "decision": Screening(),
        "format": Screening(),
        "evidence": EvidenceOverlap(),
        "length": Length(low=1, high=50),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = screening_sum(parts)
    assert type(made) is WeightedSum
    assert made.weights == WEIGHTS
    scores = made(rollouts(SAID, ["SELECTED"] * 4))
    assert list(scores.parts) == list(WEIGHTS)
    assert scores.values[0] == pytest.approx(0.5 + 0.2 + 0.2 * 0.0 + 0.1)
    assert scores.parts["decision"].info["why"][2] == "no clear decision"


def test_weights_that_do_not_sum_to_one_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"sum to 0\.7, not 1"):
        screening_sum({"decision": Screening(), "evidence": EvidenceOverlap()})
    with pytest.raises(ValueError, match=r"no weight is known for \['tone'\]"):
        screening_sum({"tone": Screening()})
    with pytest.raises(ValueError, match="give each part one"):
        screening_sum({"decision": Screening()}, {"other": 1.0})


def test_a_broken_reference_fails_the_row() -> None:
    scores = Screening()(rollouts(["SELECTED", "SELECTED"], ["SELECTED", None]))
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"labels": ["YES"]}, "give two words or more"),
        ({"labels": ["YES", " NO"]}, "give two words or more"),
        ({"labels": ["YES", ""]}, "give two words or more"),
        ({"labels": ["Yes", "YES"]}, "differ in case only"),
        ({"penalty": -0.1}, "penalty is -0.1"),
        ({"penalty": float("inf")}, "penalty is inf"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Screening(**arguments)


def test_it_is_written_down() -> None:
    assert dump(Screening(labels=["HIRE", "PASS"], penalty=0.0)) == {
        "screening": {"labels": ["HIRE", "PASS"], "penalty": 0.0}
    }
