"""Who asks storage next, and whose the words are that come back."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.command import ADDRESS
from arch.instruction import STORAGE, Opcode
from arch.transfer import BURST_WORDS, DECIDE, ROUTED
from hw.queue import Queue
from hw.sdram import word_layout
from hw.sdram_segments import LENGTH_BITS

__all__ = ["LOADS", "StorageArbiter", "request_layout", "routed_layout", "source_layout", "tag_layout", "word_layout"]

LOADS = (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS)


def request_layout(address_bits: int) -> data.StructLayout:
    """`length` words from word `address` on, as storage is asked for them."""
    return data.StructLayout({"write": 1, "address": address_bits, "length": LENGTH_BITS})


def source_layout(address_bits: int) -> data.StructLayout:
    """A burst of 1..`BURST_WORDS` words."""
    return data.StructLayout({"address": address_bits, "length": range(BURST_WORDS + 1)})


def tag_layout() -> data.StructLayout:
    """What becomes of the words of a load's burst: `opcode` of the load, `chip` address of the first word on the chip; `first`
    and `last` burst of its run, `end`: last of its command. Pixels: `channels`, `odd`: a row's last word has a byte left over."""
    return data.StructLayout({"opcode": 4, "chip": ADDRESS, "first": 1, "last": 1, "end": 1, "channels": 3, "odd": 1})


def routed_layout() -> data.StructLayout:
    """A word that was read: `fetch`, for the sequencer, or a bit of `load` for each of `LOADS`, with `tag`; `first` and `last`
    of its burst. `valid` is the one or the other."""
    return data.StructLayout({"valid": 1, "data": 16, "fetch": 1, "first": 1, "last": 1, "load": len(LOADS), "tag": tag_layout()})


