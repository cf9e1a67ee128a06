"""A study's problems: rows to train on, and rows that are held out."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...adapters.reasoning_gym.problems import rows as reasoning_gym_rows
from ...core.catalog import nearest
from ...core.errors import SpecError
from .spec import LanguageStudy, ProblemSection

Row = dict[str, Any]


def problems(study: LanguageStudy) -> tuple[list[Row], list[Row]]:
    """The rows to train on and those that are held out, the same in every run.

    A problem is known by its prompt: all rows with a prompt that is held out are left out of
    training, also where both come from elsewhere.

    Raises:
        SpecError: a source cannot be read, a row has no prompt, or nothing is left on a side.
    """
    rows, given = _read(study, study.section.dataset, "dataset"), study.section.held_out
    held = _read(study, given, "held_out") if given.split is None else _split(rows, given.split)
    kept = {prompt_key(row) for row in held}
    train = [row for row in rows if prompt_key(row) not in kept]
    for side, left in (("to train on", train), ("held out", held)):
        if not left:
            told = (
                f"no problem is left {side}: of {len(rows)} rows {len(rows) - len(train)} have a "
                "prompt that is held out"
            )
            raise study.document.error(told, ("held_out",))
    return train, held


def prompt_key(row: Mapping[str, Any]) -> str:
    """What tells prompts apart, texts or messages."""
    prompt = row["prompt"]
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


def _split(rows: list[Row], given: float) -> list[Row]:
    """The rows of some prompts: a share of them, or so many."""
    prompts = list(dict.fromkeys(prompt_key(row) for row in rows))
    many = round(given * len(prompts)) if given < 1 else int(given)
    chosen = np.random.default_rng(0).permutation(len(prompts))[: max(1, many)]
    kept = {prompts[i] for i in chosen.tolist()}
    # One row for each, so that no problem counts twice.
    first: dict[str, Row] = {}
    for row in rows:
        if prompt_key(row) in kept:
            first.setdefault(prompt_key(row), row)
    return [first[prompts[i]] for i in chosen.tolist()]


def _read(study: LanguageStudy, section: ProblemSection, place: str) -> list[Row]:
    """The rows of a source under our names."""
    if section.reasoning_gym is not None:
        found = _reasoning_gym(study, section.reasoning_gym, place)
    elif section.jsonl is not None:
        found = _json_lines(study, section, place)
    else:
        found = _task(study, section, place)
    present = list(dict.fromkeys(name for row in found for name in row))
    for ours, theirs in section.columns.items():
        if found and theirs not in present:
            told = f"no row has a column {theirs!r}{nearest(theirs, present)}"
            raise study.document.error(told, (place, "columns", ours))
    rows = [{**row, **{o: row[t] for o, t in section.columns.items() if t in row}} for row in found]
    for i, row in enumerate(rows):
        if not isinstance(row.get("prompt"), str | list):
            told = (
                f"row {i} has no prompt (a text, or a list of messages); its columns: "
                f"{', '.join(row) or 'none'}. "
                "Name the one that is meant: columns: {prompt: question}"
            )
            raise study.document.error(told, (place,))
    if not rows:
        raise study.document.error("there are no rows", (place,))
    kind = str if isinstance(rows[0]["prompt"], str) else list
    for i, row in enumerate(rows):
        if not isinstance(row["prompt"], kind):
            first, other = ("a text", "messages") if kind is str else ("messages", "a text")
            told = f"the prompt of row 0 is {first}, that of row {i} is {other}: give one kind only"
            raise study.document.error(told, (place,))
    return rows


def _reasoning_gym(study: LanguageStudy, given: Mapping[str, Any], place: str) -> list[Row]:
    try:
        return reasoning_gym_rows(**{"seed": 0, **given})
    except (SpecError, TypeError) as error:
        told = error.message if isinstance(error, SpecError) else str(error)
        raise study.document.error(told, (place, "reasoning_gym")) from error


def _json_lines(study: LanguageStudy, section: ProblemSection, place: str) -> list[Row]:
    path = study.file(section, place)
    opened: Any = gzip.open if path.suffix == ".gz" else open
    rows = []
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                told = f"line {number} of {path} is no JSON: {error}"
                raise study.document.error(told, (place, "jsonl")) from None
            if not isinstance(row, dict):
                told = f"line {number} of {path} is {type(row).__name__}, no mapping of columns"
                raise study.document.error(told, (place, "jsonl"))
            rows.append(row)
    return rows


def _task(study: LanguageStudy, section: ProblemSection, place: str) -> list[Row]:
    call, arguments = study.task(section, place)
    try:
        found = call(**arguments)
    except Exception as error:
        told = f"the function failed: {type(error).__name__}: {error}"
        raise study.document.error(told, (place, "task")) from error
    rows = list(found) if isinstance(found, list | tuple) else None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        told = f"the function returned {type(found).__name__}; return a list of rows (dicts)"
        raise study.document.error(told, (place, "task"))
    return [dict(row) for row in rows]
