# amaranth: UnusedElaboratable=no
"""Coded loads through the DMA, beside all others: every value and every cycle; damaged blocks; clear in the middle."""
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer, storage_words
from arch.transfer import LOAD_BACK, LOADS_AT_ONCE, TransferFault
from arch.weight_stream import Fault
from golden.cycles import coded as coded_cycles
from golden.cycles.streams import Readiness
from hw.sequencer.sequencer import fault_layout
from sim import coded_loads
from sim.coded_loads import LoadsBench, fuzz_loads
from sim.damage import DamageError, random_blocks
from tests.hw.dma.dma_bench import DmaBench, Work
from tests.hw.dma.test_dma import again
from tests.hw.storage.sdram_bench import STRESS

OPTIONS = {"activation_words": 512, "weight_words": 512, "options": ("decoder",)}
BENCHES = {"ram, 2 lanes": (Geometry(input_lanes=8, output_lanes=4, **OPTIONS), 16384),
           "sdram, 4 lanes": (Geometry(input_lanes=16, output_lanes=8, decoder_lanes=4, **OPTIONS),
                              replace(STRESS, row_bits=6, column_bits=6, power_up=1200))}


@cache
def made(name: str) -> DmaBench:
    return DmaBench(*BENCHES[name])


class Coder:
    """Blocks of weights and tables, one behind the other from word `at` of storage on, and the loads that bring them."""

    def __init__(self, geometry: Geometry, rng: np.random.Generator, at: int, end: int):
        self.geometry, self.rng, self.at, self.end = geometry, rng, at, end
        self.stored: dict[int, np.ndarray] = {}
        self.weights: list[np.ndarray] = []

    def _place(self, words: np.ndarray) -> int | None:
        if self.at + len(words) > self.end:
            return None
        self.stored[self.at] = words
        self.at += len(words) + int(self.rng.integers(0, 5))
        return self.at

    def loads(self, count: int, most: int) -> list[tuple[Opcode, CodedTransfer]]:
        """A table and blocks of up to `most` words of weight memory, as far as there is room."""
        eights = self.geometry.input_lanes // 4
        weights, table, blocks, _ = random_blocks(self.rng, count, most, masked=bool(self.rng.integers(2)), multiple=eights)
        found = []
        for words, own in [(table, None), *zip(blocks, weights, strict=True)]:
            at = self.at
            if self._place(words) is None:
                break
            chip_words = 0 if own is None else own.size // 8 // eights
            chip = int(self.rng.integers(0, self.geometry.weight_words - chip_words + 1))
            chip = min(chip, self.geometry.weight_words - 1)
            found.append((Opcode.LOAD_CODED, CodedTransfer(storage=at, words=len(words), chip=chip, chip_words=chip_words)))
            self.weights += [] if own is None else [own]
        return found


