"""Options of a function, checked before anything is computed."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..core.catalog import nearest


def check_options(
    name: str, function: Callable[..., Any], options: Mapping[str, Any], reserved: Collection[str]
) -> None:
    """ValueError for an option that the function does not have, or that is none of a choice.

    Args:
        name: what the function is called in errors.
        function: its keyword-only parameters are its options.
        options: what was given.
        reserved: keywords of it that are no options.
    """
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in reserved]
    hints = _hints(function)
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}{nearest(option, known)}")
        hint = hints.get(option)
        if get_origin(hint) is Literal and value not in get_args(hint):
            choice = ", ".join(map(str, get_args(hint)))
            raise ValueError(f"{name}: {option} is {value!r}, not one of {choice}")


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of its arguments; none where one cannot be found, as under TYPE_CHECKING."""
    try:
        return get_type_hints(function)
    except NameError:
        return {}
