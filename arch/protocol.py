"""Numbers of the host protocol, which the board and the host share; docs/protocol.md explains it."""
from dataclasses import dataclass
from enum import IntEnum

from arch.flash import BLOCK_BYTES
from arch.instruction import QUEUES
from arch.record import STORAGE
from arch.slots import Layout, layout

__all__ = ["COUNTERS", "DATA_WORDS", "ESCAPE", "FLAG", "FLIP", "FRAME_WORDS", "INFO_WORDS", "LINE_COUNTS", "LINE_MOST",
           "Identity", "Kind", "NAME_WORDS", "PACKED_HEAD", "PACKING", "Refusal", "REPLY", "REFUSED", "STATUS_WORDS", "State",
           "VERSION", "arguments"]

VERSION = 3

# A frame lies between flags; a flag or an escape in it is sent as ESCAPE and the byte with FLIP turned over (RFC 1662).
FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
# Words of 16 bits in a frame at most, CRC included; and of data in it, behind header and address.
FRAME_WORDS = 512
DATA_WORDS = 504
PACKED_HEAD = 5                 # of a packed frame's arguments in front of what is packed (`arch.packing`)


class Kind(IntEnum):
    """What a request asks for; the reply's kind has `REPLY` added."""

    INFO = 1
    WRITE = 2
    READ = 3
    CHECKSUM = 4
    START = 5
    STATUS = 6
    COUNTERS = 7
    CLEAR = 8
    EXCHANGE = 9
    BOOT = 10
    SCAN = 11
    PHASE = 12
    PACKED = 13
    LINE = 14


REPLY = 0x80
REFUSED = 0xFF                  # kind of the reply to a frame that was not obeyed


class Refusal(IntEnum):
    """Why a frame was not obeyed."""

    DAMAGED = 1                 # wrong CRC, odd or too long, or a byte was lost on the line
    UNCONNECTED = 2             # no INFO since the board's reset
    SEQUENCE = 3                # not the number that was awaited
    UNKNOWN = 4                 # no such kind, or no flash, or nothing that unpacks
    LENGTH = 5                  # wrong number of words for the kind
    RANGE = 6                   # outside storage
    BUSY = 7                    # not while a program runs, nor while one is copied from flash, nor while the SDRAM is calibrated
    MEMORY = 8                  # no phase of the SDRAM's clock is safe
    CODED = 9                   # packed words that make no sense


def arguments(kind: Kind) -> tuple[int, int]:
    """Least and greatest number of words behind the header."""
    return {Kind.INFO: (2, 2), Kind.WRITE: (3, 2 + DATA_WORDS), Kind.READ: (3, 3), Kind.CHECKSUM: (4, 4), Kind.START: (2, 2),
            Kind.STATUS: (0, 0), Kind.COUNTERS: (0, 0), Kind.CLEAR: (0, 0), Kind.EXCHANGE: (1, DATA_WORDS),
            Kind.BOOT: (0, 0), Kind.SCAN: (2, 2), Kind.PHASE: (0, 0), Kind.PACKED: (PACKED_HEAD + 1, 2 + DATA_WORDS),
            Kind.LINE: (0, 0)}[kind]


class State(IntEnum):
    """Bits of the first word of a status."""

    RUNNING = 1
    FINISHED = 2
    FAILED = 4
    BOOTING = 8
    BOOTED = 16
    CALIBRATING = 32            # the SDRAM's clock
    NO_WINDOW = 64              # and no phase of it is safe


# Words of replies. INFO: nonce 2, version, number of counters (with PACKING), geometry digest 4, storage words 2, clock in kHz 2,
# offset of the slots in flash and bytes of flash, both in blocks of 64 KB, name. STATUS: state, fault (code low, then 4 bits each
# of queue and opcode), index 2, word 2, cycles 2, program 2, outcome of the boot (`arch.slots.Outcome`). Of two words the low one
# comes first.
NAME_WORDS = 8
PACKING = 0x100                 # beside the number of counters: PACKED is understood
INFO_WORDS = 14 + NAME_WORDS
STATUS_WORDS = 11
# LINE: what the board's receiver heard since its reset, up to LINE_MOST of each: undamaged frames, damaged ones, undamaged ones
# with another number than the awaited one, and bytes that were lost or whose stop bit was low.
LINE_COUNTS, LINE_MOST = ("sound", "damaged", "unawaited", "lost"), 0xFFFF
# Of 32 bits each: cycles in which a command of the queue ran, in which its head waited for tokens, and for its unit.
COUNTERS = tuple(f"{queue}_{what}" for queue in QUEUES for what in ("busy", "waiting", "stalls"))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a chip tells about itself: digest of the geometry, words of storage, clock in kHz, name of the board (ASCII), and
    where in its flash the model slots begin, of how many bytes; 0 without a flash. `packing`: it unpacks PACKED frames."""

    digest: int
    storage_words: int
    clock_khz: int
    name: str
    flash_offset: int = 0
    flash_bytes: int = 0
    packing: bool = False

    def __post_init__(self):
        if not 0 <= self.digest < 1 << 64:
            raise ValueError(f"digest must be 64 bits, not {self.digest:#x}")
        if not 1 <= self.storage_words <= 1 << STORAGE:
            raise ValueError(f"storage_words must be 1..{1 << STORAGE}, not {self.storage_words}")
        if not 1 <= self.clock_khz < 1 << 32:
            raise ValueError(f"clock_khz must be 1..4294967295, not {self.clock_khz}")
        if not self.name.isascii() or len(self.name) > 2 * NAME_WORDS:
            raise ValueError(f"name must be at most {2 * NAME_WORDS} ASCII characters, not {self.name!r}")
        if self.flash_bytes:
            layout(self.flash_bytes, self.flash_offset)         # raises ValueError

    @property
    def slots(self) -> Layout | None:
        """Where the model slots lie in flash; None without one."""
        return layout(self.flash_bytes, self.flash_offset) if self.flash_bytes else None

    def words(self, counters: int) -> list[int]:
        """What follows the nonce in the reply to INFO."""
        name = self.name.encode().ljust(2 * NAME_WORDS, b"\0")
        return [VERSION, counters | PACKING * self.packing, *(self.digest >> 16 * n & 0xFFFF for n in range(4)),
                self.storage_words & 0xFFFF, self.storage_words >> 16, self.clock_khz & 0xFFFF, self.clock_khz >> 16,
                self.flash_offset // BLOCK_BYTES, self.flash_bytes // BLOCK_BYTES,
                *(name[n] | name[n + 1] << 8 for n in range(0, len(name), 2))]
