"""What rewards that run programs have in common: a sandbox to be had, and time for it."""

import warnings
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from typing import Any

from ..core.errors import SpecError
from ..core.execution import current
from ..core.rollouts import Rollouts
from ..core.rows import RowReward
from ..core.scores import Scores
from ..engine.sandbox import Limits, SandboxError, Setting
from ..engine.sandbox.box import Box

UNGUARDED = "programs ran without isolation (unsafe: true): they may have done what you may do"
"""What every report says of a reward that needs no sandbox."""
_NOTHING = {"kind": "script", "source": ""}
_SLACK = 3.0
"""Seconds that a row may take beside its program: a sandbox starts, or is given up."""


class Sandboxed(RowReward):
    """A reward whose function runs programs in a sandbox."""

    def sandboxed(
        self,
        limits: Mapping[str, Any] | None,
        unsafe: bool,
        *,
        packages: bool = False,
        system: bool = False,
    ) -> None:
        """Say what the sandbox is to be like, in ``__init__``.

        Args:
            limits: those that are not the defaults.
            unsafe: whether there is none.
            packages: whether programs find what is installed here.
            system: whether they find all of ``/usr``.

        Raises:
            ValueError: there is no such limit, or it is not positive.
        """
        try:
            self._limits = Limits.of(limits or {})
        except ValueError as error:
            raise ValueError(f"{self.method_name}: {error}") from None
        self.limits, self.unsafe = None if limits is None else dict(limits), unsafe
        self._setting = Setting(unsafe=unsafe, system=system, packages=packages)
        if unsafe:
            self.caution = UNGUARDED

    def forward(self, rollouts: Rollouts) -> Scores:
        execution = current()
        seconds = getattr(execution and execution.executor, "timeout", None)
        needed = self._limits.program + _SLACK
        if seconds is not None and seconds < needed:
            raise SpecError(
                f"{self.label()}: a program may take {self._limits.program:g} s, and the executor "
                f"ends rows after {seconds:g} s: give it a timeout of {needed:g} s or more, or "
                "lower limits.program"
            )
        see_to_sandbox(self._setting)
        if self.caution:
            warnings.warn(self.caution, RuntimeWarning, stacklevel=2)
        return super().forward(rollouts)


@cache
def see_to_sandbox(setting: Setting) -> None:
    """Have a sandbox once, before anything is scored.

    Raises:
        SpecError: there is none, with what to do about it.
    """
    try:
        with closing(Box(setting)) as box, box.open(_NOTHING, Limits()) as program:
            program.ask(None, 10.0)
    except SandboxError as error:
        raise SpecError(str(error)) from error
