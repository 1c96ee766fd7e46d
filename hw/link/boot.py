"""A program and its weights from flash to storage, after a reset (docs/protocol.md, arch/flash.py)."""
from math import ceil

from amaranth import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import HEADER_WORDS, MAGIC, Command
from arch.protocol import CRC_RESIDUE, Identity
from hw.link.spi import SpiMaster, SpiPins, answer_layout, exchange_layout
from hw.parts.crc import CRC_INIT, crc_step
from hw.parts.slot import Slot
from hw.parts.states import States
from hw.storage.arbiter import request_layout

__all__ = ["Boot"]

_MOST_MHZ = 25                  # of the flash's clock; plain reads are promised to 33 MHz at least by every maker
_STATES = ("PAUSE", "COMMAND", "SENT", "ASK", "BYTE", "CRC", "WORD", "COMPARE", "HEADER", "MEASURE", "COMPARED", "MEASURED",
           "DECIDE", "GIVE", "REQUEST", "RELEASE", "RELEASED", "DONE")
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
        crc, good = Signal(32, init=CRC_INIT), Signal()
        # Magic and digest, numbers of words and of the program's address, data, CRC.
        constants = MAGIC | self.identity.digest << 32
        expected = Array(Const(constants >> 16 * n & 0xFFFF, 16) for n in range(6))
        place = Signal(range(HEADER_WORDS + 1))
        numbers, left, address = Signal(64, reset_less=True), Signal(25, reset_less=True), Signal(24)
        count = numbers[:32]

        # Comparisons in short parts, for which there is time enough.
        def parts(name, number, what):
            """`what` of each part, of the cycle before."""
            part = Signal(number, name=name, reset_less=True)
            m.d.sync += part.eq(Cat(what(n) for n in range(number)))
            return part
        most, wanted = Const(self.identity.storage_words, 32), Value.cast(expected[place[:3]])
        whole = parts("whole", 4, lambda n: crc.word_select(n, 8) == CRC_RESIDUE >> 8 * n & 0xFF).all()
        wrong = parts("wrong", 4, lambda n: word.word_select(n, 4) != wanted.word_select(n, 4)).any()
        some = parts("some", 4, lambda n: left[7 * n:7 * n + 7].any()).any()
        above = parts("above", 4, lambda n: count.word_select(n, 8) > most.word_select(n, 8))
        below = parts("below", 4, lambda n: count.word_select(n, 8) < most.word_select(n, 8))
        none = ~parts("any", 4, lambda n: count.word_select(n, 8).any()).any()
        fits = Signal(reset_less=True)
        m.d.sync += fits.eq((above <= below) & ~none)       # the highest part that differs says which is more
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

        m.submodules.slot = slot = Slot(spi.i.payload.shape())       # the link is far away
        connect(m, slot.o, spi.i)
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
                m.d.sync += [taken.eq(1), high.eq(~high)]
                states.go("ASK")
                with m.If(high):
                    states.go("WORD")
            with states.at("WORD"):               # `word` is not yet up to date, and `wrong` follows it
                states.go("COMPARE")
                with m.If(place == HEADER_WORDS):
                    states.go("ASK")              # of the CRC
                    with m.If(good):
                        states.go("RELEASE")
                    with m.Elif(~some):
                        m.d.sync += good.eq(1)
                    with m.Else():
                        states.go("GIVE")
            with states.at("COMPARE"):
                states.go("HEADER")
            with states.at("HEADER"):
                m.d.sync += place.eq(place + 1)
                states.go("ASK")
                with m.If(place >= 6):
                    m.d.sync += shifted.eq(1)
                with m.Elif(wrong):
                    states.go("RELEASE")
                with m.If(place == HEADER_WORDS - 1):
                    states.go("MEASURE")
            with states.at("MEASURE"):          # `numbers`, its parts, `fits` follow
                states.go("COMPARED")
            with states.at("COMPARED"):
                states.go("MEASURED")
            with states.at("MEASURED"):
                states.go("DECIDE")
            with states.at("DECIDE"):
                m.d.sync += counted.eq(1)
                states.go("ASK")
                with m.If(~fits):
                    states.go("RELEASE")
            with states.at("GIVE"):               # storage may ask for it as soon as it is asked
                m.d.comb += self.w.valid.eq(1)
                with m.If(self.w.ready):
                    states.go("REQUEST")
            with states.at("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.d.sync += moved.eq(1)
                    states.go("ASK")
            with states.at("RELEASE"):            # one byte more, with which the flash is no longer selected
                m.d.comb += [ask.valid.eq(1), ask.payload.last.eq(1)]
                with m.If(ask.ready):
                    states.go("RELEASED")
            with states.at("RELEASED"):
                with m.If(answer.valid):
                    m.d.sync += [self.busy.eq(0), self.booted.eq(good & whole)]
                    states.go("DONE")
            with states.at("DONE"):
                m.d.comb += [ask.valid.eq(self.exchange.valid), ask.payload.eq(self.exchange.payload),
                             self.exchange.ready.eq(ask.ready)]
        return m
