"""Flash through the link: what is written is there, on any line, nothing below the offset, and what is refused."""
from itertools import count
import random

import numpy as np
import pytest

from arch.flash import BLOCK_BYTES, BOOT_OFFSET
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
    chip = FlashChip(slow=3)
    chip.bytes[:] = random.Random(1).randbytes(len(chip.bytes))                 # used before
    before, image = bytes(chip.bytes), IMAGE
    device, shown = Device(IDENTITY, flash=chip), []
    session = session_on(device, rate, seed=4)
    flash = Flash(session, BOOT_OFFSET)
    flash.write(BOOT_OFFSET, image, lambda stage, done: shown.append((stage, done)))
    end = BOOT_OFFSET + 2 * BLOCK_BYTES
    assert chip.read(BOOT_OFFSET, len(image)) == image == flash.read(BOOT_OFFSET, len(image))
    assert chip.read(0, BOOT_OFFSET) == before[:BOOT_OFFSET] and chip.read(end) == before[end:]
    assert {stage for stage, _ in shown} == {"erase", "program", "verify"} and shown[-1] == ("verify", len(image))


def test_nothing_below_the_offset():
    chip = FlashChip()
    flash = Flash(session_on(Device(IDENTITY, flash=chip)), BOOT_OFFSET)
    for address in (0, BOOT_OFFSET - BLOCK_BYTES, BOOT_OFFSET + 1):
        with pytest.raises(ValueError, match=f"Address in flash must be a multiple of 65536 from 2097152 on, not {address}"):
            flash.write(address, b"x")
    with pytest.raises(LinkError, match="must end below byte 16,777,216, not at 16,777,217: 1 bytes are missing"):
        flash.write((1 << 24) - BLOCK_BYTES, bytes(BLOCK_BYTES + 1))
    assert set(chip.bytes) == {0xFF}


def test_no_flash_and_bad_ones():
    with pytest.raises(LinkError, match="has no way to its flash"):
        Flash(session_on(Device(IDENTITY)), BOOT_OFFSET)
    chip = FlashChip()
    chip.exchange = lambda sent: b"\xff" * len(sent)
    with pytest.raises(LinkError, match="No flash answers"):
        Flash(session_on(Device(IDENTITY, flash=chip)), BOOT_OFFSET)
    protected = FlashChip()
    flash = Flash(session_on(Device(IDENTITY, flash=protected)), BOOT_OFFSET)
    protected.bytes = bytes(len(protected.bytes))
    protected.exchange = lambda sent: bytes(len(sent))
    with pytest.raises(LinkError, match="does not hold what was written, from byte 2,097,152 on"):
        flash.write(BOOT_OFFSET, b"abc")
    stuck = FlashChip(slow=1 << 30)
    hours = count(0, 3600)
    with pytest.raises(LinkError, match="still busy after 10 s"):
        Flash(session_on(Device(IDENTITY, flash=stuck)), BOOT_OFFSET, clock=lambda: next(hours)).write(BOOT_OFFSET, b"abc")
