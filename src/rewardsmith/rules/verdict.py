"""What a rule may return instead of a bare number."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """A value with its reason: a zero that says why can be told from one that was earned.

    ``value`` follows the rules of any returned value: None abstains, NaN is a bad value.
    """

    value: float | None
    why: str

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float("nan") if self.value is None else float(self.value)
