"""TRL 1.16.0: the advantages and losses of its trainers give the numbers of ours.

A trainer of theirs generates with a tiny model; only its rewards and its model's log-probabilities
are replaced. Its own code makes advantages (``_generate_and_score_completions``) and the loss
(``_compute_loss``).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import traps
from tests.policy_cases import Case, case, close, dtypes, same
from torch import Tensor

from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.kl import kl_loss
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.detached import cispo
from rewardsmith.policy.losses.importance import off_policy_mask
from rewardsmith.policy.losses.sequence_ratio import gspo
from rewardsmith.policy.losses.soft_gate import sapo, vespo

pytestmark = pytest.mark.contracts
LIKE_TRL = "aaabbbccc"
"""Equal groups in a row: TRL has no others.

It keeps ``n / (n - 1)`` in float32 whatever the rewards are, which is exact for 2, 3 and 9 of them.
"""


def trainer_of(kind: str, out: Path) -> Any:
    """The smallest real trainer."""
    trl = pytest.importorskip("trl")
    from examples.addition.train import make_model, make_tokenizer, rows

    torch.set_num_threads(1)
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(out),
        per_device_train_batch_size=3,
        num_generations=3,
        max_completion_length=4,
        beta=0.0,
        report_to="none",
        use_cpu=True,
        bf16=False,
    )
    made = getattr(trl, f"{kind}Trainer")(
        model=make_model(0),
        reward_funcs=[zero],
        args=config,
        train_dataset=rows([(1, 2), (2, 3)]),
        processing_class=make_tokenizer(),
    )
    made.model.train()
    return made


def zero(completions: list[str], **_: Any) -> list[float]:
    return [0.0] * len(completions)


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {kind: trainer_of(kind, tmp_path_factory.mktemp(kind)) for kind in ("GRPO", "RLOO")}


@pytest.fixture
def trl(trainers: dict[str, Any]) -> Iterator[Any]:
    """TRL's trainers, with settings of a test that the next one does not see."""
    before = {kind: dict(vars(one)) for kind, one in trainers.items()}
    arguments = {kind: dict(vars(one.args)) for kind, one in trainers.items()}
    yield trainers
    for kind, one in trainers.items():
        vars(one).clear()
        vars(one).update(before[kind])
        vars(one.args).clear()
        vars(one.args).update(arguments[kind])


# --- advantages -----------------------------------------------------------------------------------


def advantages(trainer: Any, rewards: Tensor, size: int, **settings: Any) -> Tensor:
    """What a trainer makes of rewards [N] or [N, K] that its K reward functions gave.

    Args:
        trainer: of TRL.
        rewards: NaN where a function returned None.
        size: rows in a group.
        settings: attributes of the trainer.
    """
    rewards = rewards[:, None] if rewards.ndim == 1 else rewards
    names = [f"part{k}" for k in range(rewards.shape[1])]
    weights = settings.pop("weights", torch.ones(len(names)))
    for name, value in {  # all that a call before this one may have set
        "reward_funcs": [zero] * len(names),
        "reward_func_names": names,
        "reward_weights": weights,
        "num_generations": size,
        "scale_rewards": "group",
        "multi_objective_aggregation": "sum_then_normalize",
        "_calculate_rewards": lambda *_: rewards,
        **settings,
    }.items():
        setattr(trainer, name, value)
    prompts = [{"prompt": "1+2="} for _ in range(len(rewards))]
    made: Tensor = trainer._generate_and_score_completions(prompts)["advantages"]
    return made


@dtypes
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_grpo_is_trls(trl: Any, scale: Any, dtype: torch.dtype) -> None:
    """Also with a row that no function scored; TRL's deviation then is that of the others."""
    c = case(dtype, LIKE_TRL)
    for keep in (torch.ones(9).bool(), torch.arange(9) != 5):
        if scale == "batch" and dtype == torch.float64 and not bool(keep.all()):
            continue  # 8 / 7
        rewards = torch.where(keep, c.rewards, torch.nan)
        found = advantages(trl["GRPO"], rewards, 3, scale_rewards=scale)
        close(grpo(c.rewards, c.group, keep=keep, scale=scale, eps=1e-4).values, found)


