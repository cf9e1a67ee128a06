"""What goes wrong with the sandbox itself, and is never a program's fault."""


class SandboxError(OSError):
    """The sandbox cannot be had, or broke: nothing was learned about the program."""
