# amaranth: UnusedElaboratable=no
"""Boot from flash: slots, marks, storage and reasons are the reference's, whatever flash holds."""
from dataclasses import replace
import random
from zlib import crc32

import numpy as np
import pytest

from arch.flash import BLOCK_BYTES, SECTOR_BYTES, Command, Status
from arch.slots import MARK_AT, Outcome, State, Why, layout
from golden.boot import boot
from hw.link.spi import SpiMaster
from sim.models.flash import FlashChip
from tests.golden.flashes import DIGEST, KINDS, LAYOUT, STORAGE_WORDS, Flash, damage, program, random_flash, slot, wrong_sizes
from tests.hw.link.boot_bench import Bench, boots, design_of

RANDOM = 25                             # flashes; twice as many boots


@pytest.fixture(scope="module")
def design():
    return design_of(LAYOUT)


def check(design, flash: Flash, note="") -> list:
    """Two boots, one after the other, in gates as in Python; returns what they came to."""
    storage, twin, outcomes = np.zeros(STORAGE_WORDS, np.uint16), Flash(flash.layout), []
    twin.bytes[:] = flash.bytes
    for turn, found in enumerate(boots(design, flash, 2)):
        expected = boot(twin.read, twin.layout, digest=DIGEST, storage=storage, run=lambda address: program(storage, address))
        if expected.mark is not None:
            twin.write(expected.mark, b"\0")
        outcomes.append(expected.outcome)
        assert found.outcome == expected.outcome, (note, turn)
        assert found.booted is (expected.header is not None), (note, turn)
        assert found.program == (expected.header.program if expected.header else 0), (note, turn)
        assert found.states == tuple(twin.read(twin.layout.state(sector), 40) for sector in (0, 1)), (note, turn)
        different = np.flatnonzero(found.storage != storage)
        assert not len(different), (note, turn, different)
    return outcomes


def test_blank(design):
    assert check(design, Flash())[0].slot is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason(design, kind):
    flash = Flash()
    damage(random.Random(kind), flash, 2, kind)
    flash.slot(1, slot(words=STORAGE_WORDS, at=500) if kind == "late" else slot())
    flash.state(0, State(counter=1, active=2, fallback=1, trial=True, floor=5))
    assert [outcome.slot for outcome in check(design, flash, kind)] == [1, 1]


def test_wrong_sizes(design):
    """Each, in a slot that is whole otherwise."""
    whole = slot()
    wrong = wrong_sizes(whole)
    for first in range(0, len(wrong), 3):
        flash = Flash()
        for number, fields in enumerate(wrong[first:first + 3]):
            flash.slot(number, replace(whole, header=replace(whole.header, **fields)))
        assert check(design, flash, wrong[first:first + 3])[0].whys == (Why.SIZE,) * 3


def test_random_flashes(design):
    slots = [check(design, random_flash(seed), seed)[0].slot for seed in range(RANDOM)]
    assert set(slots) == {None, 0, 1, 2}


def test_two_slots_and_a_busy_flash():
    """Of a small flash. One that erases while the board is reset is waited for; one that does not end with it is given up."""
    small = layout(2 << 20, 14 * BLOCK_BYTES)
    assert small.slots == 2
    pair = design_of(small, erase_cycles=80_000)
    for seed in range(6):
        check(pair, random_flash(seed, small), seed)
    flash = Flash(small)
    flash.slot(1, slot())
    for left, booted in ((25_000, True), (78_000, False)):
        with Bench(pair, flash) as bench:
            assert bench.boot().outcome.slot == 1
            bench.exchange(Command.WRITE_ENABLE)
            bench.exchange(Command.ERASE_BLOCK, 0)
            bench.sim.step(80_000 - left)
            bench.reset()
            assert bench.boot().booted is booted
            bench.sim.step(left)
            bench.reset()
            assert bench.boot().outcome.slot == 1


def test_a_long_self_test(design):
    """Its time is counted with 32 bits, and compared half by half."""
    flash = Flash()
    for number, made in enumerate((slot(cycles=65_535, most=60_000), slot(cycles=65_535, most=(1 << 17) - 1))):
        flash.slot(number, made)
    assert [outcome.slot for outcome in check(design, flash)] == [1, 1]


