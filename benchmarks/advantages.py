"""Advantages and returns: ours beside verl's loops and vectorized forms, TRL, OpenRLHF and NeMo-RL.

One thread, float32. Outcomes: rewards [N] in groups of 8, ids that are strings, dense integers or
sparse ones; "[N, T]" starts from a reward per token and ends with an advantage per token. Scans:
masks that end early, and masks with holes, whitening on both sides. Rounds are interleaved; ratios
are medians of those in each round. "peak" is the most memory held beyond the inputs, of one call in
a process of its own. "agreed" is the greatest relative difference from the peer.

TRL's and OpenRLHF's lines are read from their installed files, for they are parts of methods;
NeMo-RL's from a checkout, as it is not on PyPI. What is not there is left out. Needs the
environment of `make contracts ARGS=scoring`, which it changes into by itself.

    python benchmarks/advantages.py [--nemo CHECKOUT] [--rounds N] [--json] [--small]
"""

import argparse
import ast
import importlib.util
import json
import os
import statistics
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import torch
from scoring import ROOT, in_their_environment
from torch import Tensor

Call: TypeAlias = Callable[[], Any]
GROUP = 8
T = 1024
"""Tokens of an answer where outcomes become [N, T]."""
PROMPT = 512
"""Tokens of a prompt, by which NeMo-RL finds out who belongs together."""
GAMMA, LAM = 0.99, 0.95
SHAPES = [(64, 32768), (1024, 8192), (4096, 1024)]
TARGETS = {(64, 32768): 10.0, (1024, 8192): 10.0, (4096, 1024): 5.0}
AGREED = 1e-5
LEAST = 0.02
"""Seconds that a measurement lasts at least, by repeating the call."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nemo", type=Path, help="a checkout of NVIDIA-NeMo/RL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    if importlib.util.find_spec("verl") is None:
        return in_their_environment()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sizes = [64] if options.small else [64, 1024, 4096]
    shapes = [(8, 256)] if options.small else SHAPES
    report = [outcomes(n, options.nemo, options.rounds) for n in sizes]
    report += [
        scans(kind, shape, holes, options.rounds)
        for kind in ("GAE", "returns")
        for shape in shapes
        for holes in (False, True)
    ]
    print(json.dumps(report, indent=2)) if options.json else [show(part) for part in report]
    return int(not all(line["met"] for part in report for line in part["lines"]))


# --- outcomes -------------------------------------------------------------------------------------


def outcomes(n: int, nemo: Path | None, rounds: int) -> dict[str, Any]:
    """GRPO and RLOO of n rewards in groups of 8."""
    from verl.trainer.ppo import core_algos

    from rewardsmith.policy.advantages import grpo, rloo

    generator = torch.Generator().manual_seed(n)
    rewards = torch.rand(n, generator=generator)
    mask = lengths_of(n, T, generator)
    at_the_end = torch.zeros(n, T)
    at_the_end[torch.arange(n), mask.sum(dim=1) - 1] = rewards
    floats = mask.float()
    order = torch.randperm(n, generator=generator)
    prompt = torch.arange(n)[order] // GROUP
    strings = np.array([f"3f9c{i:08x}-prompt" for i in prompt.tolist()], dtype=object)
    sparse = prompt * 54_321_987
    theirs = core_algos.compute_grpo_outcome_advantage, core_algos.compute_rloo_outcome_advantage
    vectorized = (
        core_algos.compute_grpo_vectorized_outcome_advantage,
        core_algos.compute_rloo_vectorized_outcome_advantage,
    )
    loop, fast = "verl, loop", "verl, vectorized"
    lines = []
    for name, ours, peer, peer_fast in zip(
        ("GRPO", "RLOO"), (grpo, rloo), theirs, vectorized, strict=True
    ):
        contenders: dict[str, Call] = {
            "ours [N], strings": lambda ours=ours: ours(rewards, strings).values,
            "ours [N], dense integers": lambda ours=ours: ours(rewards, prompt).values,
            "ours [N], sparse integers": lambda ours=ours: ours(rewards, sparse).values,
            "ours [N, T]": lambda ours=ours: ours(at_the_end.sum(dim=1), strings).by_step(mask),
            loop: lambda peer=peer: peer(at_the_end, floats, strings)[0],
            fast: lambda peer=peer_fast: peer(at_the_end, floats, strings)[0],
        }
        if name == "GRPO":
            sorted_rewards = rewards[order.argsort()]
            contenders |= trl(sorted_rewards) | nemo_rl(nemo, prompt, rewards, generator)
        targets = {
            "ours [N], strings": (loop, 40.0 if n >= 1024 else 20.0),
            "ours [N], sparse integers": ("ours [N], dense integers", 0.95),
            "ours [N, T]": (fast, 1 / 1.2),
        }
        agreed = {
            "ours [N], strings": difference(
                contenders["ours [N], strings"]()[:, None] * floats, contenders[loop]()
            ),
            "ours [N, T]": difference(contenders["ours [N, T]"](), contenders[loop]()),
        }
        lines += compared(contenders, targets, agreed, rounds, prefix=f"{name}: ")
    return {"title": f"outcomes, N = {n:,}, T = {T:,}", "lines": lines}


def trl(rewards: Tensor) -> dict[str, Call]:
    """TRL's own lines, from the sum of rewards to advantages."""
    source = installed("trl", "trainer/grpo_trainer.py")
    if source is None:
        return {}
    block = next(
        node
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and "sum_then_normalize" in ast.unparse(node.test)
    )
    code = compile(ast.Module(block.body, []), str(source), "exec")
    from trl.trainer.utils import nanstd

    stub = SimpleNamespace(reward_weights=torch.ones(1), scale_rewards="group")
    names = {
        "self": stub,
        "torch": torch,
        "nanstd": nanstd,
        "num_generations": GROUP,
        "device": rewards.device,
        "rewards_per_func": rewards[:, None],
        "unscorable_mask": torch.zeros(len(rewards), dtype=torch.bool),
    }

    def run() -> Tensor:
        scope = dict(names)
        exec(code, scope)
        return scope["advantages"]

    return {"TRL [N]": run}


