"""A board's flash through its link: erase, program, read; nothing below its offset, where the bitstream is."""
from collections.abc import Callable, Iterator
from itertools import pairwise
import time

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES, Command, Status
from arch.protocol import DATA_WORDS, Refusal
from host.link import LinkError
from host.session import Refused, Session

__all__ = ["Flash"]

_SIZE = 1 << 24                         # that three bytes of address reach
_BUSY_S = 10                            # the slowest chips erase a block in 3 s
_READ_BYTES = DATA_WORDS - 4
_FIRST = 32                             # bytes that are compared before all others


class Flash:
    """The flash of the board of a session that is connected.

    `offset`: bytes below are refused. Raises LinkError if there is no flash, here or anywhere below.
    """

    def __init__(self, session: Session, offset: int, clock: Callable[[], float] = time.monotonic):
        self.session, self.offset, self._clock = session, offset, clock
        self.changes = 0                # pages programmed, sectors and blocks erased
        try:
            session.exchange(bytes([Command.RELEASE]))
            self.identity = session.exchange(bytes([Command.IDENTIFY, 0, 0, 0]))[1:]
        except Refused as refused:
            if refused.reason == Refusal.UNKNOWN:
                raise LinkError("The bitstream on this board has no way to its flash: upload without --flash") from None
            raise
        if self.identity in (b"\0\0\0", b"\xff\xff\xff"):
            raise LinkError("No flash answers on the pins that the board's platform names: is there one? Upload without --flash")

    def write(self, address: int, data: bytes, progress: Callable[[str, int], None] = lambda stage, done: None) -> None:
        """Erases all blocks that hold a byte of `data`, programs and verifies it; `progress` hears the stage ("erase", "program",
        "verify") and how many bytes of `data` are done. Raises ValueError for an address below the offset or not at a block's
        beginning; LinkError if the data do not fit, or the flash does not hold them afterwards."""
        if address < self.offset or address % BLOCK_BYTES:
            raise ValueError(f"Address in flash must be a multiple of {BLOCK_BYTES} from {self.offset} on, not {address}")
        if address + len(data) > _SIZE:
            raise LinkError(f"Data in flash must end below byte {_SIZE:,}, not at {address + len(data):,}: "
                            f"{address + len(data) - _SIZE:,} bytes are missing; upload without --flash")
        for stage, step, work in (("erase", BLOCK_BYTES, self._erase), ("program", PAGE_BYTES, self._program),
                                  ("verify", _READ_BYTES, self._verify)):
            progress(stage, 0)
            for start, part in _parts(data, step):
                work(address + start, part)
                progress(stage, start + len(part))

    def read(self, address: int, count: int) -> bytes:
        """Bytes from an address on."""
        return b"".join(self._read(address + start, len(part)) for start, part in _parts(bytes(count), _READ_BYTES))

    def differs(self, address: int, data: bytes) -> bool:
        """Whether flash does not hold `data` there. Asks for a few bytes first: other data are seen there already."""
        starts = (0, *range(_FIRST, len(data), _READ_BYTES), len(data))
        return any(self.read(address + start, end - start) != data[start:end] for start, end in pairwise(starts))

    def erase_sector(self, address: int) -> None:
        """The 4 KB that begin there. Raises ValueError as `program`."""
        self._allow(address, SECTOR_BYTES, SECTOR_BYTES)
        self._change(Command.ERASE_SECTOR, address, b"")

    def erase_block(self, address: int) -> None:
        """The 64 KB that begin there. Raises ValueError as `program`."""
        self._allow(address, BLOCK_BYTES, BLOCK_BYTES)
        self._erase(address, b"")

    def program(self, address: int, data: bytes) -> None:
        """Data within one page; only turns ones into zeros. Raises ValueError for an address below the offset, or that is none of
        the flash's, or not at the beginning of what is erased."""
        self._allow(address, len(data), 1)
        self._change(Command.PROGRAM, address, data)

    def check(self, address: int, data: bytes) -> None:
        """Raises LinkError if flash does not hold `data` there."""
        for start, part in _parts(data, _READ_BYTES):
            self._verify(address + start, part)

    def _allow(self, address: int, count: int, unit: int) -> None:
        if not self.offset <= address <= _SIZE - count or address % unit:
            raise ValueError(f"Address in flash must be a multiple of {unit} of {self.offset}..{_SIZE - count}, not {address}")

    def _erase(self, address: int, part: bytes) -> None:
        self._change(Command.ERASE_BLOCK, address, b"")

    def _program(self, address: int, part: bytes) -> None:
        self._change(Command.PROGRAM, address, part)

    def _read(self, address: int, count: int) -> bytes:
        return self.session.exchange(bytes([Command.READ, *address.to_bytes(3, "big")]) + bytes(count))[4:]

    def _verify(self, address: int, part: bytes) -> None:
        if self._read(address, len(part)) != part:
            raise LinkError(f"Flash does not hold what was written, from byte {address:,} on: is it protected, or too small?")

    def _change(self, command: int, address: int, data: bytes) -> None:
        self.session.exchange(bytes([Command.WRITE_ENABLE]))
        self.session.exchange(bytes([command, *address.to_bytes(3, "big")]) + data)
        self.changes += 1
        end = self._clock() + _BUSY_S + self.session.patience_s
        while self.session.exchange(bytes([Command.STATUS, 0]))[1] & Status.BUSY:
            if self._clock() > end:
                raise LinkError(f"The flash is still busy after {_BUSY_S} s: switch the board off and on, and write again")


def _parts(data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(data), size):
        yield start, data[start:start + size]
