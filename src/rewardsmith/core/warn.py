"""Warnings of what a caller did, told of the caller's line."""

import sys
import warnings


def warn_caller(message: str) -> None:
    """Warn of the first line on the way up that is not of this package, torch's or jaxtyping's.

    How many frames lie between depends on who called: a function of ours, a tree, an adapter.
    """
    own = {__name__.partition(".")[0], "torch", "jaxtyping"}
    frame = sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in own:
        frame = frame.f_back
    seen = frame.f_globals.setdefault("__warningregistry__", {})
    name, line = frame.f_code.co_filename, frame.f_lineno
    warnings.warn_explicit(
        message, UserWarning, name, line, frame.f_globals.get("__name__"), registry=seen
    )
