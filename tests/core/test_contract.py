"""The contract of a reward: each of its promises, broken, is found."""

import itertools
import math
from typing import Any

import pytest

from rewardsmith.core.contract import Contract, check_contract
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rows import RowReward
from rewardsmith.core.scores import Scores

CONTRACT = Contract(
    full={"completion": "aaaa"}, zero={"completion": "bbbb"}, malformed={"completion": ""}
)


def share(completion: str) -> float:
    return completion.count("a") / max(1, len(completion))


def picky(completion: str) -> float:
    if not completion:
        raise ValueError("empty")
    return share(completion)


def silent(completion: str) -> float | None:
    return share(completion) if completion else None


class Share(RowReward):
    call = staticmethod(share)
    limits = (0.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.by_row(type(self).call, ("completion",), bounds=self.limits)


def replaced(**changes: Any) -> Contract:
    kept = {key: getattr(CONTRACT, key) for key in ("full", "zero", "malformed")}
    return Contract(**{**kept, **changes})


def test_a_contract_that_is_kept() -> None:
    check_contract(Share(), CONTRACT)


class Picky(Share):
    call = staticmethod(picky)


class Silent(Share):
    call = staticmethod(silent)


class Wide(Share):
    limits = (-1.0, 1.0)


class Narrow(Share):
    limits = (0.0, 0.5)


class Endless(Share):
    limits = (0.0, math.inf)


class Reversed(Share):
    limits = (1.0, 0.0)


class Flat(Share):
    limits = (0.0, 0.0)


class OfNeighbors(Share):
    """Its score depends on how many rows there are."""

    def forward(self, rollouts: Rollouts) -> Scores:
        scores = super().forward(rollouts)
        if len(rollouts) == 1:
            scores.values *= 0.5
        return scores


class OnceOnly(Share):
    """Another score every time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count()

    def forward(self, rollouts: Rollouts) -> Scores:
        scores = super().forward(rollouts)
        scores.values *= 1.0 if next(self.calls) == 0 else 0.25
        return scores


class Forgetful(Share):
    """A copy has lost what it was made with."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, rollouts: Rollouts) -> Scores:
        scores = super().forward(rollouts)
        scores.values *= self.factor
        return scores

    def __deepcopy__(self, memo: Any) -> "Forgetful":
        return Forgetful(0.5)


class ForgetfulPickle(Forgetful):
    def __deepcopy__(self, memo: Any) -> "Forgetful":
        return self

    def __reduce__(self) -> Any:
        return ForgetfulPickle, (0.5,)


@pytest.mark.parametrize(
    ("reward", "contract", "told"),
    [
        (Share(), replaced(full={"completion": "ab"}), "the full row is 0.5 and scored, promised"),
        (Share(), replaced(zero={"completion": "ab"}), "the zero row is 0.5 and scored, promised"),
        (Share(), replaced(malformed={"completion": "aab"}), "the malformed row is 0.66"),
        (Picky(), CONTRACT, "the malformed row is 0 and failed, promised were 0 and scored"),
        (Picky(), CONTRACT, "raised ValueError: empty"),
        (Silent(), CONTRACT, "the malformed row is 0 and abstained"),
        (Share(), replaced(malformed_status=Status.FAILED), "promised were 0 and failed"),
        (Wide(), CONTRACT, "the zero row is 0 and scored, promised were -1"),
        (Narrow(), CONTRACT, "the full row is 1 and scored, promised were 0.5"),
        (Endless(), CONTRACT, "bounds are 0.0 and inf"),
        (Reversed(), CONTRACT, "bounds are 1.0 and 0.0"),
        (Flat(), CONTRACT, "bounds are 0.0 and 0.0"),
        (OfNeighbors(), CONTRACT, "alone, or of a copy, it has another score"),
        (OnceOnly(), CONTRACT, "alone, or of a copy, it has another score"),
        (Forgetful(), CONTRACT, "alone, or of a copy, it has another score"),
        (ForgetfulPickle(), CONTRACT, "alone, or of a copy, it has another score"),
    ],
)
def test_a_broken_promise_is_found(reward: RowReward, contract: Contract, told: str) -> None:
    with pytest.raises(ScoreError) as found:
        check_contract(reward, contract)
    assert told in str(found.value)


def test_a_status_may_be_promised() -> None:
    check_contract(Picky(), replaced(malformed_status=Status.FAILED))
    check_contract(Silent(), replaced(malformed_status=Status.ABSTAINED))


def test_the_row_is_named() -> None:
    with pytest.raises(ScoreError, match="row 1: the zero row") as found:
        check_contract(Share(), replaced(zero={"completion": "ab"}))
    assert found.value.row == 1


class Shrinking(Share):
    """In between it leaves its bounds, which no row of the contract shows."""

    def forward(self, rollouts: Rollouts) -> Scores:
        scores = super().forward(rollouts)
        scores.values *= 1.0 + 1e-9
        return scores


def test_rounding_is_forgiven() -> None:
    check_contract(Shrinking(), CONTRACT)


def test_columns_of_any_row_are_given() -> None:
    class Either(RowReward):
        def __init__(self) -> None:
            super().__init__()
            self.by_row(either, ("completion", "answer"))

    contract = Contract(
        full={"completion": "a", "answer": "a"},
        zero={"completion": "a", "answer": "b"},
        malformed={"completion": "a"},
    )
    with pytest.raises((AttributeError, ScoreError)):
        check_contract(Either(), contract)  # a local class does not travel
    check_contract(Answered(), contract)
    turned = Contract(contract.zero, contract.full, contract.malformed)
    with pytest.raises(ScoreError, match="the full row is 0"):
        check_contract(Answered(), turned)


def either(completion: str, answer: Any) -> float:
    return float(completion == answer)


class Answered(RowReward):
    def __init__(self) -> None:
        super().__init__()
        self.by_row(either, ("completion", "answer"))
