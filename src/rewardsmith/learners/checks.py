"""What can be known to be wrong before a trainer generates anything."""

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from ..core.bases import Estimator
from ..core.errors import MissingColumn, SpecError
from ..core.reward import Reward
from ..policy.estimator import Estimated

_ITS_LOSS = (
    "loss_type",
    "epsilon",
    "epsilon_high",
    "delta",
    "importance_sampling_level",
    "off_policy_mask_threshold",
    "top_entropy_quantile",
    "entropy_coef",
    "use_adaptive_entropy",
)
_ITS_ADVANTAGES = ("scale_rewards", "multi_objective_aggregation")
_OF_A_BATCH = ("rewards", "step_rewards", "parts", "group", "mask", "lengths")


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


def check_data(data: Any, batch: int) -> None:
    """ValueError unless the data set has rows enough for a batch.

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


def check_columns(
    reward: Reward, advantage: Estimator, there: Mapping[str, Any] | set[str]
) -> None:
    """See that what reads columns has them.

    Args:
        reward: its needs.
        advantage: its columns.
        there: the names of columns that rollouts will have.

    Raises:
        SpecError: the reward compares every row with the whole data set.
        MissingColumn: one is not there.
    """
    if reward.scope == "dataset":
        raise SpecError(
            "this reward compares every row with the whole data set, and a trainer has a batch at "
            "hand: label the data with `rewardsmith score` instead"
        )
    needs = {reward.label(): reward.always_needs, advantage.label(): columns_of(advantage)}
    for who, names in needs.items():
        for name in sorted(names - {"group"}):
            if name.partition(".")[0] not in there:
                raise MissingColumn(name, needed_by=who, present=sorted(there))


def columns_of(advantage: Estimator) -> set[str]:
    """The columns that an estimator cannot do without."""
    if isinstance(advantage, Estimated):
        needed = {n for n, default in advantage.inputs.items() if default is Parameter.empty}
        return needed.difference(_OF_A_BATCH)
    named = getattr(advantage, "columns", None) or getattr(advantage, "task", None) or ()
    return {named} if isinstance(named, str) else set(named)
