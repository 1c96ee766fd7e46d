"""Bytes to and from a SPI flash, mode 0, a bit at a time."""
from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.states import States

__all__ = ["SpiMaster", "SpiPins", "answer_layout", "exchange_layout"]

_APART = 16                     # cycles without a selected chip, 100 ns at 160 MHz


class SpiPins(wiring.Signature):
    """Registers to a flash; `cipo` is a register at the pin."""

    def __init__(self):
        super().__init__({"cs_n": Out(1, init=1), "clk": Out(1), "copi": Out(1), "cipo": In(1)})


def exchange_layout() -> data.StructLayout:
    """A byte for the flash; after the `last` one it is no longer selected."""
    return data.StructLayout({"data": 8, "last": 1})


def answer_layout() -> data.StructLayout:
    """The byte that came meanwhile: `valid` for a cycle, `data` until the next one comes."""
    return data.StructLayout({"valid": 1, "data": 8})


class SpiMaster(wiring.Component):
    """Exchanges bytes; the clock stands still between them.

    A bit is taken when the clock falls, a whole period after the flash began to send it: so the way there and back may take
    almost as long.

    Parameters
    ----------
    half : int
        Cycles of half a period of the flash's clock, at least 2.

    Members
    -------
    i : ``In(stream.Signature(exchange_layout()))``
    o : ``Out(answer_layout())``
    pins : ``Out(SpiPins())``
    """

    def __init__(self, half: int):
        if half < 2:
            raise ValueError(f"Half a period must be at least 2 cycles, not {half}")
        self.half = half
        super().__init__({"i": In(stream.Signature(exchange_layout())), "o": Out(answer_layout()), "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        bits, last, left = Signal(8, reset_less=True), Signal(reset_less=True), Signal(3, reset_less=True)
        wait, over, take = Signal(range(max(self.half, _APART)), reset_less=True), Signal(), Signal()
        pins, got = self.pins, self.o.data
        m.d.comb += [over.eq(wait == 0), pins.copi.eq(bits[7])]
        m.d.sync += [wait.eq(wait - 1), take.eq(0), self.o.valid.eq(0)]
        with m.If(take):
            m.d.sync += got.eq(Cat(pins.cipo, got[:7]))
        with States(m, ("IDLE", "LOW", "HIGH", "END", "APART")) as states:
            with states.at("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += wait.eq(self.half - 1)
                with m.If(self.i.valid):
                    m.d.sync += [bits.eq(self.i.payload.data), last.eq(self.i.payload.last), left.eq(7), pins.cs_n.eq(0)]
                    states.go("LOW")
            with states.at("LOW"):
                with m.If(over):
                    m.d.sync += [pins.clk.eq(1), wait.eq(self.half - 1)]
                    states.go("HIGH")
            with states.at("HIGH"):
                with m.If(over):
                    m.d.sync += [pins.clk.eq(0), wait.eq(self.half - 1), take.eq(1), bits.eq(bits << 1), left.eq(left - 1)]
                    states.go("LOW")
                    with m.If(left == 0):
                        states.go("END")
            with states.at("END"):                # the last bit is taken
                with m.If(over):
                    m.d.sync += [self.o.valid.eq(1), wait.eq(_APART - 1), pins.cs_n.eq(last)]
                    states.go("IDLE")
                    with m.If(last):
                        states.go("APART")
            with states.at("APART"):
                with m.If(over):
                    states.go("IDLE")
        return m
