"""The words of a flash from an address on, one after the other, and their CRC."""
from math import ceil

from amaranth import Array, Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import Command
from hw.link.spi import SpiMaster, SpiPins, answer_layout, exchange_layout
from hw.parts.slot import Slot
from hw.parts.states import States

__all__ = ["FlashWords"]

_MOST_MHZ = 25                  # of the flash's clock; plain reads are promised to 33 MHz at least by every maker
_STATES = ("PAUSE", "COMMAND", "SENT", "ASK", "BYTE", "CRC", "WAIT", "RELEASE", "RELEASED", "DONE")
_PAUSE_BITS = 12                # cycles until a flash that slept is awake: 26 us at 160 MHz, 3 us are enough for most


class FlashWords(wiring.Component):
    """Wakes the flash after a reset, and reads: the first word unasked, each further one when asked for. Once stopped, it hands
    on what somebody else exchanges with the flash.

    Parameters
    ----------
    clock_khz : int
    offset : int
        Of the first word in flash, bytes, below 2^24.

    Members
    -------
    next, stop : ``In(1)``
        One of them for a cycle, once for each word that came: another one, or no more.
    came : ``Out(1)``
        High for a cycle; `word` is up to date two cycles later, and stays until the next one comes.
    word : ``Out(16)``
    whole : ``Out(1)``
        The words so far end with the CRC of those before; three cycles after `came`.
    ended : ``Out(1)``
        High for a cycle after `stop`.
    exchange : ``In(stream.Signature(exchange_layout()))``, exchanged : ``Out(answer_layout())``
        The flash, for somebody else; waits until `ended`.
    pins : ``Out(SpiPins())``
    """

    def __init__(self, clock_khz: int, offset: int):
        self.offset = offset
        self.half = max(2, ceil(clock_khz / 2000 / _MOST_MHZ))
        super().__init__({
            "next": In(1), "stop": In(1), "came": Out(1), "word": Out(16), "whole": Out(1), "ended": Out(1),
            "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()), "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spi = spi = SpiMaster(self.half)
        m.submodules.slot = slot = Slot(spi.i.payload.shape())       # the link is far away
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        connect(m, spi.pins, flipped(self.pins))
        connect(m, slot.o, spi.i)
        # Ends whatever mode a reset has left the flash in, wakes it, and reads on and on.
        script = Array(Const(byte, 8) for byte in (
            Command.NOTHING, Command.RELEASE, Command.READ, *self.offset.to_bytes(3, "big")))
        step, pause = Signal(range(len(script))), Signal(_PAUSE_BITS)
        byte, word, high = Signal(8, reset_less=True), Signal(16, reset_less=True), Signal()
        taken, whole = Signal(), Signal(reset_less=True)             # a byte, a cycle ago
        m.d.comb += [self.exchanged.eq(spi.o), crc.valid.eq(taken), crc.data.eq(byte), self.word.eq(word), self.whole.eq(whole)]
        m.d.sync += [taken.eq(0), whole.eq(crc.match_detected)]
        with m.If(taken):
            m.d.sync += word.eq(Cat(word[8:], byte))

        ask, answer = slot.i, spi.o
        with States(m, _STATES) as states:
            with states.at("PAUSE"):
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause.all()):
                    states.go("COMMAND")
            with states.at("COMMAND"):
                m.d.comb += [ask.valid.eq(1), ask.payload.data.eq(script[step]), ask.payload.last.eq(step < 2)]
                with m.If(ask.ready):
                    states.go("SENT")
            with states.at("SENT"):
                with m.If(answer.valid):
                    m.d.sync += step.eq(step + 1)
                    states.go("COMMAND")
                    with m.If(step < 2):
                        states.go("PAUSE")
                    with m.If(step == len(script) - 1):
                        states.go("ASK")
            with states.at("ASK"):
                m.d.comb += ask.valid.eq(1)
                with m.If(ask.ready):
                    states.go("BYTE")
            with states.at("BYTE"):
                m.d.sync += byte.eq(answer.data)
                with m.If(answer.valid):
                    states.go("CRC")
            with states.at("CRC"):
                m.d.comb += self.came.eq(high)
                m.d.sync += [taken.eq(1), high.eq(~high)]
                states.go("ASK")
                with m.If(high):
                    states.go("WAIT")
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
                    m.d.comb += self.ended.eq(1)
                    states.go("DONE")
            with states.at("DONE"):
                m.d.comb += [ask.valid.eq(self.exchange.valid), ask.payload.eq(self.exchange.payload),
                             self.exchange.ready.eq(ask.ready)]
        return m
