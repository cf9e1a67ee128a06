"""The function that verl's reward managers call for each sample."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, Unpack

from ...core.scores import Missing
from ..scorer import Options
from .rows import row_of
from .shared import shared


async def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: str | PathLike[str] | None = None,
    missing: Missing | None = None,
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
    **options: Unpack[Options],
) -> dict[str, float]:
    """The score of one sample, as verl's reward managers ask for it.

    Samples that are under way together are scored together, equal ones once, in worker processes.
    The reward sees the columns ``completion``, ``data_source``, ``ground_truth``, ``reward_model``
    (with ``ground_truth`` in it) and ``extra_info``, and what is in ``extra_info`` by its own name
    unless it is one of these.

    Args:
        data_source: the data set's name.
        solution_str: the response as text.
        ground_truth: what the data says is right.
        extra_info: what else the data says; may be None.
        reward: the path of the ``reward.yaml``; a relative one is looked up in the current folder
            of the process that scores, which need not be the one you started in.
        missing: what a sample without a score gets: ``"raise"``, which raises there, or a finite
            number, and the log says why. It has to be given: verl cannot leave a sample out.
        reward_router_address: verl's; not used.
        reward_model_tokenizer: verl's; not used.
        options: see :class:`~..scorer.Options`; the workers are those of each process that scores.

    Returns:
        ``score``, and for every sample the same keys, all finite numbers: ``status/NAME`` (1 for
        the sample's status), ``reward/PATH`` and ``scored/PATH`` of each part.

    Raises:
        SpecError: no reward is given, its file cannot be read, or it compares samples with each
            other.
        ValueError: ``missing`` is not given, or an option is none of those there are.
        MissingColumn: the reward needs a column that samples do not have.
        ScoreError: the sample has no score, and ``missing`` is ``"raise"``.
        TypeError: the response is token ids, or an option that there is not.
    """
    scorer = shared(reward=reward, missing=missing, **options)
    return scorer.told(
        await scorer.ask(row_of(data_source, solution_str, ground_truth, extra_info))
    )


def compute_score_sync(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: str | PathLike[str] | None = None,
    missing: Missing | None = None,
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
    **options: Unpack[Options],
) -> dict[str, float]:
    """:func:`compute_score` for managers that call and do not await (``remote``, the legacy ones).

    It takes one sample, waits for its score in the calling thread, and returns and raises what
    :func:`compute_score` does. Only samples that several threads ask for at once are scored
    together; in one thread, each has a batch and a trip to a worker of its own.
    """
    scorer = shared(reward=reward, missing=missing, **options)
    return scorer.told(scorer(row_of(data_source, solution_str, ground_truth, extra_info)))
