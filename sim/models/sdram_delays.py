"""Boards of any delays: what an SDRAM sees of its pins, and we of its words, at each phase of its clock.

Everything is counted in nanoseconds from the edge of our clock with which a command leaves its pin, that of the SDRAM's clock
being `after` later. Data sheets name what a chip needs and promises, `boards.phase` what the pins take; a board lies anywhere
between.
"""
from dataclasses import dataclass
from math import ceil
from random import Random

from arch.pll import Pll
from arch.sdram import Chip
from boards.phase import FAST, PADS, TRACE_NS

__all__ = ["Behaviour", "Delays", "sampled"]

PINS, DATA_PINS = 39, 16        # that are sent, and that come


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """At one phase: our clocks until an edge of the SDRAM's clock takes what was sent, `lag`, 0 if the first one does; from its
    edge that brings a word to that of ours which takes it, `back`. `lost`: some pins are taken in the clock before or after;
    `garbled`: some bits of words are."""

    lag: int
    back: int
    lost: bool
    garbled: bool

    def right(self, late: int) -> bool:
        """Whether words are those that were asked for, with `arch.sdram.Timing.late`."""
        return not (self.lost or self.garbled) and self.lag + self.back == 1 + late


@dataclass(frozen=True, kw_only=True)
class Delays:
    """A board: from our clock to the pin of the SDRAM's `clock` (at phase 0) and to the `first` and the `last` of what is sent;
    what the chip needs before (`setup`) and after (`kept`) its edge; from there its word comes after `access`, and goes `hold`
    after the next one; what the `quick`est and the `slow`est way to a register takes, what that needs (`ready`, `still`)."""

    clock: float
    first: float
    last: float
    setup: float
    kept: float
    access: float
    hold: float
    quick: float
    slow: float
    ready: float
    still: float

    def at(self, after: float, period: float) -> Behaviour:
        """What happens at a phase."""
        edge = after + self.clock
        lag = max(0, ceil((self.last + self.setup - edge) / period))
        back = ceil((edge + self.access + self.slow + self.ready) / period)
        return Behaviour(lag=lag, back=back, lost=edge + lag * period + self.kept > period + self.first,
                         garbled=back * period + self.still > edge + period + self.hold + self.quick)

    def turn(self, pll: Pll, steps: int) -> list[Behaviour]:
        """At each step of a turn."""
        period = float(1000 / pll.clock_mhz)
        return [self.at(period * step / steps, period) for step in range(steps)]


def sampled(random: Random, chip: Chip, clock_mhz: float, speed: str) -> Delays:
    """A board with delays drawn between the corners of `boards.phase`, one temperature and voltage for all pins, and a chip that
    is just as good as its data sheet says, or better."""
    slow, fast = PADS[speed], PADS["8"]
    hot = random.choice((0.0, 1.0, random.random()))

    def delay(kind: str) -> float:
        low, high = (pair if isinstance(pair := getattr(pads, kind), tuple) else (pair, pair) for pads in (fast, slow))
        return FAST * low[0] + hot * (random.uniform(*high) - FAST * low[0])

    def upto(limit: float) -> float:
        return limit * random.choice((1.0, random.random()))
    sent = [delay("data") + delay("out") for _ in range(PINS)] + [delay("turn") + delay("on") for _ in range(DATA_PINS)]
    ways = [delay("in_") + TRACE_NS for _ in range(DATA_PINS)]
    most = chip.access_ns[chip.cas(clock_mhz) - 2]
    access = random.choice((most, random.uniform(chip.hold_ns, most)))
    hold = random.choice((chip.hold_ns, random.uniform(chip.hold_ns, access)))
    return Delays(clock=delay("clock") + delay("out"), first=min(sent[:PINS]), last=max(sent), setup=upto(chip.setup_ns),
                  kept=upto(chip.kept_ns), access=access, hold=hold,
                  quick=min(ways), slow=max(ways), ready=delay("setup"), still=delay("hold"))
