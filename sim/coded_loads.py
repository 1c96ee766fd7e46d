"""Damaged blocks of compressed weights through DMA and decoder, between loads of other kinds; all memories are compared."""
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arch import weight_stream as form
from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, Transfer, storage_words
from arch.transfer import TransferFault
from cli import progress
from golden.weight_stream import Table
from hw.sequencer.sequencer import fault_layout
from sim.damage import DamageError, damaged, expected, random_blocks
from sim.dma import DmaSystem, fill
from sim.verilog.native import Design, Simulation

__all__ = ["LoadsBench", "fuzz_loads"]

WORDS = 1 << 14         # of storage
PLAIN = 2048            # of these, for loads of other kinds
BLOCKS = 32             # that are damaged behind each table, as far as storage has room
PATIENCE = 30_000       # cycles: no case takes as long
SETTLED = 3000          # cycles behind a fault of a load's ends, in which those before it are through

Load = tuple[Opcode, CodedTransfer | Transfer]
Memory = dict[int, int]                     # words by their addresses
MEMORIES = {Opcode.LOAD_WEIGHTS: "weights", Opcode.LOAD_CODED: "weights", Opcode.LOAD_ACTIVATIONS: "activations",
            Opcode.LOAD_PARAMETERS: "parameters"}


class LoadsBench:
    """A DMA with a decoder of so many lanes in front of a block RAM, compiled."""

    def __init__(self, lanes: int):
        self.geometry = Geometry(input_lanes=4 * lanes, output_lanes=2 * lanes, activation_words=512, weight_words=512,
                                 decoder_lanes=lanes, options=("decoder",))
        system = DmaSystem(self.geometry, WORDS)
        self.bits = system.dma.storage_bits
        self.design = Design(system, probes=system.probes)

    def feed(self, sim: Simulation, loads: Sequence[Load]) -> None:
        sim.feed("load", [opcode | body.pack(self.bits) << 4 for opcode, body in loads], np.ones(1, bool))

    def clear(self, sim: Simulation) -> None:
        """Until all is forgotten; loads that were not taken too."""
        sim.set("clear", 1)
        sim.set("drop", 1)
        sim.step(3)
        sim.set("clear", 0)
        sim.step(20)
        sim.run_until(high="idle", deadline=PATIENCE)
        sim.set("drop", 0)

    def writes(self, sim: Simulation, into: Mapping[str, Memory]) -> None:
        """What was written since the last time."""
        geometry = self.geometry
        sizes = {"weights": geometry.weight_words, "activations": geometry.activation_words,
                 "parameters": geometry.parameter_words}
        for name, memory in into.items():
            skip, bits = geometry.blocks_per_word if name == "activations" else 0, (sizes[name] - 1).bit_length()
            for row in sim.beats(name).payload:
                word = int.from_bytes(row.tobytes(), "little") >> skip
                memory[word & (1 << bits) - 1] = word >> bits


@dataclass
class _Expected:
    """What a load does: `words` by their addresses; or, where it is damaged, that any of these may be anything."""

    memory: str
    words: Memory
    free: bool = False


