"""The trainer: what TRL would do where nothing else is said, and what is said where it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from tests.learners.grpo_trainers import (
    SUMS,
    arguments,
    config,
    data,
    digits,
    logged,
    nothing,
    trainer,
    weights,
)
from transformers import PrinterCallback

import rewardsmith as rs
from rewardsmith.core.bases import Relabel
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.learners.grpo import GRPOTrainer
from rewardsmith.policy.estimator import estimator
from rewardsmith.policy.objective import objective
from rewardsmith.samplers import DynamicSampling, Shuffled
from rewardsmith.samplers.prompts import PromptSampler

# What transformers, accelerate and torch say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


class InOrder(PromptSampler):
    """Rows as they stand, which a trainer of TRL does with ``shuffle_dataset=False``."""

    def choose(self, n: int) -> list[int]:
        begin = getattr(self, "at", 0)
        self.at = begin + n
        return [(begin + i) % self.size for i in range(n)]


class Theirs(trl.GRPOTrainer):
    """TRL's own, told of the same reward."""


def theirs(folder: Path, **changes: Any) -> Any:
    def own(completions: list[str], **_: Any) -> list[float]:
        return [digits.call(c) for c in completions]

    made = Theirs(
        reward_funcs=[own],
        train_dataset=data(),
        **arguments(folder, shuffle_dataset=False, **changes),
    )
    made.remove_callback(PrinterCallback)
    return made


# --- equal to TRL's -------------------------------------------------------------------------------

STEPS = {"max_steps": 4, "gradient_accumulation_steps": 2, "num_iterations": 2}
"""Two micro-batches an update, and two updates for each that is generated: old log-probabilities
differ from new ones."""

SGD = {"optim": "sgd", "learning_rate": 0.5}
"""Adam would make much of a rounding."""


@pytest.mark.parametrize("changes", [{}, STEPS, {**STEPS, "beta": 0.1}], ids=["1", "2x2", "kl"])
def test_without_a_loss_it_trains_as_trl_does(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Advantages are ours and TRL's to its epsilon, so weights agree but for rounding."""
    own = trainer(tmp_path / "a", sampler=InOrder(), **SGD, **changes)
    start = weights(own.model).clone()
    own.train()
    # Made after the other has run: to make one sets the seed.
    other = theirs(tmp_path / "b", **SGD, **changes)
    other.train()
    torch.testing.assert_close(weights(own.model), weights(other.model), rtol=0.0, atol=2e-5)
    assert float((weights(own.model) - start).norm()) > 0.1
    assert logged(own, "rewards/total/mean") == logged(other, "rewards/own/mean")


@pytest.mark.parametrize(
    ("loss", "theirs_is"),
    [
        (objective("ppo", aggregation="token-mean"), {"loss_type": "dapo"}),
        (objective("ppo", aggregation="seq-mean-token-mean"), {"loss_type": "grpo"}),
        (objective("ppo", aggregation="seq-mean-token-sum-norm"), {"loss_type": "dr_grpo"}),
        (objective("sapo"), {"loss_type": "sapo"}),
        (
            objective("gspo", clip=0.2),
            # Its divergence is weighed by the ratio of the sequence, so without one.
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "beta": 0.0},
        ),
    ],
    ids=["token-mean", "seq-mean", "dr_grpo", "sapo", "gspo"],
)
def test_our_loss_trains_as_trls_of_the_same_name(
    tmp_path: Path, loss: Any, theirs_is: dict[str, Any]
) -> None:
    """Over two micro-batches for an update, whose denominators are of the whole update."""
    beta = theirs_is.pop("beta", 0.05)
    own = trainer(tmp_path / "a", sampler=InOrder(), loss=loss, **SGD, **STEPS, beta=beta)
    own.train()
    other = theirs(tmp_path / "b", **SGD, **STEPS, **theirs_is, beta=beta)
    other.train()
    torch.testing.assert_close(weights(own.model), weights(other.model), rtol=0.0, atol=5e-5)


# --- what is said is done -------------------------------------------------------------------------


