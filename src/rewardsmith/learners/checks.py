"""What can be known to be wrong before a trainer generates anything."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from os import PathLike
from typing import Any

from ..core.bases import Estimator, Relabel
from ..core.errors import MissingColumn, SpecError
from ..core.reward import Reward
from ..policy.estimator import Estimated
from ..policy.objective import Objective
from ..samplers.guided_retry import GuidedRetry
from ..samplers.prompts import PromptSampler

_ITS_LOSS = (
    "loss_type",
    "epsilon",
    "epsilon_high",
    "delta",
    "importance_sampling_level",
    "off_policy_mask_threshold",
    "top_entropy_quantile",
    "entropy_coef",
    "entropy_coef_min",
    "entropy_coef_max",
    "entropy_coef_delta",
    "entropy_target",
    "use_adaptive_entropy",
    "sapo_temperature_neg",
    "sapo_temperature_pos",
    "vespo_k_pos",
    "vespo_lambda_pos",
    "vespo_k_neg",
    "vespo_lambda_neg",
)
_ITS_ADVANTAGES = ("scale_rewards", "multi_objective_aggregation")
_SHAPING = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
"""What shapes TRL's answers beside the temperature, where it changes nothing."""
_TAKEN = ("token", "logprob", "entropy", "ref_logprob", "prompt_id")
"""Names of columns that the trainer makes."""
_OF_A_BATCH = ("rewards", "step_rewards", "parts", "group", "mask", "lengths")


_PARTS: Mapping[str, tuple[type, str]] = {
    "advantage": (Estimator, "policy.estimator.estimator('rloo')"),
    "loss": (Objective, "policy.objective.objective('dapo')"),
    "sampler": (PromptSampler, "samplers.DynamicSampling()"),
    "relabel": (Relabel, "credit.OutlierTruncation(success=...)"),
}
"""What the parts of a trainer are, and how one is made."""


def refuse_others(**parts: Any) -> None:
    """TypeError for a part that is something else, such as its name."""
    for name, part in parts.items():
        kind, example = _PARTS[name]
        if part is not None and not isinstance(part, kind):
            raise TypeError(
                f"{name} is {part!r}, and has to be of the type {kind.__name__}, such as "
                f"{example}; by name it can be given in a reward.yaml"
            )


def refuse_unmade(reward: Any) -> None:
    """TypeError for a reward that is neither one of ours nor a path, such as TRL's functions."""
    if not isinstance(reward, Reward | str | PathLike):
        raise TypeError(
            f"the reward is {reward!r}, and has to be a reward or the path of a reward.yaml: "
            "rewardsmith.reward(f) makes one of a function of columns, such as "
            "f(completion, answer), and trees add them up"
        )


def refuse_unread(args: Any, *, loss: bool, advantage: bool) -> None:
    """ValueError for an option of TRL's that nothing would read.

    Args:
        args: a ``GRPOConfig``.
        loss: whether a loss takes the place of TRL's.
        advantage: whether an estimator was named.
    """
    fields = type(args).__dataclass_fields__
    unread = dict.fromkeys(_ITS_LOSS if loss else (), "loss")
    unread |= dict.fromkeys(_ITS_ADVANTAGES if advantage else (), "advantage")
    unread |= {"reward_weights": "reward", "shuffle_dataset": "sampler"}
    for name, what in unread.items():
        if name in fields and getattr(args, name) != fields[name].default:
            raise ValueError(
                f"GRPOConfig({name}={getattr(args, name)!r}) would not be read: the {what} says "
                "that here. Leave it out"
            )
    if str(args.multi_objective_aggregation) != "sum_then_normalize":
        raise ValueError(
            f"multi_objective_aggregation={args.multi_objective_aggregation!r} is the estimator "
            "gdpo here: leave it out and give advantage: gdpo"
        )


def refuse_together(
    args: Any,
    *,
    loss: Objective | None,
    sampler: PromptSampler,
    relabel: Relabel | None,
    advantage: Estimator,
    reward: Reward,
    rollout_func: Any,
) -> None:
    """ValueError for parts and settings that would not do together what they say."""
    steps, together = args.steps_per_generation, args.gradient_accumulation_steps
    if loss is not None and steps % together and together % steps:
        raise ValueError(
            f"steps_per_generation={steps} and gradient_accumulation_steps={together}: an update "
            "would begin in one generated batch and end in another; make one a multiple of the "
            "other"
        )
    corrected = args.use_vllm and args.vllm_importance_sampling_correction
    if loss is not None and corrected and not loss.takes_weights:
        raise ValueError(
            f"{loss.name} takes no importance weights, with which vLLM's answers are corrected: "
            "set vllm_importance_sampling_correction=False, or use another loss"
        )
    if relabel is not None and args.mask_truncated_completions:
        raise ValueError(
            "mask_truncated_completions would leave out the answers that the relabelling cut: set "
            "it to False"
        )
    if sampler.generates:
        plain = {**_SHAPING, "generation_kwargs": None, "use_vllm": False}
        shaped = [name for name, no in plain.items() if getattr(args, name) not in (no, None, {})]
        if shaped:
            raise ValueError(
                f"{sampler.default_name()} makes the answers itself, and does not read "
                f"{', '.join(shaped)}: leave it out"
            )
    if rollout_func is not None and (sampler.generates or sampler.temperature is not None):
        raise ValueError(
            f"{sampler.default_name()} says how to generate, and rollout_func generates: use one"
        )
    if isinstance(sampler, GuidedRetry):
        _check_retries(args, sampler, advantage, reward)