def nemo_rl(
    checkout: Path | None, prompt: Tensor, rewards: Tensor, generator: torch.Generator
) -> dict[str, Call]:
    """NeMo-RL's leave-one-out baseline and standard deviation; the division is two more lines."""
    file = None if checkout is None else checkout / "nemo_rl" / "algorithms" / "utils.py"
    if file is None or not file.exists():
        return {}
    function = functions(file, "calculate_baseline_and_std_per_prompt")[0]
    tokens = torch.randint(0, 50_000, (int(prompt.max()) + 1, PROMPT), generator=generator)[prompt]
    valid = torch.ones_like(rewards)
    return {f"NeMo-RL, prompts of {PROMPT}": lambda: function(tokens, rewards, valid)}


# --- scans ----------------------------------------------------------------------------------------


def scans(kind: str, shape: tuple[int, int], holes: bool, rounds: int) -> dict[str, Any]:
    """Whitened GAE, or whitened discounted returns, over [N, T]."""
    from verl.trainer.ppo import core_algos

    from rewardsmith.ops import scan
    from rewardsmith.policy.advantages import gae, reinforce_plus_plus

    n, t = shape
    generator = torch.Generator().manual_seed(t)
    mask = lengths_of(n, t, generator)
    if holes:
        mask &= torch.rand(n, t, generator=generator) > 0.2
        mask[:, 0] = True
    floats = mask.float()
    rewards = torch.randn(n, t, generator=generator) * floats
    values = torch.randn(n, t, generator=generator) * floats
    config = SimpleNamespace(gamma=GAMMA)
    maker = openrlhf()

    def ours(how: str) -> Call:
        def run() -> Tensor:
            with scan.how(how):
                if kind == "GAE":
                    made = gae(rewards, values, mask, gamma=GAMMA, lam=LAM)
                else:
                    made = reinforce_plus_plus(rewards, mask, gamma=GAMMA)
            return made.values

        return run

    def verl() -> Tensor:
        if kind == "GAE":
            made = core_algos.compute_gae_advantage_return(rewards, values, floats, GAMMA, LAM)
        else:
            made = core_algos.compute_reinforce_plus_plus_outcome_advantage(
                rewards, floats, config=config
            )
        return made[0] * floats

    contenders: dict[str, Call] = {
        "ours, compiled": ours("compiled"),
        "ours, torch": ours("torch"),
        "verl": verl,
    }
    if maker is not None and not holes:
        contenders["OpenRLHF"] = lambda: theirs(maker, kind, rewards, values, floats)
    targets = {"ours, compiled": ("verl", TARGETS[shape])} if shape in TARGETS else {}
    expected = verl()
    agreed = {name: difference(contenders[name](), expected) for name in contenders}
    title = f"{kind}, whitened, {n} x {t}, {'holes' if holes else 'padded at the end'}"
    return {"title": title, "lines": compared(contenders, targets, agreed, rounds)}


