"""The reproduction of Mixed-R1: its spoiled texts, its tasks, its rule and its record."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r159_mixed_r1 as r159
from reproductions.r159_mixed_r1 import ARMS, KINDS, MEASURES, Settings, judge
from reproductions.runner import reproduce
from tests.reproduced import VERDICTS, recorded, stored

TINY = Settings(
    fitted=30, dimensions=4, solutions=3, hidden=4, updates=2, requests=3, group=2, held_out=6
)
SEEDS = range(2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Solutions as GSM8K has them."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(60):
        clauses = [
            f"{a} and {b} are <<{a}+{b}={a + b}>>{a + b}" for a, b in rng.integers(9, size=(5, 2))
        ]
        lines.append(json.dumps({"question": "?", "answer": "\n".join(clauses) + "\n#### 3"}))
    (tmp_path / "gsm8k_train.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_clauses_are_cut_at_signs_and_not_in_numbers() -> None:
    answer = "She has 1,200.50 = $<<1200.5=1>>1,200.50; he, too.\nSo: 3\n#### 3"
    assert r159.clauses_of(answer) == ["She has 1,200.50 = $1,200.50", "he", "too", "So: 3"]
    assert r159.words_of("It's $1,200.50!") == ["it", "'", "s", "$", "1,200.50", "!"]


@pytest.mark.parametrize("level", r159.LEVELS)
def test_a_share_of_the_clauses_is_spoiled(level: float) -> None:
    clauses, other = list("abcdefgh"), list("ABC")
    rng = np.random.default_rng(0)
    k = int(8 * level)
    moved = r159.spoiled(clauses, other, "moved", level, rng)
    assert sorted(moved) == clauses
    assert sum(a != b for a, b in zip(moved, clauses, strict=True)) == k
    dropped = r159.spoiled(clauses, other, "dropped", level, rng)
    assert len(dropped) == max(1, 8 - k)
    assert dropped == sorted(dropped)
    replaced = r159.spoiled(clauses, other, "replaced", level, rng)
    assert len(replaced) == 8
    assert sum(clause.isupper() for clause in replaced) == k
    assert clauses == list("abcdefgh")


def test_measures_by_hand() -> None:
    assert r159.word_counts(list("aab"), list("abc")) == pytest.approx(3 / (5 * 3) ** 0.5)
    assert r159.rouge_l(list("abcd"), list("bxd")) == 2 * 2 / 7
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = (rng.choice(list("abc"), rng.integers(1, 9)).tolist() for _ in range(2))
        assert r159.rouge_l(x, y) == pytest.approx(2 * longest(x, y) / (len(x) + len(y)))
    assert r159.rank_correlation([1, 0.5, 0.2], [0, 1, 2]) == pytest.approx(1.0)
    assert r159.rank_correlation([0.2, 0.5, 1.0], [0, 1, 2]) == pytest.approx(-1.0)
    assert r159.rank_correlation([1, 1, 1], [0, 1, 2]) == 0.0


def longest(x: list[str], y: list[str]) -> int:
    table = np.zeros((len(x) + 1, len(y) + 1), dtype=int)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            table[i + 1, j + 1] = max(table[i, j] + (a == b), table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def test_the_tasks_and_what_is_paid() -> None:
    _, tasks, references = r159.draw(30, np.random.default_rng(0))
    assert Counter(tasks) == dict.fromkeys(r159.TASKS, 10)
    for arm in ARMS:
        paid = r159.paid(r159.reward_of(arm), tasks, references, references)
        assert paid.tolist() == pytest.approx([1.0] * 30)
    caption = references[2]
    # Each word by another with its meaning.
    words = [int(word[1:]) for word in caption.split()]
    other = " ".join(f"w{3 * (word // 3) + (word + 1) % 3}" for word in words)
    assert 0.65 < r159.paid(r159.reward_of("router"), ["caption"], [other], [caption]) < 0.95
    assert r159.paid(r159.exact, ["caption"], [other], [caption]) == 0.0


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path, data: Path) -> None:
    other = replace(TINY, rate=0.1)
    check_record(recorded(r159.REPRODUCTION, tmp_path, TINY, other, SEEDS, data=data))


def test_without_the_data_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no gsm8k_train\.jsonl in"):
        reproduce(r159.REPRODUCTION, tmp_path / "159.json", TINY, SEEDS, data=tmp_path)


def check_record(record: dict[str, Any]) -> None:
    assert set(record["halves"].values()) <= VERDICTS
    assert record["budget"]["runs"] == len(ARMS) * len(record["seeds"])
    assert tuple(record["measures"]) == MEASURES
    assert set(record["measures"]["bmas"]) == {"all", *KINDS, "sheet"}
    for arm in record["arms"].values():
        assert len(arm["mean"]["per_seed"]) == len(record["seeds"])


LOW, SAME, HIGH, WIDE = [0.1, 0.11, 0.1], [0.5, 0.5, 0.5], [0.9, 0.91, 0.9], [0.1, 0.9, 0.8]


@pytest.mark.parametrize(
    ("bmas", "router", "halves", "verdict"),
    [
        (HIGH, HIGH, ("supported", "supported"), "supported"),
        (SAME, HIGH, ("refuted", "supported"), "refuted"),
        (LOW, HIGH, ("refuted", "supported"), "refuted"),
        (HIGH, SAME, ("supported", "refuted"), "refuted"),
        (WIDE, HIGH, ("inconclusive", "supported"), "inconclusive"),
        (HIGH, WIDE, ("supported", "inconclusive"), "inconclusive"),
    ],
)
def test_every_verdict_can_fall(
    bmas: list[float], router: list[float], halves: tuple[str, str], verdict: str
) -> None:
    def told(value: float) -> dict[str, float]:
        return dict.fromkeys(("all", *KINDS, "sheet"), value)

    ranks = [{"bmas": told(b), "word_counts": told(0.5), "rouge_l": told(0.5)} for b in bmas]
    runs = {"router": [{"mean": r} for r in router], "exact": [{"mean": 0.5}] * 3}
    found = judge(ranks, runs)
    assert tuple(found["halves"].values()) == halves
    assert found["verdict"] == verdict


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r159.REPRODUCTION))
