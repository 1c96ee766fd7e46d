"""A program and its weights from flash to storage, after a reset (docs/protocol.md, arch/flash.py)."""
from math import ceil

from amaranth import Array, Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import HEADER_WORDS, MAGIC, Command
from arch.protocol import CRC_RESIDUE, Identity
from hw.crc import CRC_INIT, crc_step
from hw.spi import SpiMaster, SpiPins, answer_layout, exchange_layout
from hw.storage_arbiter import request_layout

__all__ = ["Boot"]

_MOST_MHZ = 25                  # of the flash's clock; plain reads are promised to 33 MHz at least by every maker
_PAUSE_BITS = 12                # cycles until a flash that slept is awake: 26 us at 160 MHz, 3 us are enough for most


class Boot(wiring.Component):
    """Copies what flash holds at `offset` to storage, if it is meant for this engine; then the flash is the link's.

    Words go to storage one by one, slower than it takes them, each before it is asked for. Their CRC is known at
    the end only: a damaged program is in storage then, but nobody is told that it is there.

    Parameters
    ----------
    identity : Identity
    offset : int
        Of the header in flash, bytes.

    Members
    -------
    exchange : ``In(stream.Signature(exchange_layout()))``, exchanged : ``Out(answer_layout())``
        The flash, for the link; waits while `busy`.
    request, w : ``Out(stream.Signature(request_layout(24)))``, ``Out(stream.Signature(16))``
        Storage; only while `busy`.
    busy : ``Out(1)``
        From the reset on.
    booted, program : ``Out(1)``, ``Out(24)``
        A program was copied undamaged, and begins at this word.
    pins : ``Out(SpiPins())``
    """

    def __init__(self, identity: Identity, offset: int):
        if not 0 <= offset < 1 << 24:
            raise ValueError(f"Offset in flash must be below 16777216, not {offset}")
        self.identity, self.offset = identity, offset
        self.half = max(2, ceil(identity.clock_khz / 2000 / _MOST_MHZ))
        super().__init__({
            "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
            "request": Out(stream.Signature(request_layout(24))), "w": Out(stream.Signature(16)), "busy": Out(1, init=1),
            "booted": Out(1), "program": Out(24), "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spi = spi = SpiMaster(self.half)
        connect(m, spi.pins, flipped(self.pins))
        m.d.comb += self.exchanged.eq(spi.o)

        # Ends whatever mode a reset has left the flash in, wakes it, and reads on and on.
        script = Array(Const(byte, 8) for byte in (
            Command.NOTHING, Command.RELEASE, Command.READ, *self.offset.to_bytes(3, "big")))
        step, pause = Signal(range(len(script))), Signal(_PAUSE_BITS)
        byte, word, high = Signal(8, reset_less=True), Signal(16, reset_less=True), Signal()
        crc, whole, good = Signal(32, init=CRC_INIT), Signal(), Signal()
        # Magic and digest, numbers of words and of the program's address, data, CRC.
        constants = MAGIC | self.identity.digest << 32
        expected = Array(Const(constants >> 16 * n & 0xFFFF, 16) for n in range(6))
        place, wrong = Signal(range(HEADER_WORDS + 1)), Signal(reset_less=True)
        numbers, left, address = Signal(64, reset_less=True), Signal(25, reset_less=True), Signal(24)
        count, fits = numbers[:32], Signal(reset_less=True)
        m.d.sync += [whole.eq(crc == CRC_RESIDUE), wrong.eq(word != expected[place[:3]]),
                     fits.eq((count != 0) & (count <= self.identity.storage_words))]
        m.d.comb += [
            self.program.eq(numbers[32:56]), self.request.payload.write.eq(1), self.request.payload.address.eq(address),
            self.request.payload.length.eq(1), self.w.payload.eq(word)]

        # What changes wide registers, a cycle after it was decided.
        taken, shifted, counted, moved = (Signal(name=name) for name in ("taken", "shifted", "counted", "moved"))
        m.d.sync += [taken.eq(0), shifted.eq(0), counted.eq(0), moved.eq(0)]
        with m.If(taken):
            m.d.sync += [crc.eq(crc_step(crc, byte)), word.eq(Cat(word[8:], byte))]
        with m.If(shifted):
            m.d.sync += numbers.eq(Cat(numbers[16:], word))
        with m.If(counted):
            m.d.sync += left.eq(count)
        with m.If(moved):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]

        ask, answer = spi.i, spi.o
        with m.FSM():
            with m.State("PAUSE"):
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause.all()):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += [ask.valid.eq(1), ask.payload.data.eq(script[step]), ask.payload.last.eq(step < 2)]
                with m.If(ask.ready):
                    m.next = "SENT"
            with m.State("SENT"):
                with m.If(answer.valid):
                    m.d.sync += step.eq(step + 1)
                    m.next = "COMMAND"
                    with m.If(step < 2):
                        m.next = "PAUSE"
                    with m.If(step == len(script) - 1):
                        m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += ask.valid.eq(1)
                with m.If(ask.ready):
                    m.next = "BYTE"
            with m.State("BYTE"):
                m.d.sync += byte.eq(answer.data)
                with m.If(answer.valid):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.sync += [taken.eq(1), high.eq(~high)]
                m.next = "ASK"
                with m.If(high):
                    m.next = "WORD"
            with m.State("WORD"):               # `word` is not yet up to date, and `wrong` follows it
                m.next = "COMPARE"
                with m.If(place == HEADER_WORDS):
                    m.next = "ASK"              # of the CRC
                    with m.If(good):
                        m.next = "RELEASE"
                    with m.Elif(left == 0):
                        m.d.sync += good.eq(1)
                    with m.Else():
                        m.next = "GIVE"
            with m.State("COMPARE"):
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.sync += place.eq(place + 1)
                m.next = "ASK"
                with m.If(place >= 6):
                    m.d.sync += shifted.eq(1)
                with m.Elif(wrong):
                    m.next = "RELEASE"
                with m.If(place == HEADER_WORDS - 1):
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                m.next = "MEASURED"
            with m.State("MEASURED"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += counted.eq(1)
                m.next = "ASK"
                with m.If(~fits):
                    m.next = "RELEASE"
            with m.State("GIVE"):               # storage may ask for it as soon as it is asked
                m.d.comb += self.w.valid.eq(1)
                with m.If(self.w.ready):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.d.sync += moved.eq(1)
                    m.next = "ASK"
            with m.State("RELEASE"):            # one byte more, with which the flash is no longer selected
                m.d.comb += [ask.valid.eq(1), ask.payload.last.eq(1)]
                with m.If(ask.ready):
                    m.next = "RELEASED"
            with m.State("RELEASED"):
                with m.If(answer.valid):
                    m.d.sync += [self.busy.eq(0), self.booted.eq(good & whole)]
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [ask.valid.eq(self.exchange.valid), ask.payload.eq(self.exchange.payload),
                             self.exchange.ready.eq(ask.ready)]
        return m
