"""Every signal of the catalog that scores rows ships a contract, and keeps it."""

from inspect import signature
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.core.catalog import find, methods
from rewardsmith.core.contract import Contract, check_contract
from rewardsmith.core.execution import Inline, current
from rewardsmith.core.rows import RowReward


def _row_rewards() -> list[Any]:
    found = [find(entry.name) for entry in methods() if ".signals." in entry.module]
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, RowReward)]


KINDS = [
    pytest.param(
        kind,
        id=kind.method_name,
        marks=[pytest.mark.sandbox] if "unsafe" in signature(kind).parameters else [],
    )
    for kind in _row_rewards()
]


def test_there_are_some() -> None:
    assert len(KINDS) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_its_contract(kind: Any) -> None:
    contract = getattr(kind, "contract", None)
    assert isinstance(contract, Contract), "a RowReward of the catalog has an attribute `contract`"
    with rs.executor("inline"):
        execution = current()
        assert execution is not None
        assert isinstance(execution.executor, Inline)
        check_contract(kind(**contract.arguments), contract)


@pytest.mark.parametrize("kind", KINDS)
def test_its_function_travels(kind: Any) -> None:
    """What workers run is a function at the top of a module, with plain data."""
    import json
    import pickle

    call = kind(**kind.contract.arguments).rowcall
    again = pickle.loads(pickle.dumps(call))
    assert again == call
    json.dumps(dict(call.options))
    assert call.call.__module__.startswith(("rewardsmith.rules.", "rewardsmith.engine."))
