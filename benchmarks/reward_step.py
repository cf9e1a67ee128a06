"""The reward step of a trainer: 512 prompts x 8 through maths + format + length, ours and theirs.

One rule each for maths, format and length, with the same weights, in the trainer's own code: TRL's
`_calculate_rewards` with three plain functions, or with `to_trl`; verl's reward managers, a task
for each sample, its naive one or ours. Maths is math-verify, as both trainers' own rules call it;
"our functions" are their loops with the functions that our reward runs, which remember golds. (a)
GSM8K solutions, our exact path off; (b) LaTeX answers that take sympy; (c) GSM8K with everything
on, without a target. What a trainer hands over is made before the clock runs. Rounds
are interleaved, each on other rows. "agreed" is the share of 512 rows whose total is TRL's to 1e-6.
Needs the environment of `make contracts ARGS=scoring`, which it changes into by itself, and the
GSM8K solutions (--data).

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
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, TypeAlias

from scoring import (
    DATA,
    GROUP,
    WORKERS,
    Letters,
    Rows,
    boxed,
    drawn,
    in_their_environment,
    proto,
    repeats,
)

import rewardsmith as rs
from rewardsmith.adapters.trl import to_trl
from rewardsmith.core.execution import Execution, Inline, using
from rewardsmith.core.rows import preloads
from rewardsmith.core.spec import dumps
from rewardsmith.engine.processes import Processes

Step: TypeAlias = Callable[[], list[float]]
"""Scores rows that are ready, and gives their totals."""
Ready: TypeAlias = Callable[[Rows], Step]
Rules: TypeAlias = dict[str, Callable[..., Any]]
IN_TRL, IN_VERL = f"ours in TRL, {WORKERS} workers", f"ours in verl, {WORKERS} workers"
TIMEOUT = 30.0
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
        compared("(c) GSM8K, all on", gsm8k, True, options.rounds, None),
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
        a, b = 2 + (n * 7 + seed * 31) % 97, 2 + n + seed % 64 * PROMPTS
        gold = rf"\frac{{x^2+{a}x+{b}}}{{{a}}}"
        answers = [
            rf"\frac{{{b}+{a}x+x^2}}{{{a}}}",
            rf"\frac{{x^2}}{{{a}}}+x+\frac{{{b}}}{{{a}}}",
            rf"\frac{{x^2+{a}x+{b + 1}}}{{{a}}}",
            rf"\frac{{x(x+{a})+{b}}}{{{a}}}",
        ]
        rows += [(rf"<think>so</think> It is \boxed{{{answer}}}.", gold) for answer in answers * 2]
    return rows


def tree(fast: bool) -> rs.Reward:
    return rs.WeightedSum(parts(fast), WEIGHTS)


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

    def ready(self, rows: Rows) -> Step:
        from trl import GRPOTrainer

        inputs = [{"prompt": str(i // GROUP), "answer": gold} for i, (_, gold) in enumerate(rows)]
        prompts, completions = [row["prompt"] for row in inputs], [text for text, _ in rows]
        ids = [[0]] * len(rows)

        def totals() -> list[float]:
            found = GRPOTrainer._calculate_rewards(self, inputs, prompts, completions, ids)
            return (found * self.weights).nansum(dim=1).tolist()

        return totals


def ours_in_trl(fast: bool, execution: Execution | None = None) -> Ready:
    """Our reward in TRL's loop; its workers stay from round to round."""
    function = to_trl(tree(fast), workers=WORKERS, timeout=TIMEOUT)
    trainer = Trainer([function], [1.0])

    def ready(rows: Rows) -> Step:
        step = trainer.ready(rows)

        def totals() -> list[float]:
            with ExitStack() as stack:
                if execution is not None:
                    stack.enter_context(using(execution))
                return step()

        return totals

    return ready


def ours_in_verl(fast: bool, folder: Path) -> Ready:
    """Our reward manager in verl's place for one."""
    from rewardsmith.adapters.verl import RewardManager

    file = folder / f"reward_{fast}.yaml"
    file.write_text(dumps(tree(fast)))
    options = {"reward": str(file), "missing": 0.0, "workers": WORKERS, "timeout": TIMEOUT}
    options["columns"] = {"answer": "reward_model.ground_truth"}
    config = {"reward": {"custom_reward_function": {"reward_kwargs": options}}}
    return in_verl(lambda config: RewardManager(config, Letters()), config)


