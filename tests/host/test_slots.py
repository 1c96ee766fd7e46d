"""Slots and states written through the link: only what differs, nothing else, and in an order that a cut cannot hurt."""
from dataclasses import replace
import random
from zlib import crc32

import numpy as np
import pytest

from arch.flash import PAGE_BYTES, SECTOR_BYTES
from arch.protocol import Identity
from arch.slots import MARK_AT, Header, SelfTest, Slot, State, layout
from host.device import Device
from host.flash import Flash
from host.link import LinkError
from host.session import Session
from host.slots import Slots, plan
from sim.models.cut_flash import CutFlash, PowerCut
from sim.models.line import FAULTS, FaultyLine

MB = 1 << 20
IDENTITY = Identity(digest=77, storage_words=60_000, clock_khz=140_000, name="reference")
LAYOUT, PAIR = layout(4 * MB, MB // 2), layout(4 * MB, 2 * MB)
STATE = State(counter=7, active=1, fallback=2, trial=False, floor=3)


def image(seed: int, words: int = 9000) -> bytes:
    return Slot.make(np.random.default_rng(seed).integers(0, 1 << 16, words), name="n", digest=77, program=5, security=1,
                     version=seed, test=SelfTest(output=0, end=9, checksum=1, cycles=2)).to_bytes()


def slots_on(chip: CutFlash, rate: float = 0, place=LAYOUT) -> Slots:
    line = FaultyLine(Device(IDENTITY, flash=chip), seed=3, rate=rate, faults=tuple(name for name in FAULTS if name != "reset"))
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(3))
    session.connect()
    return Slots(Flash(session, place.offset), place)


@pytest.fixture
def chip():
    made = CutFlash(4 * MB, seed=5)
    made.bytes[:] = random.Random(1).randbytes(len(made.bytes))                 # used before
    return made


def changed(before: bytes, after: bytes) -> set[int]:
    """Numbers of the sectors that are others."""
    return {start // SECTOR_BYTES for start in range(0, len(before), SECTOR_BYTES)
            if before[start:start + SECTOR_BYTES] != after[start:start + SECTOR_BYTES]}


