"""The problems to train on as a data set of the trainer."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset

from .problems import Row
from .spec import LanguageStudy


def training_data(study: LanguageStudy, rows: Sequence[Row]) -> Any:
    """All rows with all columns, None where a row lacks one.

    Raises:
        SpecError: a column's values are not of one kind, with the first row that differs.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    try:
        return Dataset.from_dict(columns)
    except _REFUSED as error:
        for name, values in columns.items():
            if (row := _first_refused(values)) is not None:
                told = (
                    f"row {row} to train on, column {name!r}: {values[row]!r} is of another kind "
                    f"than what the rows before it hold, and a data set has one for each column "
                    f"({error})"
                )
                raise study.document.error(told, ("dataset",)) from error
        raise


_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)


def _first_refused(values: Sequence[Any]) -> int | None:
    """The row without which the rows before it would do, or None where all do."""

    def fits(n: int) -> bool:
        try:
            Dataset.from_dict({"column": list(values[:n])})
        except _REFUSED:
            return False
        return True

    good, bad = 0, len(values)
    if fits(bad):
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return bad - 1
