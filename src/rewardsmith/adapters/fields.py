"""Other packages' objects as plain data, and plain data as objects that have fields."""

from collections.abc import Mapping
from typing import Any


class Fields(dict[Any, Any]):
    """A mapping whose keys are attributes too: ``message["role"]`` is ``message.role``.

    It stands in for the models of a trainer in functions that were written for them. So a key comes
    before a method of the same name: a column ``values`` is ``task.values``.
    """

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and name in self:
            return self[name]
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        # Also where a subclass looks for methods first.
        if name in self:
            return self[name]
        known = ", ".join(map(str, self)) or "none"
        raise AttributeError(f"there is no field {name!r}; fields: {known}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def fielded(value: Any) -> Any:
    """Plain data with :class:`Fields` for its mappings, however deep."""
    if isinstance(value, Fields):
        return value
    if isinstance(value, Mapping):
        return Fields({key: fielded(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return [fielded(inner) for inner in value]
    return value


def plain(value: Any) -> Any:
    """The mappings and lists of pydantic models as dicts and lists; anything else as it is.

    Fields that a model keeps out of its own dumps are in, unlike with ``model_dump()``: a task may
    hide its answer that way.
    """
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
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
