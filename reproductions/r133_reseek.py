"""133, ReSeek: paying a search agent for judging what it found (arXiv 2510.00568).

    python -m reproductions 133

The claim, in the smallest task that can show it: an agent that judges every document it retrieves,
drops those it judged bad from its context, and is paid for right judgments besides the answer,
answers more questions of two hops than one that is paid for the answer alone.

The task. A store knows what follows a key; half of what it returns is a distractor, a wrong value
for the right key. The question names a key; what follows it is the bridge, what follows the bridge
the answer. The agent may search 6 times, then it has to answer. Before each search it chooses one
of `question` (search the question's key), `last` (search the value of the last document in its
context) and `answer` (give that value). After each search it judges the document `good` or `bad`;
one judged bad is dropped, any other becomes the last of the context. Documents carry one of four
cues, as sources do: of true ones 55, 25, 15 and 5 % carry each, of distractors 5, 15, 25 and 55 %.
The agent sees the last document's cue and how many searches it is away from the question (up to 3),
never whether it is true; its judgments see the same of the new document.

The rewards. The answer is worth 1 if right. A judgment is worth +-0.1 by `self_check` with its
defaults: right if it says good exactly where the document holds the reference answer, divided by
the number of judgments. The arms: `answer_only`; `judge`, the sum of both; `judge_no_drop`, the
same where every document stays in the context.

The learner. Tabular softmax policies, from all logits 0, by REINFORCE: an episode's reward is its
total, the baseline the batch mean. 300 updates of 64 episodes, learning rate 1; 10 seeds, which
give all arms the same random numbers.

Settings and rule were written down before the first run. Measured is accuracy, the share of right
answers, in the last of 20 equal blocks of training (960 episodes per seed), as means over seeds;
intervals are the 95 % bootstrap of the difference between arms of the same seed. With

    E = accuracy, judge - answer_only

the claim is supported if E's interval lies above 0; else refuted if it lies below +0.02 (a rise of
two points or more is excluded); else inconclusive. The effect that as many seeds show four times in
five is recorded with each. Recorded without a say in the verdict: the same over all of training (is
it faster?), what dropping documents adds (judge - judge_no_drop), and two variants of the reward:

- `path`: the bridge counts as a reference too, as it would for a scorer that knows that a document
  helps without holding the answer;
- `settled`: the published code's rule that `good` is right in every episode whose answer is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reproductions.effects import by_seed, compare, mean_curve, raised
from reproductions.runner import Key, Reproduction, Runs
from reproductions.tabular import reinforce, softmax

import rewardsmith as rs
from rewardsmith.signals import SelfCheck

ARMS = ("answer_only", "judge", "judge_no_drop")
MEASURES = ("accuracy", "judged_right", "searches")
QUESTION, LAST, ANSWER = range(3)
VALUES = ("stray", "bridge", "answer")
CUES = np.array([[0.05, 0.15, 0.25, 0.55], [0.55, 0.25, 0.15, 0.05]])
"""How often a distractor, and a true document, carries each cue."""
MARGIN = 0.02
CLAIM = (
    "An agent that is paid for judging retrieved documents rightly, besides the answer, answers "
    "more two-hop questions than one that is paid for the answer alone."
)
UNPROVED = [
    "Anything about language models, real retrieval or the paper's sizes of effect: these are two "
    "tables of logits in a store of keys and values.",
    "Rerankers that grade relevance: the scorer here looks for the answer's words.",
    "Judging as a skill that transfers: documents differ in one of four cues only.",
    "Learners that credit single judgments (a critic, rewards per step).",
    "Other sizes of the judge's reward than a tenth of the answer's.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    searches: int = 6
    distractors: float = 0.5
    match: float = 0.1
    reference: str = "answer"
    settled: bool = False
    updates: int = 300
    batch: int = 64
    learning_rate: float = 1.0
    blocks: int = 20


VARIANTS = {"path": {"reference": "path"}, "settled": {"settled": True}}


# --- the rewards, the task, the learner -----------------------------------------------------------


@rs.reward(batched=True)
def answered(correct: Sequence[float]) -> Sequence[float]:
    """1 for the right answer, else 0."""
    return correct


def reward_of(arm: str, settings: Settings) -> rs.Reward:
    """The arm's reward tree."""
    if arm == "answer_only":
        return answered
    judge = SelfCheck(match=settings.match, mismatch=settings.match, settled=settings.settled)
    return rs.WeightedSum({"answer": answered, "judge": judge})


