"""``@reward``: a plain function is a reward.

This file is light, and so is a file of the user's that has nothing but decorated functions: in the
processes that score rows ``@reward`` leaves the function as it is, and nothing imports torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

if TYPE_CHECKING:
    from .function import Function

StepFailure: TypeAlias = Literal["row", "skip"]

worker = False
"""Whether this process only runs rows; set by the engine where it starts one.

A file that does more with decorated functions fails to import there; it is then imported again with
this off."""


@overload
def reward(call: Callable[..., Any], /) -> "Function": ...
@overload
def reward(
    *, batched: bool = ..., step: bool = ..., on_step_failure: StepFailure = ...
) -> "Callable[[Callable[..., Any]], Function]": ...
def reward(
    call: Callable[..., Any] | None = None,
    /,
    *,
    batched: bool = False,
    step: bool = False,
    on_step_failure: StepFailure = "row",
) -> Any:
    """Turn a function into a reward; its argument names are columns.

    See :class:`~rewardsmith.core.function.Function`.

    Example:
        >>> from rewardsmith.core.rollouts import Rollouts
        >>> @reward
        ... def short(completion: str) -> float:
        ...     return 1.0 if len(completion) < 10 else 0.0
        >>> short(Rollouts.from_text(["?"], ["yes"])).values
        tensor([1.])
    """
    if call is None:
        return lambda f: _made(f, batched=batched, step=step, on_step_failure=on_step_failure)
    return _made(call)


def _made(call: Callable[..., Any], **flags: Any) -> Any:
    if worker:
        return call
    from .function import Function

    return Function(call, **flags)
