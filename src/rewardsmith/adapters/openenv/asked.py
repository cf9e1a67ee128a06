"""A rubric asked about one row. Imports no torch, for the processes that only run rows."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

from ...core.boundary import run
from ..fields import fielded

_made = threading.local()


def ask(action: Any, observation: Any, *, make: Callable[[], Any], part: str) -> Any:
    """What a rubric says of an action and an observation, on an episode of that one step.

    Mappings are given as objects with fields; the rubric is made once in each thread, and reset
    before each row.

    Args:
        action: an object or a mapping.
        observation: an object or a mapping.
        make: makes the rubric.
        part: the path of the part whose score it is, ``a.b``; "" for the whole.
    """
    rubrics: dict[Any, Any] = _made.__dict__.setdefault("rubrics", {})
    if make not in rubrics:
        rubrics[make] = make()
    rubric = rubrics[make]
    rubric.reset()
    asked = rubric.get_rubric(part) if part else None
    if asked is not None:
        # A container may not get to it: what it said of the row before is no answer.
        asked.last_score = None
    result = rubric(fielded(action), fielded(observation))
    if inspect.iscoroutine(result):
        result = run(result)
    return asked.last_score if asked is not None else result
