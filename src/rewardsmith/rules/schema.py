"""JSON that keeps to a JSON schema."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from .jsontext import extracted, parsed
from .pattern import compiled, encodable
from .verdict import Verdict

REFUSED = {
    "patternProperties": "its expressions would be run by a matcher that can take exponential time",
    "unevaluatedItems": "its check takes the square of the length",
    "unevaluatedProperties": "its check takes the square of the length",
}
_LINE = 200
_PROBES: tuple[Any, ...] = (None, True, 0, "", [], {})
"""One value of each type; a schema that recurses without end does so on one of them."""


def grade(
    completion: str,
    *,
    schema: str | None = None,
    extract: str = "whole",
    partial: bool = False,
    unique_keys: bool = True,
) -> float | Verdict:
    """1 if the completion's JSON parses and keeps to the schema.

    Args:
        completion: what the model wrote.
        schema: as :func:`checked` gives it.
        extract: where the JSON stands; see :func:`~.jsontext.extracted`.
        partial: give 1/2 for JSON that does not keep to the schema.
        unique_keys: an object must not hold a key twice.
    """
    text = extracted(completion, extract)
    if text is None:
        return Verdict(0.0, f"there is no JSON to extract ({extract})")
    try:
        value = parsed(text, unique_keys=unique_keys)
    except ValueError as error:
        return Verdict(0.0, f"not JSON: {error}"[:_LINE])
    fault = None if schema is None else _fault(value, schema)
    return 1.0 if fault is None else Verdict(0.5 if partial else 0.0, fault)


def checked(schema: Mapping[str, Any]) -> str:
    """A schema as the text that :func:`grade` takes.

    Raises:
        ValueError: it is no schema or no JSON, refers to something outside itself or to itself
            without end, uses one of :data:`REFUSED`, or has a pattern that RE2 does not take.
    """
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, Mapping):
        raise ValueError(f"the schema is {type(schema).__name__}, not a mapping")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the schema is no JSON: {error}") from None
    try:
        _check(_validator(text))
    except SchemaError as error:
        raise ValueError(
            f"the schema is none: {error.json_path}: {error.message}"[:_LINE]
        ) from None
    except RecursionError:
        raise ValueError("the schema refers to itself without end") from None
    return text


def _fault(value: Any, schema: str) -> str | None:
    """Where a value first departs from the schema, and how."""
    try:
        error = next(_validator(schema).iter_errors(value), None)
    except RecursionError:
        return "it nests too deeply for this schema"
    except OverflowError:
        return "it holds a number that is too large to be checked"
    return None if error is None else encodable(f"{error.json_path}: {error.message}"[:_LINE])


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    """Made once per process. References are looked up in the schema only: nothing is fetched."""
    from jsonschema import Draft202012Validator, validators
    from referencing.jsonschema import EMPTY_REGISTRY

    contents = json.loads(schema)
    kind = validators.validator_for(contents, default=None)
    if kind is None:
        if "$schema" in contents:
            raise ValueError(f"the schema's $schema {contents['$schema']!r} is no known draft")
        kind = Draft202012Validator
    own = {"pattern": _pattern, "uniqueItems": _unique_items}
    return validators.extend(kind, own)(contents, registry=EMPTY_REGISTRY)


def _check(validator: Any) -> None:
    # Every reference is resolved before the first is followed.
    for contents, resolver in list(_subschemas(validator)):
        for probe in _PROBES:
            list(validator.descend(probe, contents, resolver=resolver))


def _subschemas(validator: Any) -> Iterator[tuple[Any, Any]]:
    """Every subschema, and everything that one refers to, with what resolves its references."""
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, specification_with

    schema = validator.schema
    draft = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    root = draft.create_resource(schema)
    waiting, seen = [(root, EMPTY_REGISTRY.resolver_with_root(root))], set()
    while waiting:
        resource, resolver = waiting.pop()
        contents = resource.contents
        if id(contents) in seen:
            continue
        seen.add(id(contents))
        # None: whether a pattern is one is for RE2 to say.
        type(validator).check_schema(contents, format_checker=None)
        if isinstance(contents, Mapping):
            _refuse(contents)
            for found in _referred(contents, resolver):
                waiting.append((draft.create_resource(found.contents), found.resolver))
            for sub in resource.subresources():
                waiting.append((sub, resolver.in_subresource(sub)))
        yield contents, resolver


def _referred(contents: Mapping[str, Any], resolver: Any) -> Iterator[Any]:
    from referencing.exceptions import Unresolvable

    for key in ("$ref", "$dynamicRef"):
        if key in contents:
            try:
                yield resolver.lookup(contents[key])
            except Unresolvable:
                raise ValueError(
                    f"the schema's {key} {contents[key]!r} leads out of it; nothing is fetched"
                ) from None


def _refuse(contents: Mapping[str, Any]) -> None:
    for key, why in REFUSED.items():
        if key in contents:
            raise ValueError(f"the schema uses {key}, which is not supported: {why}")
    if "pattern" in contents:
        compiled(contents["pattern"])


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and compiled(pattern).search(encodable(instance)) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    wanted = wanted and isinstance(instance, list)
    if wanted and len({_key(item) for item in instance}) < len(instance):
        yield ValidationError("it holds an item twice")


def _key(value: Any) -> Any:
    """Equal for equal JSON values: 1 is 1.0 but not true, and the order of keys says nothing."""
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        return ("list", tuple(map(_key, value)))
    if isinstance(value, dict):
        return ("dict", frozenset((key, _key(item)) for key, item in value.items()))
    return value
