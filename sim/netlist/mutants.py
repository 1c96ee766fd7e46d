"""Faults put into a netlist, 63 at a time beside the whole chip, and whether a host at its pins sees them."""
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import random

import numpy as np

from sim.netlist.reader import Lut, Register, Tables
from sim.netlist.simulation import SPOILT, PackedChip

__all__ = ["COPIES", "Mutant", "Verdict", "draw", "judged", "put"]

COPIES = 63                     # beside copy 0, which is whole


@dataclass(frozen=True)
class Mutant:
    """A lookup table with other contents `init`, or a register that is spoilt."""

    cell: Lut | Register
    how: str
    init: int = 0

    def __str__(self) -> str:
        return f"{self.cell.name}: {self.how}"


@dataclass(frozen=True)
class Verdict:
    """`excited`: the fault made a difference at its own output; `found`: the host got other bytes."""

    mutant: Mutant
    excited: bool
    found: bool


def _without(init: int, pin: int) -> int:
    """The table when its input `pin` is always 0."""
    return sum((init >> (n & ~(1 << pin)) & 1) << n for n in range(16))


def _of_table(lut: Lut, rng: random.Random) -> Mutant:
    ways = {"always 0": 0, "always 1": 0xFFFF, "inverted": lut.init ^ 0xFFFF}
    ways |= {f"input {'ABCD'[pin]} always 0": _without(lut.init, pin) for pin in range(4) if lut.inputs[pin] > 1}
    how = rng.choice([how for how, init in ways.items() if init != lut.init])
    return Mutant(lut, how, ways[how])


def _of_register(register: Register, rng: random.Random) -> Mutant:
    ways = [how for how in SPOILT if register.enabled or how != "enable ignored"]
    return Mutant(register, rng.choice([how for how in ways if register.resettable or how != "reset ignored"]))


def draw(tables: Tables, count: int, seed: int) -> list[Mutant]:
    """So many different cells, half of them lookup tables, each with a fault."""
    rng = random.Random(seed)
    luts = rng.sample(tables.luts, count // 2)
    registers = rng.sample(tables.registers, count - len(luts))
    found = [_of_table(lut, rng) for lut in luts] + [_of_register(register, rng) for register in registers]
    rng.shuffle(found)
    return found


def put(chip: PackedChip, mutants: Sequence[Mutant]) -> None:
    """Puts one mutant into each copy of a chip, from copy 1 on. Raises ValueError if there are more than `COPIES`."""
    if len(mutants) > COPIES:
        raise ValueError(f"mutants must be at most {COPIES}, not {len(mutants)}")
    for copy, mutant in enumerate(mutants, start=1):
        if isinstance(mutant.cell, Lut):
            chip.change_table(mutant.cell.node, 1 << copy, mutant.init)
        else:
            chip.spoil_register(mutant.cell.part, 1 << copy, mutant.how)


def _bytes(cycles: np.ndarray, levels: np.ndarray, bit: float) -> list[int]:
    """What a line says whose level becomes `levels` in `cycles`, and whose bits take so many cycles: ten bits a byte."""
    said, n = [], 0
    while n < len(cycles):
        if levels[n]:                           # it rises
            n += 1
            continue
        at = cycles[n] + (np.arange(10) + 0.5) * bit
        shown = levels[np.searchsorted(cycles, at, side="right") - 1]
        said.append(int(sum(int(level) << k for k, level in enumerate(shown))))
        n = int(np.searchsorted(cycles, at[-1], side="right"))
    return said


def _line(cycles: np.ndarray, values: np.ndarray, copy: int) -> tuple[np.ndarray, np.ndarray]:
    """When the line of one copy changes, and what to."""
    levels = (values >> np.uint64(copy) & np.uint64(1)).astype(np.int64)
    changed = np.flatnonzero(np.diff(levels, prepend=1))
    return cycles[changed].astype(np.int64), levels[changed]


def judged(chip: PackedChip, mutants: Iterable[Mutant], bit: float) -> list[Verdict]:
    """What became of the mutants in a chip that a host has talked to; `bit`: cycles of a bit of the line."""
    cycles, values = chip.edges()
    excited, verdicts = chip.excited(), []
    whole = _line(cycles, values, 0)
    expected = _bytes(*whole, bit)
    for copy, mutant in enumerate(mutants, start=1):
        line = _line(cycles, values, copy)
        same = all(np.array_equal(one, other) for one, other in zip(line, whole, strict=True))
        verdicts.append(Verdict(mutant, bool(excited >> copy & 1), not same and _bytes(*line, bit) != expected))
    return verdicts
