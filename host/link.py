"""What bytes go through: a serial port, or anything else that behaves like one."""
import errno
import time
from typing import Protocol

import serial
from serial.tools import list_ports

from cli import WorkError

__all__ = ["Link", "LinkError", "SerialLink"]


# What pyserial raises when its device goes: TypeError where it finds the file closed, ValueError where it sets an unusual rate.
_GONE = (OSError, TypeError, ValueError)
_NETWORK_S = 1.0                # there and back, over the air too
_POLL_S, _CHUNK = 0.02, 4096


class LinkError(WorkError):
    """The board cannot be reached, or does not understand; the message says what to do."""


class Link(Protocol):
    """A line to a board: bytes may get lost or damaged on it, but never stand still for ever."""

    baud: int

    def write(self, data: bytes) -> None:
        """Sends bytes. Raises LinkError when the line is gone."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, at once if there is any, otherwise after at most `timeout_s` seconds, which may be nothing. Raises
        LinkError when the line is gone."""

    def close(self) -> None:
        """Gives the line back."""


def _reason(error: Exception) -> str:
    """Why a port cannot be opened, and what to do about it."""
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            ports = ", ".join(sorted(port.device for port in list_ports.comports() if port.vid is not None))      # of USB
            return (f"there is no such port; {f'there are {ports}' if ports else 'no board is plugged in'}, and a simulated "
                    f"board has one only while python -m sim.board runs")
        case errno.EACCES | errno.EPERM:
            return "permission denied: its group, often dialout, must be one of yours"
        case errno.EAGAIN | errno.EBUSY:
            return "another program uses it"
        case errno.EISDIR:
            return "it is no serial port"
    # That of what is no terminal has no number.
    return "it is no serial port" if "configure port" in str(error) else str(error)


class SerialLink:
    """A serial port (or pseudo-terminal) by its name, or what pyserial reaches by a URL (`socket://`, `rfc2217://`). Raises
    LinkError if it cannot be opened.

    `patience_s` is how long a board behind it may take to answer, a network's share included, `slowness` how many times as long
    as a chip it takes for what it does: simulated ones, behind pseudo-terminals, are slow.
    """

    def __init__(self, port: str, baud: int):
        self.port, self.baud = port, baud
        simulated, self._scheme = port.startswith("/dev/pts/"), port.partition("://")[0].lower() if "://" in port else ""
        self.patience_s, self.slowness = (10.0, 1000.0) if simulated else (_NETWORK_S if self._scheme else 0.1, 1.0)
        # A simulated board takes nothing while it computes a frame, which lasts as long as its PC is slow.
        options = {"timeout": 0, "write_timeout": 600 if simulated else 10, "exclusive": True}
        if self._scheme == "rfc2217":               # each change of its timeouts asks the far end, and it has none for writes
            options = {"timeout": _POLL_S}
        elif self._scheme:
            options = {"timeout": 0, "write_timeout": 10}
        try:
            self._serial = serial.serial_for_url(port, baud, **options)
        except (OSError, ValueError) as error:      # serial.SerialException is an OSError
            raise LinkError(f"Port {port} cannot be opened: {_reason(error)}") from None

    def _gone(self) -> LinkError:
        return LinkError(f"Port {self.port} is gone: was the board unplugged, or the simulation ended?")

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except _GONE:
            raise self._gone() from None

    def read(self, timeout_s: float) -> bytes:
        try:
            first = self._first(timeout_s)
            if not first:
                return b""
            if self._scheme == "socket":            # knows whether, but not how many
                self._serial.timeout = 0
                return first + self._serial.read(_CHUNK)
            return first + self._serial.read(self._serial.in_waiting)
        except _GONE:
            raise self._gone() from None

    def _first(self, timeout_s: float) -> bytes:
        """A byte, or none if none comes in time."""
        if self._scheme != "rfc2217":
            self._serial.timeout = timeout_s
            return self._serial.read(1)
        end = time.monotonic() + timeout_s
        while not (first := self._serial.read(1)) and time.monotonic() < end:
            pass
        return first

    def close(self) -> None:
        self._serial.close()

    def drain(self, quiet_s: float = 0.05, most_s: float = 1) -> None:
        """Throws away what an earlier user of the port left behind."""
        end = time.monotonic() + most_s
        while time.monotonic() < end and self.read(quiet_s):
            pass
