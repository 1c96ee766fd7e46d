"""Who asks storage next, and whose the words are that come back."""
from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.instruction import OPTION_OF, Opcode
from arch.record import ADDRESS
from arch.transfer import BURST_WORDS, DECIDE, ROUTED
from hw.parts.queue import Queue
from hw.primitives import Copy
from hw.storage.sdram import word_layout
from hw.storage.sdram_segments import request_layout

__all__ = ["LOADS", "StorageArbiter", "loads", "request_layout", "routed_layout", "source_layout", "tag_layout", "word_layout"]

LOADS = (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS)


def loads(geometry: Geometry) -> tuple[Opcode, ...]:
    """Those that a machine has."""
    coded = Opcode.LOAD_CODED
    return (*LOADS, coded) if OPTION_OF[coded] in geometry.options else LOADS


def source_layout(address_bits: int) -> data.StructLayout:
    """A burst of 1..`BURST_WORDS` words."""
    return data.StructLayout({"address": address_bits, "length": range(BURST_WORDS + 1)})


def tag_layout() -> data.StructLayout:
    """What becomes of the words of a load's burst: `opcode` of the load, `chip` address of the first word on the chip; `first`
    and `last` burst of its run, `end`: last of its command. Pixels: `channels`, `odd`: a row's last word has a byte left over."""
    return data.StructLayout({"opcode": 4, "chip": ADDRESS, "first": 1, "last": 1, "end": 1, "channels": 3, "odd": 1})


def routed_layout(kinds: Sequence[Opcode] = LOADS) -> data.StructLayout:
    """A word that was read: `fetch`, for the sequencer, or a bit of `load` for each kind of loads, with `tag`; `first` and `last`
    of its burst. `valid` is the one or the other, `memory` is any load but that of pixels and that which is to be decoded."""
    return data.StructLayout({"valid": 1, "data": 16, "fetch": 1, "first": 1, "last": 1, "load": len(kinds), "memory": 1,
                              "tag": tag_layout()})


