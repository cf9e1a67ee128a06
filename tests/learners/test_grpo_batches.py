"""What a batch is made of: denominators, rows that do not train, copies, second attempts."""

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from peft import LoraConfig
from tests.learners.grpo_trainers import SUMS, data, digits, logged, trainer, weights
from tests.learners.test_grpo_samplers import hinted, seen_batches

import rewardsmith as rs
from rewardsmith import samplers
from rewardsmith.core.bases import Relabel
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.learners.checks import refuse_images
from rewardsmith.learners.generations import rollouts_of
from rewardsmith.policy.estimator import estimator
from rewardsmith.policy.objective import objective

# What transformers, accelerate and torch say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

SGD = {"optim": "sgd", "learning_rate": 0.5}


def losses_of(made: Any) -> list[dict[str, Any]]:
    """What the loss of each micro-batch is given."""
    seen: list[dict[str, Any]] = []
    inner = made._compute_loss
    made._compute_loss = lambda model, inputs: seen.append(inputs) or inner(model, inputs)
    return seen


# --- denominators ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "together"), [(2, 2), (4, 2), (2, 4), (1, 1)])
def test_micro_batches_of_an_update_weigh_by_their_tokens(
    tmp_path: Path, steps: int, together: int
) -> None:
    """The shares of an update add up to 1, or to the mean over its generated batches."""
    made = trainer(
        tmp_path,
        loss=objective("ppo", aggregation="token-mean"),
        per_device_train_batch_size=4,
        steps_per_generation=steps,
        gradient_accumulation_steps=together,
        max_steps=2,
    )
    seen = losses_of(made)
    made.train()
    shares = [
        float(inputs["completion_mask"].sum()) / inputs["aggregation"].tokens for inputs in seen
    ]
    assert len(shares) == 2 * together
    for i in range(0, len(shares), together):
        assert sum(shares[i : i + together]) == pytest.approx(1.0)


def test_an_update_across_two_generated_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="steps_per_generation=3 and gradient_accumulation_steps=2"
    ):
        trainer(
            tmp_path,
            loss=objective("ppo"),
            per_device_train_batch_size=4,
            steps_per_generation=3,
            gradient_accumulation_steps=2,
        )


# --- rows that do not train -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, objective("ppo")], ids=["trl", "ours"])
def test_rows_without_a_score_have_no_pull_of_any_kind(tmp_path: Path, loss: Any) -> None:
    """Not by the divergence either, nor in a mean over tokens."""

    @rs.reward
    def silent(completion: str) -> float | None:
        return None

    made = trainer(tmp_path, silent, loss=loss, beta=0.5, num_iterations=2, **SGD)
    before = weights(made.model).clone()
    made.train()
    torch.testing.assert_close(weights(made.model), before, rtol=0.0, atol=0.0)


def test_a_broken_reward_is_told_before_a_filter_blames_the_data(tmp_path: Path) -> None:
    @rs.reward
    def broken(completion: str) -> float:
        raise KeyError("no such file")

    made = trainer(tmp_path, broken, missing="raise", sampler=samplers.DynamicSampling())
    with pytest.raises(ScoreError, match="no such file"):
        made.train()


def test_a_number_for_missing_is_what_a_filter_sees(tmp_path: Path) -> None:
    @rs.reward
    def right_or_nothing(completion: str) -> float | None:
        return 1.0 if completion[:1] in "0123456789" else None

    made = trainer(
        tmp_path, right_or_nothing, missing=0.0, sampler=samplers.DynamicSampling(max_rounds=9)
    )
    batches = seen_batches(made)
    made.train()
    assert all(bool(b.scores.scored.all()) for b in batches)
    assert all(len(set(b.scores.total()[:4].tolist())) == 2 for b in batches)