@dataclass
class Choices:
    """What one of the two policies saw and did, [n, searches] each."""

    state: NDArray[np.int64]
    action: NDArray[np.int64]
    mask: NDArray[np.bool_]


@dataclass
class Batch:
    """A batch of episodes: what was chosen, and the rows that rewards see."""

    acts: Choices
    judgments: Choices
    rollouts: rs.Rollouts
    judged_right: float


def play(
    act: NDArray[np.float64],
    judge: NDArray[np.float64],
    rng: np.random.Generator,
    settings: Settings,
    drop: bool,
) -> Batch:
    """One batch of episodes under both policies' logits."""
    n, searches = settings.batch, settings.searches
    act_bounds, judge_bounds = softmax(act).cumsum(axis=1)[:, :-1], softmax(judge)[:, :1]
    # Drawn at once, so that what an arm chooses does not shift another turn's random numbers.
    drawn = rng.random((searches, 4, n))
    acts, judgments = (
        Choices(*np.zeros((2, n, searches), dtype=np.int64), np.zeros((n, searches), dtype=bool))
        for _ in range(2)
    )
    level, cue, value = np.zeros((3, n), dtype=np.int64)  # of the last document in the context
    shown_value = np.zeros((n, searches), dtype=np.int64)
    live = np.ones(n, dtype=bool)
    for t in range(searches):
        acts.state[:, t] = state = seen(level, cue)
        acts.action[:, t] = chosen = (drawn[t, 0][:, None] >= act_bounds[state]).sum(axis=1)
        acts.mask[:, t] = live
        live = live & (chosen != ANSWER)
        if not live.any():
            break
        deeper = (chosen == LAST) & (level > 0)
        new_level = np.where(deeper, np.minimum(level + 1, 3), 1)
        true = drawn[t, 1] >= settings.distractors
        # A document is of use if it is true and its key lies on the way.
        on_way = np.where(deeper, (value == 1) & (level == 1), True)
        new_value = np.where(true & on_way, new_level, 0)
        new_cue = (drawn[t, 2][:, None] >= CUES.cumsum(axis=1)[true.astype(int), :-1]).sum(axis=1)
        judgments.state[:, t] = state = seen(new_level, new_cue) - 1
        judgments.action[:, t] = bad = (drawn[t, 3] >= judge_bounds[state, 0]).astype(np.int64)
        judgments.mask[:, t] = live
        shown_value[:, t] = new_value
        kept = live & ((bad == 0) | (not drop))
        level, cue, value = (
            np.where(kept, new, old)
            for new, old in ((new_level, level), (new_cue, cue), (new_value, value))
        )
    right = ((judgments.action == 0) == (shown_value > 0))[judgments.mask]
    rollouts = rs.Rollouts(rows_of(value, shown_value, judgments, settings))
    return Batch(acts, judgments, rollouts, float(right.mean()) if right.size else 0.0)


def seen(level: NDArray[np.int64], cue: NDArray[np.int64]) -> NDArray[np.int64]:
    """What a policy sees: 0 without a document, else one of 12 by level (1 to 3) and cue."""
    return np.where(level > 0, 1 + 4 * (level - 1) + cue, 0)


