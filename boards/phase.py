"""The phase of an SDRAM's clock: how much later than ours it rises, and in which of our clocks its words are taken.

Every pin of the SDRAM has a register in its own cell, its clock a double data rate one. Delays are those of Project Trellis'
timing database (prjtrellis-db, ECP5/timing/speed_N/cells.json: IOLOGIC modes ODDRX1F, OREG, TSREG and IREG, and PIO of LVCMOS33),
which knows the slow corner alone: hot, at the least voltage. In the fast one everything is taken to have `FAST` of the fastest
grade's least delay. That is a guess.
"""
from collections.abc import Iterator
from dataclasses import dataclass, replace

from arch.pll import STEPS, Pll
from arch.sdram import Chip

__all__ = ["FAST", "PADS", "TRACE_NS", "Pads", "Phase", "best_phase", "phases"]

FAST = 0.6              # of the slow corner's least delay
TRACE_NS = 0.3          # to the SDRAM and back


@dataclass(frozen=True, kw_only=True)
class Pads:
    """Delays of pins in ns, the least and the greatest where there are two: from our clock to the pad's driver, of the SDRAM's
    `clock`, of what is sent (`data`) and of the drivers' enable (`turn`); through the driver to the pin (`out`, from being off
    `on`), and from the pin (`in_`) to its register, before whose clock it must be there by `setup`, until `hold` after it."""

    clock: float
    data: float
    turn: float
    out: tuple[float, float]
    on: tuple[float, float]
    in_: tuple[float, float]
    setup: float
    hold: float


# By speed grade.
PADS = {
    "6": Pads(clock=0.985, data=1.2, turn=1.031, out=(1.988, 2.674), on=(2.203, 3.023), in_=(0.99, 1.14), setup=0.439,
              hold=0.311),
    "7": Pads(clock=0.863, data=1.109, turn=0.898, out=(1.903, 2.433), on=(2.158, 2.783), in_=(0.956, 1.055), setup=0.378,
              hold=0.285),
    "8": Pads(clock=0.741, data=1.018, turn=0.763, out=(1.819, 2.193), on=(2.113, 2.542), in_=(0.921, 0.97), setup=0.317,
              hold=0.258),
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of the SDRAM's clock, in eighths of the PLL's oscillator's cycle and in degrees of ours, `late` as
    `arch.sdram.Timing` has it, and by how much, in ns, the worst word is safe: `margins` by name, negative where it is not.

    - `read_setup`, `read_hold`: a word that is read is there before our edge, and still there after it.
    - `write_setup`, `write_hold`: what is sent is there before the SDRAM's edge, and still there after it.
    """

    steps: int
    degrees: float
    late: int
    margins: dict[str, float]

    @property
    def margin_ns(self) -> float:
        """The least of all."""
        return min(self.margins.values())


def phases(pll: Pll, chip: Chip, speed: str) -> Iterator[Phase]:
    """Every phase that the PLL has, whatever phase its record says, with words a clock late and not, for a chip and a speed grade
    of the FPGA."""
    slow, grade = PADS[speed], PADS["8"]
    period, access = float(1000 / pll.clock_mhz), chip.access_ns[chip.cas(float(pll.clock_mhz)) - 2]
    fast_way, fast_hold = FAST * (grade.clock + grade.out[0] + grade.in_[0]), FAST * grade.hold
    slow_way = slow.clock + slow.out[1] + slow.in_[1] + slow.setup
    # What is sent, against the clock: in the slow corner, where they differ most.
    last, first = max(slow.data + slow.out[1], slow.turn + slow.on[1]), slow.data + slow.out[0]
    for steps in range(STEPS * pll.output_divider):
        one = replace(pll, phase_steps=steps)
        after = period * steps / (STEPS * pll.output_divider)
        sent = {"write_setup": after + slow.clock + slow.out[0] - last - chip.setup_ns,
                "write_hold": period - after + first - slow.clock - slow.out[1] - chip.kept_ns}
        for late in (0, 1):
            edge = (1 + late) * period
            yield Phase(steps=steps, degrees=float(one.phase_degrees), late=late, margins={
                "read_setup": edge - slow_way - after - access - TRACE_NS,
                "read_hold": after + period + chip.hold_ns + fast_way + TRACE_NS - edge - fast_hold, **sent})


def best_phase(pll: Pll, chip: Chip, speed: str) -> Phase:
    """The phase in the middle: that whose least margin is greatest. Raises ValueError where no phase has one."""
    best = max(phases(pll, chip, speed), key=lambda phase: phase.margin_ns)
    if best.margin_ns <= 0:
        what = min(best.margins, key=best.margins.get).replace("_", " ")
        raise ValueError(f"At {float(pll.clock_mhz):g} MHz no phase of the clock of {chip.name} is safe: the best one, "
                         f"{best.degrees:g} degrees, misses {what} by {-best.margin_ns:.2f} ns: choose another clock")
    return best
