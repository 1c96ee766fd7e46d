"""The DMA with a storage behind it and an activation memory that is a formula; all it does against golden's cycles."""
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer, storage_words
from arch.sdram import Timing
from golden.cycles.coded import coded_blocks
from golden.cycles.dma import SOURCES, DmaCycles
from golden.cycles.storage import RamCycles, SdramStorage
from golden.cycles.streams import Readiness, depart
from sim.dma import DmaSystem, fill, formula
from sim.models.sdram import SdramDesign, blocks, chip_timing
from sim.verilog.native import Design

__all__ = ["DmaBench", "Work", "formula", "small"]

# Boundaries of single bits, whose cycles are predicted by the members of `DmaCycles` with the same names.
STROBES = ("load_done", "store_done", "activation_reads")


def small(lanes: int, **changes: int) -> Geometry:
    return Geometry(input_lanes=lanes, output_lanes=lanes // 2, **{"activation_words": 512, "weight_words": 512} | changes)


@dataclass
class Work:
    """What is asked of a DMA. Patterns: when beats are newly offered, and pixels may be taken; cycle k by k % len. `stored`:
    words at their addresses in storage, and `weights`: what coded loads make of them."""

    loads: Sequence[tuple[Opcode, Transfer | PixelTransfer | CodedTransfer]] = ()
    stores: Sequence[Transfer] = ()
    fetches: Sequence[tuple[int, int]] = ()
    patterns: dict[str, Readiness] = field(default_factory=dict)
    stored: dict[int, np.ndarray] = field(default_factory=dict)
    weights: Sequence[np.ndarray] = ()

    def ready(self, name: str) -> Readiness:
        return self.patterns.get(name, Readiness())

    @property
    def queues(self) -> tuple[tuple[str, Sequence], ...]:
        return ("load", self.loads), ("store", self.stores), ("fetch", self.fetches)


class DmaBench:
    """A compiled system of a geometry and a storage: timings of an SDRAM, or words of block RAM."""

    def __init__(self, geometry: Geometry, storage: Timing | int):
        self.geometry, self.storage = geometry, storage
        self.sdram = isinstance(storage, Timing)
        self.words = 1 << storage.address_bits if self.sdram else storage
        system = DmaSystem(geometry, storage)
        self.bits = system.dma.storage_bits
        self.design = (SdramDesign if self.sdram else Design)(system, probes=system.probes)

    def cycles(self) -> DmaCycles:
        return DmaCycles(self.geometry, SdramStorage(self.storage) if self.sdram else RamCycles(self.storage))

    def payload(self, name: str, command) -> int:
        if name == "load":
            opcode, body = command
            return opcode | body.pack(self.bits) << 4
        return command.pack(self.bits) if name == "store" else command[0] | command[1] << self.bits

    def predict(self, work: Work, origin: int = 0) -> tuple[DmaCycles, dict[str, list[int]], np.ndarray]:
        """The timeline, when commands are offered and pixels taken: rounds, until completions and offers agree."""
        offered = {name: [] for name, _ in work.queues}
        pixels = np.zeros(0, np.int64)
        coded = [body for opcode, body in work.loads if opcode is Opcode.LOAD_CODED]
        blocks = coded_blocks(coded, self.contents(work)) if coded else []
        while True:
            dma = self.cycles()
            left = iter(blocks)
            for (opcode, body), at in zip(work.loads, offered["load"], strict=False):
                dma.load(opcode, body, at, next(left) if opcode is Opcode.LOAD_CODED else None)
            for body, at in zip(work.stores, offered["store"], strict=False):
                dma.store(body, at)
            for (address, length), at in zip(work.fetches, offered["fetch"], strict=False):
                dma.fetch(address, length, at)
            dma.take_pixels(pixels)
            dma.finish()
            found = {}
            for name, commands in work.queues:
                before = [origin - 1, *getattr(dma, f"{name}_taken").tolist()][:len(commands)]
                found[name] = [int(work.ready(name).following(cycle + 1)) for cycle in before]
            taken = depart(dma.pixels, work.ready("pixels"))
            if found == offered and np.array_equal(taken, pixels):
                return dma, found, taken
            offered, pixels = found, taken

    def contents(self, work: Work, seed: int = 0) -> np.ndarray:
        """Of storage: noise beside what is stored."""
        contents = np.random.default_rng(seed).integers(0, 1 << 16, self.words, dtype=np.uint16)
        for address, words in work.stored.items():
            contents[address:address + len(words)] = words
        return contents

    def simulate(self, contents: np.ndarray, region: tuple[int, int] | None = None):
        """A simulation whose storage holds `contents` from word 0 on; the program's region is all, unless given."""
        sim = self.design.simulate()
        if self.sdram:
            sim.set("timing", chip_timing(self.storage))
            sim.feed("blocks", blocks(0, contents, self.storage))
        else:
            fill(sim, contents, self.words)
        sim.step(2)                 # units come out of reset a little later
        base, words = region or (0, self.words)
        sim.set("store_base", base)
        sim.set("store_words", words)
        return sim

    def feed(self, sim, work: Work) -> None:
        for name, commands in work.queues:
            ready = work.ready(name)
            allow = np.ones(1, bool) if ready.always else ready.pattern
            sim.feed(name, [self.payload(name, command) for command in commands], allow)
        ready = work.ready("pixels")
        sim.pattern("pixels__ready", np.ones(1, bool) if ready.always else ready.pattern)

    def check(self, work: Work, seed: int = 0) -> DmaCycles:
        """Runs work; every value and every cycle must be as predicted. Returns the prediction."""
        contents = self.contents(work, seed)
        with self.simulate(contents) as sim:
            origin = sim.cycle
            line, _, pixels_taken = self.predict(work, origin)
            for name in ("requests", "take"):
                sim.beats(name)
            self.feed(sim, work)
            ends = [line.requests[:, 0], line.load_done, line.store_done, line.fetched, pixels_taken]
            assert len(line.load_done) == len(work.loads) and len(line.store_done) == len(work.stores)
            sim.step(max([origin, *(int(one[-1]) for one in ends if len(one))]) + 100 - origin)
            # What storage holds now.
            dump = Work(fetches=[(at, min(512, self.words - at)) for at in range(0, self.words, 512)])
            seen = {name: sim.beats(name) for name in self.design.rtl.boundaries}
            assert sim.get("idle") and not sim.get("fault") & 1, f"seed {seed}"
            sim.feed("fetch", [self.payload("fetch", one) for one in dump.fetches], np.ones(1, bool))
            sim.run_until(beats=("fetched", len(seen["fetched"]) + self.words), deadline=20 * self.words + 10_000)
            left = sim.beats("fetched").payload.view("<u2")[:, 0]
        values = self._values(work, line, contents)
        np.testing.assert_array_equal(left, contents, f"storage, seed {seed}")
        cycles = {name: getattr(line, name) for name in STROBES} | {
            "requests": line.requests[:, 0], "fetched": line.fetched, "activations": line.activation_writes,
            "denied": line.activation_writes - pipeline.WRITE_GRANT, "pixels": pixels_taken,
            "weights": np.sort(np.concatenate([line.weight_writes, line.coded_writes])),
            **{name: getattr(line, f"{name}_taken") for name, _ in work.queues}}
        for name, expected in cycles.items():
            found = seen[name].cycle
            first = np.flatnonzero(found[:len(expected)] != expected[:len(found)])[:1]
            assert len(found) == len(expected) and not len(first), (
                f"{name}, seed {seed}: {len(found)} of {len(expected)}, first difference {first}: {found[first]}, "
                f"not {expected[first]}, for {work}")
        for name, expected in values.items():
            found = [int.from_bytes(row.tobytes(), "little") for row in seen[name].payload]
            if name == "pixels":
                found = [pixel & mask for pixel, mask in zip(found, expected[1], strict=True)]
                expected = expected[0]
            assert found == expected, f"{name}, seed {seed}: {found[:3]}, not {expected[:3]}, for {work}"
        return line

    def _values(self, work: Work, line: DmaCycles, contents: np.ndarray) -> dict:
        """What passes each boundary; `contents` are changed as requests do. Storage serves requests in order."""
        reads = {"load": [], "fetch": []}
        g = self.geometry
        stored = [formula(body.chip + run * body.chip_step + word, n) for body in work.stores for run in range(body.runs)
                  for word in range(body.words) for n in range(g.input_lanes // 2)]
        for _, source, address, length in line.requests.tolist():
            if SOURCES[source] == "store":
                contents[address:address + length] = stored[:length]
                del stored[:length]
            else:
                places = np.arange(address, address + length) % (1 << (self.words - 1).bit_length())
                reads[SOURCES[source]].append(np.append(contents, np.zeros(1 << 17, np.uint16))[places])
        assert not stored
        values = {name: [] for name in ("activations", "weights", "parameters")}
        decoded, left = [], iter(work.weights)
        pixels, masks = [], []
        words = np.concatenate([np.zeros(0, np.uint16), *reads["load"]])
        for opcode, body in work.loads:
            if opcode is Opcode.LOAD_PIXELS:
                for _ in range(body.rows):
                    row, words = words[:body.row_words].tobytes(), words[body.row_words:]
                    step = body.channels
                    pixels += [int.from_bytes(row[n * step:(n + 1) * step], "little") for n in range(body.width)]
                    masks += [(1 << 8 * step) - 1] * body.width
                continue
            if opcode is Opcode.LOAD_CODED:
                words = words[body.words:]
                if body.chip_words:
                    decoded += [body.chip + n | int.from_bytes(word.tobytes(), "little") << (g.weight_words - 1).bit_length()
                                for n, word in enumerate(next(left).reshape(body.chip_words, 2 * g.input_lanes))]
                continue
            size = storage_words(g, opcode)
            for run in range(body.runs):
                for n in range(body.words):
                    word, words = int.from_bytes(words[:size].tobytes(), "little"), words[size:]
                    address = body.chip + run * body.chip_step + n
                    if opcode is Opcode.LOAD_WEIGHTS:
                        values["weights"].append(address | word << (g.weight_words - 1).bit_length())
                    elif opcode is Opcode.LOAD_ACTIVATIONS:
                        enable = (1 << g.blocks_per_word) - 1
                        bits = g.blocks_per_word + (g.activation_words - 1).bit_length()
                        values["activations"].append(enable | address << g.blocks_per_word | word << bits)
                    else:
                        word = word & (1 << 86) - 1 | (word >> 88 & 63) << 86
                        values["parameters"].append(address | word << (g.parameter_words - 1).bit_length())
        fetched = np.concatenate([np.zeros(0, np.uint16), *reads["fetch"]]).tolist()
        # In the order of time.
        order = np.argsort(np.concatenate([line.weight_writes, line.coded_writes]))
        values["weights"] = [(values["weights"] + decoded)[n] for n in order]
        return values | {"pixels": (pixels, masks), "fetched": fetched}