def rows_of(
    value: NDArray[np.int64],
    found: NDArray[np.int64],
    judgments: Choices,
    settings: Settings,
) -> dict[str, list[Any]]:
    """The columns that rewards see: the episodes as text, and what is right."""
    episodes = []
    for i, last in enumerate(value.tolist()):
        blocks = [
            f"<information>{VALUES[document]}</information><judge>{('good', 'bad')[bad]}</judge>"
            for document, bad in zip(
                found[i, judgments.mask[i]], judgments.action[i, judgments.mask[i]], strict=True
            )
        ]
        episodes.append("".join(blocks) + f"<answer>{VALUES[last]}</answer>")
    gold = ["bridge", "answer"] if settings.reference == "path" else "answer"
    return {
        "prompt": ["What follows what follows the key?"] * len(episodes),
        "completion": episodes,
        "answer": [gold] * len(episodes),
        "correct": (value == 2).astype(float).tolist(),
    }


def train(arm: str, seed: int, settings: Settings) -> dict[str, list[float]]:
    """One run: accuracy, judgments that are right, and searches of each block of training."""
    rng = np.random.default_rng(seed)
    tree = reward_of(arm, settings)
    act, judge = np.zeros((13, 3)), np.zeros((12, 2))
    measured = np.zeros((settings.updates, len(MEASURES)))
    for update in range(settings.updates):
        batch = play(act, judge, rng, settings, drop=arm != "judge_no_drop")
        total = tree(batch.rollouts).resolve("raise").total().numpy().astype(np.float64)
        searches = batch.judgments.mask.sum(axis=1).mean()
        measured[update] = np.mean(batch.rollouts["correct"]), batch.judged_right, searches
        advantage = settings.learning_rate * (total - total.mean())
        act = act + gradient(act, batch.acts, advantage)
        judge = judge + gradient(judge, batch.judgments, advantage)
    blocks = [block.mean(axis=0) for block in np.array_split(measured, settings.blocks)]
    return {name: [round(float(b[i]), 6) for b in blocks] for i, name in enumerate(MEASURES)}


def gradient(
    logits: NDArray[np.float64], choices: Choices, advantage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """REINFORCE: mean over episodes of A_i sum_t grad log pi(a_t | s_t), shape of ``logits``."""
    return reinforce(logits, choices.state, choices.action, choices.mask, advantage)


# --- the verdict ----------------------------------------------------------------------------------


def told(runs: Runs, settings: Settings) -> dict[str, Any]:
    """Verdict, effects and arms of one kind of reference: the rule of the module's docstring."""
    found = runs.by_arm(ARMS, settings=settings)
    last = {arm: [run["accuracy"][-1] for run in found[arm]] for arm in ARMS}
    whole = {arm: [float(np.mean(run["accuracy"])) for run in found[arm]] for arm in ARMS}
    effect = compare(last["judge"], last["answer_only"])
    arms = {
        arm: {
            **{name: by_seed([run[name][-1] for run in found[arm]]) for name in MEASURES},
            "curve": {name: mean_curve([run[name] for run in found[arm]]) for name in MEASURES},
        }
        for arm in ARMS
    }
    return {
        "verdict": raised(effect, MARGIN),
        "effects": {
            "accuracy_judge_minus_answer_only": effect,
            "accuracy_over_training_judge_minus_answer_only": compare(
                whole["judge"], whole["answer_only"]
            ),
            "accuracy_judge_minus_judge_no_drop": compare(last["judge"], last["judge_no_drop"]),
        },
        "arms": arms,
    }


# --- the record -----------------------------------------------------------------------------------


def kinds(settings: Settings) -> dict[str, Settings]:
    """What is recorded without a say in the verdict."""
    return {name: replace(settings, **changed) for name, changed in VARIANTS.items()}


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "seed": seed, "settings": which}
        for which in (settings, *kinds(settings).values())
        for seed in seeds
        for arm in ARMS
    ]


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    variants = {name: told(runs, changed) for name, changed in kinds(settings).items()}
    return {**told(runs, settings), "variants": variants}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    episodes = settings.updates * settings.batch
    return {"episodes_per_run": episodes, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="133",
    method="self_check",
    paper="2510.00568",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