@dtypes
def test_gdpo_is_trls(trl: Any, dtype: torch.dtype) -> None:
    """Of its constant epsilon, and a mean of the batch that is 0 but for rounding."""
    c = case(dtype, LIKE_TRL)
    parts = {f"part{k}": c.values[:, k] for k in range(3)}
    weights = torch.tensor([1.0, 0.5, 2.0])
    named = dict(zip(parts, weights.tolist(), strict=True))
    found = advantages(
        trl["GRPO"],
        torch.stack([*parts.values()], dim=1),
        3,
        weights=weights,
        multi_objective_aggregation="normalize_then_sum",
    )
    close(gdpo(parts, c.group, weights=named, eps=1e-4).values, found)


@dtypes
def test_rloo_is_trls(trl: Any, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)
    for keep in (torch.ones(9).bool(), torch.arange(9) != 5):
        rewards = torch.where(keep, c.rewards, torch.nan)
        found = advantages(trl["RLOO"], rewards, 3)
        close(rloo(c.rewards, c.group, keep=keep).values, found)


# --- losses ---------------------------------------------------------------------------------------


def loss_of(trainer: Any, c: Case, logprob: Tensor, **settings: Any) -> Tensor:
    """What a trainer makes of log-probabilities; holes are what tools said."""
    arguments = settings.pop("args", {})
    inputs = settings.pop("inputs", {})
    for name, value in {"epsilon_low": 0.1, "epsilon_high": 0.25, **settings}.items():
        setattr(trainer, name, value)
    for name, value in arguments.items():
        setattr(trainer.args, name, value)
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.steps_per_generation = 1
    n, width = c.mask.shape
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        logprob,
        torch.zeros_like(logprob),
        None,
    )
    ends = width - 1 - c.mask.long().flip(1).argmax(dim=1)
    completion = (torch.arange(width) <= ends[:, None]).long()
    given = {
        "prompt_ids": torch.ones(n, 2).long(),
        "prompt_mask": torch.ones(n, 2).long(),
        "completion_ids": torch.ones(n, width).long(),
        "completion_mask": completion,
        "tool_mask": c.mask.long(),
        "advantages": c.advantage[:, 0],
        "old_per_token_logps": c.old,
        "num_items_in_batch": c.mask.sum(),
        **inputs,
    }
    found: Tensor = trainer._compute_loss(trainer.model, given)
    return found


CLIP: dict[str, Any] = {"clip": (0.1, 0.25)}
LENGTH = 32
TRLS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "grpo": (ppo, CLIP, "seq-mean-token-mean"),
    "bnpo": (ppo, CLIP, "token-mean"),
    "dapo": (ppo, CLIP, "token-mean"),
    "dr_grpo": (ppo, CLIP, "seq-mean-token-sum-norm"),
    "luspo": (ppo, CLIP, "seq-mean-token-sum"),
    "cispo": (cispo, {"upper": 1.25}, "token-mean"),
    # Temperatures that float32 holds, for TRL keeps them in it.
    "sapo": (sapo, {"tau_positive": 1.25, "tau_negative": 2.0}, "seq-mean-token-mean"),
    "vespo": (vespo, {}, "token-mean"),
}


def mean_of(mode: str) -> Aggregation:
    length = {"length": float(LENGTH)} if mode.endswith("norm") else {}
    return Aggregation(mode, **length)  # type: ignore[arg-type]


@dtypes
@pytest.mark.parametrize("kind", TRLS)
def test_a_loss_is_trls(trl: Any, kind: str, dtype: torch.dtype) -> None:
    ours, options, mode = TRLS[kind]
    c = case(dtype, LIKE_TRL)
    settings: dict[str, Any] = {"loss_type": kind, "max_completion_length": LENGTH}
    if kind == "cispo":
        settings["epsilon_high"] = 1.25
    if kind == "sapo":
        settings["args"] = {"sapo_temperature_pos": 1.25, "sapo_temperature_neg": 2.0}
    same(
        lambda x: (
            ours(x, c.old, c.advantage[:, 0], c.mask, aggregation=mean_of(mode), **options).loss
        ),
        lambda x: loss_of(trl["GRPO"], c, x, **settings),
        c.logprob,
    )


@dtypes
def test_the_two_sided_clip_is_dual_clip(trl: Any, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)
    same(
        lambda x: ppo(x, c.old, c.advantage, c.mask, dual_clip=1.4, **CLIP).loss,
        lambda x: loss_of(trl["GRPO"], c, x, loss_type="dapo", args={"delta": 1.4}),
        c.logprob,
    )


@dtypes
@pytest.mark.parametrize("kind", ["grpo", "luspo"])
def test_sequence_ratios_are_gspo(trl: Any, kind: str, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)
    mode: Any = TRLS[kind][2]
    settings = {"loss_type": kind, "importance_sampling_level": "sequence"}
    same(
        lambda x: gspo(x, c.old, c.advantage, c.mask, aggregation=mode, **CLIP).loss,
        lambda x: loss_of(trl["GRPO"], c, x, **settings),
        c.logprob,
    )


