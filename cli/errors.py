"""What a command answers with one line instead of a traceback."""

__all__ = ["RequestError", "RequestWarning", "WorkError"]


class RequestError(ValueError):
    """What the user asked for cannot be done as it was asked: exit code 2. The message says what, where, and what to do."""


class RequestWarning(UserWarning):
    """What the user asked for is done, but may not be what was meant. The message says why."""


class WorkError(Exception):
    """What the user asked for was right, but a tool, a simulation or a board failed: exit code 1. The message says which."""
