"""The sending side of stores: words of the activation memory become storage's words."""
from amaranth import Array, Cat, Module, Mux, ResetSignal, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from arch.transfer import STORE_BACK, STORE_READ, STORE_REQUEST, STORE_WORDS, STORED
from hw.dma.bursts import burst_layout
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.parts.reset import own_reset
from hw.primitives import Copy
from hw.storage.arbiter import source_layout

__all__ = ["DmaStore"]

BITS_PER_QUEUE = 24     # of a word read, in a queue with addresses of its own


class DmaStore(wiring.Component):
    """Reads bursts of at most `STORE_WORDS` words and asks storage to take them when the first one is there.

    A burst taken in cycle t is read in t + `STORE_READ` and the cycles that follow, with ``read_grant`` low, and offered as
    ``request`` from t + `STORE_REQUEST` on; its words are there when storage asks for them. The next burst is taken when all this
    is over, and when half of the buffer is free: `STORE_BACK` cycles after storage asked for the last word of the burst before
    the last. ``done`` is high `STORED` cycles after it asked for the last word of a transfer.

    Parameters
    ----------
    geometry : Geometry
    words : int
        Of a burst at most.
    read : int
        Cycles from `h_addr` to `h_data`.
    storage_bits : int
        Of a word's address in storage.
    places : int
        Of each of the queues inside.

    Members
    -------
    i : ``In(stream.Signature(burst_layout(storage_bits)))``
        Its payload stays for a cycle after it was taken.
    read_grant, h_addr : ``Out``
    h_data : ``In(8 * PI)``
    request : ``Out(stream.Signature(source_layout(storage_bits)))``
    take : ``In(1)``
        Storage asked for a word in the cycle before.
    word : ``Out(16)``
        It, in the next cycle.
    done : ``Out(1)``
    """

    def __init__(self, geometry: Geometry, *, storage_bits: int, words: int = STORE_WORDS,
                 read: int = pipeline.WINDOW + pipeline.ACTIVATION_READ, places: int = Queue.PLACES):
        self.geometry, self.words, self.read, self.places = geometry, words, read, places
        assert 2 * words <= places
        assert STORE_READ == 3 and STORE_REQUEST == 2 + pipeline.WINDOW + pipeline.ACTIVATION_READ + 3
        super().__init__({
            "i": In(stream.Signature(burst_layout(storage_bits))), "read_grant": Out(1, init=1),
            "h_addr": Out(ceil_log2(geometry.activation_words)),
            "h_data": In(8 * geometry.input_lanes), "request": Out(stream.Signature(source_layout(storage_bits))),
            "take": In(1), "word": Out(16), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bits = 8 * self.geometry.input_lanes
        m.submodules.halves = halves = Credits(2, 2)
        burst = self.i.payload

        # Reading. `asks`: the request is offered, or will be.
        reading, asks, take, taken, asked = Signal(), Signal(), Signal(), Signal(), Signal()
        left, last, end = Signal(range(self.words + 1), reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        source = Signal(self.request.payload.shape(), reset_less=True)
        m.d.comb += asked.eq(self.request.valid & self.request.ready)
        m.d.comb += [self.i.ready.eq(halves.any & ~reading & ~asks), take.eq(self.i.ready & self.i.valid), halves.take.eq(take),
                     self.request.payload.eq(source)]
        # What goes to the engine has registers of its own, one of them to spare for the way.
        address = Signal.like(self.h_addr, reset_less=True)
        m.d.sync += self.read_grant.eq(~reading)
        m.d.comb += self.h_addr.eq(delayed(m, address, 1, "read_address"))
        m.d.sync += [asks.eq(take | asks & ~asked), taken.eq(take)]
        with m.If(taken):                       # the burst is still there
            m.d.sync += [address.eq(burst.tag.chip), left.eq(burst.count), last.eq(burst.count == 1), end.eq(burst.tag.end),
                         source.eq(burst.source), reading.eq(1)]
        with m.Elif(reading):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), last.eq(left == 2), reading.eq(~last)]
        # Words come through a register into queues; `held` of them are there.
        way = STORE_READ - 1 + self.read
        came, data_in = delayed(m, reading, way - 1, "came", reset=True), Signal.like(self.h_data, reset_less=True)
        m.d.sync += data_in.eq(self.h_data)
        arriving = Cat(data_in, delayed(m, last, way, "last"), delayed(m, last & end, way, "end"))
        m.submodules.held = held = Credits(2 * self.words)
        pop, buffers = Signal(), []
        for low in range(0, len(arriving), BITS_PER_QUEUE):
            part = arriving[low:low + BITS_PER_QUEUE]
            own_reset(m, f"buffer{low}", buffer := Queue(len(part), places=self.places))
            m.submodules[f"came{low}"], m.submodules[f"pop{low}"] = write, read = Copy(), Copy()
            m.d.comb += [write.d.eq(came & ~ResetSignal()), buffer.w_en.eq(write.q), buffer.w_data.eq(part),
                         read.d.eq(pop & ~ResetSignal()), buffer.o.ready.eq(read.q)]
            buffers.append(buffer.o)
        m.d.comb += held.give.eq(write.q)
        offer = delayed(m, take, way + 2, "offer", reset=True)
        m.d.sync += self.request.valid.eq(offer | self.request.valid & ~asked)

        # Cutting: a piece is chosen in the cycle after that in which there is known to be a word, and room for the piece.
        count = bits // 16
        m.submodules.out = out = Queue(data.StructLayout({"word": 16, "over": 1, "end": 1}), places=self.places)
        m.submodules.space = space = Credits(self.places, self.places)
        place, final, go = Signal(range(count)), Signal(), Signal()
        m.d.comb += [go.eq(held.any & space.any), pop.eq(go & final), held.take.eq(pop), space.take.eq(go),
                     space.give.eq(self.take)]
        with m.If(go):
            m.d.sync += [place.eq(Mux(final, 0, place + 1)), final.eq(place == count - 2)]
        # In two steps: of each two pieces one, and of those one.
        chosen, ends, piece = Signal.like(place, reset_less=True), Signal(reset_less=True), Signal(out.shape, reset_less=True)
        flags, upper, firsts = Signal(2, reset_less=True), Signal(range(max((count + 1) // 2, 2)), reset_less=True), []
        whole = Cat(o.payload for o in buffers)
        for n in range((count + 1) // 2):
            m.submodules[f"odd{n}"] = odd = Copy()
            one = Signal(16, name=f"of_two{n}", reset_less=True)
            m.d.comb += odd.d.eq(place[0])
            m.d.sync += one.eq(whole[32 * n:min(32 * n + 32, bits)].word_select(odd.q, 16))
            firsts.append(one)
        m.d.sync += [chosen.eq(place), ends.eq(final), upper.eq(chosen >> 1), flags.eq(Cat(ends & whole[bits], whole[bits + 1])),
                     piece.word.eq(Array(firsts)[upper]), Cat(piece.over, piece.end).eq(flags)]
        m.d.comb += [out.w_en.eq(delayed(m, go, 3, "cut", reset=True)), out.w_data.eq(piece), out.o.ready.eq(self.take)]

        over, freed = Signal(), Signal()
        m.d.comb += [over.eq(self.take & out.o.payload.over), halves.give.eq(freed)]
        m.d.sync += [freed.eq(over), self.done.eq(over & out.o.payload.end)]
        m.d.comb += self.word.eq(delayed(m, out.o.payload.word, 1, "word"))
        assert (STORED, STORE_BACK) == (2, 3)
        if platform is None:
            m.d.sync += Assert(ResetSignal() | ~self.take | out.o.valid, "a word that is not there yet")
        return m
