"""A unit of the stream, its RTL held against golden: commands and vectors that are offered with gaps, while the taker pauses."""
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from arch.geometry import Geometry
from arch.record import Record
from golden.cycles.streams import Readiness
from sim.benches.run import run_bench
from sim.verilog.native import Beats, Design, beats_of_ints

__all__ = ["UnitStream", "patterns"]

STREAMS = ("command", "i", "o")
DEADLINE = 500_000
QUIET = 100                 # cycles after the last vector, in which others would be noticed
SETTLE = 3                  # cycles from the last constants that are written to the first command
WORD_BITS = 96              # at least those of a word of constants


def patterns(rng: np.random.Generator, chances: Sequence[float], period: int = 211) -> list[np.ndarray]:
    """Cycles in which somebody offers or takes, with so much of a chance, of which there is always one."""
    return [np.append(rng.random(period) < chance, True) for chance in chances]


class UnitStream:
    """Commands, vectors that they take and give, uint8 (n, lanes), and patterns: of `slow` for those who offer commands, of
    `allow` for those who offer vectors, of `ready` for the taker. `constants`: words of the unit by address, written a word every
    `apart` cycles before; `passed` is that of golden's cycles."""

    def __init__(self, passed: Callable, geometry: Geometry, configs: Sequence[Record], into: np.ndarray, out: np.ndarray,
                 slow: np.ndarray, allow: np.ndarray, ready: np.ndarray, constants: Mapping[int, int], apart: int = 1):
        self.passed, self.geometry, self.configs, self.into, self.out = passed, geometry, configs, into, out
        self.slow, self.allow, self.ready, self.constants, self.apart = slow, allow, ready, dict(constants), apart

    def check(self, seen: Mapping[str, Beats]) -> None:
        """What passed each stream, in cycles from the first offer."""
        np.testing.assert_array_equal(seen["o"].payload, self.out)

        def offers(pattern, cycles):
            return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1)))
        expected = self.passed(self.geometry, self.configs, offers(self.slow, seen["command"].cycle),
                               offers(self.allow, seen["i"].cycle), Readiness(self.ready))
        for name, cycles in zip(STREAMS, expected, strict=True):
            assert seen[name].cycle.tolist() == cycles.tolist(), name

    def simulated(self, design: Design) -> dict[str, Beats]:
        """What passes each stream of the RTL."""
        with design.simulate() as sim:
            for address, word in self.constants.items():
                for name, value in (("addr", address), ("data", word), ("en", 1)):
                    sim.set(f"constants__{name}", value)
                sim.step()
                sim.set("constants__en", 0)
                sim.step(self.apart - 1)
            sim.step(SETTLE)
            origin = sim.cycle
            sim.feed("command", [config.pack() for config in self.configs], np.roll(self.slow, origin))
            sim.feed("i", self.into, np.roll(self.allow, origin))
            sim.pattern("o__ready", np.roll(self.ready, origin))
            sim.run_until(beats=("o", len(self.out)), deadline=DEADLINE)
            for name in ("i", "command"):
                sim.run_until(drained=name, deadline=DEADLINE)
            sim.step(QUIET)
            seen = {name: sim.beats(name) for name in STREAMS}
        for beats in seen.values():
            beats.cycle -= origin
        return seen

    def under_cocotb(self, program: Path, folder: Path) -> dict[str, Beats]:
        """What passes each stream of the bench."""
        case, found = folder / "case.npz", folder / "seen.npz"
        np.savez(case, addresses=[*self.constants], constants=beats_of_ints(self.constants.values(), WORD_BITS), apart=self.apart,
                 settle=SETTLE, count=len(self.out), i=self.into, ready=self.ready,
                 command=beats_of_ints((config.pack() for config in self.configs), type(self.configs[0]).bits()),
                 **{"allow command": self.slow, "allow i": self.allow})
        run_bench(program, "tests.sim.cocotb_unit", environment={"FIRELINE_CASE": str(case), "FIRELINE_SEEN": str(found)})
        seen = np.load(found)
        return {name: Beats(seen[f"cycle {name}"], seen[f"payload {name}"]) for name in STREAMS}
