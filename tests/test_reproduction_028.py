"""The reproduction of ToolRL: its language, its learner, its rule and its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reproductions import r028_tool_rl as r028
from reproductions.r028_tool_rl import ARMS, Settings, judge
from tests.reproduced import recorded, stored

TINY = Settings(
    width=8, warm_batches=1, warm_batch=4, updates=2, requests=2, group=2, checkpoints=2, held_out=8
)
SEEDS = range(2)


def test_the_right_answers_are_right_and_others_are_graded() -> None:
    requests, calls, answers = r028.language_of(0).draw(64, np.random.default_rng(0))
    assert r028.scored(r028.EXACT, answers, calls).tolist() == [1.0] * 64
    for arm in ARMS:
        assert r028.scored(r028.reward_of(arm), answers, calls).tolist() == [3.0] * 64
    # Answers to other requests are malformed never, right never, and graded only in part.
    shifted = answers.roll(1, dims=0)
    assert r028.scored(r028.EXACT, shifted, calls).max() == 0.0
    paid = {arm: r028.scored(r028.reward_of(arm), shifted, calls) for arm in ARMS}
    assert set(paid["coarse"].tolist()) == {-3.0}
    assert len(set(paid["fine"].tolist())) > len(set(paid["intermediate"].tolist())) > 1
    broken = answers.clone()
    broken[:, 1] = r028.CLOSE
    assert r028.scored(r028.reward_of("fine"), broken, calls).tolist() == [-3.0] * 64
    # Two wishes, each with a word for its tool and one for every argument.
    assert requests.shape == (64, 8)
    assert int(requests.max()) < r028.WORDS
    for row, made in zip(requests.tolist(), calls, strict=True):
        assert sum(word > 0 for word in row) == sum(1 + len(c["parameters"]) for c in made)


def test_what_is_learned_from_is_the_probability_of_what_was_written() -> None:
    torch.manual_seed(0)
    policy = r028.Policy(8)
    requests, _, _ = r028.language_of(0).draw(1, np.random.default_rng(0))
    requests = requests.expand(4000, -1)
    written = policy.write(requests, torch.Generator().manual_seed(0))
    log_prob = policy.log_prob(requests, written).detach()
    ended = r028.lengths(written) == 1
    # Of answers that end at once, the share is the probability.
    assert ended.float().mean() == pytest.approx(float(log_prob[ended][0].exp()), abs=0.01)
    short = policy.log_prob(requests[:1], torch.zeros(1, r028.LONGEST, dtype=torch.int64))
    assert float(short.detach()) == pytest.approx(float(log_prob[ended][0]))


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, rate=0.5)
    check_record(recorded(r028.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    answers = settings["updates"] * settings["requests"] * settings["group"]
    assert record["budget"] == {"answers_per_run": answers, "runs": (len(ARMS) + 2) * len(seeds)}
    assert tuple(record["arms"]) == ARMS
    assert tuple(record["weaker_warm_start"]["arms"]) == ARMS[:2]
    for result in (record, record["weaker_warm_start"]):
        for arm in result["arms"].values():
            # The same warm start for every arm.
            assert arm["start"] == result["arms"]["fine"]["start"]
            assert len(arm["accuracy"]["per_seed"]) == len(seeds)
            assert len(arm["curve"]["accuracy"]) == settings["checkpoints"]


LOW, HIGH = [[0.1, 0.2], [0.1, 0.21], [0.1, 0.19]], [[0.4, 0.9], [0.4, 0.91], [0.4, 0.92]]
FAST = [[0.6, 0.9], [0.61, 0.91], [0.6, 0.92]]
WIDE = [[0.1, 0.2], [0.9, 0.99], [0.4, 0.92]]


@pytest.mark.parametrize(
    ("fine", "coarse", "verdict"),
    [
        (HIGH, LOW, "supported"),
        (FAST, HIGH, "supported"),
        (HIGH, HIGH, "refuted"),
        (HIGH, FAST, "refuted"),
        (LOW, HIGH, "refuted"),
        # Better early, worse at the end.
        ([[0.9, 0.5]] * 3, [[0.1, 0.6]] * 3, "refuted"),
        (WIDE, HIGH, "inconclusive"),
    ],
)
def test_every_verdict_can_fall(fine: Any, coarse: Any, verdict: str) -> None:
    assert judge({"fine": fine, "coarse": coarse, "intermediate": LOW})["verdict"] == verdict


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r028.REPRODUCTION))