class _Golden:
    """What loads do, one after the other, until one is damaged."""

    def __init__(self, geometry: Geometry, contents: np.ndarray):
        self.geometry, self.contents = geometry, contents
        self.table: Table | None = None

    def follow(self, loads: Sequence[Load]) -> tuple[list[_Expected], TransferFault | None, int]:
        """For each load up to a damaged one; the fault, and which one a block has."""
        found: list[_Expected] = []
        for opcode, body in loads:
            if opcode is not Opcode.LOAD_CODED:
                found.append(self._plain(opcode, body))
                continue
            places = range(body.chip, body.chip + body.chip_words)
            if places.stop > self.geometry.weight_words:
                return found, TransferFault.LOAD_CHIP, 0
            if body.storage + body.words > WORDS:
                return found, TransferFault.LOAD_STORAGE, 0
            fault, weights, self.table = expected(self.contents[body.storage:body.storage + body.words],
                                                  body.chip_words * self.geometry.input_lanes // 4, self.table)
            if fault:
                return [*found, _Expected("weights", dict.fromkeys(places, 0), free=True)], TransferFault.LOAD_CODED, fault
            rows = weights.reshape(body.chip_words, 2 * self.geometry.input_lanes)
            found.append(_Expected("weights", {place: int.from_bytes(row.tobytes(), "little")
                                               for place, row in zip(places, rows, strict=True)}))
        return found, None, 0

    def _plain(self, opcode: Opcode, body: Transfer) -> _Expected:
        size, words = storage_words(self.geometry, opcode), {}
        for n in range(body.words):
            word = int.from_bytes(self.contents[body.storage + n * size:body.storage + (n + 1) * size].tobytes(), "little")
            if opcode is Opcode.LOAD_PARAMETERS:            # shifts are six bits of a byte
                word = word & (1 << 86) - 1 | (word >> 88 & 63) << 86
            words[body.chip + n] = word
        return _Expected(MEMORIES[opcode], words)


class _Round:
    """A table, blocks that use it, damaged ones, and noise for loads of other kinds: storage, and cases."""

    def __init__(self, geometry: Geometry, rng: np.random.Generator):
        self.geometry, self.rng, self.at = geometry, rng, PLAIN
        self.contents = rng.integers(0, 1 << 16, WORDS, dtype=np.uint16)
        self.multiple = geometry.input_lanes // 4
        self.weights, self.table, self.whole, _ = random_blocks(rng, BLOCKS, int(rng.choice([6, 20, 60])),
                                                                masked=bool(rng.integers(2)), multiple=self.multiple)
        self.table_load = self._coded(self.table, 0, 0)

    def cases(self) -> Iterator[tuple[str, Load, list[Load], list[Load]]]:
        """How a block is damaged, its load, and the loads before and behind it."""
        rng = self.rng
        for weights, words in zip(self.weights, self.whole, strict=True):
            of_table, count = rng.random() < 0.15, weights.size // 8 // self.multiple
            how, other = damaged(rng, self.table if of_table else words)
            if self.at + len(words) + max(len(other), 3) > WORDS:
                return
            to_come = 0 if of_table else count + int(rng.integers(1, 9)) * (rng.random() < 0.05)
            load = self._coded(other, int(rng.integers(100, 300 - to_come)), to_come)
            if rng.random() < 0.02:
                beyond = {"chip": 511, "chip_words": 2} if rng.integers(2) else {"storage": WORDS - 2}
                how, load = "ends", (load[0], replace(load[1], **beyond))
            good = self._coded(words, int(rng.integers(300, 512 - count)), count)
            yield how, load, [*self._others(0)], [*self._others(1), good, *self._others(2)]

    def _coded(self, words: np.ndarray, chip: int, chip_words: int) -> Load:
        """A load of a block, which is put behind those before; of three words at least, as a program's are."""
        self.contents[self.at:self.at + len(words)] = words
        body = CodedTransfer(storage=self.at, words=max(len(words), 3), chip=chip, chip_words=chip_words)
        self.at += body.words
        return Opcode.LOAD_CODED, body

    def _others(self, part: int) -> Iterator[Load]:
        """Loads of other kinds, into a part of each memory that nobody else of the case writes."""
        for opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PARAMETERS):
            if self.rng.random() < 0.4:
                yield opcode, Transfer(storage=int(self.rng.integers(0, PLAIN - 500)), storage_step=0,
                                       chip=30 * part + int(self.rng.integers(0, 10)), chip_step=0,
                                       words=int(self.rng.integers(1, 20)), runs=1)


