"""Maths answers scored by ours, math-verify, TRL's accuracy_reward and verl's naive manager.

(a) GSM8K solutions in groups of 8, everything on; (b) the same without the exact path and
deduplication, on two workers and on none; (c) LaTeX answers that need sympy, in groups of 8, half
of them repeats. Rounds are interleaved, each on other rows. Peers get the final answer in the boxed
form that TRL asks for; "agreed" is the share of rows on which they say what ours does. Needs the
environment of `make contracts ARGS=scoring`, which it changes into by itself, and the GSM8K
solutions (--data).

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
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import rewardsmith as rs
from rewardsmith.core.execution import using

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "gsm8k_solutions.jsonl"
GROUP = 8
WORKERS = 2
PRELOAD = ("rewardsmith.rules.symbolic",)
Rows = list[tuple[str, str]]
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


def drawn(data: Path, seed: int, prompts: int = 512) -> Rows:
    """Groups of 8 (completion, gold), drawn with replacement from each problem's solutions."""
    rng = random.Random(seed)
    by_prompt: dict[int, list[dict[str, Any]]] = {}
    for line in data.open():
        row = json.loads(line)
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    rows = []
    for prompt in rng.sample(sorted(by_prompt), prompts):
        rows += [(r["completion"], r["answer"]) for r in rng.choices(by_prompt[prompt], k=GROUP)]
    return rows


def boxed(rows: Rows) -> Rows:
    """The same with the final answer in a box."""
    changed = []
    for completion, gold in rows:
        body, found, answer = completion.rpartition("A:")
        changed.append((f"{body}\\boxed{{{answer.strip()}}}" if found else completion, gold))
    return changed


def expressions(seed: int) -> Rows:
    """64 golds that take sympy, each with 4 distinct answers, twice each."""
    rng = random.Random(seed)
    rows = []
    for _ in range(64):
        a, b = rng.randrange(2, 99), rng.randrange(2, 999)
        gold = rf"\frac{{x^2+{a}x+{b}}}{{{a}}}"
        answers = [
            rf"\frac{{{b}+{a}x+x^2}}{{{a}}}",
            rf"\frac{{x^2}}{{{a}}}+x+\frac{{{b}}}{{{a}}}",
            rf"\frac{{x^2+{a}x+{b + 1}}}{{{a}}}",
            rf"\frac{{x(x+{a})+{b}}}{{{a}}}",
        ]
        rows += [(rf"So it is \boxed{{{answer}}}.", gold) for answer in answers * 2]
    return rows


def repeats(rows: Rows) -> float:
    return 1 - len(set(rows)) / len(rows)


# --- who scores -----------------------------------------------------------------------------------


class Ours:
    """Our reward, on workers that stay from round to round."""

    def __init__(
        self, stack: ExitStack, marker: str, *, workers: int = 0, fast: bool = True, **options: Any
    ) -> None:
        self.reward = rs.signals.MathAnswer(answer=marker, fast=fast)
        kind = "processes" if workers else "inline"
        start = {"workers": workers, "timeout": 30.0, "preload": PRELOAD} if workers else {}
        with ExitStack() as opened:
            self.execution = opened.enter_context(rs.executor(kind, **start, **options))
            # What closes the workers is left to the caller's stack.
            pool = self.execution.executor
        if workers:
            stack.enter_context(pool)

    def seconds(self, rows: Rows) -> tuple[float, Scored]:
        completions, golds = zip(*rows, strict=True)
        rollouts = rs.Rollouts.from_text([""] * len(rows), completions, answer=golds)
        began = time.perf_counter()
        with using(self.execution):
            values = self.reward(rollouts).values.tolist()
        return time.perf_counter() - began, values


class Peer:
    """A peer's function: made ready for some rows, then timed."""

    def __init__(self, ready: Callable[[Rows], Callable[[], Scored]]) -> None:
        self.ready = ready

    def seconds(self, rows: Rows) -> tuple[float, Scored]:
        call = self.ready(boxed(rows))
        began = time.perf_counter()
        values = call()
        return time.perf_counter() - began, values


def math_verify(rows: Rows) -> Callable[[], Scored]:
    from math_verify import parse, verify

    return lambda: [float(verify(parse(f"${g}$"), parse(c))) for c, g in rows]


def trl(rows: Rows) -> Callable[[], Scored]:
    from trl.rewards import accuracy_reward

    messages = [[{"role": "assistant", "content": c}] for c, _ in rows]
    golds = [f"${g}$" for _, g in rows]
    return lambda: [float(v or 0.0) for v in accuracy_reward(messages, golds)]


class Letters:
    """A tokenizer of bytes: decoding costs next to nothing."""

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return bytes(ids.tolist()).decode()

    def batch_decode(self, ids: Any, skip_special_tokens: bool = True) -> list[str]:
        return [bytes(one).decode() for one in ids]


