"""The boot's reference: candidates in order, every reason, marks, and that a slot which was whole is found."""
from dataclasses import replace
import random

import numpy as np
import pytest

from arch.flash import BLOCK_BYTES
from arch.slots import MARK_AT, STATE_BYTES, Outcome, State, Why, layout
from golden.boot import boot, candidates
from tests.golden.flashes import DIGEST, KINDS, LAYOUT, STORAGE_WORDS, Flash, damage, program, random_flash, slot

STATE = State(counter=7, active=2, fallback=1, trial=True, floor=5)


def booted(flash, storage=None, digest=DIGEST):
    storage = np.zeros(STORAGE_WORDS, np.uint16) if storage is None else storage
    return boot(flash.read, flash.layout, digest=digest, storage=storage, run=lambda address: program(storage, address))


def whys(**by_slot) -> tuple[Why, ...]:
    return tuple(by_slot.get(name, Why.NOT_TRIED) for name in ("factory", "a", "b"))


@pytest.mark.parametrize("state, marked, slots, order", [
    (None, False, 3, [0, 1, 2]), (None, False, 2, [0, 1]), (STATE, False, 3, [2, 1, 0]), (STATE, True, 3, [1, 0, 2]),
    (replace(STATE, trial=False), True, 3, [2, 1, 0]), (replace(STATE, fallback=2), True, 3, [2, 0, 1]),
    (replace(STATE, active=7, fallback=255), False, 3, [0, 1, 2]), (STATE, False, 2, [1, 0]),
    (replace(STATE, active=1, fallback=1, trial=False), False, 3, [1, 0, 2]), (STATE, False, 1, [0])])
def test_candidates(state, marked, slots, order):
    assert candidates(state, marked, slots) == order


def test_blank_flash():
    found = booted(Flash())
    assert found.outcome == Outcome(whys=(Why.MAGIC,) * 3) and found.header is None and found.mark is None


def test_an_update_and_what_follows():
    """Factory alone; A on trial; its second boot without confirmation; confirmed; and its payload lost then."""
    flash, storage = Flash(), np.arange(STORAGE_WORDS, dtype=np.uint16)
    flash.slot(0, slot(value=1, security=0))
    assert booted(flash).outcome == Outcome(slot=0)
    flash.slot(1, new := slot(value=2, words=100))
    flash.state(1, State(counter=1, active=1, fallback=0, trial=True, floor=3))
    first = booted(flash, storage)
    assert first.outcome == Outcome(slot=1, trial=True, state=True) and first.mark == LAYOUT.state(1) + MARK_AT
    assert first.header == new.header and np.array_equal(storage[:100], new.words)
    assert storage[300:305].tolist() == [2, 3, 4, 5, 6] and storage[305] == 305
    flash.write(first.mark, b"\0")
    second = booted(flash)
    assert second.outcome == Outcome(slot=0, state=True, whys=whys(a=Why.TRIAL)) and second.mark is None
    flash.state(0, State(counter=2, active=1, fallback=0, trial=False, floor=5))
    assert booted(flash).outcome == Outcome(slot=1, state=True)
    damage(random.Random(1), flash, 1, "payload")
    assert booted(flash).outcome == Outcome(slot=0, state=True, whys=whys(a=Why.PAYLOAD))


def test_a_trial_without_confirmation_is_the_last_resort():
    flash = Flash()
    flash.slot(2, slot())
    flash.state(0, STATE, mark=0x7F)                            # half programmed is programmed
    assert booted(flash).outcome == Outcome(slot=2, trial=True, state=True, whys=(Why.MAGIC, Why.MAGIC, Why.NOT_TRIED))


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason(kind):
    expected = {"fault": Why.OUTPUT}.get(kind) or Why[kind.upper()]
    for seed in range(12):
        flash = Flash()
        damage(random.Random(seed), flash, 2, kind)
        flash.slot(1, slot())
        flash.state(0, STATE)
        found = booted(flash)
        assert found.outcome == Outcome(slot=1, state=True, whys=whys(b=expected)), (kind, seed)
        assert found.mark == LAYOUT.state(0) + MARK_AT          # before it was tried


def test_the_factory_is_exempt_from_the_floor():
    flash = Flash()
    for number in range(3):
        flash.slot(number, slot(security=4))
    flash.state(0, STATE)
    assert booted(flash).outcome == Outcome(slot=0, state=True, whys=whys(a=Why.SECURITY, b=Why.SECURITY))
    assert booted(flash, digest=1).outcome.whys == (Why.GEOMETRY,) * 3


def test_an_old_result_does_not_pass():
    """What a boot before has left in storage is no result of this one."""
    flash, storage = Flash(), np.zeros(STORAGE_WORDS, np.uint16)
    flash.slot(0, slot())
    assert booted(flash, storage).outcome.slot == 0
    idle = slot()
    idle.words[11] = 0                                          # its program writes nothing
    flash.slot(0, idle)
    assert booted(flash, storage).outcome.whys[0] is Why.OUTPUT and not storage[300:305].any()


def test_damaged_states():
    """Any bit: the other sector's record counts, which names other slots."""
    flash = Flash()
    for number in range(3):
        flash.slot(number, slot(value=number))
    flash.state(0, replace(STATE, counter=6, active=1, trial=False))
    for bit in range(8 * STATE_BYTES):
        flash.state(1, STATE)
        assert booted(flash).outcome.slot == 2
        at = LAYOUT.state(1) + bit // 8
        flash.write(at, bytes([flash.bytes[at] ^ 1 << bit % 8]))
        found = booted(flash)
        assert found.outcome == Outcome(slot=1, state=True) and found.mark is None


def test_two_slots():
    flash = Flash(layout(2 << 20, BLOCK_BYTES * 14))
    assert flash.layout.slots == 2
    flash.slot(1, slot())
    assert booted(flash).outcome == Outcome(slot=1, whys=whys(factory=Why.MAGIC))
    flash.state(0, STATE)                                       # whose active slot is not there
    assert booted(flash).outcome == Outcome(slot=1, state=True)


def test_a_slot_that_is_whole_is_booted():
    """Of random flashes: nothing boots only if each slot has its reason, and every reason is met."""
    met = set()
    for seed in range(400):
        flash = random_flash(seed)
        outcome = booted(flash).outcome
        met |= set(outcome.whys)
        assert (outcome.slot is None) == all(outcome.whys), seed
    assert met == set(Why)
