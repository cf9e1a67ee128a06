"""The function that verl's reward managers call for each sample."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

from ...core.scores import Missing
from .asker import asker
from .rows import row_of


async def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: str | PathLike[str] | None = None,
    missing: Missing | None = None,
    columns: Mapping[str, str] | None = None,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
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
        missing: what a sample without a score gets: a finite number, or ``"raise"``, which raises
            there. It has to be given: verl cannot leave a sample out.
        columns: our names: verl's, where they differ, beside those of the file; a path such as
            ``extra_info.answer`` names what is inside a column.
        executor: ``"processes"``, or ``"inline"``: in this process, one after the other, with
            nothing to end a row that hangs.
        workers: processes, for each process that verl scores in.
        timeout: seconds that a row may take in one; None waits for ever.
        reward_router_address: verl's; not used.
        reward_model_tokenizer: verl's; not used.

    Returns:
        ``score``, and for every sample the same keys, all finite numbers: ``status/NAME`` (1 for
        the sample's status), ``reward/PATH`` and ``scored/PATH`` of each part.

    Raises:
        SpecError: no reward is given, its file cannot be read, or it compares samples with each
            other.
        ValueError: ``missing`` is not given, or an option is none of those above.
        MissingColumn: the reward needs a column that samples do not have.
        ScoreError: the sample has no score, and ``missing`` is ``"raise"``.
        TypeError: the response is token ids.
    """
    one = asker(
        reward,
        missing=missing,
        columns=columns,
        executor=executor,
        workers=workers,
        timeout=timeout,
    )
    row = row_of(data_source, solution_str, ground_truth, extra_info)
    return one.told(await one.batcher.ask(row))


def compute_score_sync(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: str | PathLike[str] | None = None,
    missing: Missing | None = None,
    columns: Mapping[str, str] | None = None,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
) -> dict[str, float]:
    """:func:`compute_score` for managers that call and do not await (``remote``, the legacy ones).

    Only samples that several threads ask for at once are scored together.
    """
    one = asker(
        reward,
        missing=missing,
        columns=columns,
        executor=executor,
        workers=workers,
        timeout=timeout,
    )
    return one.told(one.batcher(row_of(data_source, solution_str, ground_truth, extra_info)))
