"""Every sampler, and every relabelling, at work in the trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learners.grpo_trainers import SUMS, data, digits, logged, nothing, trainer, weights

import rewardsmith as rs
from rewardsmith import samplers
from rewardsmith.credit import OutlierTruncation
from rewardsmith.policy.estimator import estimator
from rewardsmith.policy.objective import objective

# What transformers, accelerate and torch say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


def hinted(prompt: str, completion: str, satisfied: Any, unmet: Any) -> str:
    """The default text has letters that this tokenizer does not know."""
    return f"hint {prompt}"


MAKERS = {
    "b_star": lambda: samplers.BalancedTemperature(temperatures=(0.7, 1.3), trial=1, hold=2),
    "dapo_filter": lambda: samplers.DynamicSampling(max_rounds=5),
    "guided_retry": lambda: samplers.GuidedRetry(prompter=hinted),
    "latr": lambda: samplers.Lookahead(shares={0: 0.5}, lookahead=(2,), min_probability=0.01),
    "predictive_sampling": samplers.PredictiveSampling,
    "rulereasoner": lambda: samplers.DomainSampling(every=1),
    "shuffled": samplers.Shuffled,
    "vade": samplers.ThompsonSampling,
}
DOMAINS = ["even" if i % 2 else "odd" for i in range(len(SUMS))]


def seen_batches(made: Any) -> list[Any]:
    """The batches that a trainer trains on, as they come."""
    seen: list[Any] = []
    inner = made._finished
    made._finished = lambda batch: seen.append(batch) or inner(batch)
    return seen


def test_there_is_a_case_for_every_sampler_of_the_catalog() -> None:
    from rewardsmith.core.catalog import methods

    assert {entry.name for entry in methods() if entry.kind == "sampler"} == MAKERS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_a_run_that_was_killed_goes_on_with_the_same_prompts(tmp_path: Path, name: str) -> None:
    def make(folder: str, **changes: Any) -> Any:
        return trainer(
            tmp_path / folder,
            train_dataset=data(domain=DOMAINS),
            sampler=MAKERS[name](),
            loss=objective("ppo"),
            max_steps=4,
            **changes,
        )

    whole = make("whole")
    undisturbed = seen_batches(whole)
    whole.train()
    first = make("killed", save_strategy="steps", save_steps=2)
    first.args.max_steps = 2
    first.train()
    second = make("killed")
    resumed = seen_batches(second)
    second.train(resume_from_checkpoint=str(tmp_path / "killed" / "checkpoint-2"))
    assert [list(b.rollouts["prompt_id"]) for b in resumed] == [
        list(b.rollouts["prompt_id"]) for b in undisturbed[2:]
    ]
    assert [list(b.rollouts["completion"]) for b in resumed] == [
        list(b.rollouts["completion"]) for b in undisturbed[2:]
    ]
    torch.testing.assert_close(weights(second.model), weights(whole.model), rtol=0.0, atol=0.0)
    assert repr(second.sampler.get_extra_state()) == repr(whole.sampler.get_extra_state())


def test_a_temperature_of_the_sampler_is_generated_with(tmp_path: Path) -> None:
    made = trainer(tmp_path, sampler=samplers.BalancedTemperature(temperatures=(0.25,), hold=1))
    usual, used = made.generation_config.temperature, []
    inner = made.model.generate

    def generate(*given: Any, **named: Any) -> Any:
        used.append(named["generation_config"].temperature)
        return inner(*given, **named)

    made.model.generate = generate
    made.train()
    assert set(used) == {0.25}
    assert made.generation_config.temperature == usual == 1.0


def test_answers_of_a_tree_are_trained_on_as_they_are(tmp_path: Path) -> None:
    made = trainer(tmp_path, sampler=MAKERS["latr"](), max_steps=1)
    batches = seen_batches(made)
    given = []
    inner = made.sampler.generate

    def generate(*rest: Any, **named: Any) -> Any:
        given.append(inner(*rest, **named))
        return given[-1]

    made.sampler.generate = generate
    made.train()
    assert [list(ids) for ids in batches[0].rollouts["completion_ids"]] == given[0]


def test_a_copy_that_fills_a_short_batch_does_not_train_twice(tmp_path: Path) -> None:
    @rs.reward
    def seldom(completion: str, answer: str) -> float:
        """Only in the groups of one answer in seven can rewards differ."""
        return digits.call(completion) if answer == "0" else 0.0

    made = trainer(
        tmp_path,
        seldom,
        sampler=samplers.PredictiveSampling(first=3.0),
        loss=objective("ppo"),
        per_device_train_batch_size=32,
        max_steps=1,
    )
    batches = seen_batches(made)
    kept = []
    inner = made._compute_loss
    made._compute_loss = lambda model, inputs: kept.append(inputs["keep"]) or inner(model, inputs)
    made.train()
    places = batches[0].places.tolist()
    assert len(places) == 32
    assert len(set(places)) < 32
    assert int(kept[0].sum()) == len(set(places))


def test_outliers_in_length_are_cut_and_scored_again(tmp_path: Path) -> None:
    """One long answer among 16, all of them right: cut to the limit, before rewards are known."""

    @rs.reward
    def right(completion: str) -> float:
        return 1.0

    @rs.reward
    def length(completion: str) -> float:
        return len(completion) / 20

    made = trainer(
        tmp_path,
        length,
        relabel=OutlierTruncation(success=right, deviations=1.5, margin=1),
        per_device_train_batch_size=16,
        num_generations=16,
        max_completion_length=20,
        max_steps=1,
    )
    short, long = [5] * 4, [5] * 20
    made._generate_single_turn = lambda prompt_ids, *_, **__: (
        [list(long if i == 3 else short) for i in range(len(prompt_ids))],
        None,
    )
    batches = seen_batches(made)
    made.train()
    limit = int((15 * 4 + 20) / 16 + 1.5 * 4.0)
    rewards = batches[0].scores.total().mul(20).round().tolist()
    assert rewards == [limit if i == 3 else 4 for i in range(16)]
    assert batches[0].output["completion_mask"].sum(dim=1).tolist() == [
        limit if i == 3 else 4 for i in range(16)
    ]
    assert logged(made, "relabel/changed") == [1 / 16]


@pytest.mark.parametrize("context", ["original", "hint"])
def test_a_second_attempt_takes_the_place_of_the_worst_answer(tmp_path: Path, context: Any) -> None:
    @rs.reward
    def praised(prompt: str, completion: str) -> float:
        """Second attempts are right; the first ones have one digit or none."""
        return 1.0 if "hint" in prompt else 0.1 * (completion[:1] in "0123456789")

    made = trainer(
        tmp_path,
        praised,
        sampler=samplers.GuidedRetry(alpha=0.5, context=context, prompter=hinted),
        loss=objective("herl"),
        advantage=estimator("grpo"),
        max_steps=1,
    )
    batches = seen_batches(made)
    made.train()
    batch = batches[0]
    replaced = batch.output["replaced"]
    assert replaced.view(2, 4).sum(dim=1).tolist() == [1, 1]
    total = batch.scores.total()
    assert total[replaced].tolist() == [1.0, 1.0]
    # The best first answers have half of what their retry gained; nobody else has a bonus.
    best = total[~replaced].view(2, 3).amax(dim=1)
    assert bool(((best > 0.4) & (best <= 0.55)).all())
    decode = made.processing_class.batch_decode
    prompts = decode(
        batch.output["prompt_ids"] * batch.output["prompt_mask"], skip_special_tokens=True
    )
    assert ["hint" in prompt for prompt in prompts] == (replaced & (context == "hint")).tolist()
    assert batch.rollouts.group.tolist() == [0] * 4 + [1] * 4
    texts = decode(
        batch.output["completion_ids"] * batch.output["completion_mask"], skip_special_tokens=True
    )
    assert texts == list(batch.rollouts["completion"])


def test_guided_retry_refuses_a_reward_that_learns(tmp_path: Path) -> None:
    class Learns(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.declare(needs=("completion",))

        def update(self, rollouts: Any, scores: Any) -> dict[str, float]:
            return {}

    with pytest.raises(ValueError, match="guided_retry adds a bonus"):
        trainer(tmp_path, Learns(), sampler=samplers.GuidedRetry())


def test_a_constant_reward_ends_dynamic_sampling_by_an_error_that_counts(tmp_path: Path) -> None:
    made = trainer(tmp_path, nothing, sampler=samplers.DynamicSampling(max_rounds=3))
    with pytest.raises(ValueError, match=r"0 were selected out of 6 in 3 rounds"):
        made.train()
