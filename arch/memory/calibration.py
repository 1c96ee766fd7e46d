"""Calibration of the phase of an SDRAM's clock: what is written and read at each step of a turn, and what a board tells of it.

A step is an eighth of a cycle of the PLL's oscillator, a turn brings the clock back to where it was. The phase alone is chosen,
not in which of our clocks words are taken (`arch.sdram.Timing.late`): over a turn each of the two that are possible has a window
of its own, and that of the one that `boards.phase` chose reaches at least over the phases at which it says any board is safe.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from arch.pll import STEPS, Pll
from arch.sdram import Timing

__all__ = ["BURSTS", "BURST_WORDS", "FEEDBACK", "LEAST_WINDOW", "MASK_WORDS", "MOST_STEPS", "PHASE_WORDS", "PROOFS", "PULSE",
           "SALT_BITS", "Calibration", "Calibrated", "Turn", "address_bit", "seed", "settling", "words"]

# Of words with neighbouring addresses in a test, written in this order and read from the last one to the first.
BURSTS, BURST_WORDS = 8, 16
SALT_BITS = 8                   # of a test's number, which its words depend on: what an earlier one left is not right
FEEDBACK = 0xB400               # of a Galois register of 16 bits, x^16 + x^14 + x^13 + x^11 + 1
PROOFS = 8                      # tests at the chosen step
# Steps that must pass, one after the other: so that both neighbours of the one in the middle pass, for a step of drift when the
# board becomes warm, and of jitter.
LEAST_WINDOW = 3
# Our clocks for which the PLL is told to step, and for which it is not, before anything else is asked of it: it wants 5 ns, and
# four cycles of its oscillator.
PULSE = 16

MASK_WORDS = 16
MOST_STEPS = 16 * MASK_WORDS    # of a turn: an oscillator of 800 MHz and a clock of 25 MHz
PHASE_WORDS = 5 + MASK_WORDS


class Calibration(IntEnum):
    """How far it is."""

    NONE = 0                    # a chip without one
    RUNNING = 1
    DONE = 2
    NO_WINDOW = 3               # no phase is safe


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Steps of a turn, and the one at which the clock is when the chip is configured. Raises ValueError for numbers out of
    range."""

    steps: int
    first: int = 0

    def __post_init__(self):
        if not LEAST_WINDOW <= self.steps <= MOST_STEPS:
            raise ValueError(f"Steps of a turn must be {LEAST_WINDOW}..{MOST_STEPS}, not {self.steps}")
        if not 0 <= self.first < self.steps:
            raise ValueError(f"First step of a turn must be 0..{self.steps - 1}, not {self.first}")

    @classmethod
    def of(cls, pll: Pll) -> "Turn":
        return cls(steps=STEPS * pll.output_divider, first=pll.phase_steps)


def seed(salt: int, burst: int) -> int:
    """State of the register from which the words of a burst follow."""
    return salt % (1 << SALT_BITS) | burst << SALT_BITS | 0b10101 << SALT_BITS + 3


def words(salt: int, burst: int) -> list[int]:
    """What is written. Each second word is the one before it turned over, so that all data lines change."""
    state, found = seed(salt, burst), []
    for _ in range(BURST_WORDS // 2):
        found += [state, state ^ 0xFFFF]
        state = state >> 1 ^ (FEEDBACK if state & 1 else 0)
    return found


def address_bit(bit: int, burst: int) -> int:
    """A bit, from 4 on, of the address at which a burst begins. All lines change from one burst to the next every other time, no
    two that are less than four apart do always, and all banks are met."""
    three = [burst >> n & 1 for n in range(3)]
    return (three[0] ^ bit & three[1] ^ (bit >> 1) & three[2]) & 1


def settling(timing: Timing) -> int:
    """Cycles from the end of a step to the test: a whole refresh, which closes all rows, and after it the mode register, which a
    bad phase may have changed, fit in wherever it begins."""
    return timing.interval + timing.rp + timing.rfc + timing.mrd + timing.rcd + 16


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What a board found: `mask` has bit n if the test passed at step n, `chosen` is where the clock is, `width` steps up to
    `last` pass, one after the other."""

    state: Calibration
    steps: int = 0
    chosen: int = 0
    width: int = 0
    last: int = 0
    mask: int = 0

    @property
    def first(self) -> int:
        """The first step of the window."""
        return (self.last - self.width + 1) % self.steps if self.steps else 0

    def degrees(self, step: int) -> float:
        """How much later than ours the SDRAM's clock rises."""
        return 360 * step / self.steps

    @classmethod
    def of(cls, reply: Sequence[int]) -> "Calibrated":
        """From the words of a reply. Raises ValueError if they make no sense."""
        if len(reply) != PHASE_WORDS:
            raise ValueError(f"A phase must be {PHASE_WORDS} words, not {len(reply)}")
        state, steps, chosen, width, last, *mask = (int(word) for word in reply)
        if state not in list(Calibration) or max(steps, width) > MOST_STEPS or state and max(chosen, last) >= steps:
            raise ValueError(f"A phase cannot be {[state, steps, chosen, width, last]}")
        return cls(state=Calibration(state), steps=steps, chosen=chosen, width=width, last=last,
                   mask=sum(word << 16 * n for n, word in enumerate(mask)))

    def words(self) -> list[int]:
        """Inverse of `of`."""
        return [self.state, self.steps, self.chosen, self.width, self.last,
                *(self.mask >> 16 * n & 0xFFFF for n in range(MASK_WORDS))]
