"""A rubric of OpenEnv as a reward of ours."""

from collections.abc import Callable
from typing import Any

from ...core.catalog import method
from ...core.execution import Execution, Inline, current
from ...core.reference import ByName, Reference, resolve
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.rowcall import RowCall
from ...core.rows import evaluate_columns, scores_of
from ...core.scores import Scores
from ..versions import note_version
from .asked import ask


@method("openenv_reward", kind="signal")
class OpenEnvReward(Reward):
    """A rubric of OpenEnv, asked row by row about the columns ``action`` and ``observation``.

    A row is an episode of one step: the rubric is reset before it, and an observation that is
    ``done`` is what an outcome rubric waits for. Mappings, as they come from files, are given as
    objects with fields. Sync and async rubrics both work. An exception is a failure, None an
    abstention, what is no finite number a bad value.

    Args:
        call: a rubric's class, or a function that makes one; it is made in the process that scores.
        part: the path of a part, ``a.b``, whose score it is in the place of the whole; a part that
            the rubric did not get to abstains.
    """

    def __init__(self, call: Callable[[], Any], part: str = "") -> None:
        super().__init__()
        note_version("openenv")
        if hasattr(call, "named_rubrics") and not isinstance(call, type):
            raise ValueError(
                f"call is {type(call).__name__}; give the rubric's class, or a function that makes "
                "one: a rubric remembers its last row, and every process needs its own"
            )
        self.call, self.part = call, part
        self.declare(needs=("action", "observation"))

    def default_name(self) -> str:
        return str(getattr(self.call, "__name__", self.method_name))

    def __deepcopy__(self, memo: dict[int, Any]) -> "OpenEnvReward":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (Reference.of(self.call), self.part)

    def forward(self, rollouts: Rollouts) -> Scores:
        names = ("action", "observation")
        columns = [rollouts.column(name, needed_by=self.label()) for name in names]
        call = RowCall(ask, names, options={"make": ByName(self.call), "part": self.part})
        return scores_of(evaluate_columns(call, columns, current() or Execution(Inline())))


def _restored(reference: Reference, part: str) -> OpenEnvReward:
    return OpenEnvReward(resolve(reference), part)