def openrlhf() -> SimpleNamespace | None:
    """Its two scans, which are methods that read nothing of their object."""
    source = installed("openrlhf", "trainer/ppo_utils/experience_maker.py")
    if source is None:
        return None
    gae, returns = functions(source, "get_advantages_and_returns", "get_cumulative_returns")
    return SimpleNamespace(gae=gae, returns=returns)


def theirs(
    maker: SimpleNamespace, kind: str, rewards: Tensor, values: Tensor, mask: Tensor
) -> Tensor:
    """OpenRLHF's scan, whitened as it whitens."""
    if kind == "GAE":
        advantages = maker.gae(None, values, rewards, mask, GAMMA, LAM)[0]
    else:
        advantages = maker.returns(None, rewards, mask, GAMMA)
    count = mask.sum()
    mean = (advantages * mask).sum() / count
    variance = ((advantages - mean).pow(2) * mask).sum() / count
    return (advantages - mean) * variance.clamp(min=1e-8).rsqrt() * mask


# --- what they share ------------------------------------------------------------------------------


def lengths_of(n: int, t: int, generator: torch.Generator) -> Tensor:
    """A mask [n, t] of answers between an eighth of t and all of it long."""
    lengths = torch.randint(t // 8, t + 1, (n, 1), generator=generator)
    return torch.arange(t)[None, :] < lengths


def installed(package: str, path: str) -> Path | None:
    """A file of a package that is installed here, or in the environment of its own contract."""
    roots = [Path(p) / package for p in sys.path]
    roots += (ROOT / "build" / "contracts" / package).glob(f"lib/python3.*/site-packages/{package}")
    return next((root / path for root in roots if (root / path).exists()), None)


def functions(file: Path, *names: str) -> list[Callable[..., Any]]:
    """Functions or methods of a file, without importing what else is in it."""
    found = {
        node.name: node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name in names
    }
    scope: dict[str, Any] = {"torch": torch}
    for node in found.values():
        head = "from __future__ import annotations\nfrom typing import *\n"
        exec(compile(head + textwrap.dedent(ast.unparse(node)), str(file), "exec"), scope)
    return [scope[name] for name in names]


def difference(ours: Tensor, peer: Tensor) -> float:
    """The greatest difference, as a part of the peer's greatest number."""
    return float((ours - peer).abs().max() / peer.abs().max())


def compared(
    contenders: dict[str, Call],
    targets: dict[str, tuple[str, float]],
    agreed: dict[str, float],
    rounds: int,
    prefix: str = "",
) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    repeats = {name: repeats_of(call) for name, call in contenders.items()}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(seconds(call, repeats[name]))
    lines = []
    for name in contenders:
        beside, target = targets.get(name, (None, None))
        ratio = None
        if beside is not None:
            pairs = zip(times[beside], times[name], strict=True)
            ratio = statistics.median(peer / own for peer, own in pairs)
        lines.append(
            {
                "contender": prefix + name,
                "milliseconds": 1000 * statistics.median(times[name]),
                "beside": beside,
                "times_as_fast": ratio,
                "target": target,
                "met": (ratio is None or ratio >= target) and agrees(name, agreed),
                "peak_mib": peak(contenders[name]),
                "agreed": agreed.get(name),
            }
        )
    return lines


def agrees(name: str, agreed: dict[str, float]) -> bool:
    """Whether what is ours is what the peer gives, to float32."""
    return not name.startswith("ours") or agreed.get(name, 0.0) <= AGREED


def repeats_of(call: Call) -> int:
    call()
    once = seconds(call, 1)
    return max(1, int(LEAST / max(once, 1e-7)))


def seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def peak(call: Call) -> float | None:
    """MiB held beyond what was there before, at the most, in a process that does nothing else."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        call()
        os.write(write, str(resident("VmHWM") - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return int(pipe.read() or 0) / 1024


def resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])


def show(part: dict[str, Any]) -> None:
    print(part["title"])
    print(f"  {'':34}{'ms':>10}{'times as fast':>44}{'peak MiB':>10}{'agreed':>9}")
    for line in part["lines"]:
        ratio = target = ""
        if line["beside"] is not None:
            ratio = f"{line['times_as_fast']:.2f} x {line['beside']}"
            target = f"  target {line['target']:.2f}: {'met' if line['met'] else 'MISSED'}"
        held = "" if line["peak_mib"] is None else f"{line['peak_mib']:.1f}"
        agreed = "" if line["agreed"] is None else f"{line['agreed']:.0e}"
        if not line["met"] and not target:
            target = "  DISAGREES"
        print(
            f"  {line['contender']:34}{line['milliseconds']:>10.3f}{ratio:>44}{held:>10}"
            f"{agreed:>9}{target}"
        )


if __name__ == "__main__":
    sys.exit(main())
