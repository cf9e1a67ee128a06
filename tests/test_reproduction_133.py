"""The reproduction of ReSeek: its task, its rule and its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r133_reseek as r133
from reproductions.effects import raised
from reproductions.r133_reseek import ARMS, MARGIN, MEASURES, VARIANTS, Settings
from tests.reproduced import VERDICTS, recorded, stored

TINY = Settings(searches=3, updates=8, batch=8, blocks=4)
SEEDS = range(2)


def logits(sharp: float = 0.0) -> tuple[Any, Any]:
    """Policies that search on, keep the two better cues and answer at the second hop."""
    act, judge = np.zeros((13, 3)), np.zeros((12, 2))
    act[0, r133.QUESTION] = act[1:5, r133.LAST] = act[5:, r133.ANSWER] = sharp
    for level in range(3):
        judge[4 * level : 4 * level + 2, 0] = judge[4 * level + 2 : 4 * level + 4, 1] = sharp
    return act, judge


def played(sharp: float = 0.0, drop: bool = True, **changed: Any) -> r133.Batch:
    settings = replace(Settings(batch=2000), **changed)
    return r133.play(*logits(sharp), np.random.default_rng(0), settings, drop)


def test_judging_by_the_cues_answers_more() -> None:
    share = {
        (sharp, drop): float(np.mean(played(sharp, drop).rollouts["correct"]))
        for sharp in (0.0, 50.0)
        for drop in (True, False)
    }
    assert share[0.0, True] < 0.05
    assert share[50.0, True] > share[50.0, False] + 0.1
    assert played(50.0).judged_right > 0.7 > played(0.0).judged_right


def test_without_distractors_two_searches_are_enough() -> None:
    act, judge = logits(50.0)
    judge[:, 0] = 100.0
    batch = r133.play(act, judge, np.random.default_rng(0), Settings(distractors=0.0), True)
    assert set(batch.rollouts["correct"]) == {1.0}
    assert set(batch.judgments.mask.sum(axis=1)) == {2}
    document = "<information>{}</information><judge>good</judge>"
    expected = document.format("bridge") + document.format("answer") + "<answer>answer</answer>"
    assert set(batch.rollouts["completion"]) == {expected}
    # By the answer alone, keeping the bridge is a mismatch: it does not hold the answer.
    for variant, paid in (({}, 0.0), ({"reference": "path"}, 0.1), ({"settled": True}, 0.1)):
        settings = replace(Settings(distractors=0.0), **variant)
        again = r133.play(act, judge, np.random.default_rng(0), settings, True)
        for arm in ARMS:
            total = r133.reward_of(arm, settings)(again.rollouts).resolve("raise").values
            expected = 1.0 + (0.0 if arm == "answer_only" else paid)
            np.testing.assert_allclose(total.numpy(), expected, rtol=1e-6)


def test_a_dropped_document_leaves_the_context_as_it_was() -> None:
    act, judge = logits(50.0)
    judge[:, 1] = 100.0  # everything is bad
    for drop, kept in ((True, 0), (False, 1)):
        batch = r133.play(act, judge, np.random.default_rng(0), TINY, drop)
        assert set((batch.acts.state[:, 1] > 0).astype(int)) == {kept}


def test_the_gradient_is_that_of_the_log_probability() -> None:
    rng = np.random.default_rng(0)
    act, judge = rng.normal(size=(13, 3)), rng.normal(size=(12, 2))
    batch = r133.play(act, judge, rng, TINY, True)
    advantage = rng.normal(size=TINY.batch)
    for table, choices in ((act, batch.acts), (judge, batch.judgments)):

        def surrogate(x: Any, choices: Any = choices) -> float:
            log = np.log(r133.softmax(x))[choices.state, choices.action]
            return float((advantage * (log * choices.mask).sum(axis=1)).mean())

        found = r133.gradient(table, choices, advantage)
        assert np.abs(found).max() > 0
        for i in np.ndindex(*table.shape):
            bump = np.zeros_like(table)
            bump[i] = 1e-5
            numeric = (surrogate(table + bump) - surrogate(table - bump)) / 2e-5
            assert found[i] == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "supported"),
        (0.001, 0.01, "supported"),
        (-0.01, 0.01, "refuted"),
        (-0.3, -0.1, "refuted"),
        (-0.01, 0.05, "inconclusive"),
    ],
)
def test_every_verdict_can_fall(low: float, high: float, verdict: str) -> None:
    assert raised({"low": low, "high": high}, MARGIN) == verdict


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    assert record["budget"] == {
        "episodes_per_run": settings["updates"] * settings["batch"],
        "runs": 9 * len(seeds),
    }
    assert record["variants"].keys() == VARIANTS.keys()
    for result in (record, *record["variants"].values()):
        assert result["verdict"] in VERDICTS
        assert result["verdict"] == raised(
            result["effects"]["accuracy_judge_minus_answer_only"], MARGIN
        )
        assert tuple(result["arms"]) == ARMS
        for arm in result["arms"].values():
            for name in MEASURES:
                assert len(arm[name]["per_seed"]) == len(seeds)
                assert len(arm["curve"][name]) == settings["blocks"]


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, learning_rate=0.5)
    check_record(recorded(r133.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r133.REPRODUCTION))
