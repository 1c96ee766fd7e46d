# amaranth: UnusedElaboratable=no
"""The DMA alone: random transfers of all kinds at once, every value and every cycle; faults; clear in the middle of anything."""
from dataclasses import replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.instruction import Opcode, PixelTransfer, Transfer, storage_words
from golden.cycles.streams import Readiness
from hw.dma.dma import Dma
from tests.hw.dma.dma_bench import DmaBench, Work, formula, small
from tests.hw.storage.sdram_bench import REAL, STRESS

ROWS = replace(REAL, row_bits=3, column_bits=9, power_up=600)     # few rows; started after all are loaded
BENCHES = {"stress": (small(4), STRESS), "ram": (small(8), 3072), "rows": (small(16, activation_words=1024), ROWS)}


@cache
def made(name: str) -> DmaBench:
    """Each bench is made once: that takes longer than its tests."""
    return DmaBench(*BENCHES[name])


@pytest.fixture(scope="module", params=BENCHES)
def bench(request) -> DmaBench:
    return made(request.param)


def patterns():
    def pattern(seed, share, hold):
        bits = np.repeat(np.random.default_rng(seed).random(97) < share, hold)
        return Readiness(np.append(bits, True))
    return st.one_of(st.just(Readiness()), st.builds(
        pattern, st.integers(0, 1 << 30), st.sampled_from([0.02, 0.3, 0.9]), st.sampled_from([1, 20])))


