"""What our rubrics use of OpenEnv 0.10.0: the base class, with children, hooks and both calls."""

import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class Rubric:
    """A rubric; a child is registered where it is assigned."""

    def __init__(self) -> None:
        for name, value in (("_rubric_children", {}), ("_hooks", []), ("last_score", None)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Rubric):
            self._rubric_children[name] = value
        object.__setattr__(self, name, value)

    def __call__(self, action: Any, observation: Any) -> Any:
        result = self.forward(action, observation)
        if inspect.iscoroutine(result):
            return self._later(action, observation, result)
        return self._finish(action, observation, result)

    async def _later(self, action: Any, observation: Any, result: Any) -> Any:
        self.last_score = score = await result
        for hook in self._hooks:
            told = hook(self, action, observation, score)
            if inspect.iscoroutinefunction(hook):
                await told
        return score

    def _finish(self, action: Any, observation: Any, result: Any) -> Any:
        self.last_score = result
        for hook in self._hooks:
            hook(self, action, observation, result)
        return result

    def forward(self, action: Any, observation: Any) -> Any:
        raise NotImplementedError

    def register_forward_hook(self, hook: Any) -> None:
        self._hooks.append(hook)

    def named_rubrics(self, prefix: str = "") -> Iterator[tuple[str, "Rubric"]]:
        for name, child in self._rubric_children.items():
            full = f"{prefix}.{name}" if prefix else name
            yield full, child
            yield from child.named_rubrics(full)

    def get_rubric(self, path: str) -> "Rubric":
        return dict(self.named_rubrics())[path]

    def reset(self) -> None:
        """Nothing, unless a subclass remembers something."""


def install() -> None:
    """Be what rubrics of OpenEnv are made of, in this process."""
    for name in ("openenv", "openenv.core", "openenv.core.rubrics"):
        sys.modules[name] = ModuleType(name)
    sys.modules["openenv.core.rubrics"].Rubric = Rubric  # type: ignore[attr-defined]
