"""A board's flash through its link: erase, program, read; nothing below its offset, where the bitstream is."""
from collections.abc import Callable
import time
from zlib import crc32

from arch.flash import BLOCK_BYTES, SECTOR_BYTES, Command, Status
from arch.protocol import DATA_WORDS, Refusal
from host.link import LinkError
from host.session import Refused, Session

__all__ = ["Flash", "NotWritten"]

_SIZE = 1 << 24                         # that three bytes of address reach
_BUSY_S = 10                            # the slowest chips erase a block in 3 s
_READ_BYTES = DATA_WORDS - 4


class NotWritten(LinkError):
    """Flash is other than it was written, from an address on."""

    def __init__(self, address: int):
        super().__init__(f"Flash does not hold what was written, from byte {address:,} on: is it protected, or too small?")


class Flash:
    """The flash of the board of a session that is connected.

    `offset`: bytes below are refused. Raises LinkError if there is no flash, here or anywhere below.
    """

    def __init__(self, session: Session, offset: int, clock: Callable[[], float] = time.monotonic):
        self.session, self.offset, self._clock = session, offset, clock
        try:
            session.exchange(bytes([Command.RELEASE]))
            self.identity = session.exchange(bytes([Command.IDENTIFY, 0, 0, 0]))[1:]
        except Refused as refused:
            if refused.reason == Refusal.UNKNOWN:
                raise LinkError("The bitstream on this board has no way to its flash: upload without --flash") from None
            raise
        if self.identity in (b"\0\0\0", b"\xff\xff\xff"):
            raise LinkError("No flash answers on the pins that the board's platform names: is there one? Upload without --flash")

    def read(self, address: int, count: int) -> bytes:
        """Bytes from an address on."""
        starts = range(address, address + count, _READ_BYTES)
        return b"".join(self._read(start, min(_READ_BYTES, address + count - start)) for start in starts)

    def holds(self, sector: int, data: bytes) -> bool:
        """Whether the 4 KB from address `sector` on are `data`, and ones behind them, by a CRC-32 that the chip computes."""
        return self.session.scan(sector) == crc32(data.ljust(SECTOR_BYTES, b"\xff"))

    def expect(self, sector: int, data: bytes) -> None:
        """Raises NotWritten unless they are."""
        if not self.holds(sector, data):
            raise NotWritten(sector)

    def erase_sector(self, address: int) -> None:
        """The 4 KB that begin there. Raises ValueError as `program`."""
        self._allow(address, SECTOR_BYTES, SECTOR_BYTES)
        self._change(Command.ERASE_SECTOR, address, b"")

    def erase_block(self, address: int) -> None:
        """The 64 KB that begin there. Raises ValueError as `program`."""
        self._allow(address, BLOCK_BYTES, BLOCK_BYTES)
        self._change(Command.ERASE_BLOCK, address, b"")

    def program(self, address: int, data: bytes) -> None:
        """Data within one page; only turns ones into zeros. Raises ValueError for an address below the offset, or that is none of
        the flash's, or not at the beginning of what is erased."""
        self._allow(address, len(data), 1)
        self._change(Command.PROGRAM, address, data)

    def _allow(self, address: int, count: int, unit: int) -> None:
        if not self.offset <= address <= _SIZE - count or address % unit:
            raise ValueError(f"Address in flash must be a multiple of {unit} of {self.offset}..{_SIZE - count}, not {address}")

    def _read(self, address: int, count: int) -> bytes:
        return self.session.exchange(bytes([Command.READ, *address.to_bytes(3, "big")]) + bytes(count))[4:]

    def _change(self, command: int, address: int, data: bytes) -> None:
        self.session.exchange(bytes([Command.WRITE_ENABLE]))
        self.session.exchange(bytes([command, *address.to_bytes(3, "big")]) + data)
        end = self._clock() + _BUSY_S + self.session.patience_s
        while self.session.exchange(bytes([Command.STATUS, 0]))[1] & Status.BUSY:
            if self._clock() > end:
                raise LinkError(f"The flash is still busy after {_BUSY_S} s: switch the board off and on, and write again")
