"""An SDRAM controller with a simulated chip, and what both should do with a list of requests."""
from collections.abc import Sequence
from dataclasses import dataclass, replace

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped
import numpy as np

from arch.sdram import CHIPS, Timing
from golden.cycles.sdram import Request, SdramCycles, Served
from golden.cycles.streams import Readiness
from hw.storage.pulled_words import PulledWords
from hw.storage.sdram import Sdram
from hw.storage.sdram_segments import request_layout
from sim.models.sdram import LOAD_WORDS, ChipTiming, SdramChip, SdramDesign, blocks, chip_timing
from sim.verilog.export import Boundary

__all__ = ["REAL", "STRESS", "SdramBench", "System", "request_bits"]

# Every figure so large that it limits some pair of commands, so small a chip that all its rows are met, and many refreshes.
STRESS = Timing(clock_mhz=100, row_bits=4, column_bits=5, cas=3, rcd=4, rp=5, ras=14, rc=19, rfc=12, rrd=11, wr=9, mrd=6,
                interval=260, power_up=80, refreshes=3)
REAL = CHIPS["as4c32m16sb-7"].timing(142, pin_registers=1)


class System(wiring.Component):
    """Controller and chip; words that were read are the probe `r`, those asked for the probe `take`."""

    def __init__(self, timing: Timing):
        self.sdram, self.chip = Sdram(timing), SdramChip(timing)
        super().__init__({"request": In(stream.Signature(request_layout(timing.address_bits))), "w": In(stream.Signature(16)),
                          "timing": In(ChipTiming), "load": self.chip.signature.members["load"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram, m.submodules.chip = sdram, chip = self.sdram, self.chip
        connect(m, sdram.pins, chip.pins)
        m.submodules.words = words = PulledWords()
        for name, inner in (("request", sdram.request), ("w", words.i), ("load", chip.load)):
            connect(m, flipped(getattr(self, name)), inner)
        m.d.comb += [chip.timing.eq(self.timing), words.take.eq(sdram.take), sdram.w.eq(words.word)]
        return m

    def probes(self) -> dict[str, Boundary]:
        return {"r": Boundary(self.sdram.r.valid, self.sdram.r.data), "take": Boundary(self.sdram.take, self.sdram.take)}


def request_bits(timing: Timing, request: Request) -> int:
    return request_layout(timing.address_bits).const(
        {"write": request.write, "address": request.address, "length": request.length}).as_bits()


@dataclass
class Result:
    """Cycles in which requests were taken, words read, words asked for; values read; all as arrays."""

    taken: np.ndarray
    read: np.ndarray
    written: np.ndarray
    values: np.ndarray


class SdramBench:
    """A compiled system. `window` words from word 0 on are random before a run."""

    def __init__(self, timing: Timing, *, window: int):
        self.timing, self.window = timing, window
        system = System(timing)
        self.design = SdramDesign(system, probes=system.probes)

    def before(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 1 << 16, self.window, dtype=np.uint16)

    def simulate(self, seed: int = 0, **changes: int):
        """A simulation whose chip is loaded (and asks for the changed timings) but not yet started."""
        sim = self.design.simulate()
        sim.set("timing", chip_timing(self.timing, **changes))
        assert self.window % LOAD_WORDS == 0
        sim.feed("load", blocks(0, self.before(seed), self.timing))
        return sim

    def run(self, requests: Sequence[Request], words: Sequence[int], cycles: int, *, asked: Readiness,
            seed: int = 0, **changes: int) -> Result:
        with self.simulate(seed, **changes) as sim:
            one = np.ones(1, bool)
            sim.feed("request", [request_bits(self.timing, request) for request in requests],
                     one if asked.always else asked.pattern)
            sim.feed("w", words)
            sim.step(cycles)
            read = sim.beats("r")
            values = read.payload.copy().view("<u2")[:, 0]
            return Result(sim.beats("request").cycle, read.cycle, sim.beats("take").cycle, values)

    def predict(self, requests: Sequence[Request], asked: Readiness) -> list[Served]:
        sdram = SdramCycles(self.timing)
        served = []
        for request in requests:        # each is offered when the one before it has been taken and the pattern allows
            before = served[-1].taken if served else -1
            served.append(sdram.request(replace(request, offered=int(asked.following(before + 1)))))
        sdram.finish()
        return served

    def check(self, requests: Sequence[Request], *, asked: Readiness | None = None, seed: int = 0,
              **changes: int) -> list[Served]:
        """Runs requests, all within the window; words, values and every cycle must be as predicted. Returns the prediction."""
        asked = asked or Readiness()
        words = np.random.default_rng(seed + 1).integers(0, 1 << 16, sum(r.length for r in requests if r.write), dtype=np.uint16)
        served = self.predict(requests, asked)
        end = max([self.timing.ready, *(int(one.words[-1]) for one in served if len(one.words)), served[-1].taken])
        result = self.run(requests, words.tolist(), end + 50, asked=asked, seed=seed, **changes)
        memory, values, at = self.before(seed), [], 0
        for request in requests:
            places = (request.address + np.arange(request.length)) % (1 << self.timing.address_bits)
            if request.write:
                memory[places] = words[at:at + request.length]      # the last one stays where a request meets itself
                at += request.length
            else:
                values.append(memory[places])
        joined = [np.concatenate([np.zeros(0, np.int64), *(one.words for one in served if one.request.write == write)])
                  for write in (False, True)]
        for what, seen, expected in (
                ("requests", result.taken, [one.taken for one in served]), ("read", result.read, joined[0]),
                ("written", result.written, joined[1]), ("values", result.values, np.concatenate([joined[0][:0], *values]))):
            seen, expected = np.asarray(seen, np.int64), np.asarray(expected, np.int64)
            first = np.flatnonzero(seen[:len(expected)] != expected[:len(seen)])[:1]
            assert len(seen) == len(expected) and not len(first), (
                f"{what}, seed {seed}: {len(seen)} of {len(expected)}, first difference {first}: {seen[first]}, "
                f"not {expected[first]}, for {requests}")
        return served
