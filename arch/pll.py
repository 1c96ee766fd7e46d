"""The ECP5's PLL: which dividers make a clock from another one.

Limits are those of Lattice, "ECP5 and ECP5-5G Family" data sheet FPGA-DS-02012, table of sysCLOCK PLL timing; dividers and
phases those of its sysCLOCK usage guide, FPGA-TN-02200.
"""
from dataclasses import dataclass
from fractions import Fraction
from math import floor

__all__ = ["Pll", "solve"]

_INPUT_MHZ, _DETECTOR_MHZ, _VCO_MHZ, _OUTPUT_MHZ = (8, 400), (10, 400), (400, 800), (Fraction("3.125"), 400)
_DIVIDERS = range(1, 129)
STEPS = 8                       # of phase in a cycle of the oscillator


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Dividers of an EHXPLLL whose feedback is an output of its own, which divides by 1; so the oscillator need not run at a
    multiple of the clock. The second output is the same clock, `phase_steps` eighths of an oscillator's cycle later.

    Raises ValueError for whatever the data sheet forbids.
    """

    input_mhz: Fraction
    input_divider: int
    feedback_divider: int
    output_divider: int
    phase_steps: int = 0

    def __post_init__(self):
        for name in ("input_divider", "feedback_divider", "output_divider"):
            if getattr(self, name) not in _DIVIDERS:
                raise ValueError(f"{name} must be 1..128, not {getattr(self, name)}")
        if not 0 <= self.phase_steps < STEPS * self.output_divider:
            raise ValueError(f"phase_steps must be 0..{STEPS * self.output_divider - 1}, not {self.phase_steps}")
        for name, value, (low, high) in (
                ("input", self.input_mhz, _INPUT_MHZ), ("phase detector", self.detector_mhz, _DETECTOR_MHZ),
                ("oscillator", self.vco_mhz, _VCO_MHZ), ("output", self.clock_mhz, _OUTPUT_MHZ)):
            if not low <= value <= high:
                raise ValueError(f"Clock of the PLL's {name} must be {float(low)}..{float(high)} MHz, not {float(value)}")

    @property
    def detector_mhz(self) -> Fraction:
        return self.input_mhz / self.input_divider

    @property
    def vco_mhz(self) -> Fraction:
        return self.detector_mhz * self.feedback_divider

    @property
    def clock_mhz(self) -> Fraction:
        """Exact clock of both outputs."""
        return self.vco_mhz / self.output_divider

    @property
    def phase_degrees(self) -> Fraction:
        """How much later the second output is."""
        return Fraction(360 * self.phase_steps, STEPS * self.output_divider)

    @property
    def parameters(self) -> dict[str, int | str]:
        """Parameters of the primitive EHXPLLL: CLKOP is the clock, CLKOS the later one, CLKOS3 the feedback."""
        # A coarse phase of divider - 1 is none to Lattice's tools; only the difference counts here, and it has 7 bits.
        start = min(self.output_divider - 1, _DIVIDERS[-1] - 1 - self.phase_steps // STEPS)
        return {"CLKI_DIV": self.input_divider, "CLKFB_DIV": self.feedback_divider, "FEEDBK_PATH": "INT_OS3",
                "CLKOP_ENABLE": "ENABLED", "CLKOP_DIV": self.output_divider, "CLKOP_CPHASE": start, "CLKOP_FPHASE": 0,
                "CLKOS_ENABLE": "ENABLED", "CLKOS_DIV": self.output_divider,
                "CLKOS_CPHASE": start + self.phase_steps // STEPS, "CLKOS_FPHASE": self.phase_steps % STEPS,
                "CLKOS3_ENABLE": "ENABLED", "CLKOS3_DIV": 1, "CLKOS3_CPHASE": 0, "CLKOS3_FPHASE": 0}


def solve(input_mhz: float, clock_mhz: float, phase_degrees: float = 0) -> Pll:
    """The PLL whose clock is highest without being above `clock_mhz`, with the least jitter among equals: the fastest phase
    detector, then the fastest oscillator. The phase (0..360 degrees, below 360) is the nearest that there is.

    The input may be 10..400 MHz, the wanted clock 4..400: there is always one at most 5 % below. Raises ValueError otherwise.
    """
    source, wanted = Fraction(str(input_mhz)), Fraction(str(clock_mhz))
    for name, value, low in (("Input", source, _DETECTOR_MHZ[0]), ("Wanted clock", wanted, 4)):
        if not low <= value <= _OUTPUT_MHZ[1]:
            raise ValueError(f"{name} of the PLL must be {float(low)}..{float(_OUTPUT_MHZ[1])} MHz, not {float(value)}")
    if not 0 <= phase_degrees < 360:
        raise ValueError(f"Phase must be 0..360 degrees, below 360, not {phase_degrees}")
    best = (0,)
    for divider in _DIVIDERS:
        detector = source / divider
        if detector < _DETECTOR_MHZ[0]:
            break
        for feedback in range(-floor(-_VCO_MHZ[0] / detector), min(_VCO_MHZ[1] // detector, _DIVIDERS[-1]) + 1):
            vco = detector * feedback
            output = -floor(-vco / wanted)
            if output in _DIVIDERS:
                best = max(best, (vco / output, detector, vco, divider, feedback, output))
    *_, divider, feedback, output = best
    steps = round(Fraction(str(phase_degrees)) / 360 * STEPS * output) % (STEPS * output)
    return Pll(input_mhz=source, input_divider=divider, feedback_divider=feedback, output_divider=output, phase_steps=steps)
