"""The serial port that a board is on, where the user names none."""
from dataclasses import dataclass

from serial.tools import list_ports

from boards import BOARDS
from host.link import LinkError

__all__ = ["BAUD", "Found", "find_port"]

BAUD = 3_000_000                # where nothing else is known


@dataclass(frozen=True, kw_only=True)
class Found:
    """A serial port, the rate of the boards that have its USB identity, and what the adapter calls itself."""

    port: str
    baud: int
    name: str


def find_port() -> Found:
    """The one port whose USB identity is that of boards we know. Raises LinkError if there is none, or more than one."""
    rates: dict[tuple[int, int], int] = {}
    for board in BOARDS.values():
        for usb in board.usb:
            rates[usb] = min(board.baud, rates.get(usb, board.baud))
    found: dict[str, Found] = {}            # by the adapter's place: of one with two ports the second is the UART, the first JTAG
    for port in sorted(list_ports.comports(), key=lambda port: port.device):
        if (port.vid, port.pid) in rates:
            place = (port.location or port.device).partition(":")[0]
            found[place] = Found(port=port.device, baud=rates[port.vid, port.pid], name=port.product or port.description)
    if not found:
        raise LinkError("no board is plugged in whose serial adapter is known: name its port with --port, or the path that "
                        "python -m sim.board prints")
    if len(found) > 1:
        ports = "; ".join(f"{one.port} ({one.name})" for one in found.values())
        raise LinkError(f"several boards may be plugged in: choose one with --port: {ports}")
    (only,) = found.values()
    return only
