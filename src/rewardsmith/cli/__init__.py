"""The command line. Each command imports what it needs when it runs: ``--help`` is quick."""

from .main import main

__all__ = ["main"]