@pytest.mark.parametrize("rate", [0, 0.1])
def test_a_slot_is_written(chip, rate):
    slots, data, heard = slots_on(chip, rate), image(1, 40_000), []
    slots.write_state(STATE, None)
    slots.write_state(STATE.next(), STATE)
    before, base = bytes(chip.bytes), LAYOUT.slot(1)
    assert slots.header(1) is None
    assert slots.write_slot(1, data, lambda *stage: heard.append(stage)) == len(data)
    assert chip.read(base, len(data)) == data and slots.header(1) == Header.of(data)
    sectors = set(range(base // SECTOR_BYTES, (base + 2 * 65536) // SECTOR_BYTES))              # two blocks
    assert changed(before, bytes(chip.bytes)) - sectors == {LAYOUT.state(0) // SECTOR_BYTES}    # the journal
    assert slots.states() == (STATE, STATE.next())
    assert heard[-1] == ("write", len(data), len(data)) and ("compare", len(data), len(data)) in heard
    for stage in ("compare", "write"):
        counts = [done for name, done, _ in heard if name == stage]
        assert counts == sorted(counts) and counts[0] == 0


def test_only_sectors_that_differ(chip):
    slots, data = slots_on(chip), bytearray(image(1))
    slots.write_state(STATE, None)
    slots.write_state(STATE.next(), STATE)
    slots.write_slot(2, bytes(data))
    slots.write_state(STATE.next().next(), STATE.next())
    chip.changes, sent = 0, slots.flash.session.link.now()
    assert slots.write_slot(2, bytes(data)) == 0 and chip.changes == 0
    unchanged = slots.flash.session.link.now() - sent
    data[3 * SECTOR_BYTES + 5] ^= 1
    assert slots.write_slot(2, bytes(data)) == 2 * SECTOR_BYTES                 # that one and the header's
    assert chip.changes == 1 + 2 * (3 + 16) and chip.read(LAYOUT.slot(2), len(data)) == data
    assert unchanged * 3e6 / 10 < 20 * len(data) / SECTOR_BYTES + 780           # bytes: a request for each sector, states, header


def test_another_header_on_the_same_payload(chip):
    """The CRC of its page says nothing: pages that end with their own CRC have all the same one."""
    slots, data = slots_on(chip), image(1)
    slots.write_slot(1, data)
    header = Header.of(data)
    other = replace(header, version=7, test=replace(header.test, checksum=2)).to_bytes() + data[PAGE_BYTES:]
    assert crc32(other) == crc32(data)
    assert slots.write_slot(1, other) == SECTOR_BYTES and slots.header(1).version == 7


def test_a_sector_that_was_cut_off_is_written_again(chip):
    """Whatever it reads; and a journal that is full begins anew."""
    slots, data = slots_on(chip), image(1)
    for state, before in ((STATE, None), (STATE.next(), STATE)):
        slots.write_state(state, before)
    slots.write_slot(1, data)
    mark = LAYOUT.state(0) + PAGE_BYTES + 3
    for value, cut_off in ((0xFC, False), (0xF8, True), (0xF0, False), (0xE0, True), (0x80, True), (0, False)):
        chip.bytes[mark] = value
        assert (slots.write_slot(1, data) == 2 * SECTOR_BYTES) is cut_off
        assert chip.bytes[mark] == (value & value - 1 if cut_off else value)
    chip.bytes[LAYOUT.slot(1) + 3 * SECTOR_BYTES] ^= 1
    assert slots.write_slot(1, data) == 2 * SECTOR_BYTES and chip.bytes[mark] == 0xFC
    assert chip.read(LAYOUT.slot(1), len(data)) == data
    assert slots.states() == (None, STATE.next())                               # the older one went with the journal


def test_no_cut_leaves_a_header_on_a_wrong_payload(chip):
    old, new = image(1, 3500), image(2, 3500)
    slots_on(chip).write_state(STATE, None)
    slots_on(chip).write_slot(1, old)
    slots_on(chip).write_state(STATE.next(), STATE)
    whole, outcomes = bytes(chip.bytes), set()
    for cut in (0, 0, 1, 2, 9, 15, 16, 17, 18, 19, 33, 34, 34, 34, 35):         # header: 34, as before, in part, or all done
        chip.bytes[:], chip.weak, chip.changes, chip.cut = whole, {}, 0, cut
        chip.power_up()
        with pytest.raises(PowerCut):
            slots_on(chip).write_slot(1, new)
        chip.power_up()
        slots = slots_on(chip)
        header, found = slots.header(1), chip.read(LAYOUT.slot(1), len(old))
        if header is not None:
            assert found in (old, new) or chip.weak
        outcomes.add("old" if found == old else "new" if found == new else "none")
        slots.write_slot(1, new)                                                # goes on
        assert chip.read(LAYOUT.slot(1), len(new)) == new
    assert {"new", "none"} <= outcomes
    chip.bytes[:], chip.changes = whole, 0
    slots_on(chip).write_slot(1, new)
    assert chip.changes == 36                                                   # the last one in the journal


def test_states_are_written_in_turns(chip):
    slots = slots_on(chip)
    assert slots.state() is None and not slots.tried()
    slots.write_state(STATE, None)
    assert slots.states() == (STATE, None) and not slots.tried()
    newer = STATE.next(trial=True)
    slots.write_state(newer, STATE)
    assert slots.states() == (STATE, newer) and slots.state() == newer and not slots.tried()
    chip.bytes[LAYOUT.state(1) + MARK_AT] = 0xFE                                # half programmed
    assert slots.tried()
    slots.write_state(newer.next(), newer)
    assert slots.states() == (newer.next(), newer)
    with pytest.raises(LinkError, match="The state in flash has changed meanwhile: does another host"):
        slots.write_state(newer.next(), newer)


def test_a_state_that_counts_stays_until_the_next_one_does(chip):
    slots_on(chip).write_state(STATE, None)
    newer, whole = STATE.next(active=2), bytes(chip.bytes)
    for cut in (0, 1) * 20:
        chip.bytes[:], chip.weak, chip.changes, chip.cut = whole, {}, 0, cut
        chip.power_up()
        with pytest.raises(PowerCut):
            slots_on(chip).write_state(newer, STATE)
        chip.power_up()
        assert slots_on(chip).state() in (STATE, newer)


@pytest.mark.parametrize("place, changes, booted, target, kept", [
    (LAYOUT, None, None, 1, 0), (LAYOUT, None, 0, 1, 0), (LAYOUT, None, 1, 2, 1), (LAYOUT, {}, 1, 2, 1), (LAYOUT, {}, None, 2, 1),
    (LAYOUT, {"active": 2, "fallback": 1}, 2, 1, 2), (LAYOUT, {"active": 0, "fallback": 0}, 0, 1, 0),
    (LAYOUT, {}, 2, 1, 2), (LAYOUT, {}, 0, 1, 0),                                               # the active one failed
    # On trial: the same again, whatever runs.
    (LAYOUT, {"trial": True}, 2, 1, 2), (LAYOUT, {"trial": True}, 1, 1, 2), (LAYOUT, {"trial": True}, 0, 1, 0),
    (LAYOUT, {"active": 2, "fallback": 1, "trial": True}, 0, 2, 0),
    (LAYOUT, {"active": 2, "fallback": 1, "trial": True}, 1, 2, 1),
    (PAIR, None, None, 1, 0), (PAIR, {"active": 0, "fallback": 0}, 0, 1, 0), (PAIR, {"active": 1, "fallback": 0}, 1, 0, 1),
    (PAIR, {"active": 0, "fallback": 1, "trial": True}, 1, 0, 1), (PAIR, {"active": 0, "fallback": 1, "trial": True}, 0, 0, 1)])
def test_the_slot_that_an_update_replaces(place, changes, booted, target, kept):
    state = None if changes is None else replace(STATE, **changes)
    assert plan(place, state, booted) == (target, kept)


def test_nothing_outside_of_what_belongs_to_the_slots(chip):
    slots = slots_on(chip)
    before = bytes(chip.bytes)
    size = LAYOUT.slot_bytes
    with pytest.raises(ValueError, match=f"Data of a slot must be at most {size} bytes, not {size + 1}"):
        slots.write_slot(1, bytes(size + 1))
    for work in (lambda: slots.flash.program(MB // 2 - PAGE_BYTES, b"x"), lambda: slots.flash.erase_sector(0),
                 lambda: slots.flash.erase_sector(MB // 2 + 1), lambda: slots.flash.erase_block(MB // 2 + SECTOR_BYTES)):
        with pytest.raises(ValueError, match="Address in flash must be a multiple of .* of 524288"):
            work()
    assert not changed(before, bytes(chip.bytes))
