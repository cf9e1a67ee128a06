"""verl's samples as rows of ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def row_of(data_source: Any, solution: Any, ground_truth: Any, extra_info: Any) -> dict[str, Any]:
    """The row of a sample as reward functions get it."""
    extra = _mapping(without_numpy(extra_info))
    truth = without_numpy(ground_truth)
    return {
        **extra,
        "completion": without_numpy(solution),
        "data_source": without_numpy(data_source),
        "ground_truth": truth,
        "reward_model": {"ground_truth": truth},
        "extra_info": extra,
    }


def row_of_item(item: Any) -> dict[str, Any]:
    """The row of a sample as reward managers get it, with token ids instead of the completion.

    Args:
        item: one of a ``DataProto``: ``batch`` with ``responses`` [R] and ``attention_mask`` [P+R],
            ``non_tensor_batch`` with what the data and the rollout say of it.

    Returns:
        ``completion_ids``, all of ``non_tensor_batch``, ``prompt`` (the messages), ``num_turns``,
        ``ground_truth``, and by their own names what is in ``extra_info`` and in the fields of
        tools; ``extra_info`` holds those of tools too, as verl's own managers have it.
    """
    columns = {str(name): without_numpy(value) for name, value in item.non_tensor_batch.items()}
    responses = item.batch["responses"]
    length = columns.get("response_len")
    if length is None:
        width = responses.shape[-1]
        mask = item.batch["attention_mask"]
        length = int(mask[mask.shape[-1] - width :].sum())
    # With several sequences verl pads behind prompt and response together, so that the mask's end
    # says nothing of the response alone; there it tells the length.
    row = {"completion_ids": responses[:length].tolist(), **columns}
    turns, paid = columns.get("__num_turns__"), columns.get("reward_scores", {})
    known = {"num_turns": turns, "rollout_reward_scores": paid}
    extra = _mapping(columns.get("extra_info")) | _mapping(columns.get("tool_extra_fields")) | known
    if "raw_prompt" in columns:
        row.setdefault("prompt", columns["raw_prompt"])
    truth = _mapping(columns.get("reward_model"))
    if "ground_truth" in truth:
        row.setdefault("ground_truth", truth["ground_truth"])
    return {**extra, **row, "extra_info": extra}


def without_numpy(value: Any) -> Any:
    """A value without numpy's types, however deep: the same sample is the same in every way in.

    verl's data sets give arrays for lists, and workers would have to import numpy for them.
    """
    if isinstance(value, Mapping):
        return {key: without_numpy(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return without_numpy(value.tolist())
    if type(value) in (list, tuple):
        return type(value)(map(without_numpy, value))
    return value.item() if isinstance(value, np.generic) else value


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
