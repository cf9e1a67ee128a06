"""Which versions of other packages our adapters were tested with."""

import re
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version

TESTED = {
    "openenv": ("0.10.0", "0.10.0"),
    "openrlhf": ("0.11.2", "0.11.2"),
    "reasoning-gym": ("0.1.25", "0.1.25"),
    "trl": ("1.16.0", "1.16.0"),
    "verifiers": ("0.3.1", "0.4.0"),
    "verl": ("0.9.1", "0.9.1"),
}
"""Package -> the oldest and the newest version that the contract tests were run with."""


@cache
def note_version(package: str) -> None:
    """Warn, once, where a package is installed in a version outside the tested range.

    Patch releases are taken to be like the version that was tested, from 1.0 on.
    """
    try:
        installed = version(package)
    except PackageNotFoundError:
        return
    oldest, newest = TESTED[package]
    found, last = _release(installed), _release(newest)
    alike = 2 if last[0] else 3
    if found < _release(oldest) or found[:alike] > last[:alike]:
        tested = oldest if oldest == newest else f"{oldest} to {newest}"
        warnings.warn(
            f"rewardsmith was tested with {package} {tested}, and this is {installed}; going on",
            stacklevel=3,
        )


def _release(number: str) -> tuple[int, ...]:
    """Major, minor and patch version."""
    digits = re.findall(r"\d+", number)[:3]
    return (*map(int, digits), 0, 0, 0)[:3]