def _runs(draw, words: int, limit: int) -> tuple[int, int, int]:
    """Start, step and number of runs of `words` words inside `limit` words."""
    start = draw(st.integers(0, limit - words))
    runs = draw(st.integers(1, 5))
    step = draw(st.integers(0, (limit - words - start) // max(runs - 1, 1)))
    return start, step, runs


@st.composite
def transfers(draw, bench: DmaBench, opcode: Opcode) -> Transfer:
    g = bench.geometry
    size = storage_words(g, opcode)
    memory = {Opcode.LOAD_WEIGHTS: g.weight_words, Opcode.LOAD_PARAMETERS: g.parameter_words}.get(opcode, g.activation_words)
    most = min(memory, bench.words // size)
    words = draw(st.one_of(st.integers(1, 6), st.integers(1, min(most, 1500 // size))))
    chip, chip_step, runs = _runs(draw, words, memory)
    storage, storage_step, more = _runs(draw, words * size, bench.words)
    runs = min(runs, more)
    return Transfer(storage=storage, storage_step=storage_step, chip=chip, chip_step=chip_step, words=words, runs=runs)


@st.composite
def pixel_transfers(draw, bench: DmaBench) -> PixelTransfer:
    channels = draw(st.integers(1, 4))
    width = draw(st.one_of(st.integers(1, 9), st.integers(1, 1023)))
    size = -(-width * channels // 2)
    storage, step, rows = _runs(draw, min(size, bench.words), bench.words)
    return PixelTransfer(storage=storage, storage_step=step, width=width, channels=channels, rows=rows)


@st.composite
def loads(draw, bench: DmaBench):
    opcode = draw(st.sampled_from([Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS]))
    return opcode, draw(pixel_transfers(bench) if opcode is Opcode.LOAD_PIXELS else transfers(bench, opcode))


@st.composite
def works(draw, bench: DmaBench) -> Work:
    fetches = st.builds(lambda at, length: (at, min(length, bench.words - at)), st.integers(0, bench.words - 1),
                        st.one_of(st.integers(1, 4), st.integers(1, 512)))
    work = Work(loads=draw(st.lists(loads(bench), max_size=6)),
                stores=draw(st.lists(transfers(bench, Opcode.STORE), max_size=4)), fetches=draw(st.lists(fetches, max_size=6)))
    work.patterns = {name: draw(patterns()) for name in ("load", "store", "fetch", "pixels")}
    return work


@settings(max_examples=40, deadline=None, print_blob=True)
@given(data=st.data(), seed=st.integers(0, 1 << 30))
def test_every_word_in_its_cycle(bench, data, seed):
    bench.check(data.draw(works(bench)), seed)


def plain(opcode: Opcode, storage: int, *, step: int = 0, chip: int = 0, chip_step: int = 0, words: int = 4, runs: int = 1):
    return opcode, Transfer(storage=storage, storage_step=step, chip=chip, chip_step=chip_step, words=words, runs=runs)


@pytest.fixture(scope="module")
def ram() -> DmaBench:
    return made("ram")


def dump(bench: DmaBench, sim) -> np.ndarray:
    """What storage holds, fetched."""
    sim.beats("fetched")
    sim.feed("fetch", [bench.payload("fetch", (at, 512)) for at in range(0, bench.words, 512)], np.ones(1, bool))
    sim.step(3 * bench.words + 3000)
    return sim.beats("fetched").payload.view("<u2")[:, 0]


def again(bench: DmaBench, sim) -> np.ndarray:
    """After a clear: a fetch, a load and a store give what they should. Returns what storage held before."""
    contents = dump(bench, sim)
    for name in bench.design.rtl.boundaries:
        sim.beats(name)
    size, words = storage_words(bench.geometry, Opcode.LOAD_WEIGHTS), 20
    work = Work(loads=[plain(Opcode.LOAD_WEIGHTS, 64, words=words)], stores=[plain(Opcode.STORE, 1024, chip=5, words=words)[1]])
    bench.feed(sim, work)
    sim.step(1500)
    assert sim.get("idle") and len(sim.beats("load_done")) == len(sim.beats("store_done")) == 1
    found = sim.beats("weights").payload
    bits = (bench.geometry.weight_words - 1).bit_length()
    expected = [n | int.from_bytes(contents[64 + n * size:64 + (n + 1) * size].tobytes(), "little") << bits for n in range(words)]
    assert [int.from_bytes(row.tobytes(), "little") for row in found] == expected
    half = bench.geometry.input_lanes // 2
    stored = [formula(5 + n // half, n % half) for n in range(words * half)]
    assert dump(bench, sim)[1024:1024 + len(stored)].tolist() == stored
    return contents


FAULTS = {
    "weights beyond their memory": (plain(Opcode.LOAD_WEIGHTS, 0, chip=509), 1, 0),
    "parameters, second run": (plain(Opcode.LOAD_PARAMETERS, 0, chip=8, chip_step=501, runs=2), 1, 4),
    "activations, step": (plain(Opcode.LOAD_ACTIVATIONS, 0, chip=508, chip_step=1, runs=3), 1, 4),
    "beyond storage": (plain(Opcode.LOAD_ACTIVATIONS, 3072 - 15, words=4), 2, 0),
    "beyond storage, third run": (plain(Opcode.LOAD_ACTIVATIONS, 16, step=1600, words=4, runs=3), 2, 8),
    "storage address with a carry": (plain(Opcode.LOAD_ACTIVATIONS, 16, step=(1 << 24) - 1, words=4, runs=2), 2, 4),
    "pixels beyond storage": (
        (Opcode.LOAD_PIXELS, PixelTransfer(storage=3060, storage_step=12, width=8, channels=3, rows=2)), 2, 8),
    "stored from beyond": (plain(Opcode.STORE, 1100, chip=510), 3, 0),
    "stored below the region": (plain(Opcode.STORE, 999), 4, 0),
    "stored above the region": (plain(Opcode.STORE, 1000, step=285, words=4, runs=2), 4, 16),
    "long store above the region": (plain(Opcode.STORE, 1000, words=76), 4, 0)}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(ram, name):
    (opcode, body), code, moved = FAULTS[name]
    contents = np.random.default_rng(5).integers(0, 1 << 16, ram.words, dtype=np.uint16)
    with ram.simulate(contents, region=(1000, 300)) as sim:
        sim.beats("take")
        follows = plain(Opcode.LOAD_WEIGHTS, 0)
        ram.feed(sim, Work(stores=[body]) if opcode is Opcode.STORE else Work(loads=[(opcode, body), follows]))
        sim.step(400)
        assert sim.get("fault") == 1 | code << 1
        assert not sim.get("idle")
        assert sum(len(sim.beats(one)) for one in ("weights", "parameters", "activations", "pixels", "take")) == moved
        sim.set("clear", 1)
        sim.set("drop", 1)
        sim.step(1)
        sim.set("clear", 0)
        sim.step(2)
        sim.run_until(high="idle", deadline=100)
        sim.set("drop", 0)
        assert not sim.get("fault") & 1
        sim.set("store_base", 0)
        sim.set("store_words", ram.words)
        held = again(ram, sim)
        np.testing.assert_array_equal(held[:1000], contents[:1000])
        np.testing.assert_array_equal(held[1300:], contents[1300:])


@settings(max_examples=30, deadline=None, print_blob=True)
@given(data=st.data(), seed=st.integers(0, 1 << 30), cycle=st.integers(0, 2000), high=st.sampled_from([1, 2, 50]))
@pytest.mark.parametrize("kind", ["stress", "ram"])
def test_clear_in_the_middle_of_anything(kind, data, seed, cycle, high):
    bench = made(kind)
    work = data.draw(works(bench))
    contents = np.random.default_rng(seed).integers(0, 1 << 16, bench.words, dtype=np.uint16)
    with bench.simulate(contents) as sim:
        bench.feed(sim, work)
        sim.step(cycle + (bench.storage.ready if bench.sdram else 0))
        sim.set("clear", 1)
        sim.set("drop", 1)
        sim.step(2)
        sim.set("clear", high > 1)
        sim.step()                  # units are in reset from here on
        for name in ("weights", "parameters", "activations", "pixels", "fetched", "load_done", "store_done", "activation_reads"):
            sim.beats(name)
        sim.step(high - 1)
        sim.set("clear", 0)
        for name, _ in work.queues:
            sim.feed(name, [], np.ones(1, bool))
        sim.step(20)
        sim.run_until(high="idle", deadline=3000)
        sim.set("drop", 0)
        for name in ("weights", "parameters", "activations", "pixels", "fetched", "load_done", "store_done", "activation_reads"):
            assert not len(sim.beats(name)), f"{name}, seed {seed}"
        held = again(bench, sim)
    written = np.zeros(bench.words, bool)
    for one in work.stores:
        for run in range(one.runs):
            written[one.storage + run * one.storage_step:][:one.words * storage_words(bench.geometry, Opcode.STORE)] = True
    np.testing.assert_array_equal(held[~written], contents[~written], f"seed {seed}")


@pytest.mark.parametrize("sizes, message", [
    ({"address_bits": 0}, "Address bits of storage must be at least 1, not 0"),
    ({"address_bits": 12, "storage_words": 4097}, "Words of storage must be 1..4096, not 4097"),
    ({"address_bits": 25, "storage_words": 0}, "Words of storage must be 1..33554432, not 0")])
def test_refuses_other_storage(sizes, message):
    with pytest.raises(ValueError, match=message):
        Dma(small(4), **sizes)


def test_takes_chips_of_more_words_than_addresses():
    assert Dma(small(4), address_bits=29).words == 1 << 28
