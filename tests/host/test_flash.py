"""Flash through the link: what is written is there, on any line, nothing below the offset, and what is refused."""
from functools import partial
from itertools import count
import random

import numpy as np
import pytest

from arch.flash import BLOCK_BYTES, BOOT_OFFSET, PAGE_BYTES, SECTOR_BYTES
from arch.protocol import Identity
from host.device import Device
from host.flash import Flash
from host.link import LinkError
from host.session import Session
from sim.models.flash import FlashChip
from sim.models.line import FAULTS, FaultyLine

DIGEST = 0x0123456789ABCDEF
IDENTITY = Identity(digest=DIGEST, storage_words=60_000, clock_khz=140_000, name="reference")
IMAGE = np.random.default_rng(3).bytes(80_000)                                  # two blocks


def session_on(device: Device, rate: float = 0, seed: int = 1) -> Session:
    line = FaultyLine(device, seed=seed, rate=rate, faults=tuple(fault for fault in FAULTS if fault != "reset"))
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(seed))
    session.connect()
    return session


@pytest.mark.parametrize("rate", [0, 0.1])
def test_written(rate):
    """Over a bad line too: exchanges that are repeated change nothing."""
    chip = FlashChip(1 << 22, slow=3)
    chip.bytes[:] = random.Random(1).randbytes(len(chip.bytes))                 # used before
    before, flash = bytes(chip.bytes), Flash(session_on(Device(IDENTITY, flash=chip), rate, seed=4), BOOT_OFFSET)
    end, first = BOOT_OFFSET + BLOCK_BYTES, IMAGE[:2000]
    flash.erase_block(BOOT_OFFSET)
    flash.erase_sector(end)
    for start in range(0, len(first), PAGE_BYTES):
        flash.program(BOOT_OFFSET + start, first[start:start + PAGE_BYTES])
    flash.expect(BOOT_OFFSET, first)
    assert flash.holds(end, b"") and not flash.holds(BOOT_OFFSET, first[:-1]) and not flash.holds(end + SECTOR_BYTES, b"")
    assert flash.read(BOOT_OFFSET, len(first)) == first
    assert chip.read(BOOT_OFFSET, BLOCK_BYTES + SECTOR_BYTES) == first.ljust(BLOCK_BYTES + SECTOR_BYTES, b"\xff")
    same = chip.read(0, BOOT_OFFSET) == before[:BOOT_OFFSET], chip.read(end + SECTOR_BYTES) == before[end + SECTOR_BYTES:]
    assert same == (True, True)
    with pytest.raises(LinkError, match="does not hold what was written, from byte 2,097,152 on"):
        flash.expect(BOOT_OFFSET, first[:-1])


def test_nothing_below_the_offset():
    chip = FlashChip(1 << 22)
    flash = Flash(session_on(Device(IDENTITY, flash=chip)), BOOT_OFFSET)
    two = partial(flash.program, data=b"xy")
    for work, address in (
            (flash.erase_block, 0), (flash.erase_block, BOOT_OFFSET - BLOCK_BYTES), (flash.erase_block, 1 << 24),
            (flash.erase_block, BOOT_OFFSET + SECTOR_BYTES), (flash.erase_sector, BOOT_OFFSET - SECTOR_BYTES),
            (flash.erase_sector, BOOT_OFFSET + 256), (two, BOOT_OFFSET - 1), (two, (1 << 24) - 1)):
        with pytest.raises(ValueError, match=f"Address in flash must be a multiple of .* of 2097152.*, not {address}"):
            work(address)
    assert set(chip.bytes) == {0xFF}


def test_no_flash_and_bad_ones():
    with pytest.raises(LinkError, match="has no way to its flash"):
        Flash(session_on(Device(IDENTITY)), BOOT_OFFSET)
    chip = FlashChip()
    chip.exchange = lambda sent: b"\xff" * len(sent)
    with pytest.raises(LinkError, match="No flash answers"):
        Flash(session_on(Device(IDENTITY, flash=chip)), BOOT_OFFSET)
    stuck = FlashChip(1 << 22, slow=1 << 30)
    hours = count(0, 3600)
    with pytest.raises(LinkError, match="still busy after 10 s"):
        Flash(session_on(Device(IDENTITY, flash=stuck)), BOOT_OFFSET, clock=lambda: next(hours)).erase_sector(BOOT_OFFSET)
