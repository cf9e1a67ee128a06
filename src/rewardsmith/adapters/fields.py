"""Other packages' objects as plain data, and plain data as objects that have fields."""

from collections.abc import Mapping
from typing import Any


class Fields(dict[str, Any]):
    """A mapping whose keys are attributes too: ``message["role"]`` is ``message.role``.

    It stands in for the models of a trainer in functions that were written for them.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "none"
            raise AttributeError(f"there is no field {name!r}; fields: {known}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Fields, (dict(self),)


def fielded(value: Any) -> Any:
    """Plain data with :class:`Fields` for its mappings, however deep."""
    if isinstance(value, Mapping):
        return Fields({str(key): fielded(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return [fielded(inner) for inner in value]
    return value


def plain(value: Any) -> Any:
    """The mappings and lists of pydantic models as dicts and lists; anything else as it is.

    Fields that a model keeps out of its own dumps are in, unlike with ``model_dump()``: a task may
    hide its answer that way.
    """
    named = fields(value)
    if named is not None:
        return {name: plain(inner) for name, inner in named.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def fields(value: Any) -> dict[str, Any] | None:
    """The fields of a mapping or of a pydantic model, as they are; None for anything else."""
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    known = getattr(type(value), "model_fields", None)
    if known is None:
        return None
    return {name: getattr(value, name) for name in known} | (value.model_extra or {})
