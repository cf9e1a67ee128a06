"""Maths answers scored by ours, math-verify, TRL's accuracy_reward and verl's naive manager.

(a) GSM8K solutions in groups of 8, everything on; (b) the same without the exact path and
deduplication, on two workers and on none; (c) LaTeX answers that need sympy, in groups of 8, half
of them repeats. Peers get the final answer in the boxed form that TRL asks for; "agreed" counts the
rows on which they say what ours does. Needs the environment of `make contracts ARGS=scoring`, which
it changes into by itself, and the GSM8K solutions (--data).

    python benchmarks/scoring.py [--data FILE] [--json] [--rounds N]
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rewardsmith as rs
from rewardsmith.rules import maths, symbolic

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "gsm8k_solutions.jsonl"
GROUP = 8
WORKERS = 2
PRELOAD = ("rewardsmith.rules.symbolic",)
Scored = list[float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if importlib.util.find_spec("verl") is None:
        return in_their_environment()
    if not options.data.exists():
        print(f"skipped: there is no {options.data}")
        return 0
    report = [
        gsm8k(options.data, options.rounds),
        without(options.data, options.rounds),
        latex(options.rounds),
    ]
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        for part in report:
            show(part)
    return int(not all(line["met"] for part in report for line in part["lines"]))


def in_their_environment() -> int:
    python = ROOT / "build" / "contracts" / "scoring" / "bin" / "python"
    if python.exists():
        os.execv(python, [str(python), *sys.argv])
    print("skipped: the peers are not installed; make contracts ARGS=scoring")
    return 0


# --- the data -------------------------------------------------------------------------------------


def drawn(data: Path, prompts: int = 512) -> list[tuple[str, str]]:
    """Groups of 8 (completion, gold), drawn with replacement from each problem's solutions."""
    rng = random.Random(0)
    by_prompt: dict[int, list[dict[str, Any]]] = {}
    for line in data.open():
        row = json.loads(line)
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    rows = []
    for prompt in rng.sample(sorted(by_prompt), prompts):
        rows += [(r["completion"], r["answer"]) for r in rng.choices(by_prompt[prompt], k=GROUP)]
    return rows