def others(rng: np.random.Generator, bench: DmaBench, opcode: Opcode, end: int) -> Transfer | PixelTransfer:
    """A transfer of another kind, of storage below `end`."""
    g, small = bench.geometry, bool(rng.integers(2))
    if opcode is Opcode.LOAD_PIXELS:
        width, channels = int(rng.integers(1, 9 if small else 400)), int(rng.integers(1, 5))
        return PixelTransfer(storage=int(rng.integers(0, end - 1600)), storage_step=int(rng.integers(0, 300)), width=width,
                             channels=channels, rows=int(rng.integers(1, 4)))
    memory = {Opcode.LOAD_WEIGHTS: g.weight_words, Opcode.LOAD_PARAMETERS: g.parameter_words}.get(opcode, g.activation_words)
    words = int(rng.integers(1, 6 if small else min(800 // storage_words(g, opcode), 100)))
    return Transfer(storage=int(rng.integers(0, end - 1700)), storage_step=int(rng.integers(0, 800)),
                    chip=int(rng.integers(0, memory - 2 * words)), chip_step=int(rng.integers(0, words)), words=words,
                    runs=int(rng.integers(1, 3)))


def pattern(rng: np.random.Generator) -> Readiness:
    if rng.integers(2):
        return Readiness()
    return Readiness(np.append(np.repeat(rng.random(97) < rng.choice([0.05, 0.3, 0.9]), rng.choice([1, 20])), True))


def drawn(bench: DmaBench, seed: int, *, most: int = 120) -> Work:
    """Coded loads, in a few groups with a table each, among others; stores and fetches."""
    rng = np.random.default_rng(seed)
    border = bench.words // 3
    coder, loads = Coder(bench.geometry, rng, border, bench.words), []
    plain = [Opcode.LOAD_WEIGHTS, Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS]
    share = float(rng.choice([0, 0.3, 0.7]))
    for _ in range(int(rng.integers(1, 4))):
        for one in coder.loads(int(rng.integers(1, 5)), most):
            loads.append(one)
            while rng.random() < share:
                opcode = plain[rng.integers(len(plain))]
                loads.append((opcode, others(rng, bench, opcode, border)))
    stores = [others(rng, bench, Opcode.STORE, border) for _ in range(int(rng.integers(0, 4)))]
    fetches = [(int(rng.integers(0, bench.words - 512)), int(rng.integers(1, 513))) for _ in range(int(rng.integers(0, 5)))]
    return Work(loads=loads, stores=stores, fetches=fetches, stored=coder.stored, weights=coder.weights,
                patterns={name: pattern(rng) for name in ("load", "store", "fetch", "pixels")})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", BENCHES)
def test_every_word_in_its_cycle(name, seed):
    bench = made(name)
    bench.check(drawn(bench, seed), seed)


def coded(coder: Coder, *, chip: int = 500) -> tuple[list, np.ndarray]:
    """A table and two blocks of two words of weight memory, at its end or elsewhere, and the second one's words."""
    loads = coder.loads(2, 1)
    body = loads[2][1]
    loads[2] = Opcode.LOAD_CODED, replace(body, chip=chip)
    return loads, coder.stored[body.storage]


def turned(words: np.ndarray) -> None:
    words[len(words) // 2] ^= 1 << 5


def counted(words: np.ndarray) -> None:
    words[0] += 1


DAMAGE = {"bit turned": ({}, turned, TransferFault.LOAD_CODED, None),
          "another count": ({}, counted, TransferFault.LOAD_CODED, Fault.COUNT),
          "other words": ({"words": 31}, None, TransferFault.LOAD_CODED, Fault.LENGTH),
          "to be a table": ({"chip_words": 0}, None, TransferFault.LOAD_CODED, Fault.KIND),
          "more weights to come": ({"chip_words": 4}, None, TransferFault.LOAD_CODED, Fault.COUNT),
          "beyond weight memory": ({"chip": 511, "chip_words": 2}, None, TransferFault.LOAD_CHIP, None),
          "beyond storage": ({"storage": 16384 - 8}, None, TransferFault.LOAD_STORAGE, None)}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(name):
    """Loads before a damaged block are completed, nothing is written but its own words, and after a clear all is well."""
    changes, damage, code, what = DAMAGE[name]
    bench, rng = made("ram, 2 lanes"), np.random.default_rng(4)
    coder = Coder(bench.geometry, rng, 4000, bench.words)
    loads, words = coded(coder)
    loads[2] = Opcode.LOAD_CODED, replace(loads[2][1], **changes)
    if damage:
        damage(words)
    body, plain = loads[2][1], (Opcode.LOAD_WEIGHTS, Transfer(storage=0, storage_step=0, chip=3, chip_step=0, words=2, runs=1))
    work = Work(loads=[*loads, plain, loads[1]], stored=coder.stored)
    with bench.simulate(bench.contents(work)) as sim:
        bench.feed(sim, work)
        sim.step(1500)
        fault = fault_layout(bench.geometry).from_bits(sim.get("fault"))
        assert fault.valid and fault.code == code and (what is None or fault.what == what)
        assert code != TransferFault.LOAD_CODED or fault.what
        assert not sim.get("idle") and len(sim.beats("load_done")) == 2
        bits = (bench.geometry.weight_words - 1).bit_length()
        found = {int.from_bytes(row.tobytes(), "little") & (1 << bits) - 1 for row in sim.beats("weights").payload}
        first = loads[1][1]
        own = {*range(first.chip, first.chip + first.chip_words), *range(body.chip, body.chip + body.chip_words), 3, 4}
        assert found <= own and found >= {*range(first.chip, first.chip + first.chip_words)}
        sim.set("clear", 1)
        sim.set("drop", 1)
        sim.step(1)
        sim.set("clear", 0)
        sim.step(2)
        sim.run_until(high="idle", deadline=1000)
        sim.set("drop", 0)
        assert not sim.get("fault") & 1
        again(bench, sim)


@pytest.mark.parametrize("name", BENCHES)
@pytest.mark.parametrize("seed", range(3))
def test_clear_in_the_middle(name, seed):
    """Whatever was under way is forgotten, and the table with it; what comes then is as after a reset."""
    bench, rng = made(name), np.random.default_rng([seed, 9])
    work = drawn(bench, seed + 50)
    table = next(body for opcode, body in work.loads if opcode is Opcode.LOAD_CODED)
    block = next(body for opcode, body in work.loads if opcode is Opcode.LOAD_CODED and body.chip_words)
    with bench.simulate(bench.contents(work)) as sim:
        bench.feed(sim, work)
        sim.step(int(rng.integers(0, 2500)) + (bench.storage.ready if bench.sdram else 0))
        sim.set("clear", 1)
        sim.set("drop", 1)
        sim.step(3)
        sim.set("clear", 0)
        for queue, _ in work.queues:
            sim.feed(queue, [], np.ones(1, bool))
        sim.step(20)
        sim.run_until(high="idle", deadline=3000)
        sim.set("drop", 0)
        sim.beats("weights")
        before = len(sim.beats("load_done"))
        sim.feed("load", [bench.payload("load", (Opcode.LOAD_CODED, body)) for body in (table, block)], np.ones(1, bool))
        sim.run_until(beats=("load_done", before + 2), deadline=20_000)
        found = [int.from_bytes(row.tobytes(), "little") for row in sim.beats("weights").payload]
        size = 2 * bench.geometry.input_lanes
        bits = (bench.geometry.weight_words - 1).bit_length()
        assert found == [block.chip + n | int.from_bytes(word.tobytes(), "little") << bits
                         for n, word in enumerate(work.weights[0].reshape(-1, size))]
        sim.set("clear", 1)
        sim.step(3)
        sim.set("clear", 0)
        sim.run_until(high="idle", deadline=3000)
        sim.feed("load", [bench.payload("load", (Opcode.LOAD_CODED, block))], np.ones(1, bool))
        sim.run_until(high="fault", deadline=20_000)
        fault = fault_layout(bench.geometry).from_bits(sim.get("fault"))
        assert (fault.code, fault.what) == (TransferFault.LOAD_CODED, Fault.TABLE)


def test_many_small_blocks():
    """So many that no more may be under way, tables among them."""
    bench = made("ram, 2 lanes")
    coder = Coder(bench.geometry, np.random.default_rng(3), 4000, bench.words)
    loads = [one for _ in range(3) for one in coder.loads(20, 1)]
    line = bench.check(Work(loads=loads, stored=coder.stored, weights=coder.weights))
    behind = line.load_taken[LOADS_AT_ONCE:] - line.load_done[:-LOADS_AT_ONCE]
    assert np.count_nonzero(behind == LOAD_BACK) > 5 and behind.min() == LOAD_BACK


def test_a_write_or_a_cycle_more_would_be_noticed(monkeypatch):
    """The bench itself."""
    bench, work = made("ram, 2 lanes"), drawn(made("ram, 2 lanes"), 1)
    work.weights[0][3] ^= 1
    with pytest.raises(AssertionError, match="weights"):
        bench.check(work, 1)
    work.weights[0][3] ^= 1
    monkeypatch.setattr(coded_cycles, "CODED_WORD", coded_cycles.CODED_WORD + 1)
    with pytest.raises(AssertionError, match="first difference"):
        bench.check(work, 1)


@pytest.fixture(scope="module")
def loads_bench() -> LoadsBench:
    return LoadsBench(2)


def test_damaged_blocks(loads_bench):
    found = fuzz_loads(loads_bench, 60, 5)
    assert found["damaged"] >= 60 and len(found["by_fault"]) >= 7


@pytest.mark.parametrize("what, message", [("other", "is not what golden says"), ("lost", "is not what golden says"),
                                           ("elsewhere", "is not what golden says"), ("fault", "instead of")])
def test_other_writes_or_faults_would_be_noticed(loads_bench, monkeypatch, what, message):
    """The bench itself: a word is another one, lost, or one more is written; a fault is not seen."""
    writes = loads_bench.writes

    def spoilt(sim, into):
        writes(sim, into)
        memory = into["weights"]
        match what:
            case "other" if memory:
                memory[min(memory)] |= 1 << 200
            case "lost" if memory:
                del memory[min(memory)]
            case "elsewhere":
                memory[99] = 1
    monkeypatch.setattr(loads_bench, "writes", spoilt)
    if what == "fault":
        monkeypatch.setattr(coded_loads, "expected", lambda words, eights, table: (0, np.zeros(8 * eights, np.int8), table))
    with pytest.raises(DamageError, match=message):
        fuzz_loads(loads_bench, 12, 5)