def verl(rows: Rows) -> Callable[[], Scored]:
    from verl.utils.reward_score.math_verify import compute_score
    from verl.workers.reward_manager.naive import NaiveRewardManager

    data = proto(rows)

    def score(solution_str: str, ground_truth: str, **_: Any) -> float:
        return float(compute_score(solution_str, ground_truth))

    manager = NaiveRewardManager(Letters(), 0, score)
    return lambda: manager(data).sum(dim=1).tolist()


def proto(rows: Rows) -> Any:
    """Rows as verl hands them to its managers, their letters as tokens."""
    import numpy as np
    import torch
    from verl import DataProto

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
    others = {
        "reward_model": np.array([{"ground_truth": g} for _, g in rows], dtype=object),
        "data_source": np.array(["own"] * len(rows), dtype=object),
        "extra_info": np.array([{} for _ in rows], dtype=object),
    }
    return DataProto.from_dict(tensors, non_tensors=others)


# --- the runs -------------------------------------------------------------------------------------


PEERS = {
    "math-verify": Peer(math_verify),
    "TRL accuracy_reward": Peer(trl),
    "verl naive manager": Peer(verl),
}


def compared(
    title: str,
    drawn: Callable[[int], Rows],
    contenders: dict[str, Any],
    base: str,
    targets: dict[str, float],
    rounds: int,
) -> dict[str, Any]:
    """Interleaved runs, each round on rows that nobody has seen; the first only warms up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    agreed: Counter[str] = Counter()
    shares, scored = [], 0
    for seed in range(rounds + 1):
        rows = drawn(seed)
        values: dict[str, Scored] = {}
        for name, contender in contenders.items():
            seconds, values[name] = contender.seconds(rows)
            times[name].append(seconds)
        shares.append(repeats(rows))
        scored += len(rows)
        own = values[next(iter(contenders))]
        for name in contenders:
            agreed[name] += sum(a == b for a, b in zip(own, values[name], strict=True))
    lines = []
    for name, own_times in times.items():
        ratios = [b / t for b, t in zip(times[base][1:], own_times[1:], strict=True)]
        target = targets.get(name)
        lines.append(
            {
                "contender": name,
                "seconds": statistics.median(own_times[1:]),
                "times_as_fast": statistics.median(ratios),
                "agreed": agreed[name] / scored,
                "target": target,
                "met": target is None or statistics.median(ratios) >= target,
            }
        )
    facts = {"title": title, "rows": len(rows), "repeats": statistics.median(shares), "base": base}
    return facts | {"lines": lines}


def gsm8k(data: Path, rounds: int) -> dict[str, Any]:
    with ExitStack() as stack:
        contenders = {
            "ours, 2 workers": Ours(stack, "A:", workers=WORKERS),
            "ours, inline": Ours(stack, "A:"),
            **PEERS,
        }
        draw = partial(drawn, data)
        return compared("(a) GSM8K, all on", draw, contenders, "math-verify", {}, rounds)


def without(data: Path, rounds: int) -> dict[str, Any]:
    with ExitStack() as stack:
        contenders = {
            "ours, 2 workers": Ours(stack, "A:", workers=WORKERS, fast=False, dedupe=False),
            "ours, inline": Ours(stack, "A:", fast=False, dedupe=False),
            "math-verify": PEERS["math-verify"],
        }
        title = "(b) GSM8K, exact path and deduplication off"
        targets = {"ours, 2 workers": 1.7}
        return compared(title, partial(drawn, data), contenders, "ours, inline", targets, rounds)


def latex(rounds: int) -> dict[str, Any]:
    with ExitStack() as stack:
        contenders = {
            "ours, 2 workers": Ours(stack, "boxed", workers=WORKERS),
            "ours, inline": Ours(stack, "boxed"),
            **PEERS,
        }
        title = "(c) LaTeX that takes sympy"
        targets = {"ours, 2 workers": 3.0}
        return compared(title, expressions, contenders, "math-verify", targets, rounds)


def show(part: dict[str, Any]) -> None:
    print(f"{part['title']}: {part['rows']:,} rows, {part['repeats']:.0%} repeats")
    print(f"  {'':22}{'seconds':>9}{'ms/row':>9}{'x ' + part['base']:>16}{'agreed':>9}")
    for line in part["lines"]:
        met = "" if line["target"] is None else "met" if line["met"] else "MISSED"
        target = "" if line["target"] is None else f"  target {line['target']:g}: {met}"
        print(
            f"  {line['contender']:22}{line['seconds']:>9.3f}"
            f"{line['seconds'] / part['rows'] * 1e3:>9.3f}{line['times_as_fast']:>16.2f}"
            f"{line['agreed']:>9.1%}{target}"
        )


if __name__ == "__main__":
    sys.exit(main())