def boxed(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same with the final answer in a box."""
    changed = []
    for completion, gold in rows:
        body, found, answer = completion.rpartition("A:")
        changed.append((f"{body}\\boxed{{{answer.strip()}}}" if found else completion, gold))
    return changed


def expressions() -> list[tuple[str, str]]:
    """64 golds that take sympy, each with 4 distinct answers, twice each."""
    rng = random.Random(1)
    rows = []
    for i in range(64):
        a, b = rng.randrange(2, 9), rng.randrange(1, 9)
        gold = rf"\frac{{x^2+{a}x+{b + i}}}{{{a}}}"
        answers = [
            rf"\frac{{{b + i}+{a}x+x^2}}{{{a}}}",
            rf"\frac{{x^2}}{{{a}}}+x+\frac{{{b + i}}}{{{a}}}",
            rf"\frac{{x^2+{a}x+{b + i + 1}}}{{{a}}}",
            rf"\frac{{x(x+{a})+{b + i}}}{{{a}}}",
        ]
        rows += [(rf"So it is \boxed{{{answer}}}.", gold) for answer in answers * 2]
    return rows


def repeats(rows: list[tuple[str, str]]) -> float:
    return 1 - len(set(rows)) / len(rows)


# --- who scores -----------------------------------------------------------------------------------


class Ours:
    """Our reward on some rows, by workers that have not seen them before."""

    def __init__(
        self, rows: list[tuple[str, str]], marker: str, *, workers: int = 0, **options: Any
    ) -> None:
        completions, golds = zip(*rows, strict=True)
        self.rollouts = rs.Rollouts.from_text([""] * len(rows), completions, answer=golds)
        self.reward = rs.signals.MathAnswer(answer=marker, fast=options.pop("fast", True))
        self.workers, self.options = workers, options

    def seconds(self) -> tuple[float, Scored]:
        """One run, without the start of the workers, who are warm but know none of the rows."""
        kind = "processes" if self.workers else "inline"
        start = {"workers": self.workers, "timeout": 30.0} if self.workers else {}
        for cached in (*vars(maths).values(), *vars(symbolic).values()):
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()
        with rs.executor(kind, preload=PRELOAD, **start, **self.options):
            self.reward(
                rs.Rollouts.from_text(
                    [""] * 64, [f"A: x+{i}" for i in range(64)], answer=["x"] * 64
                )
            )
            began = time.perf_counter()
            values = self.reward(self.rollouts).values.tolist()
            return time.perf_counter() - began, values


class Peer:
    """A peer's function on some rows."""

    def __init__(self, call: Callable[[], Scored]) -> None:
        self.call = call

    def seconds(self) -> tuple[float, Scored]:
        began = time.perf_counter()
        values = self.call()
        return time.perf_counter() - began, values


def math_verify(rows: list[tuple[str, str]]) -> Peer:
    from math_verify import parse, verify

    return Peer(lambda: [float(verify(parse(f"${g}$"), parse(c))) for c, g in rows])


def trl(rows: list[tuple[str, str]]) -> Peer:
    from trl.rewards import accuracy_reward

    messages = [[{"role": "assistant", "content": c}] for c, _ in rows]
    golds = [f"${g}$" for _, g in rows]
    return Peer(lambda: [float(v or 0.0) for v in accuracy_reward(messages, golds)])


class Letters:
    """A tokenizer of bytes: decoding costs next to nothing."""

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return bytes(ids.tolist()).decode()


def verl(rows: list[tuple[str, str]]) -> Peer:
    import numpy as np
    import torch
    from verl import DataProto
    from verl.utils.reward_score.math_verify import compute_score
    from verl.workers.reward_manager.naive import NaiveRewardManager

    texts = [c.encode() for c, _ in rows]
    longest = max(map(len, texts))
    responses = torch.zeros(len(rows), longest, dtype=torch.int64)
    for i, text in enumerate(texts):
        responses[i, : len(text)] = torch.tensor(list(text))
    real = torch.arange(longest)[None] < torch.tensor([len(t) for t in texts])[:, None]
    prompts = torch.full((len(rows), 1), 63)
    tensors = {
        "prompts": prompts,
        "responses": responses,
        "attention_mask": torch.cat([torch.ones_like(prompts), real.long()], dim=1),
    }
    golds = np.array([{"ground_truth": g} for _, g in rows], dtype=object)
    sources = np.array(["own"] * len(rows), dtype=object)
    data = DataProto.from_dict(tensors, non_tensors={"reward_model": golds, "data_source": sources})

    def score(solution_str: str, ground_truth: str, **_: Any) -> float:
        return float(compute_score(solution_str, ground_truth))

    manager = NaiveRewardManager(Letters(), 0, score)
    return Peer(lambda: manager(data).sum(dim=1).tolist())


# --- the runs -------------------------------------------------------------------------------------


def compared(
    title: str,
    rows: list[tuple[str, str]],
    contenders: dict[str, Any],
    base: str,
    targets: dict[str, float],
    rounds: int,
) -> dict[str, Any]:
    """Interleaved runs: seconds, how many times as fast as the base, and agreement with ours."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    values: dict[str, Scored] = {}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds, values[name] = contender.seconds()
            times[name].append(seconds)
    own = values[next(iter(contenders))]
    lines = []
    for name, own_times in times.items():
        ratios = [b / t for b, t in zip(times[base], own_times, strict=True)]
        agreed = sum(a == b for a, b in zip(own, values[name], strict=True))
        target = targets.get(name)
        lines.append(
            {
                "contender": name,
                "seconds": statistics.median(own_times),
                "times_as_fast": statistics.median(ratios),
                "agreed": agreed,
                "target": target,
                "met": target is None or statistics.median(ratios) >= target,
            }
        )
    return {
        "title": title,
        "rows": len(rows),
        "repeats": repeats(rows),
        "base": base,
        "lines": lines,
    }


def gsm8k(data: Path, rounds: int) -> dict[str, Any]:
    rows = drawn(data)
    contenders = {
        "ours, 2 workers": Ours(rows, "A:", workers=WORKERS),
        "ours, inline": Ours(rows, "A:"),
        "math-verify": math_verify(boxed(rows)),
        "TRL accuracy_reward": trl(boxed(rows)),
        "verl naive manager": verl(boxed(rows)),
    }
    return compared("(a) GSM8K, all on", rows, contenders, "math-verify", {}, rounds)


def without(data: Path, rounds: int) -> dict[str, Any]:
    rows = drawn(data)
    contenders = {
        "ours, 2 workers": Ours(rows, "A:", workers=WORKERS, fast=False, dedupe=False),
        "ours, inline": Ours(rows, "A:", fast=False, dedupe=False),
        "math-verify": math_verify(boxed(rows)),
    }
    targets = {"ours, 2 workers": 1.7}
    title = "(b) GSM8K, exact path and deduplication off"
    return compared(title, rows, contenders, "ours, inline", targets, rounds)


def latex(rounds: int) -> dict[str, Any]:
    rows = expressions()
    contenders = {
        "ours, 2 workers": Ours(rows, "boxed", workers=WORKERS),
        "ours, inline": Ours(rows, "boxed"),
        "math-verify": math_verify(rows),
        "TRL accuracy_reward": trl(rows),
        "verl naive manager": verl(rows),
    }
    targets = {"ours, 2 workers": 3.0}
    return compared("(c) LaTeX that takes sympy", rows, contenders, "math-verify", targets, rounds)


def show(part: dict[str, Any]) -> None:
    print(f"{part['title']}: {part['rows']:,} rows, {part['repeats']:.0%} repeats")
    print(f"  {'':22}{'seconds':>9}{'ms/row':>9}{'x ' + part['base']:>16}{'agreed':>9}")
    for line in part["lines"]:
        met = "" if line["target"] is None else "met" if line["met"] else "MISSED"
        target = "" if line["target"] is None else f"  target {line['target']:g}: {met}"
        print(
            f"  {line['contender']:22}{line['seconds']:>9.3f}"
            f"{line['seconds'] / part['rows'] * 1e3:>9.3f}{line['times_as_fast']:>16.2f}"
            f"{line['agreed']:>9,}{target}"
        )


if __name__ == "__main__":
    sys.exit(main())
