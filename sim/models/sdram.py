"""A simulated SDRAM chip that keeps its datasheet's rules, and designs that hold one."""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from amaranth import Array, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
import numpy as np

from arch.memory.calibration import Turn
from arch.sdram import Timing
from hw.storage.sdram import SdramPins
from sim.models.sdram_delays import Behaviour
from sim.verilog.export import Boundary, Rtl, convert
from sim.verilog.native import Design
from sim.verilog.verilate import BUILD

__all__ = ["BEHAVIOUR", "LOAD_WORDS", "ChipTiming", "SdramChip", "SdramDesign", "behaviour_bits", "blocks", "chip_timing"]

LOAD_WORDS = 32
_MODEL = Path(__file__).with_suffix(".v")
_NAMES = ("cas", "rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd", "interval", "retention", "power_up", "refreshes")

# At a step of the phase: `sim.models.sdram_delays.Behaviour`.
BEHAVIOUR = data.StructLayout({"lag": 1, "back": 2, "lost": 1, "garbled": 1})

ChipTiming = data.StructLayout({name: 32 for name in _NAMES})


def behaviour_bits(turn: Sequence[Behaviour]) -> int:
    """Bits of `SdramChip.turn`."""
    return data.ArrayLayout(BEHAVIOUR, len(turn)).const([asdict(one) for one in turn]).as_bits()


def chip_timing(timing: Timing, **changes: int) -> int:
    """Bits of `ChipTiming` for a timing; `changes` replaces single figures. Unless changed, `retention` is 64 ms."""
    values = {name: getattr(timing, name) for name in _NAMES if name != "retention"}
    values["retention"] = min(int(64_000 * timing.clock_mhz), (1 << 32) - 1)
    return ChipTiming.const(values | changes).as_bits()


def blocks(address: int, words: np.ndarray, timing: Timing) -> list[int]:
    """What `SdramChip.load` is fed to hold `words` (uint16) from word `address` on; both multiples of `LOAD_WORDS`.

    Raises ValueError otherwise, or if they do not fit.
    """
    words = np.ascontiguousarray(words, "<u2")
    if address % LOAD_WORDS or len(words) % LOAD_WORDS:
        raise ValueError(f"Loaded words must be multiples of {LOAD_WORDS}, not {len(words)} from {address} on")
    if not 0 <= address <= address + len(words) <= 1 << timing.address_bits:
        raise ValueError(f"Loaded words must lie in the chip's {1 << timing.address_bits}, not end at {address + len(words)}")
    bits = timing.address_bits - (LOAD_WORDS - 1).bit_length()
    return [address // LOAD_WORDS + n | int.from_bytes(block.tobytes(), "little") << bits
            for n, block in enumerate(words.reshape(-1, LOAD_WORDS))]


class SdramChip(wiring.Component):
    """A chip, to be compiled by `SdramDesign`. It knows no reset, nor does the PLL that makes its clock.

    Stops the run on any violated timing, on commands that are illegal in the state of the chip or its bank, on a wrong mode
    register, on data pins driven from both sides or in turns without a free clock, and on a refresh later than `interval`.
    What is read without being asked for is garbage that changes each clock.

    Parameters
    ----------
    timing : Timing
        For the size, and the board's registers between controller and chip.
    turn : Turn or None
        If the phase of its clock is stepped. While it is, and for some clocks after that, nothing is understood.

    Members
    -------
    step, turn : ``In(1)``, ``In(ArrayLayout(BEHAVIOUR, turn.steps))``
        A falling edge makes its clock a step later; what happens at each step. Only with a `turn`.
    pins : ``In(SdramPins())``
    timing : ``In(ChipTiming)``
    load : ``In(stream.Signature(...))``
        A block of `LOAD_WORDS` words and its address, see `blocks`; one a cycle, at any time.
    """

    def __init__(self, timing: Timing, turn: Turn | None = None):
        if turn is not None and not timing.pin_registers:
            raise ValueError("pin_registers must be at least 1 where the phase is stepped, not 0")
        self.steps = turn
        self.row_bits, self.column_bits, self.pin_registers = timing.row_bits, timing.column_bits, timing.pin_registers
        self.late = timing.late
        address = timing.address_bits - (LOAD_WORDS - 1).bit_length()
        block = data.StructLayout({"address": address, "data": 16 * LOAD_WORDS})
        stepped = {} if turn is None else {"step": In(1), "turn": In(data.ArrayLayout(BEHAVIOUR, turn.steps))}
        super().__init__({"pins": In(SdramPins()), "timing": In(ChipTiming), "load": In(stream.Signature(block)), **stepped})

    def _phase(self, m):
        """The PLL, and what happens at the step at which it is."""
        position, before, still = Signal(range(self.steps.steps), init=self.steps.first, reset_less=True), Signal(), Signal(5)
        m.d.sync += [before.eq(self.step), still.eq(Mux(before & ~self.step, 1, still + (still != 0)))]
        with m.If(before & ~self.step):
            m.d.sync += position.eq(Mux(position == self.steps.steps - 1, 0, position + 1))
        now = self.turn[position]
        return now, now.lost | before | (still != 0)

    def elaborate(self, platform):
        m = Module()
        now, lost = (None, 0) if self.steps is None else self._phase(m)

        def delayed(value, name, cycles=self.pin_registers):
            for n in range(cycles):
                stage = Signal.like(value, name=f"{name}{n}", reset_less=True)
                m.d.sync += stage.eq(value)
                value = stage
            return value

        def sent(value, name):
            if now is None:
                return delayed(value, name)
            early = delayed(value, name, self.pin_registers - 1)
            return Mux(now.lag, delayed(early, f"{name}_lag", 1), early)

        outputs = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_oe")
        dq = Signal(16)
        m.submodules.chip = Instance(
            "fireline_sdram", p_ROW_BITS=Const(self.row_bits, 32), p_COLUMN_BITS=Const(self.column_bits, 32),
            i_clk=ClockSignal(), **{f"i_{name}": sent(getattr(self.pins, name), name) for name in outputs},
            i_dq_i=sent(self.pins.dq_o, "dq_i"), o_dq_o=dq, i_lost=lost, i_garbled=0 if now is None else now.garbled,
            **{f"i_t_{name}": self.timing[name] for name in _NAMES},
            i_load=self.load.valid, i_load_address=self.load.payload.address, i_load_data=self.load.payload.data)
        if now is None:
            back = delayed(dq, "dq_o", self.pin_registers + self.late)
        else:
            back = Array([delayed(dq, f"dq_o_{n}_", self.pin_registers + n) for n in range(4)])[now.back]
        m.d.comb += [self.pins.dq_i.eq(back), self.load.ready.eq(1)]
        return m


class SdramDesign(Design):
    """A design compiled for simulation that holds an `SdramChip` somewhere; see `sim.verilog.native.Design`."""

    def __init__(self, component: wiring.Component, *, probes: Callable[[], Mapping[str, Boundary]] | None = None,
                 build: Path = BUILD, waves: str = ""):
        self._compile(convert(component, probes=probes), build, waves)

    def _compile(self, rtl: Rtl, build: Path, waves: str):
        super()._compile(replace(rtl, verilog=rtl.verilog + _MODEL.read_text()), build, waves)
