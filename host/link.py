"""What bytes go through: a serial port, or anything else that behaves like one."""
import time
from typing import Protocol

import serial

__all__ = ["Link", "LinkError", "SerialLink"]


class LinkError(Exception):
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


class SerialLink:
    """A serial port (or pseudo-terminal) by its name. Raises LinkError if it cannot be opened.

    `patience_s` is how long a board behind it may take to answer: simulated ones, behind pseudo-terminals, are slow.
    """

    def __init__(self, port: str, baud: int):
        self.port, self.baud = port, baud
        simulated = port.startswith("/dev/pts/")
        self.patience_s = 10.0 if simulated else 0.1
        try:
            # A simulated board takes nothing while it computes a frame, which lasts as long as its PC is slow.
            self._serial = serial.Serial(port, baud, timeout=0, write_timeout=600 if simulated else 10, exclusive=True)
        except (OSError, ValueError) as error:      # serial.SerialException is an OSError
            raise LinkError(f"Port {port} cannot be opened: {error}") from None

    def _gone(self, error: Exception) -> LinkError:
        return LinkError(f"Port {self.port} is gone: {error}")

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except (OSError, TypeError) as error:       # pyserial finds its file closed: TypeError
            raise self._gone(error) from None

    def read(self, timeout_s: float) -> bytes:
        try:
            self._serial.timeout = timeout_s
            first = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except (OSError, TypeError) as error:
            raise self._gone(error) from None

    def close(self) -> None:
        self._serial.close()

    def drain(self, quiet_s: float = 0.05, most_s: float = 1) -> None:
        """Throws away what an earlier user of the port left behind."""
        end = time.monotonic() + most_s
        while time.monotonic() < end and self.read(quiet_s):
            pass
