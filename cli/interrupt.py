"""Ctrl-C at any moment of a command, and a start where nothing is installed: one line on stderr each.

A command lives through three times. While its modules are imported, and when its work is done, there is nothing to put away:
Ctrl-C ends it at once, and is ignored while Python itself ends. In between, Ctrl-C raises KeyboardInterrupt, as does SIGTERM, so
that half-written files are removed and tools stopped; a second one ends it at once. This module is imported before everything
else and imports little.
"""
import atexit
from collections.abc import Iterator
from contextlib import contextmanager
import os
import signal
import sys
import warnings

__all__ = ["INTERRUPTED", "guard_start", "guarded", "interruptible", "silence"]

INTERRUPTED = 130               # exit code, as shells have it: 128 + SIGINT
SCRIPT = "fireline"             # the one command that is not started by python -m

_started = False                # whether this process is one command of ours, from its start to its end


def guard_start() -> None:
    """Readies a process that is about to become a command of ours; does nothing in any other, as a notebook or pytest.

    Every package that has commands calls it before its imports. `python -m` has its own `-m` for a name while it looks for the
    module, which is when it imports the package.
    """
    global _started
    if _started or not (sys.argv and (sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == SCRIPT)):
        return
    _started = True
    for stream in (sys.stdout, sys.stderr):     # None without a console
        if stream is not None and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:       # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _leave)
        # Python puts back the system's own handler when it ends, and would die of the signal after all is done.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _uninstalled


def _uninstalled(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """What a command's imports died of."""
    if isinstance(error, ModuleNotFoundError):
        os.write(2, f"error: {error}: use the environment in which Fireline is installed, or set one up: "
                    f"python3 -m venv .venv && .venv/bin/pip install -e .\n".encode(errors="replace"))
    else:
        sys.__excepthook__(kind, error, trace)


def guarded() -> bool:
    """Whether this process is one command of ours, which may do as it likes with warnings and signals."""
    return _started


def _leave(signum: int, frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def silence() -> None:
    """No warnings any more: work that was broken off leaves components that nobody uses, each of which would say so."""
    if _started:
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda unraisable: None


@contextmanager
def interruptible() -> Iterator[None]:
    """While it lasts, Ctrl-C and the end that `kill` asks for raise KeyboardInterrupt; a second one ends the process."""
    # A process in the background ignores Ctrl-C, and can be ended by `kill` all the same.
    outside = {signal.SIGINT: _leave, signal.SIGTERM: signal.SIG_DFL}
    ours = [one for one, handler in outside.items() if _started and signal.getsignal(one) is handler]

    def leave() -> None:
        for one in ours:
            signal.signal(one, outside[one])

    def stop(signum: int, frame: object) -> None:
        leave()
        silence()
        raise KeyboardInterrupt

    for one in ours:
        signal.signal(one, stop)
    try:
        yield
    finally:
        leave()