def _compare(found: Mapping[str, Memory], before: Mapping[str, Memory], loads: list[_Expected], others: list[_Expected],
             say: str) -> None:
    """`loads` were made; `others`, plain ones behind a damaged block, may have been. Raises DamageError."""
    for name, memory in found.items():
        free = {place for one in loads if one.free and one.memory == name for place in one.words}
        certain = dict(before[name])
        for one in loads:
            if one.memory == name and not one.free:
                certain |= one.words
        maybe = {place: word for one in others if one.memory == name for place, word in one.words.items()}
        for place in memory.keys() | certain.keys():
            if place not in free and memory.get(place) != certain.get(place) and memory.get(place) != maybe.get(place, -1):
                raise DamageError(f"{say}: word {place} of {name} is not what golden says")


def _case(bench: LoadsBench, sim: Simulation, golden: _Golden, memories: dict[str, Memory], loads: list[Load], say: str) -> int:
    """Runs loads and holds all that follows against golden; returns the block's fault, -1 for a load that nothing was asked for.
    Raises DamageError."""
    before = {name: dict(memory) for name, memory in memories.items()}
    done, fault, what = golden.follow(loads)
    bench.feed(sim, loads)
    sim.step(20)
    if not sim.advance(PATIENCE, high="over"):
        raise DamageError(f"{say}: nothing moves any more")
    sim.step(20 if fault in (None, TransferFault.LOAD_CODED) else SETTLED)
    seen = fault_layout(bench.geometry).from_bits(sim.get("fault"))
    if (bool(seen.valid), seen.valid and seen.code, seen.valid and what and seen.what) != (fault is not None, fault or 0, what):
        raise DamageError(f"{say}: fault {seen} instead of {fault} and {what}")
    completed = len(done) - (fault is TransferFault.LOAD_CODED)
    if len(sim.beats("load_done")) != completed:
        raise DamageError(f"{say}: other loads than the {completed} before the damage were completed")
    bench.writes(sim, memories)
    behind = [one for one in loads[len(done):] if one[0] is not Opcode.LOAD_CODED]
    if fault is not None:
        bench.clear(sim)
        bench.writes(sim, memories)
        golden.table = None
    _compare(memories, before, done, golden.follow(behind)[0] if fault is TransferFault.LOAD_CODED else [], say)
    return what if fault in (None, TransferFault.LOAD_CODED) else -1


def fuzz_loads(bench: LoadsBench, count: int, seed: int) -> dict:
    """Figures of so many damaged blocks. Raises DamageError."""
    faults, kinds, round_ = Counter(), Counter(), 0
    with_progress = iter(progress(range(count), "damaging blocks"))
    while kinds.total() < count:
        rng = np.random.default_rng([seed, round_])
        drawn = _Round(bench.geometry, rng)
        cases = list(drawn.cases())
        memories: dict[str, Memory] = {name: {} for name in ("weights", "activations", "parameters")}
        golden = _Golden(bench.geometry, drawn.contents)
        with bench.design.simulate() as sim:
            fill(sim, drawn.contents, WORDS)
            for number, (how, load, first, behind) in enumerate(cases):
                table = [] if golden.table and rng.random() < 0.5 else [drawn.table_load]
                fault = _case(bench, sim, golden, memories, [*table, *first, load, *behind], f"seed {round_}, block {number}")
                faults["none" if not fault else "ends" if fault < 0 else form.Fault(fault).name.lower()] += 1
                kinds[how] += 1
                next(with_progress, None)
            _storage(sim, drawn.contents, bench.bits, f"seed {round_}")
        round_ += 1
    next(with_progress, None)
    return {"damaged": kinds.total(), "by_damage": dict(kinds), "by_fault": dict(faults), "seed": seed, "wrong": 0}


def _storage(sim: Simulation, contents: np.ndarray, bits: int, say: str) -> None:
    """Raises DamageError if storage holds anything else."""
    sim.beats("fetched")
    sim.feed("fetch", [at | 512 << bits for at in range(0, WORDS, 512)], np.ones(1, bool))
    sim.step(3 * WORDS // 2 + 3000)
    if not np.array_equal(sim.beats("fetched").payload.view("<u2")[:, 0], contents):
        raise DamageError(f"{say}: storage is not as it was")
