"""Completions that checkers of answers get wrong, with the truth and what peers said of them.

``attacks.yaml`` holds the rows. Run as a script with ``--record`` in the environment of
``contracts/verifiers.toml``, this asks the peers again and writes down what they say.
"""

# ruff: noqa: T201 - a script: it says what it did

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_suffix(".yaml")


def rows() -> list[dict[str, Any]]:
    """The rows: string, gold, truth, and perhaps rule, options, note, peers."""
    return list(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def asked(row: dict[str, Any]) -> dict[str, float | str]:
    """What each peer that reads the row's format says: a score, or what it raised."""
    verdicts: dict[str, float | str] = {}
    for name, (reads, ask) in PEERS.items():
        if not reads(row):
            continue
        try:
            verdicts[name] = round(float(ask(row["string"], str(row["gold"]))), 3)
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - a peer that raises has given its answer
            verdicts[name] = type(error).__name__
    return verdicts


def math_verify(string: str, gold: str) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(string)))


def math_verify_letters(string: str, gold: str) -> bool:
    from math_verify import StringExtractionConfig, parse, verify

    letters = [StringExtractionConfig()]
    return bool(verify(parse(gold, letters), parse(string, letters)))


def trl(string: str, gold: str) -> float:
    from trl.rewards import accuracy_reward

    (score,) = accuracy_reward([[{"role": "assistant", "content": string}]], [f"${gold}$"])
    assert score is not None
    return score


@cache
def _file(package: str, *path: str) -> Any:
    """One file of a package by itself: all of it imports Ray, or other things not needed here."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{package} is not installed")
    file = Path(found.submodule_search_locations[0], *path)
    spec = importlib.util.spec_from_file_location(f"{package}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reasoning_gym(string: str, gold: str) -> float:
    utils = _file("reasoning_gym", "utils.py")
    return float(utils.compute_decimal_reward(utils.extract_answer(string), gold))


def verl(name: str) -> Callable[[str, str], float]:
    def ask(string: str, gold: str) -> float:
        score = _file("verl", "utils", "reward_score", f"{name}.py").compute_score(string, gold)
        return float(score["acc"] if isinstance(score, dict) else score)

    return ask


def _maths(row: dict[str, Any]) -> bool:
    """Whether peers can be asked: they know no tolerances, and units only as something to drop."""
    return row.get("rule", "math") == "math"


def _letters(row: dict[str, Any]) -> bool:
    return row.get("rule") == "choice"


PEERS: dict[str, tuple[Callable[[dict[str, Any]], bool], Callable[[str, str], float]]] = {
    "math_verify": (_maths, math_verify),
    "math_verify_letters": (_letters, math_verify_letters),
    "trl": (lambda row: _maths(row) and "\\boxed" in row["string"], trl),
    "verl_math_reward": (
        lambda row: _maths(row) and "\\boxed" in row["string"],
        verl("math_reward"),
    ),
    "verl_math_dapo": (lambda row: _maths(row) and "Answer:" in row["string"], verl("math_dapo")),
    "verl_gsm8k": (lambda row: _maths(row) and "####" in row["string"], verl("gsm8k")),
    "reasoning_gym": (lambda row: _maths(row) and "<answer>" in row["string"], reasoning_gym),
}

HEADER = """\
# Completions that checkers of answers get wrong. truth: whether the final answer is the gold one.
# peers: the score that each gave it, written by tests/attacks.py and checked by `make contracts`.
"""


def write(rows: list[dict[str, Any]]) -> None:
    text = HEADER
    for row in rows:
        peers = row.get("peers", {})
        body = {key: value for key, value in row.items() if key != "peers"}
        text += "\n" + yaml.safe_dump([body], sort_keys=False, allow_unicode=True, width=10**6)
        text += "  peers: " + yaml.safe_dump(peers, default_flow_style=True, width=10**6)
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("usage: python tests/attacks.py --record")
    recorded = [row | {"peers": asked(row)} for row in rows()]
    write(recorded)
    print(f"{len(recorded)} rows")
