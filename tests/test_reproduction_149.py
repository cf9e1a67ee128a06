"""The reproduction of VeRPO: its language, its tasks, its learner, its rule and its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reproductions import r149_verpo as r149
from reproductions.r149_verpo import (
    ARMS,
    CONTROL,
    END,
    LONGEST,
    NAMES,
    SLOWER,
    Settings,
    judge,
)
from tests.reproduced import VERDICTS, recorded, stored

TINY = Settings(tasks_per_length=1, updates=4, blocks=2)
SEEDS = range(2)
ALL = (*ARMS, CONTROL)


def program(text: str) -> tuple[int, ...]:
    return tuple(NAMES.index(name) for name in text.split())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [-3, 5]),
        ("swap", [2, -1]),
        ("max 1 add", [3, 6]),
        ("over sub", [-5, 6]),
        ("dup mul neg", [-9, -25]),
        ("0 min", [-3, 0]),
        ("add add", None),
        ("2 sub mul", [-10, -3]),
    ],
)
def test_the_machine(text: str, wanted: list[int] | None) -> None:
    found = r149.result(program(text), np.array([2, -1]), np.array([-3, 5]))
    assert wanted is None if found is None else found.tolist() == wanted


def test_numbers_stay_finite() -> None:
    found = r149.result(program("dup mul dup mul dup mul dup mul"), np.array([1]), np.array([6]))
    assert found.tolist() == [r149.LARGEST]


def test_tasks_are_as_the_prose_says() -> None:
    settings = Settings()
    tasks = r149.draw_tasks(0, settings)
    assert [len(task.target) for task in tasks] == [3] * 8 + [4] * 8
    assert len({task.target for task in tasks}) == 16
    short = [f.program for f in r149.functions() if len(f.program) <= 3]
    for task in tasks:
        tests = set(zip(task.x.tolist(), task.y.tolist(), strict=True))
        assert len(tests) == len(task.wanted) == settings.trivial + settings.real
        assert (r149.result(task.target, task.x, task.y) == task.wanted).all()
        marks = np.array(
            [
                r149.result(shorter, task.x, task.y) == task.wanted
                for shorter in short
                if len(shorter) < len(task.target)
            ]
        )
        trivial, real = marks[:, : settings.trivial].all(axis=1), marks[:, settings.trivial :]
        # Something very short passes all the trivial tests and none of the real ones; nothing
        # shorter than the target passes all.
        assert bool((trivial & ~real.any(axis=1)).any())
        assert not bool(marks.all(axis=1).any())


def test_programs_are_marked_test_by_test() -> None:
    tests = r149.StackTests(r149.draw_tasks(0, Settings()))
    programs = [tests.tasks[3].target, program("add add"), ()]
    right, crashed, wrong = tests(programs, np.array([3, 3, 3]))
    assert right.all()
    assert len(right) == 20
    assert not crashed.any()
    own = r149.result((), tests.tasks[3].x, tests.tasks[3].y) == tests.tasks[3].wanted
    np.testing.assert_array_equal(wrong, own)
    assert not wrong.all()


def test_the_start_within_reach_is_right_as_often_as_it_says() -> None:
    settings = Settings(tasks_per_length=1, start=0.2)
    tasks = r149.draw_tasks(0, settings)
    assert not r149.first_logits(tasks, replace(settings, start=0.0)).any()
    task = np.repeat(np.arange(2), 4000)
    logits = r149.first_logits(tasks, settings)
    sample = r149.write_programs(logits, task, np.random.default_rng(0))
    for number, own in enumerate(tasks):
        written = [p for p, k in zip(sample.programs, task, strict=True) if k == number]
        assert np.mean([p == own.target for p in written]) == pytest.approx(0.2, abs=0.025)


def test_the_arms_learn_from_what_they_say() -> None:
    settings = Settings()
    tests = r149.StackTests(r149.draw_tasks(0, settings))
    target = tests.tasks[0].target
    programs = [target, (), (), program("0"), program("add add"), (), program("0"), program("1")]
    marks = np.array([tests.marks(0, p) for p in programs])

    def norm(values: Any) -> Any:
        return (values - values.mean()) / (values.std(ddof=1) + 1e-4)

    outcome, fraction = norm(marks.all(axis=1) * 1.0), norm(marks.mean(axis=1))
    rates = marks.mean(axis=0)
    plain = (1 - rates) / (1 - rates).sum()
    near = (np.abs(rates[:, None] - rates) < 0.05).sum(axis=1)
    dense = (1 - rates) / near / ((1 - rates) / near).sum()
    wanted = {
        "outcome": outcome,
        "fraction": fraction,
        "mixed": outcome + 0.5 * fraction,
        "weighted": outcome + 0.5 * norm(marks @ plain),
        "verpo": outcome + 0.5 * norm(marks @ dense),
        "shorter": (outcome + 0.5 * norm(marks @ dense)) / 1.5,
    }
    # Beside another group, with which nothing is shared.
    both = np.concatenate([marks, marks[:, ::-1] & marks[:1]])
    task = np.repeat([0, 1], len(marks))
    for arm in ALL:
        found = r149.advantages(arm, both, task, settings.beta)[: len(marks)]
        np.testing.assert_allclose(found, wanted[arm], rtol=1e-4, atol=1e-5, err_msg=arm)


def test_the_control_takes_no_longer_steps_than_the_arms_of_one_term() -> None:
    rng = np.random.default_rng(0)
    marks = rng.random((160, 20)) < rng.random((160, 1)) ** 0.1
    task = np.repeat(np.arange(20), 8)
    size = {
        arm: np.linalg.norm(r149.advantages(arm, marks, task, 0.5).reshape(20, 8), axis=1)
        for arm in ALL
    }
    # All groups' steps are shorter than what a normalized reward of one term can have at most.
    most = np.sqrt(7)
    assert size["verpo"].max() > most
    assert size[CONTROL].max() <= most
    assert size["outcome"].max() == pytest.approx(most, rel=1e-2)


def test_the_arms_weigh_tests_as_they_say() -> None:
    marks = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    equal, hard = [0.25] * 4, [0.0, 0.0, 1 / 3, 2 / 3]
    for arm in ALL[1:]:
        wanted = equal if arm in ("fraction", "mixed") else hard
        assert r149.weights(arm, marks).tolist() == pytest.approx(wanted), arm


def test_the_gradient_is_that_of_the_log_probability() -> None:
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(2), 3)
    logits = rng.normal(size=(2, LONGEST, END + 1, END + 1))
    sample = r149.write_programs(logits, task, rng)
    advantage = rng.normal(size=len(task))

    def surrogate(x: Any) -> float:
        total = 0.0
        for i, written in enumerate(sample.programs):
            before = END
            for t, op in enumerate([*written, END][:LONGEST]):
                scores = x[task[i], t, before]
                total += advantage[i] * (scores[op] - np.log(np.exp(scores).sum()))
                before = op
        return float(total)

    found = r149.gradient(logits.shape, sample, task, advantage)
    touched = list(zip(*found.nonzero(), strict=True))
    assert len(touched) > 50
    for place in touched[::7]:
        bump = np.zeros_like(logits)
        bump[place] = 1e-5
        numeric = (surrogate(logits + bump) - surrogate(logits - bump)) / 2e-5
        assert found[place] == pytest.approx(numeric, abs=1e-7)


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, beta=0.25)
    check_record(recorded(r149.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    programs = settings["updates"] * settings["group"] * 2 * settings["tasks_per_length"]
    runs = 2 * len(ALL) * len(seeds)
    assert record["budget"] == {"programs_per_run": programs, "runs": runs}
    for result in (record, record["slower"]):
        assert {result["verdict"], *result["parts_of_the_claim"].values()} <= VERDICTS
        ends = [result["arms"][arm]["all_passed"]["mean"] for arm in ARMS]
        guard = "at the floor" if max(ends) < 0.05 else None
        assert result["guard"] == ("at the ceiling" if min(ends) > 0.95 else guard)
        assert tuple(result["arms"]) == ALL
        for arm in result["arms"].values():
            for name in (*r149.MEASURES, "solved"):
                assert len(arm[name]["per_seed"]) == len(seeds)
            for name in r149.MEASURES:
                assert len(arm["curve"][name]) == settings["blocks"]
            # What passes everything is stuck nowhere.
            assert arm["all_passed"]["mean"] + arm["stuck"]["mean"] <= 1 + 1e-6


LOW, HIGH = [[0.1, 0.2], [0.1, 0.21], [0.1, 0.19]], [[0.4, 0.9], [0.4, 0.91], [0.4, 0.92]]
WIDE = [[0.1, 0.2], [0.9, 0.99], [0.4, 0.92]]
BELOW = [[0.5, 0.95], [0.5, 0.99], [0.5, 0.96]]
ABOVE_LOW = [[0.1, 0.21], [0.1, 0.22], [0.1, 0.2]]


@pytest.mark.parametrize(
    ("others", "verpo", "verdict", "parts"),
    [
        ({}, HIGH, "supported", ("supported",) * 3),
        ({"mixed": HIGH}, HIGH, "refuted", ("supported", "supported", "refuted")),
        ({"outcome": BELOW}, HIGH, "refuted", ("refuted", "supported", "supported")),
        ({"fraction": WIDE}, HIGH, "inconclusive", ("supported", "inconclusive", "supported")),
        # A rise that is there, and smaller than two points.
        ({}, ABOVE_LOW, "refuted", ("refuted",) * 3),
    ],
)
def test_every_verdict_can_fall(
    others: dict[str, Any], verpo: Any, verdict: str, parts: tuple[str, ...]
) -> None:
    told = judge({**dict.fromkeys(ARMS, LOW), **others, "verpo": verpo})
    assert (told["verdict"], tuple(told["parts_of_the_claim"].values())) == (verdict, parts)
    assert told["guard"] is None


@pytest.mark.parametrize(
    ("share", "guard"),
    [
        (0.0, "at the floor"),
        (0.049, "at the floor"),
        (0.051, None),
        (0.949, None),
        (0.951, "at the ceiling"),
        (1.0, "at the ceiling"),
    ],
)
def test_at_the_floor_and_the_ceiling_nothing_is_said(share: float, guard: str | None) -> None:
    told = judge(dict.fromkeys(ARMS, [[share, share]] * 3))
    assert told["guard"] == guard
    assert told["verdict"] == ("inconclusive" if guard else "refuted")
    for effect in told["effects"].values():
        assert effect["visible_at_80_power"] is None


def test_one_arm_beyond_the_guard_is_enough() -> None:
    floor = [[0.0, 0.0]] * 3
    assert judge({**dict.fromkeys(ARMS, floor), "verpo": LOW})["verdict"] == "supported"
    ceiling = [[1.0, 0.99]] * 3
    assert judge({**dict.fromkeys(ARMS, ceiling), "verpo": HIGH})["verdict"] == "refuted"


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    record = stored(r149.REPRODUCTION)
    check_record(record)
    assert SLOWER.keys() <= record["settings"].keys()


def test_the_first_try_is_kept() -> None:
    record = stored(r149.REPRODUCTION)
    first, now = record["tries"][0], record["tries"][-1]
    kept = record["first_try"]
    for name in ("settings", "seeds", "verdict"):
        assert kept[name] == first[name]
    assert (kept["verdict"], kept["settings"]["start"]) == ("refuted", 0.0)
    assert now["verdict"] == record["verdict"]
    # Other seeds, and nothing but the start.
    assert not set(first["seeds"]) & set(now["seeds"])
    assert now["settings"] == {**first["settings"], "start": 0.01}
    # What the guard would have said of it.
    ends = [kept["arms"][arm]["all_passed"]["mean"] for arm in ARMS]
    assert max(ends) < 0.01


@pytest.mark.slow
def test_a_run_of_the_first_try_is_what_its_record_says() -> None:
    kept = stored(r149.REPRODUCTION)["first_try"]
    for arm in ("fraction", "verpo"):
        run = r149.train(arm, 0, Settings(**kept["settings"]))
        for name in r149.MEASURES:
            assert run[name][-1] == kept["arms"][arm][name]["per_seed"][0]
