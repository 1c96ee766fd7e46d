"""A serial line: eight data bits, no parity, one stop bit, any rate up to an eighth of the clock."""
from amaranth import Cat, Const, Module, Signal
from amaranth.lib import cdc, data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.states import States

__all__ = ["MIN_CYCLES", "UartReceiver", "UartTransmitter", "byte_layout"]

MIN_CYCLES = 8          # of the clock in a bit
_PHASE_BITS = 20        # of a bit's length; the rate is off by at most half of its last place


def byte_layout() -> data.StructLayout:
    """A byte from the line; with `error` one or more bytes around it were lost, and its value means nothing."""
    return data.StructLayout({"data": 8, "error": 1})


def _increment(clock_hz: float, baud: float) -> int:
    """Of the phase, in a cycle. Raises ValueError if the rate cannot be kept to one percent."""
    if not clock_hz / (1 << 14) <= baud <= clock_hz / MIN_CYCLES:
        raise ValueError(f"Baud rate must be {clock_hz / (1 << 14):.0f}..{clock_hz / MIN_CYCLES:.0f} at {clock_hz / 1e6:g} MHz, "
                         f"not {baud:g}")
    return round(baud / clock_hz * (1 << _PHASE_BITS))


class UartReceiver(wiring.Component):
    """Bytes from a line that is high when idle.

    A byte begins when two of three samples in a row are low, and still are half a bit later; each bit is what two of three
    samples around its middle say. So spikes of one cycle do nothing, and sender and receiver may differ by 4 %.

    A byte whose stop bit is low, or that comes before its predecessor was taken, sets `error`; after a low stop bit the line
    must be high again before the next byte begins.

    Parameters
    ----------
    clock_hz, baud : float

    Members
    -------
    rx : ``In(1, init=1)``
        The pin; synchronised here.
    o : ``Out(stream.Signature(byte_layout()))``
        Registers.
    """

    def __init__(self, clock_hz: float, baud: float):
        self.increment = _increment(clock_hz, baud)
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(byte_layout()))})

    def elaborate(self, platform):
        m = Module()
        synced, samples, line = Signal(init=1), Signal(2, init=3), Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, synced, init=1)
        a, b, c = synced, samples[0], samples[1]
        m.d.sync += [samples.eq(Cat(synced, samples)), line.eq(a & b | a & c | b & c)]

        phase, tick = Signal(_PHASE_BITS, reset_less=True), Signal()
        bits, left = Signal(8, reset_less=True), Signal(range(10), reset_less=True)
        m.d.sync += Cat(phase, tick).eq(phase + Const(self.increment, _PHASE_BITS))
        out = self.o.payload
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with States(m, ("IDLE", "START", "BITS", "HIGH")) as states:
            with states.at("IDLE"):
                # The middle of a bit is when the phase overflows.
                m.d.sync += [phase.eq(1 << _PHASE_BITS - 1), tick.eq(0)]
                with m.If(~line):
                    states.go("START")
            with states.at("START"):
                m.d.sync += left.eq(8)
                with m.If(tick):
                    states.go("BITS")
                    with m.If(line):
                        states.go("IDLE")
            with states.at("BITS"):
                with m.If(tick):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.d.sync += [self.o.valid.eq(1), out.data.eq(bits), out.error.eq(~line | self.o.valid & ~self.o.ready)]
                        states.go("HIGH")
                    with m.Else():
                        m.d.sync += bits.eq(Cat(bits[1:], line))
            with states.at("HIGH"):
                with m.If(line):
                    states.go("IDLE")
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line, one after the other without a gap.

    Parameters
    ----------
    clock_hz, baud : float

    Members
    -------
    i : ``In(stream.Signature(8))``
        Taken while the stop bit of the byte before it is sent; `ready` is a register.
    tx : ``Out(1, init=1)``
        A register.
    """

    def __init__(self, clock_hz: float, baud: float):
        self.increment = _increment(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        phase, tick = Signal(_PHASE_BITS, reset_less=True), Signal()
        bits, left, ready = Signal(9, init=(1 << 9) - 1, reset_less=True), Signal(range(11)), Signal()
        m.d.sync += Cat(phase, tick).eq(phase + Const(self.increment, _PHASE_BITS))
        m.d.comb += self.i.ready.eq(ready)
        # Bits change on ticks only, so they have the rate's length whenever a byte comes.
        with m.If(tick):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1))]
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
        m.d.sync += ready.eq((left == 0) & ~(ready & self.i.valid))
        with m.If(ready & self.i.valid):
            m.d.sync += [bits.eq(Cat(Const(0, 1), self.i.payload)), left.eq(10)]
        return m
