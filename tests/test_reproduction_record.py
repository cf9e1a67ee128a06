"""What reproductions compare and judge by, and that the prose says what the records do."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import effects
from reproductions.effects import all_of, compare, judged, raised, shown, spread

FOLDER = Path(effects.__file__).parent


def test_an_effect_with_its_interval() -> None:
    told = compare([0.5, 0.7, 0.6], [0.1, 0.1, 0.1])
    assert told["mean"] == pytest.approx(0.5)
    assert told["low"] < 0.5 < told["high"]
    assert told["probability_of_improvement"] == 1.0
    half = (told["high"] - told["low"]) / 2
    assert told["visible_at_80_power"] == pytest.approx(1.43 * half)
    assert "visible from" in shown(told)


def test_where_all_seeds_tie_nothing_is_said_of_what_would_have_been_seen() -> None:
    for x, y in (([0.0] * 5, [0.0] * 5), ([1.0] * 5, [0.0] * 5)):
        told = compare(x, y)
        assert told["low"] == told["high"]
        assert told["visible_at_80_power"] is None
        assert "all seeds tie" in shown(told)
    assert shown(spread([1.0, 1.0])) == "1.000 [1.000, 1.000]"


def test_the_visible_effect_is_seen_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 300, 100))
    visible = [compare(x, np.zeros(100))["visible_at_80_power"] for x in noise[0]]
    seen = [spread(x + v)["low"] > 0 for x, v in zip(noise[1], visible, strict=True)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.5, "supported"),
        (0.0, 0.5, "inconclusive"),
        (-0.1, 0.02, "inconclusive"),
        (-0.1, 0.019, "refuted"),
        # There, and too small.
        (0.001, 0.019, "refuted"),
    ],
)
def test_a_rule_for_one_effect(low: float, high: float, verdict: str) -> None:
    assert judged({"low": low, "high": high}, 0.02) == verdict


def test_another_rule_takes_any_rise() -> None:
    assert raised({"low": 0.001, "high": 0.019}, 0.02) == "supported"
    assert raised({"low": 0.0, "high": 0.019}, 0.02) == "refuted"
    assert raised({"low": 0.0, "high": 0.02}, 0.02) == "inconclusive"


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ("ss", "supported"),
        ("si", "inconclusive"),
        ("ii", "inconclusive"),
        ("sr", "refuted"),
        ("ir", "refuted"),
    ],
)
def test_a_verdict_over_parts(parts: str, verdict: str) -> None:
    words = {"s": "supported", "i": "inconclusive", "r": "refuted"}
    assert all_of({str(i): words[part] for i, part in enumerate(parts)}) == verdict


def section(number: str) -> str:
    """The paragraphs of the README about a reproduction, on one line."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = re.search(rf"^\*\*{number}, .*?(?=^\*\*\d\d\d, |\Z)", text, re.MULTILINE | re.DOTALL)
    assert told
    return " ".join(told[0].split())


def found(number: str, path: str) -> Any:
    """What the record holds at a path, such as "arms verpo all_passed mean"."""
    value = json.loads((FOLDER / "results" / f"{number}.json").read_text(encoding="utf-8"))
    for key in path.split():
        value = value[int(key) if isinstance(value, list) else key]
    return value