def _check_retries(args: Any, sampler: GuidedRetry, advantage: Estimator, reward: Reward) -> None:
    if reward.learns:
        raise ValueError(
            "guided_retry adds a bonus to scores, and a reward that learns scores anew: use one "
            "that does not learn, or another sampler"
        )
    if sampler.alpha > 0 and "parts" in getattr(advantage, "inputs", ()):
        raise ValueError(
            "guided_retry adds its bonus to the total, and this estimator reads parts: set alpha=0"
        )


def check_data(data: Any, batch: int) -> None:
    """ValueError unless the data set has rows enough for a batch, and a prompt in each.

    Args:
        data: the training data.
        batch: different prompts in one batch.
    """
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ValueError(
            "the data set is a stream, and samplers choose among its rows: give one of a known "
            "length, such as datasets.Dataset"
        )
    if len(data) < batch:
        raise ValueError(
            f"the data set has {len(data)} rows, and a batch is {batch} different prompts "
            "(generation_batch_size / num_generations): give more data, or a smaller batch"
        )
    if "prompt" not in data[0]:
        raise ValueError(
            f"the data set has no column 'prompt', which TRL reads; it has {', '.join(data[0])}: "
            "rename one"
        )
    for name in _TAKEN:
        if name in data[0]:
            raise ValueError(f"the data set has a column {name!r}, which is made here: rename it")
    for i, prompt in enumerate(_prompts(data)):
        if not (isinstance(prompt, str) or (isinstance(prompt, list) and prompt)):
            raise ValueError(
                f"row {i} of the data set has the prompt {prompt!r}, and has to have a text or "
                "messages: mend the row, or leave it out"
            )


def _prompts(data: Any) -> Iterable[Any]:
    """The prompts of a table; those that a transform makes are not known before they are asked for.

    The column is read alone: others may hold images.
    """
    columns = getattr(data, "column_names", None) or ()
    made = getattr(data, "format", {}).get("type") == "custom"
    return data["prompt"] if "prompt" in columns and not made else ()


def check_columns(
    reward: Reward,
    advantage: Estimator,
    there: Mapping[str, Any] | set[str],
    columns: Mapping[str, str],
) -> None:
    """See that what reads columns has them.

    Args:
        reward: its needs.
        advantage: its columns.
        there: the names of columns that rollouts will have.
        columns: our names: those of the data set.

    Raises:
        SpecError: the reward compares every row with the whole data set.
        MissingColumn: one is not there.
    """
    if reward.scope == "dataset":
        raise SpecError(
            "this reward compares every row with the whole data set, and a trainer has a batch at "
            "hand: label the data with `rewardsmith score` instead"
        )
    needs = {
        reward.label(): reward.always_needs,
        f"the estimator {advantage.default_name()}": columns_of(advantage),
    }
    for reader, names in needs.items():
        for name in sorted(names - {"group"}):
            if name.partition(".")[0] not in there:
                its = columns.get(name, name)
                by = reader if its == name else f"{reader} as {name!r} (columns: {name}: {its})"
                raise MissingColumn(its, needed_by=by, present=sorted(there))


def refuse_images(by_token: Sequence[str], row: Mapping[str, Any]) -> None:
    """ValueError where columns by token would be made without the images of the prompts.

    Args:
        by_token: those that are read.
        row: of the data set.
    """
    images = [name for name in ("image", "images") if name in row]
    if by_token and images:
        raise ValueError(
            f"the data set has {images[0]!r}, and {', '.join(by_token)} would be computed from the "
            "text alone: use a reward and an estimator that do not read it"
        )


def columns_of(advantage: Estimator) -> set[str]:
    """The columns that an estimator cannot do without."""
    if isinstance(advantage, Estimated):
        needed = {n for n, default in advantage.inputs.items() if default is Parameter.empty}
        return needed.difference(_OF_A_BATCH)
    named = getattr(advantage, "columns", None) or getattr(advantage, "task", None) or ()
    return {named} if isinstance(named, str) else set(named)