def test_what_fills_a_short_batch_is_not_remembered(tmp_path: Path) -> None:
    @rs.reward
    def seldom(completion: str, answer: str) -> float:
        return digits.call(completion) if answer == "0" else 0.0

    made = trainer(
        tmp_path,
        seldom,
        train_dataset=data(task=[str(i) for i in range(len(SUMS))]),
        sampler=samplers.PredictiveSampling(first=3.0),
        advantage=estimator("dcpo_advantage"),
        per_device_train_batch_size=32,
        max_steps=1,
    )
    batches = seen_batches(made)
    made.train()
    assert len(set(batches[0].places.tolist())) < 32
    assert {size for _, size, *_ in made.advantage.memory.values()} == {4}


# --- relabelling ----------------------------------------------------------------------------------


class Answered(Relabel):
    """The first token was not the policy's, and the answer asked for is what it is."""

    def forward(self, rollouts: Rollouts) -> Rollouts:
        action = rollouts.action_mask.clone()
        action[:, 0] = False
        rows = {**rollouts.rows, "answer": list(rollouts["completion"])}
        return Rollouts(
            rows, rollouts.steps, mask=rollouts.mask, action_mask=action, group=rollouts.group
        )


def test_a_relabelling_may_change_columns_and_what_the_policy_chose(tmp_path: Path) -> None:
    @rs.reward
    def same(completion: str, answer: str) -> float:
        return float(completion == answer)

    made = trainer(tmp_path, same, relabel=Answered(), max_steps=1, loss=objective("ppo"))
    batches, seen = seen_batches(made), losses_of(made)
    made.train()
    assert batches[0].scores.total().tolist() == [1.0] * 8
    assert not bool(seen[0]["tool_mask"][:, 0].any())
    assert bool(seen[0]["tool_mask"][:, 1].any())


def test_of_tokens_that_were_changed_the_generator_told_no_log_probability(tmp_path: Path) -> None:
    def rollouts(answers: list[list[int]]) -> Rollouts:
        prompts, texts = ["a"] * 4, [""] * 4
        return rollouts_of([{}] * 4, prompts, texts, answers, None, {}, 4, None)

    answers = [[3, 4, 5], [3, 4, 5], [3, 4, 5], [3, 4, 1]]
    # As it was; another token in the middle; cut and ended; made longer.
    changed = [[3, 4, 5], [3, 9, 5], [3, 1, 0], [3, 4, 7]]
    told = rollouts(changed)
    told.mask[2, 2] = False
    made: list[Any] = [[], answers, None, ["x"] * 4, [[-0.5, -0.6, -0.7] for _ in answers]]
    trainer(tmp_path)._adopt(made, rollouts(answers), told)
    nan = torch.nan
    expected = [[-0.5, -0.6, -0.7], [-0.5, nan, nan], [-0.5, nan], [-0.5, -0.6, nan]]
    for found, wanted in zip(made[4], expected, strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), equal_nan=True)


def test_a_relabelling_that_moves_rows_is_refused(tmp_path: Path) -> None:
    class Reversed(Relabel):
        def forward(self, rollouts: Rollouts) -> Rollouts:
            return rollouts.select(list(range(len(rollouts)))[::-1])

    with pytest.raises(ValueError, match="changes rows, groups or prompts"):
        trainer(tmp_path, relabel=Reversed()).train()


def test_cut_answers_and_masking_of_cut_answers_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mask_truncated_completions would leave out"):
        trainer(tmp_path, relabel=Answered(), mask_truncated_completions=True)


# --- second attempts ------------------------------------------------------------------------------