class StorageArbiter(wiring.Component):
    """Gives storage one request after the other: of the fetches, else the stores, else the loads.

    It chooses in the first cycle in which a burst is offered and no request waits for storage; the burst is taken `DECIDE` cycles
    later, and offered to storage in the cycle after that. The words that come back are routed in the order of the requests,
    `ROUTED` cycles after they came.

    `clear` (see `hw.dma.dma.Dma`) makes it `dead` from the next cycle on, until all words of all requests have passed: then none
    is routed, nothing new is taken, and writes get any words.

    Storage has less than 16 requests at a time of which words are still to come: it serves one and prepares two.

    Parameters
    ----------
    address_bits, storage_bits : int
        Of a word's address in the requests, and of one here; what these have more is ignored.
    kinds : sequence of Opcode
        Loads that there are.

    Members
    -------
    fetch, store : ``In(stream.Signature(source_layout(storage_bits)))``
    load : ``In(stream.Signature(...))``
        `source` and `tag`.
    routed : ``Out(routed_layout())``
    request, take, r :
        Storage.
    taken : ``Out(1)``
        `take` of the cycle before; who stores gives a word to storage `PULL` cycles after `take`.
    clear : ``In(1)``
    dead : ``Out(1)``
        A register.
    idle : ``Out(1)``
        No request is under way.
    """

    def __init__(self, address_bits: int, storage_bits: int, kinds: Sequence[Opcode] = LOADS):
        source, self.kinds = source_layout(storage_bits), tuple(kinds)
        self.elsewhere = sum(1 << n for n, one in enumerate(kinds) if one in (Opcode.LOAD_PIXELS, Opcode.LOAD_CODED))
        self.tag = data.StructLayout({"fetch": 1, "kinds": len(kinds), "load": tag_layout()})
        super().__init__({
            "fetch": In(stream.Signature(source)), "store": In(stream.Signature(source)),
            "load": In(stream.Signature(data.StructLayout({"source": source, "tag": tag_layout()}))),
            "routed": Out(routed_layout(kinds)), "request": Out(stream.Signature(request_layout(address_bits))), "take": In(1),
            "r": In(word_layout()), "taken": Out(1), "clear": In(1), "dead": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        waits, dead, quiet = Signal(), self.dead, Signal()
        fetch, store, load = self.fetch, self.store, self.load

        # `ready` is a register, and so is what selects among wide payloads. Who is cleared, too, may withdraw an offer.
        free, taken = Signal(), Signal()
        m.d.comb += [free.eq(~(waits | dead | fetch.ready | store.ready | load.ready)), self.request.valid.eq(waits),
                     taken.eq(fetch.ready & fetch.valid | store.ready & store.valid | load.ready & load.valid)]
        fetches, stores = Signal(), Signal()
        m.d.comb += [fetches.eq(free & fetch.valid), stores.eq(free & store.valid & ~fetch.valid)]
        m.d.sync += [fetch.ready.eq(fetches), store.ready.eq(stores),
                     load.ready.eq(free & load.valid & ~(fetch.valid | store.valid)),
                     waits.eq(taken | waits & ~self.request.ready)]
        assert DECIDE == 1
        request = Signal(self.request.payload.shape(), reset_less=True)
        m.d.comb += self.request.payload.eq(request)
        m.submodules.fetches, m.submodules.stores = from_fetch, from_store = Copy(), Copy()       # for wide payloads
        m.d.comb += [from_fetch.d.eq(fetches), from_store.d.eq(stores)]
        source = Mux(from_fetch.q, fetch.payload, Mux(from_store.q, store.payload, load.payload.source))
        source = data.View(fetch.payload.shape(), source)
        m.submodules.keeps = keeps = Copy()                 # a request that waits stays; it is wide
        m.d.comb += keeps.d.eq(taken | waits & ~self.request.ready)
        with m.If(~keeps.q):
            m.d.sync += [request.write.eq(from_store.q), request.address.eq(source.address), request.length.eq(source.length)]

        # Lengths and tags of reads. The next length is at hand in registers long before its words come; a tag, which is wide,
        # follows its first word by a cycle.
        m.submodules.lengths, m.submodules.tags = lengths, tags = Queue(source.length.shape()), Queue(self.tag)
        entry, length, given = Signal(self.tag, reset_less=True), Signal.like(source.length, reset_less=True), Signal()
        m.d.sync += [
            given.eq(taken & ~store.ready), entry.fetch.eq(from_fetch.q), entry.load.eq(load.payload.tag),
            entry.kinds.eq(Cat(~from_fetch.q & (load.payload.tag.opcode == one) for one in self.kinds)),
            length.eq(Mux(from_fetch.q, fetch.payload.length, load.payload.source.length))]
        m.d.comb += [tags.w_en.eq(given), tags.w_data.eq(entry), lengths.w_en.eq(given), lengths.w_data.eq(length)]

        r, step = Signal(word_layout()), Signal()               # storage is far away
        m.d.sync += [r.valid.eq(self.r.valid), r.data.eq(self.r.data), self.taken.eq(self.take)]
        active, first, last = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        left, following, there = Signal.like(length, reset_less=True), Signal.like(length, reset_less=True), Signal()
        single = Signal(reset_less=True)
        m.d.comb += [step.eq(~active | r.valid & last), lengths.o.ready.eq(~there)]
        with m.If(~there):
            m.d.sync += [following.eq(lengths.o.payload), single.eq(lengths.o.payload == 1), there.eq(lengths.o.valid)]
        with m.Elif(step):
            m.d.sync += there.eq(0)
        with m.If(step):
            m.d.sync += [left.eq(following), last.eq(single), first.eq(1), active.eq(there)]
        with m.Elif(r.valid):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2), first.eq(0)]

        current, valid, stepped = Signal(self.tag, reset_less=True), Signal(), Signal()
        word = Signal(data.StructLayout({"data": 16, "first": 1, "last": 1}), reset_less=True)
        m.d.sync += [valid.eq(r.valid), stepped.eq(step & there), word.data.eq(r.data), word.first.eq(first), word.last.eq(last)]
        m.d.comb += tags.o.ready.eq(stepped)
        with m.If(stepped):
            m.d.sync += current.eq(tags.o.payload)
        live, routed = Signal(), Signal(self.routed.shape(), reset_less=True)
        some, fetched, loaded, memory = Signal(), Signal(), Signal(len(self.kinds)), Signal()
        m.d.comb += [live.eq(valid & ~dead), self.routed.eq(routed), self.routed.valid.eq(some), self.routed.fetch.eq(fetched),
                     self.routed.load.eq(loaded), self.routed.memory.eq(memory)]
        m.d.sync += [some.eq(live), fetched.eq(live & current.fetch), loaded.eq(Mux(live, current.kinds, 0)),
                     memory.eq(live & (current.kinds & ~self.elsewhere).any()),
                     routed.data.eq(word.data), routed.first.eq(word.first), routed.last.eq(word.last),
                     routed.tag.eq(current.load)]
        assert ROUTED == 3
        if platform is None:
            m.d.sync += Assert(~r.valid | active, "a word that nobody asked for")

        # Words that storage still waits for: up to date when the request is no longer offered.
        owed, more = Signal(range(4 * BURST_WORDS)), Signal.like(length)
        m.d.sync += [more.eq(Mux(store.ready & store.valid, store.payload.length, 0)), owed.eq(owed + more - self.taken)]

        m.d.comb += [quiet.eq(~(waits | fetch.ready | store.ready | load.ready | lengths.o.valid | there | active | valid
                                | (owed != 0))), self.idle.eq(quiet)]
        with m.If(self.clear):
            m.d.sync += dead.eq(1)
        with m.Elif(quiet):
            m.d.sync += dead.eq(0)
        return m
