"""159, Mixed-R1: one router over typed verifiers, and BMAS for open text (arXiv 2505.24164).

    python -m reproductions 159 [--data FOLDER]

Two claims, each in the smallest task that can show it: that token-embedding similarity (BMAS)
grades open text better than counting words does, and that a mixture of tasks is learned better from
a verifier per type than from exact match for all.

*Ranking.* Worked solutions of GSM8K (`gsm8k_train.jsonl` in the data folder) without calculator
annotations and final line are cut into clauses at line ends and `. , ;`; those with 4 to 16 clauses
count. Each is spoiled in three ways, with 1/4, 2/4, 3/4 and 4/4 of its clauses (rounded, at least
one): they change places among each other (at least two), are dropped (at most all but one), or are
replaced by clauses of another solution. A measure compares each of the 12 and the solution itself
with the solution; its score is Spearman's correlation (ties share ranks) between similarity and
-severity, where severity is the share of clauses, 0 for the solution itself, meaned over solutions.
Measures: BMAS with embeddings of words (rows of V S of an SVD to 128 dimensions of the TF-IDF
matrix of the first 5,000 solutions), the cosine of word counts, and ROUGE-L. 10 seeds, each with
500 solutions from those behind the first 5,000.

*Routing.* A mixture of three tasks in equal parts: add two numbers up to 9 (1 token of 19); name
the box filled in a grid of 6 by 6 given as 36 cells (4 tokens of 7); caption a scene of 4
attributes, each said with one of 3 words that mean the same, which differ in the reference by
chance (4 tokens of 24, one word each). The policy is a network with one hidden layer of 64 and a
head per task whose tokens are drawn independently. It is learned from nothing by GRPO: 400 updates
of 48 requests with 8 answers each, Adam with 3e-3, one step per update. Arms: `router`, the
answer's exact match, `box_iou` and `token_similarity` (embeddings in which words that mean the same
have a cosine of about 0.8) behind a `router`; `exact`, exact match for each task. 10 seeds, which
give both arms the same start and requests. Measured on 600 held-out requests at the end, as the
most likely answer: the mean over tasks of sum right, IoU and BMAS, which is what `router` pays.

Settings and rules were written down before the first run. Intervals are the 95 % bootstrap of the
difference over seeds. With

    B = Spearman's correlation, BMAS - word counts
    R = held-out mean of the three, router - exact

*ranks* is supported if B's interval lies above 0; else refuted if it lies below +0.01 (BMAS is no
better); else inconclusive. *Routes* goes by R in the same way, with +0.02. The verdict is refuted
if either is, supported if both are, and else inconclusive. Recorded without a say in it: ROUGE-L;
each way of spoiling by itself; the sheet of three spoiled versions (all clauses in another order,
half dropped, another solution; severity 1, 2, 3); each task by itself, and exact answers.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reproductions.effects import all_of, by_seed, compare, raised, spread
from reproductions.runner import Key, Reproduction, Runs
from torch import Tensor, nn

import rewardsmith as rs
from rewardsmith.combine import Router
from rewardsmith.signals import BoxIoU, TokenSimilarity
from rewardsmith.signals.token_similarity import bmas

SOLUTIONS = "gsm8k_train.jsonl"
ARMS = ("router", "exact")
MEASURES = ("bmas", "word_counts", "rouge_l")
MARGINS = {"ranks": 0.01, "routes": 0.02}
CLAIM = (
    "BMAS ranks spoiled texts better than word counts do, and a mixture of tasks is learned better "
    "from a verifier per type behind a router than from exact match for all."
)
UNPROVED = [
    "Anything about multimodal models, images or the paper's sizes of effect.",
    "BMAS with the input embeddings of a language model: these are 128 dimensions of word counts.",
    "Paraphrases, which embeddings are for: the spoiled texts keep or lose their words.",
    "The format term, and tasks that share more than a hidden layer.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    fitted: int = 5000
    dimensions: int = 128
    solutions: int = 500
    hidden: int = 64
    updates: int = 400
    requests: int = 48
    group: int = 8
    rate: float = 3e-3
    held_out: int = 600


# --- ranking spoiled solutions --------------------------------------------------------------------

LEVELS = (0.25, 0.5, 0.75, 1.0)
KINDS = ("moved", "dropped", "replaced")
Clauses = list[str]


def solutions_of(data: Path) -> list[Clauses]:
    """The clauses of every worked solution."""
    lines = (data / SOLUTIONS).read_text(encoding="utf-8").splitlines()
    return [clauses_of(json.loads(line)["answer"]) for line in lines]


def clauses_of(answer: str) -> Clauses:
    """The clauses of a worked answer, without annotations and the final line."""
    text = re.sub(r"<<[^>]*>>", "", answer.partition("####")[0])
    # A period or comma between digits is part of a number.
    pieces = re.split(r"\n|[.,;](?!\d)", text)
    return [piece.strip() for piece in pieces if words_of(piece)]


def words_of(text: str) -> list[str]:
    """Words, numbers and signs, in lower case."""
    return re.findall(r"\d+(?:[.,]\d+)*|\w+|[^\w\s]", text.lower())


def spoiled(
    clauses: Clauses, other: Clauses, kind: str, level: float, rng: np.random.Generator
) -> Clauses:
    """A solution with a share of its clauses moved, dropped or replaced."""
    n = len(clauses)
    k = max(1, round(level * n))
    if kind == "dropped":
        gone = set(rng.choice(n, min(k, n - 1), replace=False).tolist())
        return [clause for i, clause in enumerate(clauses) if i not in gone]
    made = list(clauses)
    chosen = rng.choice(n, max(2, k) if kind == "moved" else k, replace=False)
    if kind == "moved":
        # Each takes the place of the next in a random order, so that none stays.
        for i, j in zip(chosen, np.roll(chosen, 1), strict=True):
            made[i] = clauses[j]
    else:
        for m, i in enumerate(chosen):
            made[i] = other[m % len(other)]
    return made


def embeddings(solutions: Sequence[Clauses], dimensions: int) -> Callable[[list[str]], Any]:
    """Words -> their rows of V S, from an SVD of the TF-IDF matrix of solutions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=words_of)
    matrix = vectorizer.fit_transform([" ; ".join(clauses) for clauses in solutions])
    svd = TruncatedSVD(dimensions, random_state=0).fit(matrix)
    table = svd.components_.T * svd.singular_values_
    index = vectorizer.vocabulary_

    def embed(words: list[str]) -> NDArray[np.float64]:
        # A word that was never seen has no embedding.
        return table[[index[word] for word in words if word in index]]

    return embed


