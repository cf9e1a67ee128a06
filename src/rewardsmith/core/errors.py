"""The errors that reach a user. Each carries where it happened and how to mend it.

Every class here keeps its first argument as ``args[0]`` and the rest as attributes, which is what
lets it cross a process boundary: a study's worker must not lose file and line on the way.
"""

from collections.abc import Iterable


class RewardsmithError(Exception):
    """The base of every error that rewardsmith raises about a user's input."""


class SpecError(RewardsmithError, ValueError):
    """A spec, a study file or an argument that cannot be used.

    Args:
        message: what is wrong and the fix.
        path: the place in the tree, such as ``reward/parts/correct``.
        file: the file it was read from.
        line: 1-based line in that file.
    """

    def __init__(
        self, message: str, *, path: str = "", file: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.path, self.file, self.line = message, path, file, line

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f":{self.line}" if where else f"line {self.line}"
        return ": ".join(piece for piece in (where, self.path, self.message) if piece)


class MissingColumn(RewardsmithError, LookupError):  # noqa: N818 - it reads as what it is
    """A reward needs a column that the rollouts, or the environment's steps, do not have."""

    def __init__(self, name: str, *, needed_by: str = "", present: Iterable[str] = ()) -> None:
        super().__init__(name)
        self.name, self.needed_by, self.present = name, needed_by, tuple(sorted(present))

    def __str__(self) -> str:
        who = f", needed by {self.needed_by}" if self.needed_by else ""
        return f"no column {self.name!r}{who}; columns present: {', '.join(self.present) or 'none'}"


class ScoreError(RewardsmithError, ValueError):
    """A row could not be scored and the caller asked to hear of it.

    Args:
        message: what went wrong.
        row: the rollout, or the sub-environment while acting.
        part: the path in the tree; "" is the root.
    """

    def __init__(self, message: str, *, row: int | None = None, part: str = "") -> None:
        super().__init__(message)
        self.message, self.row, self.part = message, row, part

    def __str__(self) -> str:
        part = f"part {self.part!r}" if self.part else "the reward"
        row = f", row {self.row}" if self.row is not None else ""
        return f"{part}{row}: {self.message}"
