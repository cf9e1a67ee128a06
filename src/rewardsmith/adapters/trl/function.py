"""``to_trl``: a reward as TRL's reward functions."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Unpack

from ...core.errors import SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..scorer import Options, Scorer
from ..telling import check_options
from ..versions import note_version
from .batch import Batch
from .evaluation import Evaluation, Values
from .logs import Log
from .sharing import Shared

_OWN = ("prompt", "completion", "completion_ids")
"""What TRL itself gives is what is scored, whatever a file calls it in data that was labeled."""


class RewardFunction:
    """A reward, or a part of one, as TRL calls its own; made by :func:`to_trl`."""

    def __init__(self, shared: Shared, part: str, name: str, weight: float) -> None:
        self.shared, self.part = shared, part
        self.weight = weight
        """What TRL has to multiply its values with, for ``GRPOConfig(reward_weights=...)``."""
        # TRL's key in logs.
        self.__name__ = name

    @property
    def reward(self) -> Reward:
        """What scores."""
        return self.shared.evaluate.scorer.reward

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Any] | None = None,
        **given: Any,
    ) -> Values:
        """Values of a batch [B]; None where a row, or this part of it, has no score.

        Args:
            prompts: texts or chat messages [B].
            completions: texts, or chat messages of which the last of the assistant is read [B].
            completion_ids: tokens, for rewards that read them [B].
            given: data set columns [B], and what else TRL gives.

        Raises:
            MissingColumn: the reward needs a column that is not there.
            ScoreError: a row broke and ``missing`` is ``"raise"``, or another rank failed.
            SpecError: the groups that a reward compares are not whole.
            TypeError: the completions are tokens, or what the reward reads is no column.
            ValueError: columns differ in length.
        """
        return self.shared.ask(self.part, Batch(prompts, completions, completion_ids, given))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__name__!r}, weight={self.weight:g})"


class AsyncRewardFunction(RewardFunction):
    """As :class:`RewardFunction`, called asynchronously; it scores in a thread."""

    async def __call__(  # type: ignore[override]
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Any] | None = None,
        **given: Any,
    ) -> Values:
        batch = Batch(prompts, completions, completion_ids, given)
        return await self.shared.ask_later(self.part, batch)


def to_trl(
    reward: Reward | str | PathLike[str],
    *,
    split: bool = False,
    asynchronous: bool = False,
    weighted: bool = True,
    name: str = "total",
    missing: Missing = "missing",
    num_generations: int | None = None,
    **options: Unpack[Options],
) -> Any:
    """A reward as ``reward_funcs`` of TRL's GRPO, RLOO and asynchronous GRPO trainers.

    A row that abstained or broke is None, which TRL leaves out of its group's baseline and gives
    the advantage 0; why it broke is in the completions table and in Python's log. Scoring never
    changes the reward: one that learns is used as it stands.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        split: give a list with a function for each part of the root, a weighted sum, so that TRL
            sees them apart. They share one evaluation of a batch.
        asynchronous: functions that TRL awaits; they score in a thread. Several ranks do not wait
            for each other then.
        weighted: parts come multiplied by their weights, and what TRL adds up is our total; leave
            ``reward_weights`` out then, which would weigh them twice (this cannot be noticed here).
            False leaves them alone; then give TRL ``reward_weights=[f.weight for f in functions]``.
        name: TRL's name of the reward in logs. Anything but ``"total"`` also stands before the
            names of what is logged here, so that two rewards of one trainer are told apart; parts
            are called ``NAME/PART`` then, and else ``PART``.
        missing: what a row without a score gets: ``"missing"``, None; ``"raise"``, an error where
            it broke; a finite number, itself (of split functions the first carries it).
        num_generations: rows of a group, for rewards that compare them. Without it neighbors with
            equal values in the column that is our ``group`` are one, or where no column is, with
            equal prompts; those have to make several groups of several rows.
        options: see :class:`~..scorer.Options`; on each rank as many workers. ``prompt``,
            ``completion`` and ``completion_ids`` are always TRL's own unless ``columns`` names
            them here.

    Returns:
        A function, or with ``split`` a list of them; all pickle, together or alone.

    Raises:
        SpecError: the file cannot be read, the reward needs a whole data set, ``split`` of what is
            no weighted sum, or ``asynchronous`` where it compares whole batches.
        ValueError: a name that is none, fewer than two generations, a number for ``missing`` with
            ``split`` and without ``weighted``, or what :class:`~..scorer.Scorer` refuses.
        TypeError: it is neither a reward nor a path, or there is no such option.
    """
    note_version("trl")
    check_options("to_trl", options, to_trl.__kwdefaults__ or ())
    if not name:
        raise ValueError("name is empty, and TRL logs the reward under it")
    if num_generations is not None and num_generations < 2:
        raise ValueError(f"num_generations is {num_generations}; a group has at least two rows")
    scorer = Scorer(reward, missing=missing, own=_OWN, **options)
    if asynchronous and scorer.reward.scope == "batch":
        raise SpecError(
            "this reward compares the rows of a batch, and what TRL asks asynchronously is a piece "
            "of one (a group, in asynchronous GRPO): use asynchronous=False, in a trainer that "
            "scores whole batches"
        )
    weights = _weights(scorer, weighted) if split else {}
    factors = weights if weighted else dict.fromkeys(weights, 1.0)
    log = Log(name)
    evaluation = Evaluation(scorer, factors, num_generations, log, together=not asynchronous)
    kind = AsyncRewardFunction if asynchronous else RewardFunction
    if not split:
        return kind(Shared(evaluation, [""]), "", name, 1.0)
    shared = Shared(evaluation, list(weights))
    return [
        kind(shared, part, log.prefix + part, 1.0 if weighted else weight)
        for part, weight in weights.items()
    ]


def _weights(scorer: Scorer, weighted: bool) -> dict[str, float]:
    """Part -> weight of the root."""
    weights = scorer.weights()
    if not weighted and isinstance(scorer.missing, float):
        raise ValueError(
            f"missing={scorer.missing:g} stands for the whole reward, and weighted=False gives TRL "
            "parts that it weighs itself: use missing='missing', or weighted=True"
        )
    return weights