def word_counts(x: list[str], y: list[str]) -> float:
    """The cosine of two counts of words."""
    a, b = Counter(x), Counter(y)
    dot = sum(a[word] * b[word] for word in a)
    lengths = sum(v * v for v in a.values()) * sum(v * v for v in b.values())
    return dot / lengths**0.5


def rouge_l(x: list[str], y: list[str]) -> float:
    """The F1 of the longest common subsequence, found by bits (Hyyro)."""
    where: dict[str, int] = {}
    for i, word in enumerate(x):
        where[word] = where.get(word, 0) | 1 << i
    full = (1 << len(x)) - 1
    bits = full
    for word in y:
        match = where.get(word, 0)
        bits = ((bits + (bits & match)) | (bits & ~match)) & full
    return 2 * (len(x) - bits.bit_count()) / (len(x) + len(y))


def rank_correlation(similarity: Sequence[float], severity: Sequence[float]) -> float:
    """Spearman's correlation with -severity; 0 where all similarities are equal."""
    from scipy.stats import rankdata

    # Equal up to rounding is a tie.
    a, b = rankdata(np.round(similarity, 9)), rankdata(np.negative(severity))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0


def ranking(seed: int, settings: Settings, data: Path) -> dict[str, dict[str, float]]:
    """Measure -> its mean correlation with severity, over all and per way of spoiling."""
    solutions = solutions_of(data)
    embed = embeddings(solutions[: settings.fitted], settings.dimensions)
    pool = [c for c in solutions[settings.fitted :] if 4 <= len(c) <= 16]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool))[: settings.solutions + 1].tolist()
    found: dict[str, dict[str, list[float]]] = {m: {} for m in MEASURES}
    for i, j in pairwise(order):
        clauses, other = pool[i], pool[j]
        versions = [("whole", 0.0, clauses)]
        for kind in KINDS:
            for level in LEVELS:
                versions.append((kind, level, spoiled(clauses, other, kind, level, rng)))
        versions += [
            ("sheet", 1.0, versions[4][2]),
            ("sheet", 2.0, versions[6][2]),
            ("sheet", 3.0, other),
        ]
        target = [word for clause in clauses for word in words_of(clause)]
        target_vectors = embed(target)
        texts = [[word for clause in made for word in words_of(clause)] for *_, made in versions]
        similarity = {
            "bmas": [bmas(embed(text), target_vectors) for text in texts],
            "word_counts": [word_counts(text, target) for text in texts],
            "rouge_l": [rouge_l(text, target) for text in texts],
        }
        groups = {"all": ("whole", *KINDS), "sheet": ("whole", "sheet")}
        groups |= {kind: ("whole", kind) for kind in KINDS}
        for measure, values in similarity.items():
            for name, kinds in groups.items():
                rows = [k for k, (kind, *_) in enumerate(versions) if kind in kinds]
                severity = [versions[k][1] for k in rows]
                told = rank_correlation([values[k] for k in rows], severity)
                found[measure].setdefault(name, []).append(told)
    return {
        measure: {name: round(float(np.mean(values)), 6) for name, values in groups.items()}
        for measure, groups in found.items()
    }