def test_every_estimator_and_loss_of_the_catalog_trains(tmp_path: Path) -> None:
    """Those that need what a run of this kind does not have are left out, by name."""
    from rewardsmith.core.catalog import find, methods

    elsewhere = {
        "brpo",  # verdicts of a comparator
        "otb",  # a logits proxy
        "remax",  # greedy rewards
        "remax_steps",
        "thought_level",  # labels of steps
        "gae",  # critic values
    }
    options = {"dro": {"beta": 0.1}}
    names = [e.name for e in methods() if e.kind == "advantage" and e.name not in elsewhere]
    losses = [e.name for e in methods() if e.kind == "loss" and callable(find(e.name))]
    assert len(names) >= 12
    assert len(losses) >= 12
    rows = data(task=[str(i) for i in range(len(SUMS))], role=["a", "b"] * (len(SUMS) // 2))
    parts = rs.WeightedSum(parts={"a": digits, "b": nothing}, weights={"a": 1.0, "b": 1.0})
    pairs = [(name, "ppo") for name in names] + [("grpo", loss) for loss in losses]
    for i, (name, loss) in enumerate(pairs):
        made = trainer(
            tmp_path / str(i),
            parts,
            train_dataset=rows,
            advantage=estimator(name),
            loss=objective(loss, **options.get(loss, {})),
            # In the first batch an estimator may see no difference that counts for it.
            max_steps=2 if loss == "ppo" else 1,
        )
        before = weights(made.model).clone()
        made.train()
        after = weights(made.model)
        assert bool(after.isfinite().all()), (name, loss)
        assert not torch.equal(before, after), (name, loss)


def test_a_dense_reward_gives_each_token_its_own_advantage(tmp_path: Path) -> None:
    class EachDigit(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.declare(needs=("token",), granularity="dense")

        def forward(self, rollouts: Rollouts) -> Scores:
            return Scores.dense((rollouts["token"] < 12).float(), rollouts.mask)

    made = trainer(
        tmp_path,
        EachDigit(),
        advantage=estimator("reinforce"),
        loss=objective("policy_gradient"),
    )
    seen = []
    inner = made._compute_loss
    made._compute_loss = lambda model, inputs: seen.append(inputs) or inner(model, inputs)
    made.train()
    advantages, ids = seen[0]["advantages"], seen[0]["completion_ids"]
    returns = ((ids < 12) & seen[0]["completion_mask"].bool()).float().flip(1).cumsum(1).flip(1)
    mask = seen[0]["completion_mask"].bool()
    torch.testing.assert_close(advantages[mask], returns[mask])


def test_a_reward_that_learns_is_updated_once_a_batch_and_not_in_evaluation(tmp_path: Path) -> None:
    class Counts(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.updates = 0
            self.declare(needs=("completion",))

        def forward(self, rollouts: Rollouts) -> Scores:
            return Scores.outcome(torch.rand(len(rollouts)))

        def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
            self.updates += 1
            return {"updates": float(self.updates)}

    reward = Counts()
    made = trainer(tmp_path, reward, eval_dataset=data(4), max_steps=3, num_iterations=1)
    made.train()
    assert reward.updates == 3
    assert logged(made, "reward/updates") == [1.0, 2.0, 3.0]
    found = made.evaluate()
    assert reward.updates == 3
    assert 0.0 < found["eval_rewards/total/mean"] < 1.0


def test_a_row_without_a_score_does_not_train(tmp_path: Path) -> None:
    @rs.reward
    def half(completion: str, answer: str) -> float | None:
        return None if int(answer) % 2 else len(completion) / 6

    made = trainer(tmp_path, half, loss=objective("ppo"), advantage=estimator("rloo"))
    seen = []
    inner = made._compute_loss
    made._compute_loss = lambda model, inputs: seen.append(inputs) or inner(model, inputs)
    made.train()
    kept = torch.cat([inputs["keep"] for inputs in seen])
    assert 0 < int(kept.sum()) < len(kept)
    assert 0.0 < logged(made, "status/abstained")[0] < 1.0


def test_missing_raise_ends_the_run_at_the_row(tmp_path: Path) -> None:
    @rs.reward
    def broken(completion: str) -> float:
        raise KeyError("no such file")

    with pytest.raises(ScoreError, match="no such file"):
        trainer(tmp_path, broken, missing="raise").train()


def test_a_relabelling_changes_what_is_scored_and_trained(tmp_path: Path) -> None:
    class FirstTwo(Relabel):
        def forward(self, rollouts: Rollouts) -> Rollouts:
            mask = rollouts.mask & (torch.arange(rollouts.n_steps) < 2)
            return Rollouts(
                rollouts.rows, rollouts.steps, mask=mask, action_mask=mask, group=rollouts.group
            )

    lengths = []

    @rs.reward
    def noted(completion: str) -> float:
        lengths.append(len(completion))
        return digits.call(completion)

    made = trainer(tmp_path, noted, relabel=FirstTwo(), max_steps=1)
    made.train()
    assert max(lengths) <= 2
    assert logged(made, "relabel/changed")[0] > 0.5
    assert logged(made, "completions/mean_length")[0] > 2.0  # what was generated


def test_a_sampler_that_selects_is_asked_again_and_surplus_is_dropped(tmp_path: Path) -> None:
    class Odd(Shuffled):
        rounds = 9

        def select(self, rollouts: Rollouts, scores: Scores) -> torch.Tensor:
            return torch.tensor([i % 2 == 1 for i in rollouts["prompt_id"]])

    made = trainer(tmp_path, sampler=Odd(), per_device_train_batch_size=16, max_steps=2)
    seen = []
    inner = made._finished
    made._finished = lambda batch: seen.append(batch) or inner(batch)
    made.train()
    for batch in seen:
        ids = batch.rollouts["prompt_id"]
        assert len(ids) == 16
        assert all(i % 2 for i in ids)
        assert len(set(ids)) == 4
        assert batch.rollouts.group.tolist() == [i // 4 for i in range(16)]
        texts = made.processing_class.batch_decode(
            batch.output["completion_ids"] * batch.output["completion_mask"],
            skip_special_tokens=True,
        )
        assert texts == list(batch.rollouts["completion"])
        prompts = made.processing_class.batch_decode(
            batch.output["prompt_ids"] * batch.output["prompt_mask"], skip_special_tokens=True
        )
        assert prompts == list(batch.rollouts["prompt"])
    assert max(logged(made, "sampler/rounds")) > 1


def test_groups_that_are_all_constant_end_in_an_error(tmp_path: Path) -> None:
    made = trainer(tmp_path, nothing, sampler=DynamicSampling(max_rounds=3))
    with pytest.raises(ValueError, match=r"a batch needs 2 groups, and 0 were selected out of 6"):
        made.train()


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [2, 3], ids=["between batches", "within a batch"])
def test_a_run_that_was_killed_goes_on_as_if_undisturbed(tmp_path: Path, stop: int) -> None:
    """The same weights, prompts, estimator and reward as the run that nobody stopped."""
    rows = data(task=[str(i) for i in range(len(SUMS))])

    def make(folder: str, **changes: Any) -> GRPOTrainer:
        return trainer(
            tmp_path / folder,
            train_dataset=rows,
            advantage=estimator("dcpo_advantage"),
            loss=objective("ppo"),
            sampler=Shuffled(seed=3),
            num_iterations=2,
            max_steps=6,
            **changes,
        )

    whole = make("whole")
    whole.train()
    first = make("killed", save_strategy="steps", save_steps=stop)
    first.args.max_steps = stop
    first.train()
    second = make("killed")
    proposed = []
    inner = second.sampler.propose
    second.sampler.propose = lambda n: proposed.append(inner(n)) or proposed[-1]
    second.train(resume_from_checkpoint=str(tmp_path / "killed" / f"checkpoint-{stop}"))
    torch.testing.assert_close(weights(second.model), weights(whole.model), rtol=0.0, atol=0.0)
    assert second.advantage.get_extra_state() == whole.advantage.get_extra_state()
    assert second.sampler.get_extra_state() == whole.sampler.get_extra_state()
    assert len(proposed) == (2 if stop == 2 else 1)


def test_a_checkpoint_of_other_parts_is_refused(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "a", save_strategy="steps", save_steps=1, max_steps=1)
    plain.train()

    class Same(Relabel):
        def forward(self, rollouts: Rollouts) -> Rollouts:
            return rollouts

    other = trainer(tmp_path / "b", relabel=Same())
    checkpoint = str(tmp_path / "a" / "checkpoint-1")
    with pytest.raises(ValueError, match="saved with the relabel none, and this trainer has same"):
        other.train(resume_from_checkpoint=checkpoint)
    filtering = trainer(tmp_path / "c", sampler=DynamicSampling())
    told = "the sampler shuffled, and this trainer has dapo_filter of shuffled"
    with pytest.raises(ValueError, match=told):
        filtering.train(resume_from_checkpoint=checkpoint)


def test_a_checkpoint_of_trl_alone_is_refused(tmp_path: Path) -> None:
    their = theirs(tmp_path / "a", save_strategy="steps", save_steps=1, max_steps=1)
    their.train()
    with pytest.raises(ValueError, match="was not saved by this trainer"):
        trainer(tmp_path / "b").train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-1"))


# --- bad input ------------------------------------------------------------------------------------


def test_a_pool_smaller_than_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data set has 1 rows, and a batch is 2 different"):
        trainer(tmp_path, train_dataset=data(1))


@pytest.mark.parametrize("name", ["advantage", "loss", "sampler", "relabel"])
def test_a_name_in_the_place_of_a_part_is_refused_with_what_to_write(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(TypeError, match=f"{name} is 'rloo', and has to be of the type"):
        trainer(tmp_path, **{name: "rloo"})


def test_a_reward_that_never_differs_is_told_of(tmp_path: Path) -> None:
    made = trainer(tmp_path, nothing, max_steps=10)
    with pytest.warns(UserWarning, match="in the last 10 batches no answer had an advantage"):
        made.train()


def test_a_filter_that_has_tried_all_prompts_says_so(tmp_path: Path) -> None:
    made = trainer(tmp_path, nothing, train_dataset=data(4), sampler=DynamicSampling(max_rounds=30))
    with pytest.raises(ValueError, match="all 4 prompts of the data set were tried"):
        made.train()


def test_a_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data set is a stream"):
        trainer(tmp_path, train_dataset=data().to_iterable_dataset())


def test_an_estimator_that_needs_a_task_says_so_before_anything_is_generated(
    tmp_path: Path,
) -> None:
    with pytest.raises(MissingColumn, match=r"'task'.*dcpo_advantage"):
        trainer(tmp_path, advantage=estimator("dcpo_advantage"))


def test_a_reward_that_needs_a_column_says_so_before_anything_is_generated(tmp_path: Path) -> None:
    @rs.reward
    def gold(completion: str, solution: str) -> float:
        return float(completion == solution)

    with pytest.raises(MissingColumn, match=r"'solution'.*gold"):
        trainer(tmp_path, gold)
    trainer(tmp_path, gold, columns={"solution": "answer"})


def test_a_reward_of_the_whole_data_set_is_refused(tmp_path: Path) -> None:
    class Ranked(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.declare(scope="dataset")

    with pytest.raises(SpecError, match="compares every row with the whole data set"):
        trainer(tmp_path, Ranked())


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"loss": objective("ppo")}, {"epsilon": 0.3}),
        ({"advantage": estimator("rloo")}, {"scale_rewards": "none"}),
        ({}, {"reward_weights": [2.0]}),
        ({}, {"multi_objective_aggregation": "normalize_then_sum"}),
    ],
)
def test_a_setting_of_trl_that_nobody_would_read_is_refused(
    tmp_path: Path, given: dict[str, Any], setting: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        trainer(tmp_path, **given, **setting)


def test_the_configuration_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="args"):
        GRPOTrainer(arguments(tmp_path)["model"], digits, train_dataset=data())


def test_config_is_not_changed(tmp_path: Path) -> None:
    given = config(tmp_path)
    before = given.to_dict()
    trainer(tmp_path, args=given)
    assert given.to_dict() == before


def test_a_function_in_the_place_of_a_reward_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"rewardsmith.reward\(f\) makes one of a function"):
        trainer(tmp_path, lambda completion: 1.0)


def test_a_column_that_goes_by_another_name_is_missed_by_that(tmp_path: Path) -> None:
    @rs.reward
    def same(completion: str, solution: str) -> float:
        return float(completion == solution)

    with pytest.raises(MissingColumn, match=r"no column 'slution', .*columns: solution: slution"):
        trainer(tmp_path, same, columns={"solution": "slution"})


def test_the_first_row_that_breaks_is_told_once_and_completions_are_still_shown(
    tmp_path: Path,
) -> None:
    @rs.reward
    def broken(completion: str) -> float:
        return float(int("x"))

    made = trainer(tmp_path, broken, log_completions=True, max_steps=2)
    with pytest.warns(UserWarning, match="rows broke") as told:
        made.train()
    said = [str(one.message) for one in told if "rows broke" in str(one.message)]
    assert len(said) == 1
    assert "8 of 8 rows broke" in said[0]
    assert "invalid literal for int()" in said[0]


def test_a_checkpoint_of_other_options_is_taken_and_told(tmp_path: Path) -> None:
    half = 0.5 * digits
    first = trainer(tmp_path, half, save_strategy="steps", save_steps=1, max_steps=1)
    first.train()
    folder = str(tmp_path / "checkpoint-1")
    with pytest.raises(ValueError, match="saved with the advantage grpo, and this trainer has rlo"):
        trainer(tmp_path, half, advantage=estimator("rloo")).train(resume_from_checkpoint=folder)
    with pytest.warns(UserWarning, match="the reward is not written as it was"):
        trainer(tmp_path, 2 * digits).train(resume_from_checkpoint=folder)
    scaled = trainer(tmp_path, half, advantage=estimator("grpo", scale="none"))
    with pytest.warns(UserWarning, match="the advantage is not written as it was"):
        scaled.train(resume_from_checkpoint=folder)