class StorageArbiter(wiring.Component):
    """Gives storage one request after the other: of the fetches, else the stores, else the loads.

    It chooses in the first cycle in which a burst is offered and no request waits for storage; the burst is taken `DECIDE` cycles
    later, and offered to storage in the cycle after that. The words that come back are routed in the order of the requests,
    `ROUTED` cycles after they came.

    `clear` (see `hw.dma.Dma`) makes it `dead` from the next cycle on, until all words of all requests have passed: then none is
    routed, nothing new is taken, and writes get any words.

    Storage has less than 16 requests at a time of which words are still to come: it serves one and prepares two.

    Members
    -------
    fetch, store : ``In(stream.Signature(source_layout(STORAGE)))``
    load : ``In(stream.Signature(...))``
        `source` and `tag`.
    words : ``In(stream.Signature(16))``
        Of the stores.
    routed : ``Out(routed_layout())``
    request, w, r :
        Storage.
    clear : ``In(1)``
    dead : ``Out(1)``
        A register.
    idle : ``Out(1)``
        No request is under way.
    """

    def __init__(self, address_bits: int):
        source = source_layout(STORAGE)
        self.tag = data.StructLayout({"fetch": 1, "length": source["length"].shape, "load": tag_layout()})
        super().__init__({
            "fetch": In(stream.Signature(source)), "store": In(stream.Signature(source)),
            "load": In(stream.Signature(data.StructLayout({"source": source, "tag": tag_layout()}))),
            "words": In(stream.Signature(16)), "routed": Out(routed_layout()),
            "request": Out(stream.Signature(request_layout(address_bits))), "w": Out(stream.Signature(16)),
            "r": In(word_layout()), "clear": In(1), "dead": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tags = tags = Queue(self.tag)
        waits, dead, quiet = Signal(), self.dead, Signal()
        fetch, store, load = self.fetch, self.store, self.load

        # `ready` is a register, and so is what selects among wide payloads. Who is cleared, too, may withdraw an offer.
        free, taken = Signal(), Signal()
        m.d.comb += [free.eq(~(waits | dead | fetch.ready | store.ready | load.ready)), self.request.valid.eq(waits),
                     taken.eq(fetch.ready & fetch.valid | store.ready & store.valid | load.ready & load.valid)]
        m.d.sync += [fetch.ready.eq(free & fetch.valid), store.ready.eq(free & store.valid & ~fetch.valid),
                     load.ready.eq(free & load.valid & ~(fetch.valid | store.valid)),
                     waits.eq(taken | waits & ~self.request.ready)]
        assert DECIDE == 1
        request = Signal(self.request.payload.shape(), reset_less=True)
        m.d.comb += self.request.payload.eq(request)
        source = Mux(fetch.ready, fetch.payload, Mux(store.ready, store.payload, load.payload.source))
        source = data.View(fetch.payload.shape(), source)
        with m.If(~waits):
            m.d.sync += [request.write.eq(store.ready), request.address.eq(source.address), request.length.eq(source.length)]

        # Tags of reads; the next one is at hand in registers long before its words come.
        active, first, last = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        current, left = Signal(self.tag, reset_less=True), Signal(range(BURST_WORDS + 1), reset_less=True)
        following, there, single = Signal(self.tag, reset_less=True), Signal(), Signal(reset_less=True)
        step, r, kinds = Signal(), self.r, Signal(len(LOADS), reset_less=True)
        m.d.comb += [
            tags.w_en.eq(taken & ~store.ready), tags.w_data.fetch.eq(fetch.ready),
            tags.w_data.length.eq(Mux(fetch.ready, fetch.payload.length, load.payload.source.length)),
            tags.w_data.load.eq(load.payload.tag),
            step.eq(~active | r.valid & last), tags.o.ready.eq(~there | step)]
        with m.If(tags.o.ready):
            m.d.sync += [following.eq(tags.o.payload), single.eq(tags.o.payload.length == 1), there.eq(tags.o.valid)]
        with m.If(step):
            m.d.sync += [current.eq(following), left.eq(following.length), last.eq(single), first.eq(1), active.eq(there),
                         kinds.eq(Cat(~following.fetch & (following.load.opcode == one) for one in LOADS))]
        with m.Elif(r.valid):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2), first.eq(0)]
        routed = self.routed
        arrived = Signal(routed_layout(), reset_less=True)
        valid, fetched, loaded = Signal(), Signal(), Signal(len(LOADS))
        m.d.sync += [valid.eq(r.valid & ~dead), fetched.eq(r.valid & ~dead & current.fetch),
                     loaded.eq(Mux(r.valid & ~dead, kinds, 0)), arrived.data.eq(r.data), arrived.first.eq(first),
                     arrived.last.eq(last), arrived.tag.eq(current.load)]
        m.d.comb += [routed.eq(arrived), routed.valid.eq(valid), routed.fetch.eq(fetched), routed.load.eq(loaded)]
        assert ROUTED == 1
        if platform is None:
            m.d.sync += Assert(~r.valid | active, "a word that nobody asked for")

        # Words that storage still waits for. `owes` may come late, but is never high without reason.
        owed, owes, written = Signal(range(4 * BURST_WORDS)), Signal(), Signal()
        m.d.comb += [self.w.payload.eq(self.words.payload), self.w.valid.eq(Mux(dead, owes, self.words.valid)),
                     self.words.ready.eq(self.w.ready & ~dead), written.eq(self.w.ready & self.w.valid)]
        m.d.sync += [owed.eq(owed + Mux(store.ready & store.valid, store.payload.length, 0) - written),
                     owes.eq(~((owed == 0) | (owed == 1) & written))]

        m.d.comb += [quiet.eq(~(waits | fetch.ready | store.ready | load.ready | tags.o.valid | there | active | (owed != 0))),
                     self.idle.eq(quiet)]
        with m.If(self.clear):
            m.d.sync += dead.eq(1)
        with m.Elif(quiet):
            m.d.sync += dead.eq(0)
        return m
