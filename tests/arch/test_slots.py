"""Slots and states in flash: the layout of each size of flash, and records that come back, or are refused when damaged."""
from dataclasses import replace
from hashlib import sha256
import random
from zlib import crc32

import numpy as np
import pytest

from arch.flash import BOOT_OFFSET, PAGE_BYTES, SECTOR_BYTES
from arch.slots import MARK_AT, STATE_BYTES, Header, Outcome, SelfTest, Slot, State, Why, layout, newest

KB, MB = 1 << 10, 1 << 20
TEST = SelfTest(output=700, end=720, checksum=0x89ABCDEF, cycles=123_456)
STATE = State(counter=7, active=2, fallback=1, trial=True, floor=3)


def slot(words: int = 1000, name: str = "squeezenet1_1") -> Slot:
    return Slot.make(np.random.default_rng(1).integers(0, 1 << 16, words), digest=0x0123456789ABCDEF, program=77, security=5,
                     version=9, test=TEST, name=name)


@pytest.mark.parametrize("megabytes, offset, slots, size", [
    (16, BOOT_OFFSET, 3, 4736 * KB), (8, BOOT_OFFSET, 3, 1984 * KB), (4, BOOT_OFFSET, 2, 960 * KB), (16, 0, 3, 5440 * KB),
    (4, MB // 2, 3, 1152 * KB), (3, 2 * MB - 64 * KB, 2, 512 * KB), (3, BOOT_OFFSET, 1, 960 * KB)])
def test_layout(megabytes, offset, slots, size):
    made = layout(megabytes * MB, offset)
    assert (made.slots, made.slot_bytes, made.updates) == (slots, size, slots > 1)
    places = [offset, offset + SECTOR_BYTES] + [offset + 64 * KB + n * size for n in range(slots)]
    assert [made.state(0), made.state(1), *(made.slot(n) for n in range(slots))] == places
    assert places[-1] + size <= megabytes * MB and size % (64 * KB) == 0
    # As large as can be: 64 KB more in each slot would not fit.
    assert offset + 64 * KB + slots * (size + 64 * KB) > megabytes * MB


@pytest.mark.parametrize("flash_bytes, offset, message", [
    (2 * MB, BOOT_OFFSET, "Flash of 2,097,152 bytes must reach 131,072 beyond its offset 2,097,152 for a slot, but 0 are there"),
    (MB + 64 * KB, MB, "must reach 131,072 beyond its offset 1,048,576 for a slot, but 65,536 are there"),
    (32 * MB, MB, "flash_bytes must be a multiple of 65536 up to 16777216, not 33554432"), (100, 0, "flash_bytes .* not 100"),
    (MB, 100, "flash_offset must be a multiple of 65536 up to 16777216, not 100")])
def test_flash_without_room(flash_bytes, offset, message):
    with pytest.raises(ValueError, match=message):
        layout(flash_bytes, offset)


def test_slot():
    made = slot()
    data = made.to_bytes()
    assert len(data) == made.header.slot_bytes == PAGE_BYTES + 2000 + 4 and data[:4] == b"FLS1"
    assert Header.of(data) == made.header and np.array_equal(np.frombuffer(data[PAGE_BYTES:-4], "<u2"), made.words)
    assert made.header.sha256 == sha256(data[PAGE_BYTES:-4]).digest()
    for part in (data[:PAGE_BYTES], data[PAGE_BYTES:]):             # header and payload end with their own CRCs
        assert crc32(part[:-4]) == int.from_bytes(part[-4:], "little")
    places = (1000, 77, 700, 720, 123_456, 0x89ABCDEF, PAGE_BYTES, 9)       # behind digest and security counter
    assert data[4:16] == bytes.fromhex("EFCDAB8967452301 05000000")
    assert data[16:48] == b"".join(value.to_bytes(4, "little") for value in places)


@pytest.mark.parametrize("field, value, fits", [
    ("words", 1000, True), ("words", 1001, False), ("words", 77, False), ("words", 78, True), ("program", 999, True),
    ("program", 1000, False), ("end", 1000, True), ("end", 1001, False), ("end", 700, False), ("output", 719, True)])
def test_everything_lies_in_storage(field, value, fits):
    header = slot().header
    test = field in ("output", "end")
    changed = replace(header, test=replace(TEST, **{field: value})) if test else replace(header, **{field: value})
    assert changed.fits(1000) is fits


def test_signature_covers_all_but_itself():
    made = slot()
    with_it = made.with_signature(bytes(range(64)))
    page = with_it.to_bytes()[:PAGE_BYTES]
    assert page.startswith(made.header.signed + bytes(range(64))) and with_it.header.signed == made.header.signed
    for field, value in (("digest", 1), ("words", 2), ("program", 3), ("security", 4), ("version", 6), ("name", "other"),
                         ("sha256", bytes(32)), ("test", replace(TEST, cycles=1))):
        assert replace(made.header, **{field: value}).signed != made.header.signed


def test_names_are_cut():
    assert Header.of(slot(name="ü" * 20).to_bytes()).name == "ü" * 16
    assert Header.of(slot(name="x" + "ü" * 20).to_bytes()).name == "x" + "ü" * 15


def test_damaged_header():
    page = slot().to_bytes()[:PAGE_BYTES]
    rng = random.Random(3)
    for _ in range(100):
        bad, bit = bytearray(page), rng.randrange(8 * PAGE_BYTES)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="no header of a slot" if bit < 32 else "the header's CRC is wrong"):
            Header.of(bytes(bad))
    for short in (b"", b"\xff" * PAGE_BYTES, page[:-1]):
        with pytest.raises(ValueError):
            Header.of(short)


def test_state():
    data = STATE.to_bytes()
    assert len(data) == STATE_BYTES == MARK_AT == 32 and data[:4] == b"FLST"
    assert State.of(data) == STATE and State.of(data + b"\0") == STATE
    assert State.of(data[:-1]) is None and State.of(b"\xff" * 4096) is None and State.of(bytes(4096)) is None
    for bit in range(8 * STATE_BYTES):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        assert State.of(bytes(bad)) is None


def test_states_follow_each_other():
    new = STATE.next(trial=False, floor=5)
    assert new == replace(STATE, counter=8, trial=False, floor=5)
    assert newest((STATE, new)) == 1 and newest((new, STATE)) == 0
    assert newest((STATE, None)) == 0 and newest((None, STATE)) == 1 and newest((None, None)) is None
    assert newest((STATE, STATE)) == 0
    with pytest.raises(ValueError, match="must be below 4294967295 to go on"):
        replace(STATE, counter=(1 << 32) - 1).next()


def test_outcome():
    """A word of 16 bits and back."""
    for outcome in (Outcome(), Outcome(slot=2, trial=True, state=True, whys=(Why.NOT_TRIED, Why.TRIAL, Why.NOT_TRIED)),
                    Outcome(slot=0, state=True, whys=(Why.NOT_TRIED, Why.PAYLOAD, Why.SECURITY))):
        assert 0 <= outcome.word < 1 << 16 and Outcome.of(outcome.word) == outcome
    assert Outcome().word == 0x3000 and Outcome(slot=1, trial=True, whys=(Why.LATE, Why.NOT_TRIED, Why.MAGIC)).word == 0x5108
    with pytest.raises(ValueError):
        Outcome.of(0x300F)