def test_reset_at_any_time(design):
    """In the middle of the mark too: the next boot is that of what flash holds then."""
    flash, marks = Flash(), set()
    for number in range(3):
        flash.slot(number, slot(value=number))
    flash.state(1, State(counter=1, active=2, fallback=1, trial=True, floor=5))
    for cycles in (9000, 15_000, 21_000, *range(22_000, 26_000, 250), 40_000):
        with Bench(design, flash) as bench:
            bench.sim.advance(cycles, high="stops")
            bench.reset()
            found = bench.boot()
        marked = found.states[1][MARK_AT]
        assert (found.outcome.slot, found.outcome.trial, marked) in ((2, True, 0), (1, False, 0))
        marks.add(found.outcome.slot)
    assert marks == {1, 2}


def test_scans(design):
    """Between exchanges, and after a boot that found something and one that did not."""
    flash, rng = Flash(), np.random.default_rng(3)
    sectors = 3 * SECTOR_BYTES, LAYOUT.flash_bytes - SECTOR_BYTES
    for address in sectors:
        flash.write(address, rng.bytes(SECTOR_BYTES))
    for booted in (False, True):
        with Bench(design, flash) as bench:
            before = bench.boot()
            assert before.booted is booted
            for address in (*sectors, 4 * SECTOR_BYTES, LAYOUT.state(0), sectors[0]):
                data = flash.read(address, SECTOR_BYTES)
                assert bench.scan(address) == crc32(data)
                assert bench.exchange(Command.READ, address + 4000, 50)[4:] == data[4000:4050]
            assert (bench.sim.get("program"), Outcome.of(bench.sim.get("outcome"))) == (before.program, before.outcome)
            bench.reset()
            assert bench.boot().outcome == before.outcome
        flash.slot(0, slot())


def test_the_chip_is_the_references(design):
    """Exchanges after the boot, with the flash in Verilog and in Python: every byte that comes back is the same."""
    twin, rng = FlashChip(), np.random.default_rng(7)
    twin.exchange(bytes([Command.RELEASE]))
    with design.simulate() as sim:
        sim.run_until(high="over", deadline=200_000)
        sim.beats("back")

        def both(*sent: int, rest: bytes = b"") -> bytes:
            data = bytes(sent) + rest
            sim.feed("exchange", [byte | (n == len(data) - 1) << 8 for n, byte in enumerate(data)])
            sim.run_until(drained="exchange", deadline=100_000)
            sim.step(100)
            back = sim.beats("back").payload[:, 0].tobytes()
            assert back[1:] == twin.exchange(data)[1:], data.hex()
            return back

        def ready():
            while sim_busy():
                pass
            twin.busy, twin.enabled = 0, False

        def sim_busy() -> int:
            sim.feed("exchange", [Command.STATUS, 1 << 8])
            sim.run_until(drained="exchange", deadline=1000)
            sim.step(100)
            return sim.beats("back").payload[-1, 0] & Status.BUSY

        both(Command.IDENTIFY, 0, 0, 0)
        page = rng.integers(0, 256, 256, dtype=np.uint8).tobytes()
        both(Command.PROGRAM, 1, 0, 0, rest=page)                           # not enabled
        both(Command.READ, 1, 0, 0, rest=bytes(5))
        for start, part in ((0, page), (0x1F0, page[:40]), (0, page[::-1])):        # wraps in its page; bits are only cleared
            both(Command.WRITE_ENABLE)
            assert both(Command.STATUS, 0)[1] == Status.WRITE_ENABLED
            both(Command.PROGRAM, 1, *start.to_bytes(2, "big"), rest=part)
            assert both(Command.STATUS, 0)[1] == Status.BUSY | Status.WRITE_ENABLED
            twin.busy = 1
            both(Command.READ, 1, 0, 0, rest=bytes(3))                      # busy
            ready()
            both(Command.READ, 0, 0xFF, 0xFE, rest=bytes(600))
        for start in (0x0FF0, 0x1000):                                      # on both sides of a sector's end
            both(Command.WRITE_ENABLE)
            both(Command.PROGRAM, 1, *start.to_bytes(2, "big"), rest=page[:16])
            ready()
        both(Command.WRITE_ENABLE)
        both(Command.ERASE_SECTOR, 1, 0x02, 3)
        ready()
        assert both(Command.READ, 1, 0x0F, 0xF0, rest=bytes(40))[4:20] == b"\xff" * 16
        both(Command.WRITE_ENABLE)
        both(Command.ERASE_BLOCK, 1, 2, 3)
        ready()
        assert both(Command.READ, 1, 0, 0, rest=bytes(300))[4:] == b"\xff" * 300


@pytest.mark.parametrize("make, message", [
    (lambda: SpiMaster(1), "Half a period must be at least 2 cycles, not 1"),
])
def test_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
