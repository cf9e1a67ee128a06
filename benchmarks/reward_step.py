"""The reward step of a trainer: 512 prompts x 8 through maths + format + length, ours and theirs.

One rule each for maths, format and length; every contender runs the same three, with the same
weights, in the trainer's own code: TRL's `_calculate_rewards` and verl's naive manager, with the
rules as plain functions, beside `to_trl` in that same `_calculate_rewards`. (a) GSM8K solutions
with the engine that both trainers use (math-verify, no exact path); (b) LaTeX answers that take
sympy; (c) GSM8K with our exact path, for everybody. Rounds are interleaved, each on other rows.
"agreed" is the share of rows whose total is the same to 1e-6. Needs the environment of `make
contracts ARGS=scoring`, which it changes into by itself, and the GSM8K solutions (--data).

    python benchmarks/reward_step.py [--data FILE] [--json] [--rounds N]
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scoring import DATA, GROUP, WORKERS, Letters, Rows, boxed, drawn, in_their_environment, repeats

import rewardsmith as rs
from rewardsmith.adapters.trl import to_trl
from rewardsmith.core.execution import Execution, Inline, using

WEIGHTS = {"correct": 1.0, "format": 0.2, "length": 0.1}
TARGET = 3.0
PROMPTS = 512


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
    gsm8k = partial(thoughtful, options.data)
    report = [
        compared("(a) GSM8K, math-verify", gsm8k, False, options.rounds, TARGET),
        compared("(b) LaTeX, sympy", latex, True, options.rounds, TARGET),
        compared("(c) GSM8K, exact path", gsm8k, True, options.rounds, None),
    ]
    print(json.dumps(report, indent=2)) if options.json else [show(part) for part in report]
    return int(not all(line["met"] for part in report for line in part["lines"]))


# --- the data and the rules -----------------------------------------------------------------------


def thoughtful(data: Path, seed: int) -> Rows:
    """GSM8K solutions with their thoughts in tags; a third leave them out."""
    rows = boxed(drawn(data, seed, PROMPTS))
    return [
        (completion if i % 3 == 0 else f"<think>{completion}</think>\n{completion[-80:]}", gold)
        for i, (completion, gold) in enumerate(rows)
    ]


def latex(seed: int) -> Rows:
    """512 golds that take sympy, each with 4 distinct answers, twice each."""
    rows = []
    for n in range(PROMPTS):
        a, b = 2 + (n * 7 + seed * 31) % 97, 2 + n + seed * PROMPTS
        gold = rf"\frac{{x^2+{a}x+{b}}}{{{a}}}"
        answers = [
            rf"\frac{{{b}+{a}x+x^2}}{{{a}}}",
            rf"\frac{{x^2}}{{{a}}}+x+\frac{{{b}}}{{{a}}}",
            rf"\frac{{x^2+{a}x+{b + 1}}}{{{a}}}",
            rf"\frac{{x(x+{a})+{b}}}{{{a}}}",
        ]
        rows += [(rf"<think>so</think> It is \boxed{{{answer}}}.", gold) for answer in answers * 2]
    return rows


def parts(fast: bool) -> dict[str, rs.RowReward]:
    return {
        "correct": rs.signals.MathAnswer(fast=fast),
        "format": rs.signals.Pattern(r"(?s)<think>.*</think>.*\\boxed"),
        "length": rs.signals.Length(high=120, slack=80),
    }


# --- who scores -----------------------------------------------------------------------------------


class Trainer:
    """What TRL's `_calculate_rewards` asks of its trainer."""

    def __init__(self, reward_funcs: list[Any], weights: list[float]) -> None:
        import torch
        from accelerate import PartialState

        PartialState(cpu=True)
        self.reward_funcs, self.weights = reward_funcs, torch.tensor(weights)
        self.reward_func_names = [f.__name__ for f in reward_funcs]
        self.reward_processing_classes = [None] * len(reward_funcs)
        self.accelerator = SimpleNamespace(device=torch.device("cpu"), is_main_process=True)
        self.state, self.args = SimpleNamespace(global_step=0), SimpleNamespace(report_to=[])
        self.environments = None

    def _log_completion_extra(self, column: str, values: list[Any]) -> None:
        pass

    def _log_metric(self, name: str, value: float) -> None:
        pass

    def totals(self, rows: Rows) -> list[float]:
        from trl import GRPOTrainer

        inputs = [{"prompt": str(i // GROUP), "answer": gold} for i, (_, gold) in enumerate(rows)]
        prompts, completions = [row["prompt"] for row in inputs], [text for text, _ in rows]
        ids = [[0]] * len(rows)
        found = GRPOTrainer._calculate_rewards(self, inputs, prompts, completions, ids)
        return (found * self.weights).nansum(dim=1).tolist()


class Ours:
    """Our reward in TRL's loop; its workers stay from round to round."""

    def __init__(self, fast: bool, execution: Execution | None = None) -> None:
        function = to_trl(rs.WeightedSum(parts(fast), WEIGHTS), workers=WORKERS, timeout=30.0)
        self.trainer, self.execution = Trainer([function], [1.0]), execution

    def __call__(self, rows: Rows) -> list[float]:
        with ExitStack() as stack:
            if self.execution is not None:
                stack.enter_context(using(self.execution))
            return self.trainer.totals(rows)


def rules(fast: bool) -> dict[str, Callable[..., Any]]:
    """The functions of one row that our parts run."""
    return {name: part.rowcall.bound() for name, part in parts(fast).items()}


def trl(fast: bool) -> Callable[[Rows], list[float]]:
    found = rules(fast)

    def correct(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [number(found["correct"](c, a)) for c, a in zip(completions, answer, strict=True)]

    def form(completions: list[str], **_: Any) -> list[float]:
        return [number(found["format"](c)) for c in completions]

    def length(completions: list[str], **_: Any) -> list[float]:
        return [number(found["length"](c)) for c in completions]

    return Trainer([correct, form, length], list(WEIGHTS.values())).totals


def verl(fast: bool) -> Callable[[Rows], list[float]]:
    from omegaconf import OmegaConf
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

    found = rules(fast)

    def score(solution_str: str, ground_truth: str, **_: Any) -> float:
        own = {"correct": found["correct"](solution_str, ground_truth)}
        own |= {"format": found["format"](solution_str), "length": found["length"](solution_str)}
        return sum(WEIGHTS[name] * number(value) for name, value in own.items())

    async def totals(rows: Rows) -> list[float]:
        manager = NaiveRewardManager(OmegaConf.create({}), Letters(), score)
        data = batch(rows)
        each = [manager.run_single(data[i : i + 1]) for i in range(len(rows))]
        return [float(one["reward_score"]) for one in await asyncio.gather(*each)]

    return lambda rows: asyncio.run(totals(rows))


def batch(rows: Rows) -> Any:
    """Rows as verl hands them to a manager."""
    import numpy as np
    import torch
    from verl import DataProto

    texts = [text.encode() for text, _ in rows]
    longest = max(map(len, texts))
    responses = torch.zeros(len(rows), longest, dtype=torch.int64)
    for i, text in enumerate(texts):
        responses[i, : len(text)] = torch.tensor(list(text))
    real = torch.arange(longest)[None] < torch.tensor([len(text) for text in texts])[:, None]
    prompts = torch.full((len(rows), 1), 63)
    mask = torch.cat([torch.ones_like(prompts), real.long()], dim=1)
    tensors = {"prompts": prompts, "responses": responses, "attention_mask": mask}
    others = {
        "reward_model": np.array([{"ground_truth": gold} for _, gold in rows], dtype=object),
        "data_source": np.array(["own"] * len(rows), dtype=object),
        "extra_info": np.array([{} for _ in rows], dtype=object),
    }
    return DataProto.from_dict(tensors, non_tensors=others)


def number(verdict: Any) -> float:
    """A rule's value; it may come with its reason."""
    return float(verdict[0] if isinstance(verdict, tuple) else verdict)


# --- the runs -------------------------------------------------------------------------------------


def compared(
    title: str, draw: Callable[[int], Rows], fast: bool, rounds: int, target: float | None
) -> dict[str, Any]:
    """Interleaved runs, each round on rows that nobody has seen; the first only warms up."""
    contenders: dict[str, Callable[[Rows], list[float]]] = {
        f"ours, {WORKERS} workers": Ours(fast),
        "ours, inline": Ours(fast, Execution(Inline())),
        "ours, inline, no dedupe": Ours(fast, Execution(Inline(), dedupe=False)),
        "TRL": trl(fast),
        "verl naive manager": verl(fast),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    same = dict.fromkeys(contenders, 0)
    shares, scored = [], 0
    for seed in range(rounds + 1):
        rows = draw(seed)
        values = {}
        for name, totals in contenders.items():
            began = time.perf_counter()
            values[name] = totals(rows)
            times[name].append(time.perf_counter() - began)
        shares.append(repeats(rows))
        scored += len(rows)
        for name in contenders:
            pairs = zip(values[name], values["TRL"], strict=True)
            same[name] += sum(abs(a - b) <= 1e-6 for a, b in pairs)
    lines = []
    for k, name in enumerate(contenders):
        ratio = {
            peer: statistics.median(
                b / t for b, t in zip(times[peer][1:], times[name][1:], strict=True)
            )
            for peer in ("TRL", "verl naive manager")
        }
        wanted = target if k == 0 else None
        reached = wanted is None or min(ratio.values()) >= wanted
        agreed = same[name] / scored
        lines.append(
            {
                "contender": name,
                "seconds": statistics.median(times[name][1:]),
                "times_as_fast": ratio,
                "agreed": agreed,
                "target": wanted,
                "met": reached and agreed == 1.0,
            }
        )
    return {"title": title, "rows": scored // (rounds + 1), "repeats": max(shares), "lines": lines}


def show(part: dict[str, Any]) -> None:
    print(f"{part['title']}: {part['rows']:,} rows, {part['repeats']:.0%} repeats")
    print(f"  {'':26}{'seconds':>9}{'x TRL':>9}{'x verl':>9}{'agreed':>9}")
    for line in part["lines"]:
        met = "met" if line["met"] else "MISSED"
        target = "" if line["target"] is None else f"  target {line['target']:g}: {met}"
        trl_ratio, verl_ratio = line["times_as_fast"].values()
        print(
            f"  {line['contender']:26}{line['seconds']:>9.3f}{trl_ratio:>9.2f}{verl_ratio:>9.2f}"
            f"{line['agreed']:>9.1%}{target}"
        )


if __name__ == "__main__":
    sys.exit(main())
