"""The reproduction of DOT: its arms, its rule and its record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from reproductions import r126_dot as r126
from reproductions.rlvr import Arm
from reproductions.runner import reproduce
from tests.reproduced import check

from rewardsmith.core.document import Document
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.learners.recipe import BUILDERS
from rewardsmith.policy.objective import objective
from rewardsmith.testbeds import rlvr

SETTINGS = r126.Settings()


def made(
    easy: tuple[float, float] = (9.0, 9.0),
    hard: float = 0.3,
    *,
    solved: float = 0.9,
    cut: float = 0.02,
) -> dict[str, Any]:
    """A run: easy lengths at the start and the end, hard and easy pass@1 at the end, what was cut.

    The last point is the end, so a hard or easy pass@1 that is read elsewhere is another.
    """

    def point(tokens: int, length: float, p: float, q: float) -> dict[str, Any]:
        whole = {"pass@1": (p + q) / 2, "pass@8": 1.0, "entropy": 0.5, "length": 9.0}
        levels = {"easy pass@1": q, "easy length": length, "hard pass@1": p, "hard length": 9.0}
        return {"tokens": tokens, "wrong_length": 9.0, **whole, **levels}

    logged = {
        "clipped": None,
        "zero_advantage": 0.3,
        "relabelled": cut,
        "batches": 9,
        "updates": 18,
    }
    return {"curve": [point(0, easy[0], 0.1, 0.5), point(9, easy[1], hard, solved)]} | {
        "logged": logged
    }


def runs(dot: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Beside arms that stay where they are."""
    return {"grpo": [made() for _ in dot], "linear": [made() for _ in dot], "dot": list(dot)}


@pytest.mark.parametrize(
    ("dot", "verdict", "parts"),
    [
        ([made((9.0, 6.0)), made((9.0, 7.0))], "supported", ["supported"] * 3),
        # Shorter, but hard problems are lost.
        (
            [made((9.0, 6.0), 0.2), made((9.0, 7.0), 0.25)],
            "refuted",
            ["supported", "supported", "refuted"],
        ),
        # No shorter.
        ([made((9.0, 9.0)), made((9.0, 9.1))], "refuted", ["refuted", "refuted", "supported"]),
        # Shorter than at the start, no shorter than with GRPO.
        ([made((11.0, 9.0)), made((12.0, 9.0))], "refuted", ["supported", "refuted", "supported"]),
        # Shorter than with GRPO, which is where it began.
        ([made((6.0, 6.0)), made((7.0, 7.0))], "refuted", ["refuted", "supported", "supported"]),
        # A loss of 0.06 on hard problems is not excluded.
        (
            [made((9.0, 6.0), 0.32), made((9.0, 7.0), 0.24)],
            "inconclusive",
            ["supported", "supported", "inconclusive"],
        ),
        (
            [made((9.0, 6.0)), made((9.0, 9.5))],
            "inconclusive",
            ["inconclusive"] * 2 + ["supported"],
        ),
    ],
)
def test_the_rule(dot: list[dict[str, Any]], verdict: str, parts: list[str]) -> None:
    told = r126.judge(runs(dot))
    assert told["verdict"] == verdict
    assert list(told["parts"].values()) == parts
    assert told["guard"] is None


@pytest.mark.parametrize(
    ("given", "guard"),
    [({"cut": 0.0005}, "next to nothing was cut"), ({"solved": 0.8}, "easy problems are solved")],
)
def test_shorter_answers_do_not_count_where_nothing_was_cut_or_they_were_given_up(
    given: dict[str, float], guard: str
) -> None:
    told = r126.judge(runs([made((9.0, 6.0), **given) for _ in range(3)]))
    assert told["verdict"] == "inconclusive"
    assert told["guard"].startswith(guard)


def test_a_few_easy_answers_less_are_no_reason() -> None:
    told = r126.judge(runs([made((9.0, 6.0), solved=0.86), made((9.0, 6.0), solved=0.84)]))
    assert (told["guard"], told["verdict"]) == (None, "supported")


def test_the_penalty_is_linear_in_the_length() -> None:
    task = rlvr.thinking(SETTINGS.most, SETTINGS.enough)
    texts = ["#1234", "...#1234", "...#1230", "." * task.longest]
    ids = [rlvr.tokenizer()(text)["input_ids"] for text in texts]
    rollouts = Rollouts.from_text(
        ["c1234="] * len(texts), texts, answer=["1234"] * len(texts), completion_ids=ids
    )
    found = r126.penalized(0.5, task.longest)(rollouts).resolve("raise").values
    expected = [1 - 2.5 / 30, 1 - 4 / 30, -4 / 30, -0.5]
    assert task.longest == 30
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_arms_are_made_as_the_trainer_makes_them() -> None:
    for name in r126.ARMS:
        arm = r126.arm_of(name, SETTINGS, 30)
        assert arm.config == {"num_iterations": 2}
        objective(arm.loss[0], **arm.loss[1])
        assert (arm.relabel is None) == (arm.sampler is None) == (name != "dot")
        assert (arm.reward is None) == (name != "linear")
    cut = BUILDERS["relabel"](r126.arm_of("dot", SETTINGS, 30).relabel, Document({}), ("relabel",))
    assert (cut.deviations, cut.margin) == (3.0, 1)
    assert SETTINGS.bed.generations > 10


def test_a_record_tells_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, bool]] = []

    def run(task: Any, arm: Arm, seed: int, *_: Any) -> dict[str, Any]:
        seen.append((task.name, seed, arm.relabel is not None))
        return made((9.0, 6.0 + 0.1 * seed) if arm.relabel else (9.0, 9.0))

    monkeypatch.setattr(r126, "run", run)
    settings = replace(SETTINGS, most=9)
    record = reproduce(r126.REPRODUCTION, tmp_path / "126.json", settings, range(2))
    check(r126.REPRODUCTION, record)
    assert record["verdict"] == "supported"
    assert tuple(record["arms"]) == r126.ARMS
    assert [cut for _, _, cut in seen] == [False, False, True] * 2
    assert all(name.startswith("thinking_9_3") for name, _, _ in seen)
    assert record["arms"]["dot"]["curve"]["easy length"] == [9.0, 6.05]
