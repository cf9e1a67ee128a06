"""028, ToolRL: tool calls graded in part, against all or nothing (arXiv 2504.13958).

    python -m reproductions 028

The claim, in the smallest task that can show it: reinforcement learning from a score that gives
credit for the right tools, argument names and values of a set of calls learns exact calls better
than from the same score paid for exact calls alone.

The task. A language of 6 tools with 1 to 3 typed arguments (a number, a unit, a city; 8 values
each). A request holds one or two wishes: one of 24 words that mean a tool (4 each), and a word for
each of its arguments in the tool's order; every value goes by its own word. The answer is one JSON
object per line with the tool's name and its parameters, written token by token (37 tokens, at most
24 of them), so that malformed answers can be written too. What words mean is drawn anew per seed.

The policy. A recurrent network (GRU of 48) that attends to the 8 words of the request. Its warm
start is supervised, on right answers to random requests, by Adam with 3e-3: 120 batches of 64. That
number was chosen by the warm start itself, before any arm was run: about a tenth of its sampled
answers are exactly right, so that most groups of 8 hold one.

The learner. GRPO from the same warm start for each arm: 150 updates of 16 requests with 8 answers
each, advantages ``(r - mean) / (std + 1e-4)`` within a request, one step of Adam with 1e-3 on
``-A sum_t log p`` per update, averaged over answers; no clipping and no KL, as every batch is used
once. 6 seeds, which give all arms the same language, warm start and requests.

The arms are `ToolCalls` with variant "fine", "coarse" (exact or nothing) and "intermediate" (whole
calls count), bounds of -3 and 3 and nothing for the format; a malformed answer gets -3.

Settings and rule were written down before the first run. Measured is accuracy: the share of 512
held-out requests whose greedy answer is exactly the reference's list of calls, at 10 checkpoints
evenly over training. Intervals are the 95 % bootstrap of the difference between arms of the same
seed. With

    E = accuracy at the last checkpoint, fine - coarse
    M = the mean over the 10 checkpoints of accuracy, fine - coarse

the claim is refuted if coarse is equal or better at every checkpoint (means over seeds) or E's
interval lies below 0; supported if M's interval lies above 0 and E's does not lie below 0; else
inconclusive. The effect that as many seeds show four times in five is recorded with each. Recorded
without a say in the verdict: the same for fine - intermediate.

Added after the verdict was in, without a say in it either: fine and coarse from a weaker warm start
of 70 batches, of which about one sampled answer in a hundred is right, so that most groups hold
none. Nothing else is changed.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from reproductions.effects import by_seed, compare, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from torch import Tensor, nn

import rewardsmith as rs
from rewardsmith.signals import ToolCalls

ARMS = ("fine", "coarse", "intermediate")
WEAKER = {"warm_batches": 70}
CLAIM = (
    "Learning from tool calls graded in part (names, argument names, values) gives more exact "
    "calls than learning from exact calls alone, at equal updates from the same warm start."
)
UNPROVED = [
    "Anything about language models, real tools, thought or the paper's sizes of effect: this is a "
    "network of some ten thousand weights that translates requests word by word.",
    "The format reward, the length reward and bounds that move with training.",
    "Longer training: in 150 updates all arms grow surer of what the warm start already preferred, "
    "and greedy answers hardly change. Answers that are sampled were not measured.",
    "Other group sizes and learning rates.",
    "Rewards that can be hacked: the reference calls here are the only right ones.",
]

# --- the language ---------------------------------------------------------------------------------

TOOLS = {
    "count": ("number",),
    "convert": ("unit", "number"),
    "ship": ("number", "unit", "city"),
    "visit": ("city",),
    "weigh": ("city", "number"),
    "book": ("unit", "city", "number"),
}
VALUES = {
    "number": [str(i) for i in range(8)],
    "unit": [f'"u{i}"' for i in range(8)],
    "city": [f'"c{i}"' for i in range(8)],
}
END, SEPARATE, CLOSE = 0, 1, 2
TEXT = [
    "",
    ", ",
    "}}\n",
    *(f'{{"name": "{name}", "parameters": {{' for name in TOOLS),
    *(f'"{name}": ' for name in VALUES),
    *(text for texts in VALUES.values() for text in texts),
]
"""What each token writes; the first ends the answer."""
ID = {text: i for i, text in enumerate(TEXT)}
SYNONYMS, SLOTS = 4, 3
WORDS = 1 + SYNONYMS * len(TOOLS) + sum(map(len, VALUES.values()))
"""Of requests: none, the words for tools, the words for values."""
LONGEST = 24


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    width: int = 48
    warm_batches: int = 120
    warm_batch: int = 64
    warm_rate: float = 3e-3
    updates: int = 150
    requests: int = 16
    group: int = 8
    rate: float = 1e-3
    checkpoints: int = 10
    held_out: int = 512


class Language:
    """What the words of a request mean, drawn by a seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        tools = 1 + rng.permutation(SYNONYMS * len(TOOLS))
        self.words_of = dict(zip(TOOLS, tools.reshape(len(TOOLS), SYNONYMS).tolist(), strict=True))
        first = 1 + SYNONYMS * len(TOOLS)
        values = first + rng.permutation(WORDS - first)
        texts = [text for column in VALUES.values() for text in column]
        self.word_for = dict(zip(texts, values.tolist(), strict=True))

    def draw(
        self, n: int, rng: np.random.Generator
    ) -> tuple[Tensor, list[list[dict[str, Any]]], Tensor]:
        """Requests [n, 8], their calls, and the tokens [n, LONGEST] of the right answers."""
        requests = np.zeros((n, 2 * (1 + SLOTS)), dtype=np.int64)
        answers = np.zeros((n, LONGEST), dtype=np.int64)
        calls: list[list[dict[str, Any]]] = []
        for i in range(n):
            tokens: list[int] = []
            calls.append([])
            for k in range(1 + int(rng.integers(2))):
                name = list(TOOLS)[rng.integers(len(TOOLS))]
                at = k * (1 + SLOTS)
                requests[i, at] = self.words_of[name][rng.integers(SYNONYMS)]
                texts = {a: VALUES[a][rng.integers(8)] for a in TOOLS[name]}
                tokens.append(ID[f'{{"name": "{name}", "parameters": {{'])
                for j, (argument, text) in enumerate(texts.items()):
                    requests[i, at + 1 + j] = self.word_for[text]
                    tokens += [SEPARATE] * (j > 0) + [ID[f'"{argument}": '], ID[text]]
                tokens.append(CLOSE)
                parameters = {argument: json.loads(text) for argument, text in texts.items()}
                calls[-1].append({"name": name, "parameters": parameters})
            answers[i, : len(tokens)] = tokens
        return torch.from_numpy(requests), calls, torch.from_numpy(answers)


