"""How reproductions are run: keys, workers, failures, kills, the command line."""

import json
import os
import runpy
from collections.abc import Sequence
from dataclasses import asdict, replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from reproductions import r004_gated_rewards as r004
from reproductions.effects import by_seed, compare
from reproductions.record import RESULTS, Sidecar, resumed
from reproductions.runner import Key, Reproduction, RunError, Runs, reproduce, table
from reproductions.workers import attempt, run_all
from tests.reproduced import check, untimed
from tests.reproduction_runs import Settings, train


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    return [
        {"arm": arm, "seed": s, "settings": settings} for s in seeds for arm in ("ours", "base")
    ]


def judge(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    ends = {arm: [run["end"] for run in of] for arm, of in runs.by_arm(("ours", "base")).items()}
    processes = sorted({run["pid"] for run in runs.of()})
    return {
        "verdict": "supported",
        "effects": {"ours_minus_base": compare(ends["ours"], ends["base"])},
        "arms": {arm: {"end": by_seed(values)} for arm, values in ends.items()},
        "processes": processes,
        "omp": sorted({run["omp"] for run in runs.of()}),
    }


OURS = Reproduction(
    id="999",
    method="none",
    paper="0000.00000",
    claim="Ours is one more.",
    unproved=["Anything else."],
    settings=Settings(),
    seeds=range(3),
    keys=keys,
    train=train,
    judge=judge,
    budget=lambda settings, seeds: {"runs": 2 * len(seeds)},
    packages=("pytest",),
)


def test_a_record_of_two_workers_is_that_of_one(tmp_path: Path) -> None:
    one = reproduce(OURS, tmp_path / "1" / "999.json")
    check(OURS, one)
    assert one["processes"] == [os.getpid()]
    assert "pytest" in one["versions"]
    two = reproduce(OURS, tmp_path / "2" / "999.json", workers=2)
    assert os.getpid() not in two["processes"]
    assert two["omp"] == ["1"]
    for name in ("effects", "arms", "settings", "seeds", "budget"):
        assert two[name] == one[name]
    assert list(table(one)) == [
        "effects ours_minus_base: 1.000 [1.000, 1.000], all seeds tie",
        "arms ours end: 2.000 [1.000, 3.000]",
        "arms base end: 1.000 [0.000, 2.000]",
    ]


@pytest.mark.parametrize(
    ("scale", "workers", "error"),
    [
        (0.0, 1, "ValueError: this one fails"),
        (0.0, 2, "ValueError: this one fails"),
        (-1.0, 2, "its process ended with the exit code 9"),
    ],
)
def test_one_that_fails_takes_no_other_with_it(
    scale: float, workers: int, error: str, tmp_path: Path
) -> None:
    out, told = tmp_path / "999.json", list[str]()
    with pytest.raises(RunError, match=r"999: 1 of 6 runs failed; see .*999\.partial\.jsonl"):
        reproduce(OURS, out, Settings(scale), workers=workers, tell=told.append)
    assert not out.exists()
    assert len(told) == 6
    assert [line for line in told if error in line]
    entries = Sidecar(tmp_path / "999.partial.jsonl").entries
    assert sum("run" in entry for entry in entries) == 5
    (failed,) = (entry for entry in entries if "error" in entry)
    assert failed["key"] == {"arm": "ours", "seed": 1, "settings": asdict(Settings(scale))}
    assert error in failed["error"]
    # Mended, it is tried again, and no other is.
    again = list[str]()
    mended = replace(OURS, train=lambda *arguments: {"end": 7.0, "pid": 0, "omp": "1"})
    record = reproduce(mended, out, Settings(scale), tell=again.append)
    assert len(again) == 1
    assert record["arms"]["ours"]["end"]["per_seed"][1] == 7.0
    assert [path.name for path in tmp_path.iterdir()] == ["999.json"]


def test_workers_end_with_what_asked_them() -> None:
    asked = run_all(train, [("ours", seed, Settings(101.0)) for seed in range(2)], 2)
    place, _ = next(asked)
    assert place == 0
    asked.close()
    # Tests before this one may have left workers of other pools.
    own = [process for process in active_children() if "pebble" not in process.name]
    for process in own:
        process.join(20.0)
    assert not any(process.is_alive() for process in own)


def test_a_line_that_a_kill_cut_short_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "999.partial.jsonl"
    sidecar = Sidecar(path)
    sidecar.add({"key": {"seed": 0}, "run": 1})
    sidecar.add({"key": {"seed": 1}, "error": "?"})
    with path.open("a") as file:
        file.write('{"key": {"seed": 2}, "ru')
    again = Sidecar(path)
    assert [again.find({"seed": seed}) is not None for seed in range(3)] == [True, False, False]
    again.add({"key": {"seed": 2}, "run": 3})
    assert Sidecar(path).entries == again.entries
    assert resumed(path, {"seed": 2}, lambda: 4) == 3
    assert resumed(path, {"seed": 3}, lambda: 4) == 4
    assert resumed(path, {"seed": 3}, lambda: 5) == 4


def test_a_run_is_what_json_brings_back() -> None:
    assert attempt(lambda: {"a": (1, 2)}, ()).run == {"a": [1, 2]}
    assert "not JSON serializable" in attempt(lambda: {1, 2}, ()).error


def test_runs_are_found_by_their_keys() -> None:
    of = keys(Settings(), range(2))
    runs = Runs(of, [1, 2, 3, 4])
    assert runs.of(arm="ours") == [1, 3]
    assert runs.of(seed=1, arm="base") == [4]
    assert runs.by_arm(("base", "ours"), settings=Settings()) == {"base": [2, 4], "ours": [1, 3]}
    with pytest.raises(ValueError, match=r"there is no run with .*theirs"):
        runs.of(arm="theirs")


# --- the command line -----------------------------------------------------------------------------


def command(*arguments: str) -> int:
    main = runpy.run_module("reproductions.__main__")["main"]
    return int(main(list(arguments)))


def test_without_ids_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    lines = capsys.readouterr().out.splitlines()
    there = list(RESULTS.parent.glob("r???_*.py"))
    standard = {line.split()[0] for line in lines} - {path.stem[1:4] for path in there}
    assert len(lines) == len(there) + len(standard)
    assert {"kl_estimators", "estimators_and_losses", "dapo"} <= standard
    verdict = json.loads(r004.REPRODUCTION.out.read_text(encoding="utf-8"))["verdict"]
    assert lines[0].split()[:3] == ["004", verdict, "G-RA:"]


def test_with_ids_it_runs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(
        r004.REPRODUCTION,
        settings=r004.Settings(turns=6, updates=8, batch=4, blocks=4),
        seeds=range(2),
    )
    monkeypatch.setattr(r004, "REPRODUCTION", tiny)
    assert command("004", "--out", str(tmp_path), "--workers", "1") == 0
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "004.json").read_text(encoding="utf-8"))
    assert untimed(record) == untimed(reproduce(tiny, tmp_path / "again.json"))
    assert "004 12/12 gated 1: " in told
    assert "effects completion_gated_minus_direct: " in told
    assert told.endswith(f"004: {record['verdict']}; record: {tmp_path / '004.json'}\n")


def test_a_run_that_fails_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(r004.REPRODUCTION, seeds=range(2), train=lambda *arguments: 1 / 0)
    monkeypatch.setattr(r004, "REPRODUCTION", broken)
    assert command("004", "--out", str(tmp_path), "--workers", "1") == 1
    told = capsys.readouterr()
    assert "004 1/12 outcome_only 0: ZeroDivisionError: division by zero" in told.out
    assert told.err.startswith("error: 004: 12 of 12 runs failed")
    assert command("159", "--out", str(tmp_path), "--data", str(tmp_path)) == 1
    assert "there is no gsm8k_train.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["998"], "there is no reproduction 998, there are 004, "),
        (["004", "--workers", "0"], "--workers is 0, give 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)
    assert told in capsys.readouterr().err
