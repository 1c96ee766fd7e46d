"""The words of a flash from an address on, one after the other; and a mark in it."""
from math import ceil

from amaranth import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import Command, Status
from hw.link.spi import SpiMaster, SpiPins, answer_layout, exchange_layout
from hw.parts.slot import Slot
from hw.parts.states import States

__all__ = ["FlashWords"]

_MOST_MHZ = 25                  # of the flash's clock; plain reads are promised to 33 MHz at least by every maker
_STATES = ("PAUSE", "COMMAND", "SENT", "LOOKED", "ASK", "BYTE", "WAIT", "RELEASE", "RELEASED", "IDLE")
_PAUSE_BITS = 12                # cycles until a flash that slept is awake: 26 us at 160 MHz, 3 us are enough for most
# Looks at a flash that is busy, of 130 cycles or more each, before it is read all the same: 3 s at 160 MHz, in which any maker's
# flash has erased a block.
_LOOK_BITS = 22


class _Step:
    """Numbers of the bytes that are sent before the words; and of the first of each sequence of them."""

    WAKE, LOOK, READ, MARK, BYTES = 0, 2, 4, 8, 14


class FlashWords(wiring.Component):
    """Wakes the flash after a reset, and waits until it is not busy. Then it reads, from whatever address is asked for: the first
    word unasked, each further one when asked for; or programs a byte to 0. In between it hands on what somebody else exchanges
    with the flash.

    Parameters
    ----------
    clock_khz : int
    look_bits : int
        Logarithm of how often it looks whether the flash is still busy.

    Members
    -------
    read, mark : ``In(1)``
        For a cycle, while nothing is under way; `address` (24 bits) stays until the first word comes, or the end.
    next, stop : ``In(1)``
        One of them for a cycle, once for each word that came: another one, or no more.
    came : ``Out(1)``
        High for a cycle, in which there is a `word`.
    word : ``Out(16)``
    ended : ``Out(1)``
        High for a cycle: the flash is awake, no longer read, or the mark is programmed.
    exchange : ``In(stream.Signature(exchange_layout()))``, exchanged : ``Out(answer_layout())``
        The flash, for somebody else, while nothing is under way.
    pins : ``Out(SpiPins())``
    """

    def __init__(self, clock_khz: int, *, look_bits: int = _LOOK_BITS):
        self.half, self.look_bits = max(2, ceil(clock_khz / 2000 / _MOST_MHZ)), look_bits
        super().__init__({
            "read": In(1), "mark": In(1), "address": In(24), "next": In(1), "stop": In(1), "came": Out(1), "word": Out(16),
            "ended": Out(1), "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
            "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spi = spi = SpiMaster(self.half)
        m.submodules.slot = slot = Slot(spi.i.payload.shape())       # the link is far away
        connect(m, spi.pins, flipped(self.pins))
        connect(m, slot.o, spi.i)
        low, high = Signal(8, reset_less=True), Signal()
        m.d.comb += [self.exchanged.eq(spi.o), self.word.eq(Cat(low, spi.o.data))]
        step, pause = Signal(range(_Step.BYTES)), Signal(max(_PAUSE_BITS, self.look_bits))
        self._states(m, slot.i, spi.o, step, pause, low, high)
        return m

    def _bytes(self, step):
        """What is sent at each step, and whether the flash is no longer selected behind it. Two bytes end whatever mode a reset
        has left the flash in, and wake it; the others are a look at its status, a read, and a mark."""
        address = [self.address[16:], self.address[8:16], self.address[:8]]
        script = [(Command.NOTHING, 1), (Command.RELEASE, 1), (Command.STATUS, 0), (0, 1), (Command.READ, 0),
                  *((byte, 0) for byte in address), (Command.WRITE_ENABLE, 1), (Command.PROGRAM, 0),
                  *((byte, 0) for byte in address), (0, 1)]
        assert len(script) == _Step.BYTES
        data, last = zip(*script, strict=True)
        return Array(Value.cast(byte) if isinstance(byte, Value) else Const(byte, 8) for byte in data)[step], Array(last)[step]

    def _states(self, m, ask, answer, step, pause, low, high):
        data, last = self._bytes(step)
        busy = Signal()
        m.d.sync += [self.came.eq(0), self.ended.eq(0), busy.eq(answer.data[Status.BUSY.bit_length() - 1])]
        with States(m, _STATES) as states:
            with states.at("PAUSE"):
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause[:_PAUSE_BITS].all()):
                    m.d.sync += pause.eq(0)
                    states.go("COMMAND")
            with states.at("COMMAND"):
                m.d.comb += [ask.valid.eq(1), ask.payload.data.eq(data), ask.payload.last.eq(last)]
                with m.If(ask.ready):
                    states.go("SENT")
            with states.at("SENT"):
                with m.If(answer.valid):
                    m.d.sync += step.eq(step + 1)
                    states.go("COMMAND")
                    with m.If(step < _Step.LOOK):
                        states.go("PAUSE")
                    with m.If(step == _Step.READ - 1):
                        states.go("LOOKED")
                    with m.If(step == _Step.MARK - 1):
                        states.go("ASK")
                    with m.If(step == _Step.BYTES - 1):
                        m.d.sync += step.eq(_Step.LOOK)
            with states.at("LOOKED"):
                m.d.sync += [pause.eq(pause + 1), step.eq(_Step.LOOK)]
                states.go("COMMAND")
                with m.If(~busy | pause[:self.look_bits].all()):
                    m.d.sync += self.ended.eq(1)
                    states.go("IDLE")
            with states.at("ASK"):
                m.d.comb += ask.valid.eq(1)
                with m.If(ask.ready):
                    states.go("BYTE")
            with states.at("BYTE"):
                with m.If(answer.valid):
                    m.d.sync += [self.came.eq(high), high.eq(~high)]
                    states.go("ASK")
                    with m.If(high):
                        states.go("WAIT")
                    with m.Else():
                        m.d.sync += low.eq(answer.data)
            with states.at("WAIT"):
                with m.If(self.next):
                    states.go("ASK")
                with m.If(self.stop):
                    states.go("RELEASE")
            with states.at("RELEASE"):            # one byte more, with which the flash is no longer selected
                m.d.comb += [ask.valid.eq(1), ask.payload.last.eq(1)]
                with m.If(ask.ready):
                    states.go("RELEASED")
            with states.at("RELEASED"):
                with m.If(answer.valid):
                    m.d.sync += self.ended.eq(1)
                    states.go("IDLE")
            with states.at("IDLE"):
                m.d.comb += [ask.valid.eq(self.exchange.valid), ask.payload.eq(self.exchange.payload),
                             self.exchange.ready.eq(ask.ready)]
                m.d.sync += pause.eq(0)
                with m.If(self.read):
                    m.d.sync += step.eq(_Step.READ)
                    states.go("COMMAND")
                with m.If(self.mark):
                    m.d.sync += step.eq(_Step.MARK)
                    states.go("COMMAND")