# --- a mixture of tasks ---------------------------------------------------------------------------

TASKS = ("sum", "box", "caption")
HEADS = {"sum": (1, 19), "box": (4, 7), "caption": (4, 24)}
"""Tokens of an answer, and what each is chosen from."""
ATTRIBUTES, SYNONYMS = 8, 3
SIDE, CAPTION = 6, 4
FEATURES = 3 + 20 + SIDE * SIDE + ATTRIBUTES


def word_table() -> NDArray[np.float64]:
    """Embeddings [24, 32] of the caption's words, three of which share a meaning."""
    rng = np.random.default_rng(159)
    meaning = np.repeat(rng.normal(size=(ATTRIBUTES, 32)), SYNONYMS, axis=0)
    return meaning + 0.5 * rng.normal(size=meaning.shape)


_WORDS = word_table()


def embed_caption(text: str) -> NDArray[np.float64]:
    """The embeddings of a caption's words `w0` to `w23`."""
    return _WORDS[[int(word[1:]) for word in text.split()]]


@rs.reward
def exact(completion: str, answer: str) -> float:
    """1 for the same text, else 0."""
    return float(completion == answer)


def reward_of(arm: str) -> rs.Reward:
    """The arm's reward."""
    if arm == "exact":
        return exact
    return Router({"sum": exact, "box": BoxIoU(), "caption": TokenSimilarity(embed=embed_caption)})


def draw(n: int, rng: np.random.Generator) -> tuple[Tensor, list[str], list[str]]:
    """Requests: features [n, FEATURES], tasks and references; the tasks take turns."""
    features = np.zeros((n, FEATURES), dtype=np.float32)
    tasks = [TASKS[i % 3] for i in range(n)]
    references = []
    for row, task in zip(features, tasks, strict=True):
        row[TASKS.index(task)] = 1.0
        if task == "sum":
            a, b = rng.integers(10, size=2)
            row[3 + a] = row[13 + b] = 1.0
            references.append(str(a + b))
        elif task == "box":
            x1, y1 = rng.integers(SIDE - 1, size=2)
            x2, y2 = rng.integers(x1 + 1, SIDE + 1), rng.integers(y1 + 1, SIDE + 1)
            grid = np.zeros((SIDE, SIDE))
            grid[y1:y2, x1:x2] = 1.0
            row[23 : 23 + SIDE * SIDE] = grid.ravel()
            references.append(f"[{x1}, {y1}, {x2}, {y2}]")
        else:
            shown_attributes = np.sort(rng.choice(ATTRIBUTES, CAPTION, replace=False))
            row[-ATTRIBUTES + shown_attributes] = 1.0
            words = SYNONYMS * shown_attributes + rng.integers(SYNONYMS, size=CAPTION)
            references.append(" ".join(f"w{word}" for word in words))
    return torch.from_numpy(features), tasks, references


def text_of(task: str, tokens: Sequence[int]) -> str:
    """An answer as text."""
    if task == "sum":
        return str(tokens[0])
    if task == "box":
        return "[" + ", ".join(map(str, tokens)) + "]"
    return " ".join(f"w{token}" for token in tokens)


class Policy(nn.Module):
    """One hidden layer for all tasks, and a head for each."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh())
        self.heads = nn.ModuleDict({t: nn.Linear(hidden, k * v) for t, (k, v) in HEADS.items()})

    def log_probs(self, features: Tensor, task: str) -> Tensor:
        """Of the tokens of a task's answers [n, tokens, choices]."""
        return torch.log_softmax(
            self.heads[task](self.hidden(features)).reshape(len(features), *HEADS[task]), dim=2
        )


def rows_of(tasks: Sequence[str], task: str) -> list[int]:
    """The rows of a task."""
    return [i for i, name in enumerate(tasks) if name == task]


def paid(
    reward: rs.Reward, tasks: Sequence[str], texts: Sequence[str], references: Sequence[str]
) -> Tensor:
    """The reward [n] of answers."""
    columns = {"task": list(tasks), "completion": list(texts), "answer": list(references)}
    return reward(rs.Rollouts(columns)).resolve("raise").values


