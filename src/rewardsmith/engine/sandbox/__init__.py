"""Run programs that nobody has read, and learn what they do without being harmed by them."""

from ...rules.unit_tests import Call, Run
from .asserts import run_asserts
from .bubblewrap import Setting
from .errors import SandboxError
from .limits import Limits
from .programs import (
    Command,
    Ran,
    run_calls,
    run_script,
    run_scripts,
)
from .results import Result

__all__ = [
    "Call",
    "Command",
    "Limits",
    "Ran",
    "Result",
    "Run",
    "SandboxError",
    "Setting",
    "run_asserts",
    "run_calls",
    "run_script",
    "run_scripts",
]
