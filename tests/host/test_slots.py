"""Slots and states written through the link: only what differs, nothing else, and in an order that a cut cannot hurt."""
from dataclasses import replace
import random

import numpy as np
import pytest

from arch.flash import PAGE_BYTES, SECTOR_BYTES
from arch.protocol import Identity
from arch.slots import MARK_AT, Header, SelfTest, Slot, State, layout
from host.device import Device
from host.flash import Flash
from host.link import LinkError
from host.session import Session
from host.slots import Slots, target_of
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


@pytest.mark.parametrize("rate", [0, 0.1])
def test_a_slot_is_written(chip, rate):
    slots, data, before, heard = slots_on(chip, rate), image(1, 40_000), bytes(chip.bytes), []
    base = LAYOUT.slot(1)
    assert slots.header(1) is None
    assert slots.write_slot(1, data, lambda stage, done: heard.append((stage, done))) == len(data)
    assert chip.read(base, len(data)) == data and slots.header(1) == Header.of(data)
    end = base + 2 * 65536                                                      # all erased together
    assert chip.read(0, base) == before[:base] and chip.read(end) == before[end:]
    assert heard[-1] == ("write", len(data)) and ("compare", len(data)) in heard
    for stage in ("compare", "write"):
        counts = [done for name, done in heard if name == stage]
        assert counts == sorted(counts) or stage == "write" and counts[-2] == 0          # the header's sector is the last


def test_only_sectors_that_differ(chip):
    slots, data = slots_on(chip), bytearray(image(1))
    slots.write_slot(2, bytes(data))
    chip.changes, sent = 0, slots.flash.session.link.now()
    assert slots.write_slot(2, bytes(data)) == 0 and chip.changes == 0
    unchanged = slots.flash.session.link.now() - sent
    data[3 * SECTOR_BYTES + 5] ^= 1
    assert slots.write_slot(2, bytes(data)) == 2 * SECTOR_BYTES                 # that one and the header's
    assert chip.changes == 1 + 2 + 2 * 16 and chip.read(LAYOUT.slot(2), len(data)) == data
    assert 2 * 10 / 3e6 < unchanged / len(data) < 2.2 * 10 / 3e6                # of each byte two are sent


def test_no_cut_leaves_a_header_on_a_wrong_payload(chip):
    old, new = image(1, 3500), image(2, 3500)
    slots_on(chip).write_slot(1, old)
    whole, outcomes = bytes(chip.bytes), set()
    for cut in [0] * 20 + list(range(1, 31, 2)) + [31] * 20:             # the first and the last may be as if not or all done
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
    assert outcomes == {"old", "new", "none"}
    chip.bytes[:], chip.changes = whole, 0
    slots_on(chip).write_slot(1, new)
    assert chip.changes == 32


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


@pytest.mark.parametrize("place, changes, booted, target", [
    (LAYOUT, None, None, 1), (LAYOUT, None, 0, 1), (LAYOUT, None, 1, 2), (LAYOUT, {}, 1, 2), (LAYOUT, {}, None, 2),
    (LAYOUT, {"active": 2, "fallback": 1}, 2, 1), (LAYOUT, {"active": 0, "fallback": 0}, 0, 1),
    (LAYOUT, {"trial": True}, 2, 1), (LAYOUT, {"trial": True}, 1, 1), (LAYOUT, {"trial": True}, 0, 1),     # goes on
    (LAYOUT, {"active": 2, "fallback": 1, "trial": True}, 0, 2), (LAYOUT, {"active": 2, "fallback": 1, "trial": True}, 1, 2),
    (LAYOUT, {}, 2, 1), (LAYOUT, {}, 0, 1),                                                     # the active one failed
    (PAIR, None, None, 1), (PAIR, {"active": 0, "fallback": 0}, 0, 1), (PAIR, {"active": 1, "fallback": 0}, 1, 0),
    (PAIR, {"active": 0, "fallback": 1, "trial": True}, 1, 0), (PAIR, {"active": 0, "fallback": 1, "trial": True}, 0, 0)])
def test_the_slot_that_an_update_replaces(place, changes, booted, target):
    state = None if changes is None else replace(STATE, **changes)
    assert target_of(place, state, booted) == target


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
    assert bytes(chip.bytes) == before