def train(arm: str, seed: int, settings: Settings) -> dict[str, float]:
    """One run: what the router pays on held-out requests, per task and their mean; and exact."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0])
    generator = torch.Generator().manual_seed(seed)
    policy, reward = Policy(settings.hidden), reward_of(arm)
    optimizer = torch.optim.Adam(policy.parameters(), settings.rate)
    for _ in range(settings.updates):
        features, tasks, references = draw(settings.requests, rng)
        features = features.repeat_interleave(settings.group, dim=0)
        tasks = [task for task in tasks for _ in range(settings.group)]
        references = [text for text in references for _ in range(settings.group)]
        texts, chosen = [""] * len(tasks), torch.zeros(len(tasks))
        for task in TASKS:
            rows = rows_of(tasks, task)
            log_probs = policy.log_probs(features[rows], task)
            k, v = HEADS[task]
            odds = log_probs.detach().exp().reshape(-1, v)
            tokens = torch.multinomial(odds, 1, generator=generator).reshape(-1, k)
            for i, row in enumerate(tokens.tolist()):
                texts[rows[i]] = text_of(task, row)
            total = log_probs.gather(2, tokens[:, :, None])[:, :, 0].sum(dim=1)
            chosen = chosen.index_put((torch.tensor(rows),), total)
        groups = paid(reward, tasks, texts, references).reshape(-1, settings.group)
        centered = groups - groups.mean(dim=1, keepdim=True)
        advantage = (centered / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten()
        loss = -(advantage * chosen).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return evaluated(policy, seed, settings)


@torch.no_grad()
def evaluated(policy: Policy, seed: int, settings: Settings) -> dict[str, float]:
    """The most likely answers to held-out requests, by the router and by exact match."""
    features, tasks, references = draw(settings.held_out, np.random.default_rng([seed, 1]))
    texts = [""] * len(tasks)
    for task in TASKS:
        rows = rows_of(tasks, task)
        tokens = policy.log_probs(features[rows], task).argmax(dim=2).tolist()
        for i, row in enumerate(tokens):
            texts[rows[i]] = text_of(task, row)
    told: dict[str, float] = {}
    for name, reward in (("", reward_of("router")), ("exact_", exact)):
        values = paid(reward, tasks, texts, references)
        of_task = {f"{name}{t}": float(values[rows_of(tasks, t)].mean()) for t in TASKS}
        told |= of_task | {f"{name}mean": float(np.mean([*of_task.values()]))}
    return {name: round(value, 6) for name, value in told.items()}


# --- the verdict ----------------------------------------------------------------------------------


def judge(
    ranks: Sequence[Mapping[str, Mapping[str, float]]],
    runs: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Any]:
    """The verdict.

    Args:
        ranks: per seed what :func:`ranking` found.
        runs: arm -> per seed what :func:`train` found.
    """

    def gap(left: str, right: str, name: str) -> dict[str, float]:
        return compare([r[left][name] for r in ranks], [r[right][name] for r in ranks])

    def lead(name: str) -> dict[str, float]:
        return compare([r[name] for r in runs["router"]], [r[name] for r in runs["exact"]])

    groups = ("all", *KINDS, "sheet")
    effects = {
        f"bmas_minus_word_counts_{name}": gap("bmas", "word_counts", name) for name in groups
    }
    effects |= {f"bmas_minus_rouge_l_{name}": gap("bmas", "rouge_l", name) for name in groups}
    effects |= {f"router_minus_exact_{name}": lead(name) for name in runs["router"][0]}
    halves = {
        "ranks": raised(effects["bmas_minus_word_counts_all"], MARGINS["ranks"]),
        "routes": raised(effects["router_minus_exact_mean"], MARGINS["routes"]),
    }
    return {"verdict": all_of(halves), "halves": halves, "effects": effects}


# --- the record -----------------------------------------------------------------------------------


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run: the ranking and both arms of a seed."""
    return [
        {"part": part, "seed": seed, "settings": settings}
        for seed in seeds
        for part in ("ranking", *ARMS)
    ]


def run(part: str, seed: int, settings: Settings, data: Path) -> dict[str, Any]:
    """What one part of a seed finds."""
    return ranking(seed, settings, data) if part == "ranking" else train(part, seed, settings)


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    ranks, arms = runs.of(part="ranking"), {arm: runs.of(part=arm) for arm in ARMS}
    return {
        **judge(ranks, arms),
        "measures": {
            measure: {name: spread([r[measure][name] for r in ranks]) for name in ranks[0][measure]}
            for measure in MEASURES
        },
        "arms": {
            arm: {name: by_seed([r[name] for r in found]) for name in found[0]}
            for arm, found in arms.items()
        },
    }


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {
        "solutions_per_seed": settings.solutions,
        "answers_per_run": settings.updates * settings.requests * settings.group,
        "runs": len(ARMS) * len(seeds),
    }


REPRODUCTION = Reproduction(
    id="159",
    method="router",
    paper="2505.24164",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=run,
    judge=results,
    budget=budget,
    packages=("scikit-learn",),
    data=SOLUTIONS,
)