def trl(found: Rules) -> Ready:

    def correct(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [number(found["correct"](c, a)) for c, a in zip(completions, answer, strict=True)]

    def form(completions: list[str], **_: Any) -> list[float]:
        return [number(found["format"](c)) for c in completions]

    def length(completions: list[str], **_: Any) -> list[float]:
        return [number(found["length"](c)) for c in completions]

    return Trainer([correct, form, length], list(WEIGHTS.values())).ready


def verl(found: Rules) -> Ready:
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

    def score(solution_str: str, ground_truth: str, **_: Any) -> float:
        own = {"correct": found["correct"](solution_str, ground_truth)}
        own |= {"format": found["format"](solution_str), "length": found["length"](solution_str)}
        return sum(WEIGHTS[name] * number(value) for name, value in own.items())

    return in_verl(lambda config: NaiveRewardManager(config, Letters(), score), {})


def in_verl(manager: Callable[[Any], Any], config: dict[str, Any]) -> Ready:
    """A reward manager as verl's reward worker uses it: a task for each sample, on one loop."""
    from omegaconf import OmegaConf

    async def totals(samples: list[Any]) -> list[float]:
        # Made here: it keeps the loop that runs.
        made = manager(OmegaConf.create(config))
        found = await asyncio.gather(*(made.run_single(sample) for sample in samples))
        return [float(one["reward_score"]) for one in found]

    def ready(rows: Rows) -> Step:
        data = proto(rows)
        samples = [data[i : i + 1] for i in range(len(rows))]
        return lambda: asyncio.run(totals(samples))

    return ready


def rules(fast: bool) -> Rules:
    """The functions of one row that our parts run."""
    return {name: part.rowcall.bound() for name, part in parts(fast).items()}


def as_they_are(fast: bool) -> Rules:
    """The same, with maths as both trainers' own rules do it: math-verify, the gold each time."""
    from math_verify import parse, verify

    def correct(completion: str, gold: str) -> float:
        # Without limits of time, which take the main thread: verl's manager calls from others.
        right, said = (parse(text, parsing_timeout=None) for text in (f"${gold}$", completion))
        return float(verify(right, said, timeout_seconds=None))

    return rules(fast) | {"correct": correct}


def number(verdict: Any) -> float:
    """A rule's value; it may come with its reason."""
    return float(verdict[0] if isinstance(verdict, tuple) else verdict)


# --- the runs -------------------------------------------------------------------------------------


def compared(
    title: str, draw: Callable[[int], Rows], fast: bool, rounds: int, target: float | None
) -> dict[str, Any]:
    """Interleaved runs, after some rows that all of them score."""
    pool = Processes(WORKERS, TIMEOUT, sorted(preloads(tree(fast))))
    with TemporaryDirectory() as folder:
        contenders: dict[str, Ready] = {
            IN_TRL: ours_in_trl(fast),
            "  without dedupe": ours_in_trl(fast, Execution(pool, dedupe=False)),
            "  inline": ours_in_trl(fast, Execution(Inline())),
            "  inline, without dedupe": ours_in_trl(fast, Execution(Inline(), dedupe=False)),
            "TRL, our functions": trl(rules(fast)),
            "TRL": trl(as_they_are(fast)),
            IN_VERL: ours_in_verl(fast, Path(folder)),
            "verl, our functions": verl(rules(fast)),
            "verl": verl(as_they_are(fast)),
        }
        times, agreed, share = runs(contenders, draw, rounds)
    lines = []
    for name in contenders:
        peer = "verl" if "verl" in name else "TRL"
        ratios = [b / t for b, t in zip(times[peer], times[name], strict=True)]
        ratio = statistics.median(ratios)
        wanted = target if name in (IN_TRL, IN_VERL) else None
        lines.append(
            {
                "contender": name,
                "seconds": statistics.median(times[name]),
                "beside": peer,
                "times_as_fast": ratio,
                "agreed": agreed[name],
                "target": wanted,
                "met": (wanted is None or ratio >= wanted) and agreed[name] == 1.0,
            }
        )
    return {"title": title, "rows": PROMPTS * GROUP, "repeats": share, "lines": lines}


def runs(
    contenders: dict[str, Ready], draw: Callable[[int], Rows], rounds: int
) -> tuple[dict[str, list[float]], dict[str, float], float]:
    """Seconds of each round, the share of rows that agree with TRL's, the share of repeats.

    Every contender has rows of its own in each round: sympy keeps what it has done, and would give
    it to whoever comes next in the same process.
    """
    shared = draw(0)[:512]
    totals = {name: ready(shared)() for name, ready in contenders.items()}
    agreed = {
        name: sum(abs(a - b) <= 1e-6 for a, b in zip(found, totals["TRL"], strict=True))
        / len(shared)
        for name, found in totals.items()
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    share, seed = 0.0, 0
    for _ in range(rounds):
        for name, ready in contenders.items():
            seed += 1
            rows = draw(seed)
            share = max(share, repeats(rows))
            step = ready(rows)
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
    return times, agreed, share


def show(part: dict[str, Any]) -> None:
    print(f"{part['title']}: {part['rows']:,} rows, {part['repeats']:.0%} repeats")
    print(f"  {'':26}{'seconds':>9}{'times as fast':>24}{'agreed':>9}")
    for line in part["lines"]:
        met = "met" if line["met"] else "MISSED"
        target = "" if line["target"] is None else f"  target {line['target']:g}: {met}"
        ratio = f"{line['times_as_fast']:.2f} x {line['beside']}"
        print(
            f"  {line['contender']:26}{line['seconds']:>9.3f}{ratio:>24}{line['agreed']:>9.1%}"
            f"{target}"
        )


if __name__ == "__main__":
    sys.exit(main())
