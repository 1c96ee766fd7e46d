"""Transfers between storage and the memories on the chip, and the program's way to the sequencer."""
from amaranth import Module, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.instruction import Opcode, Transfer
from arch.record import STORAGE, bits_of_storage
from arch.transfer import TransferFault
from hw.dma.bursts import Bursts, load_layout
from hw.dma.coded import CodedLoads
from hw.dma.fill import DmaFill
from hw.dma.load_order import LoadOrder
from hw.dma.pixel_fifo import PixelFifo
from hw.dma.pixel_gearbox import PixelGearbox
from hw.dma.store import DmaStore
from hw.engine.memory_ports import MemoryAccess
from hw.parts.credits import Credits
from hw.parts.layout import record_layout
from hw.parts.reset import own_reset
from hw.sequencer.sequencer import fault_layout
from hw.storage.arbiter import StorageArbiter, loads, request_layout, source_layout, word_layout

__all__ = ["Dma", "load_layout", "store_layout"]

WAITING = 31            # commands that may be under way: one is walked through, others have words to come


def store_layout(storage_bits: int) -> data.StructLayout:
    return record_layout(Transfer, storage_bits)


class Dma(wiring.Component):
    """Loads, stores and the program's words, beside each other through one storage.

    The commands of a queue run one after the other, those of the two queues beside each other. Transfers are cut into bursts of
    at most `arch.transfer.BURST_WORDS` words; for each next burst the program comes first, then stores, then loads. The next
    request is offered to storage while words of the present one pass. `golden.cycles.dma` tells every cycle.

    A load is done when its last word can be read in its memory, or is in the pixel FIFO; the request of a row of pixels waits
    until the FIFO has room for all of it. A store is done when storage has taken its last word.

    Each run is checked before its first request. One that leaves its memory, storage, or the program's region (stores) stops
    its queue with a fault, which stays until `clear`; earlier runs were moved. What is fetched wraps at the end of storage.

    Whoever sets `clear`, for a cycle or longer, must then wait for `idle` before commands are taken again (`ready` is low until
    then): everything is forgotten, no more is written on the chip, words of reads under way are swallowed and those of writes
    are given to storage with any value, so that it does not hang. Storage may only be reset together with this.

    Parameters
    ----------
    geometry : Geometry
    address_bits : int
        Of a word's address in the storage's requests. Of more than 2**28 words the first ones are used.
    storage_words : int
        Words of storage, at most 2**address_bits and 2**28, which is the default.

    Members
    -------
    load : ``In(stream.Signature(load_layout(storage_bits, ...)))``
        The opcode is that of a load, the record in its range (`arch.instruction.word_ranges`). `storage_bits` have the addresses
        in commands and fetches, see `arch.record.bits_of_storage`.
    store : ``In(stream.Signature(store_layout(storage_bits)))``
    store_base, store_words : ``In(storage_bits)``, ``In(storage_bits + 1)``
        The program's region in storage; stable while stores run.
    fetch : ``In(stream.Signature(source_layout(storage_bits)))``
        1..512 words; ``fetched`` takes them all, whenever they come.
    fetched : ``Out(word_layout())``
    request, take, w, r : ``Out(stream.Signature(request_layout(address_bits)))``, ``In(1)``, ``Out(16)``, ``In(word_layout())``
        Storage, as `hw.storage.sdram.Sdram` has it.
    memories, pixels : ``Out(MemoryAccess(geometry))``, ``Out(stream.Signature(32))``
        The engine; registers.
    load_done, store_done : ``Out(1)``
        For a cycle, for each command.
    fault : ``Out(fault_layout())``
        The first fault, until `clear`.
    clear : ``In(1)``
    idle : ``Out(1)``
        No command, no fetch, no word is under way.
    """

    def __init__(self, geometry: Geometry, *, address_bits: int, storage_words: int | None = None):
        self.geometry, self.address_bits = geometry, address_bits
        if address_bits < 1:
            raise ValueError(f"Address bits of storage must be at least 1, not {address_bits}")
        most = 1 << min(address_bits, STORAGE)
        self.words = most if storage_words is None else storage_words
        if not 1 <= self.words <= most:
            raise ValueError(f"Words of storage must be 1..{most}, not {self.words}")
        self.storage_bits = bits = bits_of_storage(self.words)
        super().__init__({
            "load": In(stream.Signature(load_layout(bits, coded=Opcode.LOAD_CODED in loads(geometry)))),
            "store": In(stream.Signature(store_layout(bits))),
            "store_base": In(bits), "store_words": In(bits + 1),
            "fetch": In(stream.Signature(source_layout(bits))), "fetched": Out(word_layout()),
            "request": Out(stream.Signature(request_layout(address_bits))), "take": In(1), "w": Out(16),
            "r": In(word_layout()), "memories": Out(MemoryAccess(geometry)), "pixels": Out(stream.Signature(32)),
            "load_done": Out(1), "store_done": Out(1), "fault": Out(fault_layout(geometry)), "clear": In(1),
            "idle": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        geometry, memories = self.geometry, self.memories
        kinds = loads(geometry)
        m.submodules.arbiter = arbiter = StorageArbiter(self.address_bits, self.storage_bits, kinds)
        load = Bursts(geometry, kinds, self.words)
        store = Bursts(geometry, [Opcode.STORE], self.words, region=True)
        fill, reader = DmaFill(geometry), DmaStore(geometry, storage_bits=self.storage_bits)
        gearbox, pixels = PixelGearbox(), PixelFifo()
        loading, stores = Credits(WAITING), Credits(WAITING)        # commands under way
        reset = arbiter.dead | ResetSignal()
        for name, unit in (("load", load), ("store", store), ("fill", fill), ("reader", reader), ("gearbox", gearbox),
                           ("pixel_fifo", pixels), ("loads", loading), ("stores", stores)):
            own_reset(m, name, unit, reset)
        coded = order = None
        if Opcode.LOAD_CODED in kinds:
            coded, order = CodedLoads(geometry), LoadOrder()
            own_reset(m, "coded", coded, reset)
            own_reset(m, "order", order, reset)
        through = order.done if order else fill.done
        connect(m, flipped(self.request), arbiter.request)
        m.d.comb += [arbiter.r.eq(self.r), arbiter.take.eq(self.take), reader.take.eq(arbiter.taken), self.w.eq(reader.word),
                     arbiter.clear.eq(self.clear)]

        # Nothing is taken while the arbiter is dead, nor in the cycle after.
        may, live = Signal(), Signal()
        m.d.comb += may.eq(~(arbiter.dead | self.clear))
        m.d.sync += live.eq(may)
        for outer, unit, waiting in ((self.load, load, loading), (self.store, store, stores)):
            m.d.comb += [unit.may.eq(may & order.may if order and unit is load else may), unit.i.valid.eq(outer.valid),
                         outer.ready.eq(unit.i.ready), waiting.give.eq(unit.i.valid & unit.i.ready)]
        m.d.comb += [
            load.i.payload.eq(self.load.payload), store.i.payload.opcode.eq(Opcode.STORE),
            store.i.payload.body.transfer.eq(self.store.payload), loading.take.eq(through), stores.take.eq(reader.done),
            self.load_done.eq(through), self.store_done.eq(reader.done)]
        # Never high in the cycle after `clear`.
        m.d.sync += self.idle.eq(arbiter.idle & live & ~loading.any & ~stores.any & ~self.clear)

        # The store's region, which may come late: it is stable long before a store.
        high = Signal(self.storage_bits + 1, reset_less=True)
        m.d.sync += high.eq(self.store_base + self.store_words)
        m.d.comb += [store.low.eq(self.store_base), store.high.eq(high)]

        m.d.comb += [
            arbiter.fetch.valid.eq(self.fetch.valid), arbiter.fetch.payload.eq(self.fetch.payload),
            self.fetch.ready.eq(arbiter.fetch.ready), arbiter.load.valid.eq(load.o.valid), load.o.ready.eq(arbiter.load.ready),
            arbiter.load.payload.source.eq(load.o.payload.source), arbiter.load.payload.tag.eq(load.o.payload.tag)]
        connect(m, store.o, reader.i)
        connect(m, reader.request, arbiter.store)

        m.d.comb += [
            fill.i.eq(arbiter.routed), gearbox.i.eq(fill.pixels), pixels.i.eq(gearbox.o), pixels.width.eq(load.width),
            pixels.reserve.eq(load.reserve), load.room.eq(pixels.room), self.fetched.eq(fill.fetched),
            memories.read_grant.eq(reader.read_grant), memories.read.addr.eq(reader.h_addr),
            reader.h_data.eq(memories.read.data), memories.write_grant.eq(fill.write_grant)]
        if coded:
            self._decode(m, load, arbiter, fill, coded, order)
        else:
            connect(m, fill.writes, flipped(memories.writes))
        connect(m, flipped(self.pixels), pixels.o)

        fault = Signal(self.fault.shape())
        with m.If(~live):
            m.d.sync += fault.valid.eq(0)
        with m.Elif(~fault.valid):
            for signal, code in ((load.chip_fault, TransferFault.LOAD_CHIP), (load.storage_fault, TransferFault.LOAD_STORAGE),
                                 (store.chip_fault, TransferFault.STORE_CHIP),
                                 (store.storage_fault, TransferFault.STORE_STORAGE)):
                with m.If(signal):
                    m.d.sync += [fault.valid.eq(1), fault.code.eq(code)]
            if coded:
                with m.If(order.fault):
                    m.d.sync += [fault.valid.eq(1), fault.code.eq(TransferFault.LOAD_CODED), fault.what.eq(coded.what)]
        m.d.comb += self.fault.eq(fault)
        return m

    def _decode(self, m, load, arbiter, fill, coded, order):
        """What is to be decoded goes past `fill`, and comes to weight memory by the same port."""
        tag, writes = load.o.payload.tag, self.memories.writes
        m.d.comb += [
            coded.begin.eq(load.begin), coded.block.eq(load.block), coded.i.data.eq(arbiter.routed.data),
            coded.i.valid.eq(arbiter.routed.load[loads(self.geometry).index(Opcode.LOAD_CODED)]),
            coded.reserve.eq(load.o.valid & load.o.ready & (tag.opcode == Opcode.LOAD_CODED)),
            coded.length.eq(load.o.payload.source.length), load.coded_room.eq(coded.room)]
        connect(m, fill.writes.weights, coded.plain)
        connect(m, coded.weights, flipped(writes.weights))
        connect(m, fill.writes.activations, flipped(writes.activations))
        connect(m, fill.writes.parameters, flipped(writes.parameters))
        m.d.comb += [
            order.taken.eq(load.i.valid & load.i.ready), order.coded.eq(self.load.payload.opcode == Opcode.LOAD_CODED),
            order.plain.eq(fill.done), order.decoded.eq(coded.done), order.failed.eq(coded.failed)]
