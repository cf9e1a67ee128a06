"""JSON that parses, and keeps to a schema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.catalog import method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.jsontext import check_extract
from ..rules.schema import checked, grade


@method("json_format", kind="signal")
class JsonFormat(RowReward):
    """1 if a completion's JSON parses and keeps to a JSON schema; else 0.

    JSON is what RFC 8259 says: NaN and Infinity are none. Refused too, as no JSON: nesting deeper
    than 64, numbers too large for a float, integers of more than 4300 digits. ``info["why"]`` tells
    the first fault.

    A schema's ``pattern`` is matched by RE2 in linear time. ``format`` is not checked, as the
    standard has it by default. Other keywords take the time that they take: alternatives which
    each refer back to the schema can take exponential time in the depth of the JSON.

    Args:
        schema: the JSON schema (draft 2020-12 unless ``$schema`` says another), or the path of its
            file, from the current folder; None: any JSON will do.
        completion: the column.
        extract: where the JSON stands. ``"whole"``: the completion is JSON; ``"fence"``: the last
            block fenced with three backticks and marked ``json``; ``"tag:NAME"``: what the last
            closed ``<NAME>...</NAME>`` holds; ``"last"``: the object or array that the last closing
            bracket closes.
        partial: score 1/2 for JSON that does not keep to the schema.
        unique_keys: refuse objects that hold a key twice; else the last one counts.

    Raises:
        ValueError: the schema is none; refers to something outside itself (nothing is fetched);
            uses ``patternProperties``, ``unevaluatedItems`` or ``unevaluatedProperties``; or has a
            pattern that RE2 does not take. Its file cannot be read. ``partial`` without a schema.
    """

    contract = Contract(
        full={"completion": '{"answer": 42}'},
        zero={"completion": '{"answer": "42"}'},
        malformed={"completion": '{"answer": 42'},
        arguments={
            "schema": {"required": ["answer"], "properties": {"answer": {"type": "integer"}}}
        },
    )

    def __init__(
        self,
        schema: Mapping[str, Any] | str | None = None,
        completion: str = "completion",
        extract: str = "whole",
        partial: bool = False,
        unique_keys: bool = True,
    ) -> None:
        super().__init__()
        check_extract(extract)
        if partial and schema is None:
            raise ValueError(
                "json_format: partial gives credit for what a schema refuses; give one"
            )
        self.schema, self.completion, self.extract = schema, completion, extract
        self.partial, self.unique_keys = partial, unique_keys
        contents = _read(schema) if isinstance(schema, str) else schema
        options = {
            "schema": None if contents is None else checked(contents),
            "extract": extract,
            "partial": partial,
            "unique_keys": unique_keys,
        }
        preload = () if schema is None else ("jsonschema", "re2")
        self.by_row(grade, (completion,), options, preload=preload)


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the schema {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the schema {path} is no JSON: {error}") from None