@dtypes
@pytest.mark.parametrize("corrected", [False, True])
def test_the_divergence_in_the_loss_is_trls(trl: Any, corrected: bool, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)
    reference = c.old + 0.3 * c.values
    old = {"old_logprob": c.old} if corrected else {}

    def ours(x: Tensor) -> Tensor:
        divergence = kl_loss(x, reference, c.mask, straight_through=False, **old).loss
        return ppo(x, c.old, c.advantage, c.mask, **CLIP).loss + 0.2 * divergence

    settings = {
        "loss_type": "dapo",
        "beta": 0.2,
        "args": {"use_bias_correction_kl": corrected},
        "inputs": {"ref_per_token_logps": reference},
    }
    same(ours, lambda x: loss_of(trl["GRPO"], c, x, **settings), c.logprob)


@dtypes
def test_the_mask_of_what_is_off_policy_is_trls(trl: Any, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)

    def ours(x: Tensor) -> Tensor:
        weight = off_policy_mask(x, c.old, c.advantage, c.mask, threshold=0.01)
        assert 0.0 < float(weight.mean()) < 1.0
        weight = weight.expand(c.mask.shape)
        return ppo(x, c.old, c.advantage, c.mask, weight=weight, **CLIP).loss

    settings = {"loss_type": "dapo", "off_policy_mask_threshold": 0.01}
    same(ours, lambda x: loss_of(trl["GRPO"], c, x, **settings), c.logprob)


@dtypes
def test_weights_of_the_sampler_are_trls(trl: Any, dtype: torch.dtype) -> None:
    c = case(dtype, LIKE_TRL)
    weight = c.values.exp()
    settings = {
        "loss_type": "dapo",
        "use_vllm": True,
        "vllm_importance_sampling_correction": True,
        "inputs": {"importance_sampling_ratio": weight},
    }
    same(
        lambda x: ppo(x, c.old, c.advantage, c.mask, weight=weight, **CLIP).loss,
        lambda x: loss_of(trl["GRPO"], c, x, **settings),
        c.logprob,
    )


@dtypes
def test_the_loss_of_rloo_is_ppo_of_whole_answers(trl: Any, dtype: torch.dtype) -> None:
    """One token that has the answer's whole log-probability; RLOO has no mask of tools."""
    c = case(dtype, LIKE_TRL)
    c = c._replace(mask=torch.arange(c.mask.shape[1]) < c.lengths[:, None])

    def whole(logprob: Tensor) -> Tensor:
        return (logprob * c.mask).sum(dim=1, keepdim=True)

    one = torch.ones(len(c.group), 1).bool()
    same(
        lambda x: ppo(whole(x), whole(c.old), c.advantage[:, :1], one, **CLIP).loss,
        lambda x: loss_of(trl["RLOO"], c, x, inputs={"old_logps": whole(c.old)[:, 0]}),
        c.logprob,
    )


# --- traps ----------------------------------------------------------------------------------------


def test_the_traps(trl: Any) -> None:
    def solve(trap: traps.Trap) -> Any:
        if trap.kind == "mean loss":
            return mean_loss(trl["GRPO"], trap)
        if trap.kind == "whitened":
            return "whitens nothing"
        kind = "RLOO" if trap.kind == "rloo" else "GRPO"
        settings = {"multi_objective_aggregation": "normalize_then_sum"}
        # Reward functions return numbers of Python, which TRL puts into float32.
        given = trap.rewards.float()
        made = advantages(trl[kind], given, trap.size, **settings if trap.kind == "gdpo" else {})
        return traps.by_place(trap, made)

    traps.column("TRL", solve)


def mean_loss(trainer: Any, trap: traps.Trap) -> Tensor:
    """TRL's ``loss_type="grpo"`` of given losses per token: -A r with A = -1 and r = the loss."""
    mask = torch.tensor(trap.mask).bool()
    n, width = mask.shape
    c = Case(
        torch.zeros(n), [], mask, torch.zeros(n, width), trap.rewards.log(), -torch.ones(n, width),
        torch.zeros(n, width), torch.zeros(n, width), mask.sum(dim=1),
    )  # fmt: skip
    return loss_of(trainer, c, c.logprob, loss_type="grpo", epsilon_low=0.5, epsilon_high=100.0)