@rs.reward
def praised(prompt: str, completion: str) -> float:
    """Second attempts are right; the first ones have one digit or none."""
    return 1.0 if "hint" in prompt else 0.1 * (completion[:1] in "0123456789")


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("context", ["original", "hint"])
def test_log_probabilities_of_a_retry_are_under_the_prompt_that_it_trains_under(
    tmp_path: Path, context: Any, adapter: bool
) -> None:
    lora = LoraConfig(target_modules=["q_proj"]) if adapter else None
    made = trainer(
        tmp_path,
        praised,
        sampler=samplers.GuidedRetry(context=context, prompter=hinted),
        loss=objective("herl"),
        num_iterations=2,
        beta=0.1,
        max_steps=1,
        peft_config=lora,
    )
    batches = seen_batches(made)
    made.train()
    assert (made.ref_model is None) == adapter
    out = batches[0].output
    assert bool(out["replaced"].any())
    ids = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
    seen = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
    width = out["completion_ids"].shape[1]
    with torch.no_grad(), made._reference() as reference:
        again, _, _ = made._get_per_token_logps_and_entropies(reference, ids, seen, width)
    mask = out["completion_mask"].bool()
    torch.testing.assert_close(out["ref_per_token_logps"][mask], again[mask], atol=1e-4, rtol=0.0)
    # Nothing was learned yet when the batch was made.
    torch.testing.assert_close(out["old_per_token_logps"][mask], again[mask], atol=1e-4, rtol=0.0)


def test_a_retry_beside_relabelled_answers_is_the_policys_own(tmp_path: Path) -> None:
    made = trainer(
        tmp_path,
        praised,
        relabel=Answered(),
        sampler=samplers.GuidedRetry(context="hint", prompter=hinted),
        max_steps=1,
    )
    batches = seen_batches(made)
    made.train()
    out = batches[0].output
    replaced = out["replaced"]
    assert 0 < int(replaced.sum()) < len(replaced)
    assert out["tool_mask"][:, 0].bool().tolist() == replaced.tolist()


def test_curves_are_of_first_attempts(tmp_path: Path) -> None:
    made = trainer(tmp_path, praised, sampler=samplers.GuidedRetry(prompter=hinted), max_steps=1)
    made.train()
    assert logged(made, "reward")[0] <= 0.1
    assert logged(made, "sampler/retry_reward") == [1.0]


# --- settings that do not go together -------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sampler": samplers.Lookahead(), "top_k": 5}, "latr makes the answers itself.*top_k"),
        (
            {"sampler": samplers.GuidedRetry(), "advantage": estimator("gdpo")},
            "guided_retry adds its bonus to the total",
        ),
        ({"loss": objective("ppo"), "entropy_coef_max": 0.5}, "entropy_coef_max"),
        ({"train_dataset": data().rename_column("prompt", "question")}, "no column 'prompt'"),
        ({"train_dataset": data(token=["x"] * len(SUMS))}, "a column 'token'"),
        ({"train_dataset": data(3, prompt=["1+1=", None, "2+1="])}, "row 1 .* the prompt None"),
        ({"train_dataset": data(2, prompt=[[], []])}, r"row 0 .* the prompt \[\]"),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)
def test_what_would_not_be_read_is_refused(tmp_path: Path, given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        trainer(tmp_path, **given)


def test_prompts_that_a_transform_makes_are_not_looked_at_before(tmp_path: Path) -> None:
    rows = data().rename_column("prompt", "question")
    rows.set_transform(lambda batch: {"prompt": batch["question"], "answer": batch["answer"]})
    made = trainer(tmp_path, train_dataset=rows, remove_unused_columns=False, max_steps=1)
    made.train()
    assert made.state.global_step == 1


def test_a_checkpoint_of_another_layout_says_what_is_lost(tmp_path: Path) -> None:
    first = trainer(tmp_path, num_iterations=2, save_strategy="steps", save_steps=1, max_steps=1)
    first.train()
    other = trainer(tmp_path, num_iterations=3, max_steps=2)
    with pytest.warns(UserWarning, match="what is left of it is not trained on"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_checkpoint_has_its_own_state_before_the_one_before_it_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    made = trainer(tmp_path, save_strategy="steps", save_steps=1, max_steps=1)
    monkeypatch.setattr(trl.GRPOTrainer, "_save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        made.train()
    assert (tmp_path / "checkpoint-1" / "rewardsmith_0.pt").is_file()


def test_columns_by_token_are_refused_beside_images() -> None:
    with pytest.raises(ValueError, match="'image', and entropy would be computed from the text"):
        refuse_images(["entropy"], {"prompt": "", "image": None})
    refuse_images([], {"prompt": "", "image": None})
    refuse_images(["entropy"], {"prompt": ""})