def written(tokens: Tensor) -> list[str]:
    """Answers as text."""
    return [
        "<tool_call>\n" + "".join(TEXT[t] for t in row) + "</tool_call>" for row in tokens.tolist()
    ]


# --- the policy and the learner -------------------------------------------------------------------


class Policy(nn.Module):
    """Writes an answer token by token, attending to the words of the request."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(2 * (1 + SLOTS), width)
        self.tokens = nn.Embedding(len(TEXT) + 1, width)
        self.cell = nn.GRUCell(2 * width, width)
        self.ask, self.out = nn.Linear(width, width), nn.Linear(2 * width, len(TEXT))
        self.width = width

    def step(self, request: Tensor, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, tokens] of the next token, and the next state [n, 2 width]."""
        hidden, seen = state.chunk(2, dim=1)
        hidden = self.cell(torch.cat([self.tokens(token), seen], dim=1), hidden)
        weight = torch.softmax(
            torch.einsum("nd,nkd->nk", self.ask(hidden), request) / self.width**0.5, dim=1
        )
        seen = torch.einsum("nk,nkd->nd", weight, request)
        state = torch.cat([hidden, seen], dim=1)
        return self.out(torch.tanh(state)), state

    def embedded(self, requests: Tensor) -> Tensor:
        return self.words(requests) + self.places.weight

    def log_prob(self, requests: Tensor, answers: Tensor) -> Tensor:
        """``sum_t log p`` [n] of answers; what follows their end does not count."""
        request = self.embedded(requests)
        state = torch.zeros(len(requests), 2 * self.width)
        token = torch.full((len(requests),), len(TEXT))
        total, live = torch.zeros(len(requests)), torch.ones(len(requests))
        for t in range(int(lengths(answers).max())):
            logits, state = self.step(request, token, state)
            token = answers[:, t]
            chosen = torch.log_softmax(logits, dim=1).gather(1, token[:, None])[:, 0]
            total, live = total + live * chosen, live * (token != END)
        return total

    @torch.no_grad()
    def write(self, requests: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Answers [n, LONGEST]: sampled, or without a generator the most likely tokens."""
        request = self.embedded(requests)
        state = torch.zeros(len(requests), 2 * self.width)
        token = torch.full((len(requests),), len(TEXT))
        answers = torch.zeros(len(requests), LONGEST, dtype=torch.int64)
        live = torch.ones(len(requests), dtype=torch.bool)
        for t in range(LONGEST):
            logits, state = self.step(request, token, state)
            if generator is None:
                token = logits.argmax(dim=1)
            else:
                odds = torch.softmax(logits, dim=1)
                token = torch.multinomial(odds, 1, generator=generator)[:, 0]
            answers[:, t] = torch.where(live, token, END)
            live = live & (token != END)
            if not live.any():
                break
        return answers


def lengths(answers: Tensor) -> Tensor:
    """Tokens of each answer [n], its end included."""
    return (answers != END).sum(dim=1).add(1).clamp(max=LONGEST)


def reward_of(arm: str) -> ToolCalls:
    """The arm's reward."""
    return ToolCalls(gold="calls", variant=arm, form=(0.0, 0.0))


EXACT = ToolCalls(gold="calls", variant="coarse", correct=(0.0, 1.0), form=(0.0, 0.0))


def scored(reward: ToolCalls, answers: Tensor, calls: Sequence[Any]) -> Tensor:
    """The reward [n] of answers."""
    rollouts = rs.Rollouts({"completion": written(answers), "calls": list(calls)})
    return reward(rollouts).resolve("raise").values


@lru_cache(maxsize=1)
def warm_start(seed: int, settings: Settings) -> Policy:
    """A policy that was shown some right answers; the same for every arm of a seed."""
    torch.manual_seed(seed)
    language, rng = language_of(seed), np.random.default_rng([seed, 1])
    policy = Policy(settings.width)
    optimizer = torch.optim.Adam(policy.parameters(), settings.warm_rate)
    for _ in range(settings.warm_batches):
        requests, _, answers = language.draw(settings.warm_batch, rng)
        loss = -policy.log_prob(requests, answers).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy


def language_of(seed: int) -> Language:
    """The seed's language."""
    return Language(np.random.default_rng([seed, 0]))


def accuracy(policy: Policy, requests: Tensor, calls: Sequence[Any]) -> float:
    """The share of requests whose greedy answer is exactly right."""
    return float(scored(EXACT, policy.write(requests), calls).mean())


def train(arm: str, seed: int, settings: Settings) -> dict[str, list[float]]:
    """One run: accuracy of the warm start, then accuracy and mean reward at each checkpoint."""
    language, policy = language_of(seed), deepcopy(warm_start(seed, settings))
    rng = np.random.default_rng([seed, 2])
    generator = torch.Generator().manual_seed(seed)
    held_requests, held_calls, _ = language.draw(
        settings.held_out, np.random.default_rng([seed, 3])
    )
    reward = reward_of(arm)
    optimizer = torch.optim.Adam(policy.parameters(), settings.rate)
    told = {"start": [accuracy(policy, held_requests, held_calls)], "accuracy": [], "reward": []}
    for block in np.array_split(np.arange(settings.updates), settings.checkpoints):
        paid = []
        for _ in block:
            requests, calls, _ = language.draw(settings.requests, rng)
            requests = requests.repeat_interleave(settings.group, dim=0)
            calls = [call for call in calls for _ in range(settings.group)]
            answers = policy.write(requests, generator)
            values = scored(reward, answers, calls)
            paid.append(float(values.mean()))
            groups = values.reshape(settings.requests, settings.group)
            centered = groups - groups.mean(dim=1, keepdim=True)
            advantage = (centered / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten()
            loss = -(advantage * policy.log_prob(requests, answers)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        told["accuracy"].append(accuracy(policy, held_requests, held_calls))
        told["reward"].append(float(np.mean(paid)))
    return {name: [round(value, 6) for value in values] for name, values in told.items()}


# --- the verdict ----------------------------------------------------------------------------------


def judge(curves: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """The rule of the module's docstring.

    Args:
        curves: arm -> per seed the accuracy at each checkpoint.
    """
    last = {arm: [curve[-1] for curve in runs] for arm, runs in curves.items()}
    mean = {arm: [float(np.mean(curve)) for curve in runs] for arm, runs in curves.items()}
    final, over_all = compare(last["fine"], last["coarse"]), compare(mean["fine"], mean["coarse"])
    gaps = np.mean(np.subtract(curves["fine"], curves["coarse"]), axis=0)
    if (gaps <= 0).all() or final["high"] < 0:
        verdict = "refuted"
    else:
        verdict = "supported" if over_all["low"] > 0 else "inconclusive"
    effects = {"last_fine_minus_coarse": final, "mean_fine_minus_coarse": over_all}
    if "intermediate" in curves:
        effects["last_fine_minus_intermediate"] = compare(last["fine"], last["intermediate"])
        effects["mean_fine_minus_intermediate"] = compare(mean["fine"], mean["intermediate"])
    return {"verdict": verdict, "effects": effects}


# --- the record -----------------------------------------------------------------------------------


def weaker(settings: Settings) -> Settings:
    """What was added after the verdict."""
    return replace(settings, **WEAKER)


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run; the arms of a seed share its warm start."""
    return [
        {"arm": arm, "seed": seed, "settings": which}
        for which, arms in ((settings, ARMS), (weaker(settings), ARMS[:2]))
        for seed in seeds
        for arm in arms
    ]


def told(runs: Runs, settings: Settings, among: Sequence[str]) -> dict[str, Any]:
    """Verdict, effects and arms from one warm start."""
    found = runs.by_arm(among, settings=settings)
    arms: dict[str, Any] = {}
    for arm in among:
        last = {n: [run[n][-1] for run in found[arm]] for n in ("start", "accuracy", "reward")}
        arms[arm] = {name: by_seed(values) for name, values in last.items()}
        arms[arm]["curve"] = {
            name: mean_curve([run[name] for run in found[arm]]) for name in ("accuracy", "reward")
        }
    return {**judge({a: [run["accuracy"] for run in found[a]] for a in among}), "arms": arms}


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    beside = told(runs, weaker(settings), ARMS[:2])
    return {**told(runs, settings, ARMS), "weaker_warm_start": beside}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    answers = settings.updates * settings.requests * settings.group
    return {"answers_per_run": answers, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="028",
    method="tool_calls",
    paper="2504.13958",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(6),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
