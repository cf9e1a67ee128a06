"""Rows as verl's data sets have them: a chat, a ground truth, and everything else aside."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.catalog import nearest


def verl_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    data_source: str,
    prompt: str = "prompt",
    ground_truth: str = "answer",
    split: str = "train",
    ability: str = "",
) -> list[dict[str, Any]]:
    """Rows in the layout of verl's Parquet files.

    Every column but the prompt is kept under its name in ``extra_info`` (``split`` and ``index``,
    the row's number, are verl's there), so that a reward that reads ``answer`` finds it.

    Args:
        rows: plain rows.
        data_source: the data set's name; verl reports by it.
        prompt: the column of prompts: text, which becomes a user's message, or messages.
        ground_truth: the column of what is right.
        split: ``train`` or ``test``.
        ability: what is trained; verl does not read it.

    Returns:
        Rows of ``data_source``, ``prompt``, ``ability``, ``reward_model`` and ``extra_info``.

    Raises:
        ValueError: a row lacks one of the two columns, or its prompt is neither text nor messages.
    """
    return [
        {
            "data_source": data_source,
            "prompt": _messages(_column(row, prompt, i), i, prompt),
            "ability": ability,
            "reward_model": {"style": "rule", "ground_truth": _column(row, ground_truth, i)},
            "extra_info": {
                **{name: value for name, value in row.items() if name != prompt},
                "split": split,
                "index": i,
            },
        }
        for i, row in enumerate(rows)
    ]


def write_parquet(
    rows: Sequence[Mapping[str, Any]],
    path: str | PathLike[str],
    *,
    data_source: str,
    prompt: str = "prompt",
    ground_truth: str = "answer",
    split: str = "train",
    ability: str = "",
) -> None:
    """Write :func:`verl_rows` to a Parquet file.

    Raises:
        ValueError: no rows, a row lacks one of the two columns, its prompt is neither text nor
            messages, or a column holds values of several types.
    """
    if not rows:
        raise ValueError("there are no rows to write")
    layout = verl_rows(
        rows,
        data_source=data_source,
        prompt=prompt,
        ground_truth=ground_truth,
        split=split,
        ability=ability,
    )
    try:
        pq.write_table(pa.Table.from_pylist(layout), path)
    except pa.ArrowException as error:
        raise ValueError(f"{_guilty(layout)}: {error}") from error


def _guilty(layout: Sequence[Mapping[str, Any]]) -> str:
    """The first column that Parquet cannot hold, in words."""
    names = dict.fromkeys(name for row in layout for name in row["extra_info"])
    columns = {name: [row["extra_info"].get(name) for row in layout] for name in names}
    columns["prompt"] = [row["prompt"] for row in layout]
    for name, values in columns.items():
        try:
            pq.write_table(pa.table({name: values}), pa.BufferOutputStream())
        except pa.ArrowException:
            return f"column {name!r} cannot be written: its values have to be of one type"
    return "the rows cannot be written"


def _column(row: Mapping[str, Any], name: str, i: int) -> Any:
    if name not in row:
        near = nearest(name, [*row], or_all=False)
        present = ", ".join(sorted(row)) or "none"
        raise ValueError(f"row {i} has no column {name!r}; columns present: {present}{near}")
    return row[name]


def _messages(prompt: Any, i: int, name: str) -> list[Any]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    messages = list(prompt) if isinstance(prompt, list | tuple) else []
    if not messages or not all(isinstance(m, Mapping) and "role" in m for m in messages):
        raise ValueError(
            f"row {i}, column {name!r}: a prompt is text or messages {{'role': ..., 'content': "
            f"...}}, not {type(prompt).__name__}"
        )
    return messages
