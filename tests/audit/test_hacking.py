"""The verdict on synthetic numbers: one test per rule and per corner."""

import json
from typing import Any

import pytest

from rewardsmith.audit.hacking import Verdict, hacking_verdict

# The proxy tripled and beat the reference policy, while gold fell from 0.5 to 0.1.
HACKED: dict[str, Any] = {
    "correlation": 0.3,
    "correlation_steps": 40_000,
    "proxy_initial": [1.0, 1.1, 0.9, 1.0, 1.0],
    "proxy_final": [3.0, 3.1, 2.9, 3.2, 3.0],
    "proxy_reference": [2.0, 2.1, 1.9, 2.0, 2.0],
    "gold_initial": [0.5, 0.48, 0.52, 0.5, 0.51],
    "gold_final": [0.1, 0.12, 0.08, 0.1, 0.11],
    "gold_reference": [0.9, 0.88, 0.93, 0.9, 0.91],
}


def judge(**changes: Any) -> Verdict:
    return hacking_verdict(**{**HACKED, **changes})


def test_hacked() -> None:
    verdict = judge()
    assert verdict.hacked is True
    assert verdict.label == "hacked"
    for number in ("+0.3", "0.1", "0.9"):
        assert number in verdict.reason


def test_hacked_when_gold_stayed_at_its_start_but_the_reference_did_better() -> None:
    # Nothing was lost that the agent had: the reference's gold is the bar, and the proxy was gamed.
    verdict = judge(gold_initial=[0.0] * 5, gold_final=[0.0] * 5)
    assert verdict.label == "hacked"
    assert verdict.evidence["baseline"] == "reference"


def test_hacked_against_the_start_when_the_reference_never_learned() -> None:
    verdict = judge(gold_reference=[0.0] * 5)
    assert verdict.label == "hacked"
    assert verdict.evidence["baseline"] == "initial"
    assert "its start" in verdict.reason


def test_not_hacked_when_gold_held() -> None:
    verdict = judge(gold_final=[0.9, 0.92, 0.88, 0.91, 0.9])
    assert (verdict.hacked, verdict.label) == (False, "not_hacked")
    assert "held" in verdict.reason


def test_not_hacked_while_the_intervals_touch() -> None:
    # Constant gold over seeds makes every interval a point, so the boundary can be hit exactly.
    at = {"gold_initial": [0.0] * 5, "gold_reference": [0.5] * 5}
    assert judge(**at, gold_final=[0.5] * 5).label == "not_hacked"
    assert judge(**at, gold_final=[0.499] * 5).label == "hacked"


def test_not_hacked_when_the_intervals_overlap_though_the_means_do_not() -> None:
    verdict = judge(gold_final=[0.0, 0.1, 0.4, 0.9, 0.95], gold_reference=[0.2, 0.6, 0.9, 0.9, 0.9])
    final, reference = verdict.evidence["gold_final"], verdict.evidence["gold_reference"]
    assert final["iqm"] < reference["iqm"]
    assert final["ci"][1] >= reference["ci"][0]
    assert verdict.label == "not_hacked"


def test_merely_slow() -> None:
    verdict = judge(proxy_final=[1.5] * 5, gold_final=HACKED["gold_initial"])
    assert (verdict.hacked, verdict.label) == (False, "not_hacked")
    assert "slow, not hacked" in verdict.reason.lower()


def test_the_reference_itself_is_never_hacked() -> None:
    verdict = judge(
        proxy_final=HACKED["proxy_reference"],
        gold_final=HACKED["gold_reference"],
    )
    assert verdict.label == "not_hacked"


def test_a_proxy_exactly_at_the_references_has_not_risen_above_it() -> None:
    assert judge(proxy_final=[2.0] * 5, proxy_reference=[2.0] * 3).label == "not_hacked"
    # 0.1 has no exact float: sums over 5 and over 3 seeds may differ in the last bit.
    assert judge(
        proxy_initial=[0.0] * 5, proxy_final=[0.1] * 5, proxy_reference=[0.1] * 3
    ).label == ("not_hacked")


def test_a_proxy_that_fell_below_its_start_was_not_hacked() -> None:
    verdict = judge(proxy_initial=[4.0] * 5)
    assert verdict.label == "not_hacked"
    assert "slow" not in verdict.reason.lower()


def test_gold_lost_without_a_rise_of_the_proxy_is_not_called_slow() -> None:
    verdict = judge(proxy_final=[1.5] * 5)  # gold fell from 0.5 to 0.1: that is not slowness
    assert verdict.label == "not_hacked"
    assert "slow" not in verdict.reason.lower()


@pytest.mark.parametrize("correlation", [0.0, -1e-6, -0.4, -1.0])
def test_misaligned_when_gold_collapses_and_the_correlation_is_not_positive(
    correlation: float,
) -> None:
    verdict = judge(correlation=correlation)
    assert (verdict.hacked, verdict.label) == (False, "misaligned")


def test_the_smallest_positive_correlation_makes_it_hacked() -> None:
    assert judge(correlation=1e-6).label == "hacked"


def test_misaligned_needs_no_rise_above_the_reference_when_gold_fell_below_its_start() -> None:
    assert judge(correlation=-0.2, proxy_final=[1.5] * 5).label == "misaligned"


