"""Packed words of a frame to storage (docs/packing.md)."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.packing import ESCAPED_BITS, HEAD, LIMIT, MIDDLE, ROW_WORDS
from arch.protocol import FRAME_WORDS
from hw.link.foretell import Foretell
from hw.parts.queue import Queue
from hw.parts.states import States
from hw.storage.arbiter import request_layout

__all__ = ["LinkUnpack"]

_STATES = ("IDLE", "SHAPE", "TAKE", "TAKEN", "READ", "WAIT", "ONES", "FURTHER", "VALUE", "KEEP", "WORD", "GIVE", "REQUEST",
           "ROW", "FAIL", "END", "DONE")
_UNPACKED = 1 + HEAD + 2                # words of a frame that are not its stream: header, arguments in front, CRC
_CHANNELS = 3


class LinkUnpack(wiring.Component):
    """A bit a cycle, and some eleven cycles more for each byte: a line of 3 Mbaud brings one in 130 at 100 MHz. Gives storage
    up to `Queue.PLACES` words at a time, then asks for room for them, also for those in front of a place that makes no sense.
    `golden.packing_cycles` has its cycles.

    Parameters
    ----------
    storage_bits : int
        Of a word's address.
    latency : int
        The word of the frame is there so many cycles and one more after `start` or `next`.

    Members
    -------
    start : ``In(1)``
        For a cycle; the frame stands at the word of its shape from then on.
    address, span, skip : ``In(storage_bits)``, ``In(16)``, ``In(16)``
        As `arch.packing.Head` has them, until `done`. All words of the span are in storage.
    words : ``In(range(FRAME_WORDS + 1))``
        Of the frame, header and CRC included.
    data : ``In(16)``
        Its word.
    next : ``Out(1)``
        The frame moves on to the next word.
    word : ``Out(16)``
        For storage; stands still from the cycle before `give` may be high.
    room : ``In(1)``
        Storage takes a word: from a register, and as it was in the cycle before, for words come seldom.
    give : ``Out(1)``
        The word goes to storage in this cycle.
    request : ``Out(stream.Signature(request_layout(storage_bits)))``
    done, wrong : ``Out(1)``
        For a cycle: all words were asked for; or all in front of the place that makes no sense, with `wrong`.
    """

    def __init__(self, storage_bits: int, latency: int):
        if latency > Foretell.LATENCY:
            raise ValueError(f"latency must be {Foretell.LATENCY} or less, not {latency}: words come before they are needed")
        self.latency = latency
        super().__init__({
            "start": In(1), "address": In(storage_bits), "span": In(16), "skip": In(16), "words": In(range(FRAME_WORDS + 1)),
            "data": In(16), "next": Out(1), "word": Out(16), "room": In(1), "give": Out(1),
            "request": Out(stream.Signature(request_layout(storage_bits))), "done": Out(1), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.foretell = Foretell()
        opens, begins, looks, skips = (Signal(name=name) for name in ("opens", "begins", "looks", "skips"))
        bits = self._bits(m)
        m.d.comb += self.next.eq(opens | bits[-1])
        with States(m, _STATES) as states:
            self._codes(m, states, bits, looks)
            over = self._bytes(m, states, opens, begins, looks, skips)
            self._rows(m, states, bits, over, opens, begins, skips)
        return m

    def _bits(self, m):
        """Of the stream. Returns signals: the next `bit`, if it is `there`, which `take` has for a cycle; there will be none any
        more (`ended`)."""
        held, count, more = Signal(16, reset_less=True), Signal(5, reset_less=True), Signal.like(self.words, reset_less=True)
        there, ended, take, load = Signal(), Signal(reset_less=True), Signal(), Signal()
        m.d.comb += there.eq(count != 0)
        m.d.sync += ended.eq(more == _UNPACKED)                         # words come seldom
        with m.If(take):
            m.d.sync += [held.eq(held << 1), count.eq(count - 1)]
        with m.If(load):
            m.d.sync += [held.eq(self.data), count.eq(16), more.eq(more - 1)]
        with m.If(self.start):
            m.d.sync += [count.eq(0), more.eq(self.words)]
        return held[-1], there, ended, take, load

    def _codes(self, m, states, bits, looks):
        """A byte's code, from READ on; VALUE follows its last bit."""
        bit, there, ended, take, load = bits
        number, further = m.submodules.foretell.number, Signal(ESCAPED_BITS, reset_less=True)
        wait = Signal(range(Foretell.LATENCY))

        def bit_or_else():
            with m.If(there):
                m.d.comb += take.eq(1)
            with m.Elif(ended):
                states.go("FAIL")
            with m.Else():
                m.d.comb += load.eq(1)

        with states.at("READ"):
            m.d.comb += looks.eq(1)
            m.d.sync += [number.eq(0), wait.eq(0)]
            states.go("WAIT")
        with states.at("WAIT"):
            m.d.sync += wait.eq(wait + 1)
            with m.If(wait == Foretell.LATENCY - 1):
                states.go("ONES")
        with states.at("ONES"):
            bit_or_else()
            with m.If(there & bit):
                m.d.sync += number[:4].eq(number[:4] + 1)
                with m.If(number[:4] == LIMIT - 1):
                    m.d.sync += further.eq((1 << ESCAPED_BITS) - 1)     # push those ones out again
                    states.go("FURTHER")
            with m.If(there & ~bit):
                m.d.sync += further.eq(m.submodules.foretell.further)
                states.go("FURTHER")
        with states.at("FURTHER"):
            with m.If(further[0]):
                bit_or_else()
                with m.If(there):
                    m.d.sync += [number.eq(Cat(bit, number)), further.eq(further >> 1)]
            with m.Else():
                states.go("VALUE")

    def _bytes(self, m, states, opens, begins, looks, skips):
        """Bytes of a row, with the row above in distributed RAM: what stands for each byte, and its number. GIVE follows where a
        word is whole; returns a register: it was the row's last one. For a cycle each: the frame's shape is there (`opens`), a
        row `begins`, a byte `looks` above, the row is over and leads to the next one (`skips`)."""
        foretell = m.submodules.foretell
        m.submodules.rows = rows = memory.Memory(shape=16, depth=2 * ROW_WORDS, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        most, three = Signal(range(ROW_WORDS), reset_less=True), Signal(reset_less=True)        # words of a row less 1; channels
        column, channel, below = Signal(range(2 * ROW_WORDS), reset_less=True), Signal(range(_CHANNELS)), Signal()
        last, over, times = Signal(reset_less=True), Signal(reset_less=True), Signal(range(_CHANNELS))
        m.d.comb += [write.addr.eq(column), read.addr.eq(column), write.data.eq(Cat(foretell.value, foretell.number))]
        m.d.sync += [foretell.first.eq(channel == 0), last.eq(column[1:] == most)]
        m.d.comb += foretell.begin.eq(begins)
        with m.If(opens):
            m.d.sync += [Cat(most, three).eq(self.data), below.eq(0)]
        with m.If(skips):
            m.d.sync += below.eq(1)
        with m.If(begins):
            m.d.sync += [column.eq(0), channel.eq(0)]
        with m.If(looks):
            m.d.sync += [foretell.above.eq(Mux(below, read.data[:8], MIDDLE)),
                         foretell.number_above.eq(Mux(below, read.data[8:], 0))]
        with states.at("VALUE"):
            m.d.sync += times.eq(Mux(three, _CHANNELS - 1, 0))
            states.go("KEEP")
        with states.at("KEEP"):
            m.d.comb += foretell.move.eq(1)
            m.d.sync += times.eq(times + 1)
            with m.If(times == _CHANNELS - 1):
                m.d.comb += write.en.eq(1)
                m.d.sync += [self.word.eq(Cat(self.word[8:], foretell.byte)), column.eq(column + 1), over.eq(last),
                             channel.eq(Mux(three & (channel != _CHANNELS - 1), channel + 1, 0))]
                states.go("READ")
                with m.If(column[0]):
                    states.go("WORD")
        with states.at("WORD"):
            states.go("GIVE")
        return over

    def _rows(self, m, states, bits, over, opens, begins, skips):
        """Where words go, and the end."""
        _, _, ended, _, _ = bits
        address, left = Signal.like(self.address, reset_less=True), Signal(16, reset_less=True)         # words of the span
        width, short, none = Signal(range(ROW_WORDS + 1), reset_less=True), Signal(), Signal(reset_less=True)
        skipping, step = Signal(), Signal(range(self.latency + 1))
        burst, full, wrong = Signal(range(Queue.PLACES + 1)), Signal(reset_less=True), Signal()
        moved = Signal.like(address)
        m.d.comb += [self.request.payload.write.eq(1), self.request.payload.address.eq(address),
                     self.request.payload.length.eq(burst), moved.eq(address + Mux(skips, self.skip, burst))]
        m.d.sync += [step.eq(step + 1), none.eq(left == 0), full.eq(burst == Queue.PLACES - 1)]
        with states.at("IDLE"):
            m.d.sync += [address.eq(self.address), left.eq(self.span), burst.eq(0), step.eq(0), skipping.eq(0), wrong.eq(0)]
            with m.If(self.start):
                states.go("SHAPE")
        with states.at("SHAPE"):
            m.d.sync += width.eq(self.data[:(ROW_WORDS - 1).bit_length()] + 1)
            with m.If(step == self.latency):
                m.d.comb += opens.eq(1)
                states.go("TAKE")
        with states.at("TAKE"):
            m.d.sync += Cat(left, short).eq(left - Mux(skipping, self.skip, width))
            states.go("TAKEN")
        with states.at("TAKEN"):
            m.d.comb += begins.eq(1)
            m.d.sync += skipping.eq(0)
            states.go("READ")
            with m.If(skipping):
                states.go("TAKE")
            with m.If(short):
                states.go("FAIL")
        with states.at("GIVE"):
            m.d.comb += self.give.eq(self.room)
            with m.If(self.room):
                m.d.sync += burst.eq(burst + 1)
                states.go("READ")
                with m.If(over | full):
                    states.go("REQUEST")
        with states.at("REQUEST"):
            m.d.comb += self.request.valid.eq(1)
            with m.If(self.request.ready):
                m.d.sync += [address.eq(moved), burst.eq(0)]
                states.go("READ")
                with m.If(over):
                    states.go("ROW")
                with m.If(wrong):
                    states.go("END")
        with states.at("ROW"):
            m.d.comb += skips.eq(1)
            m.d.sync += [address.eq(moved), skipping.eq(1)]
            states.go("TAKE")
            with m.If(none):
                states.go("END")
        with states.at("FAIL"):
            m.d.sync += wrong.eq(1)
            states.go("END")
            with m.If(burst != 0):
                states.go("REQUEST")
        with states.at("END"):
            m.d.sync += wrong.eq(wrong | ~ended)
            states.go("DONE")
        with states.at("DONE"):
            m.d.comb += [self.done.eq(1), self.wrong.eq(wrong)]
            states.go("IDLE")