def signed(effect: dict[str, float]) -> str:
    mean, low, high = (f"{effect[name]:+.3f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]".replace("-", "−")


ADDED = "added_after_the_verdict final_score_"


@pytest.mark.parametrize(
    ("number", "path", "told"),
    [
        (
            "016",
            "with_noise_in_the_quality effects log_updates_continuous_minus_tiers",
            "{} in updates",
        ),
        (
            "016",
            "with_noise_in_the_quality effects log_signal_to_noise_tiers_minus_continuous",
            "{} in signal",
        ),
        (
            "102",
            f"{ADDED}milestones_completion_weighted_minus_milestones",
            "completed, is worth {}",
        ),
        (
            "102",
            f"{ADDED}milestones_weighted_none_lost_minus_milestones_none_lost",
            "nothing to correct ({})",
        ),
        ("102", f"{ADDED}milestones_double_rate_minus_milestones", "any weight is worth {}"),
        ("102", f"{ADDED}milestones_weighted_minus_milestones_double_rate", "the weight {} beside"),
        ("145", "beside logged_slope_no_clip_minus_clip", "per token differs by {}"),
        ("145", "arms clip accuracy_change", "raise accuracy: {} with the clip"),
        ("145", "arms entropy_only accuracy_change", "for its own sake ({} when"),
        ("149", "slower effects mean_verpo_minus_outcome", "all of training {} as it is"),
        (
            "149",
            "slower control_of_step_size mean_shorter_minus_outcome",
            "{} with shorter steps",
        ),
    ],
)
def test_the_readme_tells_the_effects_of_the_records(number: str, path: str, told: str) -> None:
    assert told.format(signed(found(number, path))) in section(number)


@pytest.mark.parametrize(
    ("number", "told", "scale", "paths"),
    [
        (
            "016",
            "after {:.0f} updates, correctness alone after {:.0f} and the quality as it is after "
            "{:.0f};",
            1,
            [f"arms {arm} updates mean" for arm in ("tiers", "binary", "continuous")],
        ),
        ("016", "(logs of {:.2f},", 1, ["arms tiers log_signal_to_noise mean"]),
        (
            "016",
            "{:.1f} % of the clicks are right with it, {:.1f} % with tiers and {:.1f} % with",
            100,
            [f"arms {arm} success 10" for arm in ("continuous", "tiers", "binary")],
        ),
        ("016", "click earned {:.2f} more", 1, ["arms tiers order"]),
        ("016", "incorrect ones earned up to {:.2f} more", -1, ["arms quality order"]),
        (
            "102",
            "with them all {:.0f} runs find a valid program, with the score alone {:.0f} do",
            20,
            ["arms milestones ever mean", "arms real_only ever mean"],
        ),
        (
            "102",
            "{:.1f} of 20 would be expected",
            1,
            ["start runs_that_find_one_without_learning expected"],
        ),
        (
            "102",
            "2 or fewer come up {:.0f} % of the time",
            100,
            ["start runs_that_find_one_without_learning chance_of_no_more"],
        ),
        (
            "102",
            "worth {:.2f} with weights and {:.2f} without",
            1,
            ["arms milestones_weighted best mean", "arms milestones best mean"],
        ),
        (
            "102",
            "worth more ({:.2f}, {:.2f})",
            1,
            ["arms milestones_weighted final_score mean", "arms milestones final_score mean"],
        ),
        (
            "102",
            "({:.2f}; {:.2f} where nothing is lost)",
            1,
            ["arms milestones final_score mean", "arms milestones_none_lost final_score mean"],
        ),
        (
            "132",
            "to {:.4f} when the second best saturates (after {:.0f} units of time), and to {:.4f} "
            "at {:.0f}. It is back where it began at {:.0f}",
            1,
            [
                f"two_stages {name}"
                for name in (
                    "best_when_it_does",
                    "second_best_saturates_at",
                    "best_is_lowest is",
                    "best_is_lowest at",
                    "best_is_back_at",
                )
            ],
        ),
        (
            "132",
            "right answers ({:.3f}, {:.3f}) and right answers among 64 ({:.3f}, {:.3f}, from "
            "{:.3f} at the start)",
            1,
            [
                *(
                    f"arms {arm} {name} mean"
                    for name in ("pass_1", "pass_64")
                    for arm in ("negatives", "grpo")
                ),
                "start pass_64",
            ],
        ),
        (
            "132",
            "make up for that ({:.3f}, {:.3f})",
            1,
            [f"arms negatives_double {name} mean" for name in ("pass_1", "pass_64")],
        ),
        (
            "132",
            "still behind ({:.3f}, {:.3f})",
            1,
            [f"easier arms {arm} pass_64 mean" for arm in ("negatives", "grpo")],
        ),
        (
            "132",
            "as far (pass@1 of {:.2f}) a prompt has {:.1f} of them with a probability of 1/64, "
            "with negatives {:.1f}",
            1,
            [
                "easier arms grpo curve pass_1 3",
                "easier arms grpo curve in_reach 3",
                "easier arms negatives curve in_reach 20",
            ],
        ),
        (
            "145",
            "falls by {:.0f} % in 100 rollouts of noise with the clip, and by {:.0f} % without it",
            -100,
            [f"arms {arm} entropy_change mean" for arm in ("clip", "no_clip")],
        ),
        (
            "145",
            "the clip cuts more tokens ({:.0f} %, {:.0f} %)",
            100,
            ["flat arms clip clipped mean", "arms clip clipped mean"],
        ),
        (
            "145",
            "(a difference of {:.3f} would",
            1,
            ["flat effects fall_clip_minus_no_clip visible_at_80_power"],
        ),
        (
            "145",
            "a true reward gains {:.2f}, and {:.2f} with a quarter",
            1,
            [f"arms {arm} accuracy_change mean" for arm in ("true", "flip_25")],
        ),
        (
            "149",
            "pass/fail has learned {:.1f} %, VeRPO {:.1f} %, the same sum with equal weights "
            "{:.1f} %, and the fraction of tests alone {:.1f} %",
            100,
            [f"arms {arm} all_passed mean" for arm in ("outcome", "verpo", "mixed", "fraction")],
        ),
        (
            "149",
            "({:.0f} % and {:.0f} % in the second of 20 blocks, {:.0f} % and {:.0f} % in the "
            "third)",
            100,
            [
                f"arms {arm} curve all_passed {block}"
                for block in (1, 2)
                for arm in ("verpo", "outcome")
            ],
        ),
        (
            "149",
            "({:.0f} % and {:.0f} % in those blocks)",
            100,
            [f"arms shorter curve all_passed {block}" for block in (1, 2)],
        ),
        ("149", "by {:.0f} points, and mixing", 100, ["effects last_verpo_minus_fraction mean"]),
        ("149", "are worth {:.1f} points", 100, ["effects last_verpo_minus_mixed mean"]),
        (
            "149",
            "and not the four real ones ({:.0f} to {:.0f} %)",
            100,
            ["first_try arms verpo stuck mean", "first_try arms weighted stuck mean"],
        ),
    ],
)
def test_the_readme_tells_the_numbers_of_the_records(
    number: str, told: str, scale: float, paths: list[str]
) -> None:
    values = [scale * found(number, path) for path in paths]
    assert told.format(*values) in section(number)


def test_the_readme_tells_when_programs_were_found() -> None:
    arms = ("milestones_weighted", "milestones", "milestones_completion_weighted")
    first = [np.median(found("102", f"arms {arm} first")) for arm in arms]
    assert "(after {:.0f} windows and {:.0f}, in the median)".format(*first[:2]) in section("102")
    assert f"(after {first[2]:.0f} windows)" in section("102")