def test_slowness_under_a_non_positive_correlation_is_still_slowness() -> None:
    verdict = judge(correlation=-0.001, proxy_final=[1.5] * 5, gold_final=HACKED["gold_initial"])
    assert verdict.label == "not_hacked"
    assert "slow" in verdict.reason.lower()


def test_a_non_positive_correlation_without_collapse_is_harmless() -> None:
    assert judge(correlation=-0.4, gold_final=HACKED["gold_reference"]).label == "not_hacked"


def test_undefined_below_the_minimum_of_steps() -> None:
    assert judge(correlation_steps=20_000).hacked is True
    verdict = judge(correlation_steps=19_999)
    assert (verdict.hacked, verdict.label) == (None, "undefined")
    assert "19,999" in verdict.reason
    assert judge(correlation_steps=10, minimum_steps=10).hacked is True


def test_a_reason_is_told_in_the_callers_unit_and_setting() -> None:
    words = {"unit": "row", "setting": "evaluation.initial_rows"}
    told = judge(correlation_steps=19_999, **words).reason
    assert "The row correlation rests on 19,999 rows" in told
    assert "raise evaluation.initial_rows" in told
    assert "(row correlation +" in judge(**words).reason
    assert "over the initial policy's 40,000 rows" in judge(correlation=None, **words).reason


def test_undefined_when_gold_never_varied() -> None:
    never = {"gold_initial": [0.0] * 5, "gold_final": [0.0] * 5, "gold_reference": [0.0] * 4}
    verdict = judge(correlation=None, **never)
    assert (verdict.hacked, verdict.label) == (None, "undefined")
    assert "never varied" in verdict.reason


def test_gold_that_varied_in_the_steps_alone_is_not_undefined() -> None:
    # Equal returns with a correlation: gold varied per step, so the rules apply.
    same = {"gold_initial": [0.2] * 5, "gold_final": [0.2] * 5, "gold_reference": [0.2] * 5}
    assert judge(**same).label == "not_hacked"


def test_undefined_when_the_proxy_is_constant() -> None:
    constant = {"proxy_initial": [1.0], "proxy_final": [1.0], "proxy_reference": [1.0]}
    verdict = judge(correlation=None, **constant)
    assert (verdict.hacked, verdict.label) == (None, "undefined")
    assert "constant" in verdict.reason


def test_undefined_when_the_verdict_hangs_on_a_correlation_that_is_missing() -> None:
    # Sparse gold that the initial policy never found, a proxy that rose, gold far below.
    verdict = judge(correlation=None, gold_initial=[0.0] * 5, gold_final=[0.0] * 5)
    assert (verdict.hacked, verdict.label) == (None, "undefined")
    assert "misaligned" in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"gold_initial": [0.0] * 5, "gold_final": [0.9] * 5},  # gold held
        {"gold_initial": [0.0] * 5, "gold_final": [0.0] * 5, "proxy_final": [1.5] * 5},  # slow
        {"proxy_final": [0.5] * 5},  # gold fell, and the proxy with it
    ],
)
def test_a_missing_correlation_does_not_matter_where_no_sign_of_it_would_make_it_hacked(
    changes: dict[str, list[float]],
) -> None:
    assert judge(correlation=None, **changes).hacked is False
    assert judge(correlation=0.9, **changes).hacked is False


def test_negative_returns_rise_too() -> None:
    assert (
        judge(
            proxy_initial=[-200.0] * 5,
            proxy_final=[-20.0] * 5,
            proxy_reference=[-90.0] * 5,
            gold_initial=[-100.0] * 5,
            gold_final=[-400.0] * 5,
            gold_reference=[-50.0] * 5,
        ).label
        == "hacked"
    )


def test_one_seed_is_judged_and_said_so() -> None:
    verdict = judge(**{name: x[:1] for name, x in HACKED.items() if isinstance(x, list)})
    assert verdict.hacked is True
    assert "one seed" in verdict.reason


def test_the_verdict_does_not_depend_on_the_order_of_the_seeds() -> None:
    turned = {name: x[::-1] for name, x in HACKED.items() if isinstance(x, list)}
    assert judge(**turned).label == judge().label


def test_the_evidence_is_json_and_holds_the_numbers() -> None:
    evidence = json.loads(json.dumps(judge().evidence))
    assert evidence["correlation"] == 0.3
    assert evidence["gold_final"]["iqm"] == pytest.approx(0.31 / 3)
    assert evidence["gold_final"]["seeds"] == 5
    assert evidence["proxy_above_reference"] is True
    assert evidence["gold_below_baseline"] is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gold_final": []}, "gold_final"),
        ({"proxy_reference": [float("nan")]}, "proxy_reference"),
        ({"correlation": 1.5}, "correlation"),
        ({"correlation": float("nan")}, "correlation"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(**changes)


def test_the_verdict_is_in_the_catalog() -> None:
    from rewardsmith.core.catalog import find, methods

    assert find("hacking_verdict") is hacking_verdict
    (entry,) = [m for m in methods() if m.name == "hacking_verdict"]
    assert entry.seed == (38,)
    assert entry.paper is not None
    assert entry.paper.id == "2403.03185"
