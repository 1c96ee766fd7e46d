"""What a board boots from: a program with its weights in the flash that configures the FPGA, behind the bitstream.

Header, data and CRC-32 follow each other, all of words of 16 bits, the low byte first; numbers of more words have the low one
first. The CRC is zlib's, over header and data.
"""
from dataclasses import dataclass
import struct
from zlib import crc32

import numpy as np

__all__ = ["BLOCK_BYTES", "BOOT_OFFSET", "Boot", "Command", "HEADER_WORDS", "MAGIC", "PAGE_BYTES", "SECTOR_BYTES", "Status",
           "boot_image", "booted"]

MAGIC = 0x31504C46                      # "FLP1"
_HEADER = struct.Struct("<IQII")        # magic, digest of the geometry, words of data, address of the program
HEADER_WORDS = _HEADER.size // 2
BOOT_OFFSET = 2 << 20                   # bytes; the greatest bitstream, an 85F's, ends before


class Command:
    """First bytes of exchanges with a SPI flash, which all makers' chips understand (such as Winbond's W25Q128JV data sheet)."""

    PROGRAM, READ, STATUS, WRITE_ENABLE, ERASE_SECTOR, ERASE_BLOCK = 0x02, 0x03, 0x05, 0x06, 0x20, 0xD8
    RELEASE, IDENTIFY, NOTHING = 0xAB, 0x9F, 0xFF


class Status:
    """Bits of a flash's first status register."""

    BUSY, WRITE_ENABLED = 1, 2


PAGE_BYTES = 256                        # programmed at once
SECTOR_BYTES = 4 << 10                  # erased at once
BLOCK_BYTES = 64 << 10                  # likewise, with another command


@dataclass(frozen=True, kw_only=True, eq=False)
class Boot:
    """A program in flash: words (uint16) for storage from address 0 on, and where in it the program begins."""

    program: int
    words: np.ndarray


def boot_image(boot: Boot, digest: int) -> bytes:
    """What flash holds for an engine of this digest."""
    body = _HEADER.pack(MAGIC, digest, len(boot.words), boot.program) + np.ascontiguousarray(boot.words, "<u2").tobytes()
    return body + crc32(body).to_bytes(4, "little")


def booted(data: bytes, *, digest: int, storage_words: int) -> Boot | None:
    """The program at the beginning of `data`, None if there is none that a board of this engine and storage boots."""
    if len(data) < _HEADER.size:
        return None
    magic, found, count, program = _HEADER.unpack_from(data)
    end = _HEADER.size + 2 * count
    if (magic, found) != (MAGIC, digest) or not 1 <= count <= storage_words or len(data) < end + 4:
        return None
    if crc32(data[:end]) != int.from_bytes(data[end:end + 4], "little"):
        return None
    return Boot(program=program & 0xFFFFFF, words=np.frombuffer(data[_HEADER.size:end], "<u2"))
