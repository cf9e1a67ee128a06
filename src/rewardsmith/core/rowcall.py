"""A function of one row as executors run it: by name in another process, without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..rules.text import text_of
from .reference import Reference, resolve


class Missing:
    """What stands in a column where a row does not have it; there is one, :data:`MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True)
class RowCall:
    """What to call on each row.

    It travels by reference: the function's name and plain data.

    Args:
        call: a function at the top level of a module.
        names: the columns that it takes, in this order.
        keyword: whether it takes them by name instead of by position.
        options: further arguments, the same for every row; plain data.
        text: whether the first column may be chat messages, of which it takes the text.
        preload: modules to import before the first row, so that no row pays for them.
    """

    call: Callable[..., Any]
    names: tuple[str, ...]
    keyword: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False
    preload: tuple[str, ...] = ()

    def bound(self) -> Callable[..., Any]:
        """The function of one row's columns by position."""
        call = partial(self.call, **self.options) if self.options else self.call
        if self.keyword:
            return partial(_by_name, call, self.names)
        return partial(_of_text, call, self.names[0]) if self.text else call

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (
            Reference.of(self.call),
            self.names,
            self.keyword,
            dict(self.options),
            self.text,
            self.preload,
        )


def _by_name(call: Callable[..., Any], names: tuple[str, ...], *row: Any) -> Any:
    return call(**dict(zip(names, row, strict=True)))


def _of_text(call: Callable[..., Any], name: str, completion: Any, *rest: Any) -> Any:
    if type(completion) is not str:
        try:
            completion = text_of(completion)
        except TypeError as error:
            raise TypeError(f"column {name!r}: {error}") from None
    return call(completion, *rest)


def _restored(reference: Reference, *rest: Any) -> RowCall:
    target = resolve(reference)
    # A reward made of the function by `@reward` stands under its name. Asked by name, for its class
    # takes torch.
    decorated = getattr(type(target), "method_name", "") == "function"
    return RowCall(target.call if decorated else target, *rest)
