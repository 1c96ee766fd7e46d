"""The sending side of stores: words of the activation memory become storage's words."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import STORAGE
from arch.transfer import STORE_BACK, STORE_READ, STORE_REQUEST, STORE_WORDS, STORED
from hw.delay import delayed
from hw.dma_bursts import burst_layout
from hw.primitives import Copy
from hw.queue import Queue
from hw.storage_arbiter import source_layout
from hw.tokens import Tokens

__all__ = ["DmaStore"]

BITS_PER_QUEUE = 36     # of a word read, in a queue with addresses of its own


class DmaStore(wiring.Component):
    """Reads bursts of at most `STORE_WORDS` words and asks storage to take them when the first one is there.

    A burst taken in cycle t is read in t + `STORE_READ` and the cycles that follow, with ``read_grant`` low, and offered as
    ``request`` from t + `STORE_REQUEST` on; from then on words are offered without a pause. The next burst is taken when all
    this is over, and when half of the buffer is free: `STORE_BACK` cycles after the last word of the burst before the last has
    been taken.
    ``done`` is high `STORED` cycles after the last word of a transfer has been taken.

    Members
    -------
    i : ``In(stream.Signature(burst_layout()))``
    read_grant, h_addr : ``Out``
    h_data : ``In(8 * PI)``
    request : ``Out(stream.Signature(source_layout(STORAGE)))``
    words : ``Out(stream.Signature(16))``
    done : ``Out(1)``
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        assert 2 * STORE_WORDS <= Queue.PLACES
        super().__init__({
            "i": In(stream.Signature(burst_layout())), "read_grant": Out(1, init=1),
            "h_addr": Out(ceil_log2(geometry.activation_words)),
            "h_data": In(8 * geometry.input_lanes), "request": Out(stream.Signature(source_layout(STORAGE))),
            "words": Out(stream.Signature(16)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bits = 8 * self.geometry.input_lanes
        m.submodules.halves = halves = Tokens(2, 2)
        burst = self.i.payload

        # Reading. `asks`: the request is offered, or will be.
        reading, asks, take, asked = Signal(), Signal(), Signal(), Signal()
        left, last, end = Signal(range(STORE_WORDS + 1), reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        source = Signal(self.request.payload.shape(), reset_less=True)
        m.d.comb += asked.eq(self.request.valid & self.request.ready)
        m.d.comb += [self.i.ready.eq(halves.any & ~reading & ~asks), take.eq(self.i.ready & self.i.valid), halves.take.eq(take),
                     self.request.payload.eq(source)]
        # What goes to the engine has registers of its own, one of them to spare for the way.
        address = Signal.like(self.h_addr, reset_less=True)
        m.d.sync += [self.read_grant.eq(~reading), self.h_addr.eq(address)]
        assert STORE_READ == 2
        m.d.sync += asks.eq(take | asks & ~asked)
        with m.If(take):
            m.d.sync += [address.eq(burst.tag.chip), left.eq(burst.count), last.eq(burst.count == 1), end.eq(burst.tag.end),
                         source.eq(burst.source), reading.eq(1)]
        with m.Elif(reading):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), last.eq(left == 2), reading.eq(~last)]
        way = STORE_READ - 1 + pipeline.WINDOW + pipeline.ACTIVATION_READ
        came = delayed(m, reading, way - 1, "came", reset=True)
        arriving = Cat(self.h_data, delayed(m, last, way, "last"), delayed(m, last & end, way, "end"))
        wanted, buffers = Signal(), []
        for low in range(0, len(arriving), BITS_PER_QUEUE):
            part = arriving[low:low + BITS_PER_QUEUE]
            m.submodules[f"buffer{low}"], m.submodules[f"came{low}"] = buffer, write = Queue(len(part)), Copy()
            m.d.comb += [write.d.eq(came & ~ResetSignal()), buffer.w_en.eq(write.q), buffer.w_data.eq(part),
                         buffer.o.ready.eq(wanted)]
            buffers.append(buffer.o)
        held = Cat(o.payload for o in buffers)
        offer = delayed(m, take, STORE_REQUEST - 1, "offer", reset=True)
        m.d.sync += self.request.valid.eq(offer | self.request.valid & ~asked)

        # Cutting: `ahead` words follow the one that is offered.
        count = bits // 16
        present, single = Signal(), Signal(reset_less=True)
        word, ahead = Signal(bits, reset_less=True), Signal(range(count), reset_less=True)
        word_last, word_end, over = Signal(reset_less=True), Signal(reset_less=True), Signal()
        taken = Signal()
        # Two words wait behind it, so that storage's `ready` does not reach all this.
        out, spare = (Signal(data.StructLayout({"word": 16, "over": 1, "end": 1}), name=name, reset_less=True)
                      for name in ("out", "spare"))
        offered, spared, leaves = Signal(), Signal(), Signal()
        cut = Cat(word[:16], single & word_last, word_end)
        m.d.comb += [self.words.valid.eq(offered), self.words.payload.eq(out.word), leaves.eq(~offered | self.words.ready),
                     taken.eq(present & ~spared), wanted.eq(~present | taken & single),
                     over.eq(offered & self.words.ready & out.over)]
        with m.If(~spared):
            m.d.sync += spare.eq(cut)
        m.d.sync += spared.eq(~leaves & (spared | present))
        with m.If(leaves):
            m.d.sync += [out.eq(Mux(spared, spare, cut)), offered.eq(spared | present)]
        with m.If(wanted):
            m.d.sync += [Cat(word, word_last, word_end).eq(held), ahead.eq(count - 1), present.eq(buffers[0].valid)]
        with m.Elif(taken):
            m.d.sync += [word.eq(word[16:]), ahead.eq(ahead - 1)]
        # Not in the branches above: Yosys would reset it with what it makes itself, and take that for a loop.
        m.d.sync += single.eq(~wanted & (taken & (ahead == 1) | ~taken & single))
        freed = Signal()
        m.d.sync += [freed.eq(over), self.done.eq(over & out.end)]
        m.d.comb += halves.give.eq(freed)
        assert (STORED, STORE_BACK) == (1, 2)
        return m
