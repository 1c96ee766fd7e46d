"""A program and its weights from flash to storage, after a reset (docs/protocol.md, arch/flash.py)."""
from amaranth import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import HEADER_WORDS, MAGIC
from arch.protocol import Identity
from arch.record import bits_of_storage
from hw.link.flash_words import FlashWords
from hw.link.spi import SpiPins, answer_layout, exchange_layout
from hw.parts.compare import differs, exceeds
from hw.parts.states import States
from hw.storage.arbiter import request_layout

__all__ = ["Boot"]

_STATES = ("READ", "WORD", "COMPARE", "HEADER", "MEASURE", "COMPARED", "MEASURED", "DECIDE", "GIVE", "REQUEST", "RELEASE",
           "DONE")
_CONSTANTS = 6                  # words of the header: magic and digest; numbers of words and of the program's address follow


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
    request, w : ``Out(stream.Signature(request_layout(bits)))``, ``Out(stream.Signature(16))``
        Storage; only while `busy`.
    busy : ``Out(1)``
        From the reset on.
    booted, program : ``Out(1)``, ``Out(24)``
        A program was copied undamaged, and begins at this word: no flash holds more than 24 bits can say.
    pins : ``Out(SpiPins())``
    """

    def __init__(self, identity: Identity, offset: int):
        if not 0 <= offset < 1 << 24:
            raise ValueError(f"Offset in flash must be below 16777216, not {offset}")
        self.identity, self.flash = identity, FlashWords(identity.clock_khz, offset)
        self.storage_bits = bits = bits_of_storage(identity.storage_words)
        super().__init__({
            "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
            "request": Out(stream.Signature(request_layout(bits))), "w": Out(stream.Signature(16)), "busy": Out(1, init=1),
            "booted": Out(1), "program": Out(24), "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.flash = flash = self.flash
        connect(m, flash.pins, flipped(self.pins))
        connect(m, flipped(self.exchange), flash.exchange)
        # All that changes wide registers was decided a cycle before.
        bits, numbers = self.storage_bits, Signal(64, reset_less=True)
        left, address = Signal(bits + 1, reset_less=True), Signal(bits)
        shifted, counted, moved = (Signal(name=name) for name in ("shifted", "counted", "moved"))
        m.d.sync += [shifted.eq(0), counted.eq(0), moved.eq(0)]
        with m.If(shifted):
            m.d.sync += numbers.eq(Cat(numbers[16:], flash.word))
        with m.If(counted):
            m.d.sync += left.eq(numbers)
        with m.If(moved):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
        m.d.comb += [
            self.exchanged.eq(flash.exchanged), self.program.eq(numbers[32:56]), self.request.payload.write.eq(1),
            self.request.payload.address.eq(address), self.request.payload.length.eq(1), self.w.payload.eq(flash.word)]
        place = Signal(range(HEADER_WORDS + 1))
        wrong, fits = self._header(m, flash.word, place, numbers[:32])
        self._states(m, flash, place, wrong, fits, differs(m, "left", left, 0), shifted, counted, moved)
        return m

    def _states(self, m, flash, place, wrong, fits, some, shifted, counted, moved):
        """The words of the header, then `some` behind it, then their CRC."""
        good = Signal()                 # all words but the CRC are there
        with States(m, _STATES) as states:
            with states.at("READ"):
                with m.If(flash.came):
                    states.go("WORD")

            def read():
                m.d.comb += flash.next.eq(1)
                states.go("READ")

            def release():
                m.d.comb += [flash.next.eq(0), flash.stop.eq(1)]
                states.go("RELEASE")
            with states.at("WORD"):               # the word is not yet up to date, and `wrong` follows it
                states.go("COMPARE")
                with m.If(place == HEADER_WORDS):
                    read()                        # of the CRC
                    with m.If(good):
                        release()
                    with m.Elif(~some):
                        m.d.sync += good.eq(1)
                    with m.Else():
                        m.d.comb += flash.next.eq(0)
                        states.go("GIVE")
            with states.at("COMPARE"):
                states.go("HEADER")
            with states.at("HEADER"):
                m.d.sync += [place.eq(place + 1), shifted.eq(place >= _CONSTANTS)]
                with m.If(place == HEADER_WORDS - 1):
                    states.go("MEASURE")
                with m.Elif((place < _CONSTANTS) & wrong):
                    release()
                with m.Else():
                    read()
            with states.at("MEASURE"):          # `numbers`, its parts, `fits` follow
                states.go("COMPARED")
            with states.at("COMPARED"):
                states.go("MEASURED")
            with states.at("MEASURED"):
                states.go("DECIDE")
            with states.at("DECIDE"):
                m.d.sync += counted.eq(1)
                read()
                with m.If(~fits):
                    release()
            with states.at("GIVE"):               # storage may ask for it as soon as it is asked
                m.d.comb += self.w.valid.eq(1)
                with m.If(self.w.ready):
                    states.go("REQUEST")
            with states.at("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.d.sync += moved.eq(1)
                    read()
            with states.at("RELEASE"):
                with m.If(flash.ended):
                    m.d.sync += [self.busy.eq(0), self.booted.eq(good & flash.whole)]
                    states.go("DONE")
            with states.at("DONE"):
                pass

    def _header(self, m, word, place, count):
        """Whether a word of the header is wrong (magic and digest), two cycles after it; whether as many words as it says are
        some, and fit in storage."""
        constants = MAGIC | self.identity.digest << 32
        expected = Array(Const(constants >> 16 * n & 0xFFFF, 16) for n in range(_CONSTANTS))
        wrong = differs(m, "word", word, Value.cast(expected[place[:3]]))
        fits = Signal(reset_less=True)
        m.d.sync += fits.eq(~exceeds(m, "count", count, Const(self.identity.storage_words, 32)) & differs(m, "none", count, 0))
        return wrong, fits
