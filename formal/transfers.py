"""Claims about the DMA's ends: words from storage to the memories on the chip, and back."""

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Mux, Signal, Value

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.transfer import DECIDE, LOADED, ROUTED, STORE_BACK, STORE_READ, STORED, WRITE, places
from formal.properties import assert_stable, keeps_order
from formal.stages import StageClaim
from hw.dma.fill import DmaFill
from hw.dma.store import DmaStore
from hw.parts.delay import delayed
from hw.storage.arbiter import LOADS

__all__ = ["CLAIMS", "FillClaim", "StoreClaim"]

GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)


class FillClaim(StageClaim):
    """Every word of a memory on the chip is written once, when its last piece has come, to the address that follows the one
    before it in its burst, each piece in its place and unchanged; nothing else is written. The write port is free for it, a
    command is done when its last word can be read, and what is fetched or a pixel is handed on, all in the cycle that
    `arch.transfer` says. Claimed of two bits of any piece, and of the lowest two bits of addresses.

    Given that a burst is of one kind and of whole words, the first and last of its pieces marked; the program's words may come
    between them.
    """

    faults = ("late", "place", "address", "grant")
    BITS = 0, 8             # of a piece
    FAST = 1                # the writer, in cycles

    def state(self, m):
        m.submodules.fill = fill = DmaFill(GEOMETRY, grant=self.FAST)
        i, way = fill.i, WRITE - ROUTED - (pipeline.WRITE_GRANT - self.FAST)
        load, fetch, first, last, end, pixel, chip = (self.free(width, name) for name, width in (
            ("load", len(LOADS)), ("fetch", 1), ("first", 1), ("last", 1), ("end", 1), ("pixel", 5), ("chip", 2)))
        bits = self.free(2, "bits")
        kinds, some = dict(zip(LOADS, load, strict=True)), load.any()
        memories = [one for one in LOADS if one is not Opcode.LOAD_PIXELS]
        memory = Cat(kinds[one] for one in memories).any()
        tag = i.tag
        m.d.comb += [
            i.valid.eq(fetch | some), i.fetch.eq(fetch), i.load.eq(load), i.memory.eq(memory), i.first.eq(first), i.last.eq(last),
            tag.chip.eq(chip), tag.end.eq(end), Cat(tag.first, tag.last, tag.channels).eq(pixel),
            *(i.data[at].eq(bit) for at, bit in zip(self.BITS, bits, strict=True)),
            Assume(((load & (load - 1)) == 0) & ~(fetch & some))]

        # Where in its word the piece is, and in its burst.
        sizes = {one: places(GEOMETRY, one) for one in memories}
        number, inside, kind = Signal(range(max(sizes.values()))), Signal(), Signal(len(LOADS))
        final = Signal()
        for one, size in sizes.items():
            with m.If(kinds[one]):
                m.d.comb += final.eq(number == size - 1)
        with m.If(some):
            m.d.sync += [inside.eq(~last), kind.eq(load)]
        with m.If(memory):
            m.d.sync += number.eq(Mux(final, 0, number + 1))
        m.d.comb += [Assume(~some | (first == ~inside)), Assume(~(some & inside) | (load == kind)),
                     Assume(~(memory & last) | final)]
        word = Signal(2)                    # the last one's address
        address = Mux(first, chip, Mux(number == 0, word + 1, word))[:2]
        with m.If(memory):
            m.d.sync += word.eq(address + (self.fault == "address"))

        # One piece of all words is followed: the solver picks its number.
        which, chosen, saved = Signal.like(number), Signal(), Signal(2)
        pick = self.free(range(max(sizes.values())), "pick")
        m.d.sync += chosen.eq(1)
        with m.If(~chosen):
            m.d.sync += which.eq(pick)
        m.d.comb += [Assume(pick < max(sizes.values())), Assume(chosen | ~some)]
        with m.If(memory & (number == which)):
            m.d.sync += saved.eq(bits)
        came = delayed(m, Mux(number == which, bits, saved), way, "came")
        at = delayed(m, address, way, "at")

        def piece(value, n):
            return Cat(Value.cast(value)[16 * n + bit] for bit in self.BITS)
        writes, pairs = fill.writes, fill.writes.parameters.data
        memory_data = {
            Opcode.LOAD_WEIGHTS: (writes.weights, [piece(writes.weights.data, n) for n in range(sizes[Opcode.LOAD_WEIGHTS])]),
            Opcode.LOAD_PARAMETERS: (writes.parameters, [
                *(piece(pairs.biases, n) for n in range(4)), piece(pairs.scales.multiplier, 0),
                Cat(shift[0] for shift in pairs.scales.shift)]),
            Opcode.LOAD_ACTIVATIONS: (writes.activations, [
                piece(writes.activations.data, n) for n in range(sizes[Opcode.LOAD_ACTIVATIONS])])}
        for one, (port, pieces) in memory_data.items():
            name = one.name.lower()
            due = delayed(m, kinds[one] & final, way + (self.fault == "late"), f"due_{name}", reset=True)
            m.d.comb += [Assert(port.en.any() == due), Assert(~due | (port.addr[:2] == at)),
                         Cover(due & (at == 2) & (which == len(pieces) - 1))]
            for n, value in enumerate(pieces):
                if self.fault == "place":
                    value = pieces[-1]
                m.d.comb += Assert(~due | (which != n) | (value == came))
        m.d.comb += [
            Assert(writes.activations.en.all() | ~writes.activations.en.any()),
            Assert(fill.write_grant == ~delayed(m, kinds[Opcode.LOAD_ACTIVATIONS] & final,
                                                way - self.FAST + (self.fault == "grant"), "busy", reset=True)),
            Assert(fill.done == delayed(m, some & last & end, LOADED - WRITE + way, "over", reset=True))]
        fetched, pixels = (delayed(m, value, 1, name, reset=True) for value, name in (
            (fetch, "fetched"), (kinds[Opcode.LOAD_PIXELS], "pixels")))
        before, marks = delayed(m, bits, 1, "bits"), delayed(m, Cat(pixel[:2] & Cat(first, last), pixel[2:]), 1, "marks")
        m.d.comb += [
            Assert(fill.fetched.valid == fetched), Assert(fill.pixels.valid == pixels),
            Assert(~fetched | (piece(fill.fetched.data, 0) == before)), Assert(~pixels | (piece(fill.pixels.data, 0) == before)),
            Assert(~pixels | (Cat(fill.pixels.first, fill.pixels.last, fill.pixels.channels) == marks))]


class StoreClaim(StageClaim):
    """Every word of a burst is read once, in order, in the cycles that `arch.transfer` says and with the read port; its pieces
    come in order, unchanged, in the cycle after each `take`, and are there in time (its own assertion); no queue inside
    overflows (likewise). A request is offered steadily, in the cycle that `arch.transfer` says; a burst is taken when none waits
    to be requested and half of the buffer is free; `done` comes with a transfer's last word. Claimed of one bit of any piece.

    Given that storage takes a request `DECIDE` cycles after its offer at the earliest and asks for the first of its words three
    cycles later, as `hw.storage.arbiter` does, then for each once, whenever it likes. For bursts of one or two words of two
    pieces, memory that is faster than it is, and smaller queues.
    """

    faults = ("too soon", "change", "too many", "done")
    depth = 24              # until a third burst is read
    FAST = 1                # of window and memory, cycles each
    REQUEST = STORE_READ + 2 * FAST + 2

    def state(self, m):
        m.submodules.store = store = DmaStore(GEOMETRY, storage_bits=24, words=2, read=2 * self.FAST, places=8)
        pieces = 2
        chip, count, end, offer = (self.free(width, name) for name, width in (
            ("chip", 2), ("count", 2), ("end", 1), ("offer", 1)))
        burst = store.i.payload
        m.d.comb += [store.i.valid.eq(offer), burst.tag.chip.eq(chip), burst.tag.end.eq(end), burst.count.eq(count),
                     burst.source.address.eq(chip), burst.source.length.eq(count << 1), Assume((count == 1) | (count == 2))]
        taken, given = store.i.ready & offer, Cat(chip, count, end)
        held, kept = Signal(), Signal.like(given)           # until taken, and for a cycle longer
        m.d.sync += [held.eq(offer), kept.eq(given)]
        m.d.comb += Assume(~held | (given == kept))
        busy = Signal()                                     # a burst is not yet requested

        # Reading.
        start = delayed(m, taken, STORE_READ - 1, "start", reset=True)
        left, address = Signal(2), Signal(2)
        now = Signal.like(given)
        with m.If(taken):
            m.d.sync += now.eq(given)
        now_chip, now_count = now[:2], now[2:4]
        with m.If(start):
            m.d.sync += [left.eq(now_count), address.eq(now_chip)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        reads, bits = left != 0, self.free(pieces, "bits")
        data = delayed(m, bits, 2 * self.FAST, "data")
        m.d.comb += [Assert(store.read_grant == ~reads), Assert(~reads | (store.h_addr[:2] == address)),
                     *(store.h_data[16 * n].eq(data[n]) for n in range(pieces))]

        # The request.
        request = store.request
        due, waits, before = delayed(m, taken, self.REQUEST, "due", reset=True), Signal(), Signal()
        asked = request.valid & request.ready
        m.d.sync += [waits.eq((due | waits) & ~asked), before.eq(request.valid), busy.eq(taken | busy & ~asked)]
        m.d.comb += [request.ready.eq(self.free(1, "ready")), Assume(~asked | before), Assert(request.valid == (due | waits)),
                     Assert(~request.valid | (request.payload.address == now_chip) & (request.payload.length == now_count << 1))]
        assert DECIDE == 1

        # Storage asks for words; `bursts` tell what is left of those taken, the oldest first.
        take, owed = self.free(1, "take"), Signal(range(9))
        late = 2 - (self.fault == "too soon")
        more = Mux(delayed(m, asked, late, "asked", reset=True), delayed(m, now_count, late, "asked_count") << 1, 0)
        m.d.sync += owed.eq(owed + more - take)
        m.d.comb += [store.take.eq(take), Assume(~take | (owed != 0))]
        bursts = [Signal(3, name=f"pieces{n}") for n in range(2)]
        ends = [Signal(name=f"end{n}") for n in range(2)]
        over = take & (bursts[0] == 1)
        alive = Signal(range(3))
        m.d.sync += alive.eq(alive - over + taken)
        with m.If(over):
            m.d.sync += [bursts[0].eq(bursts[1]), ends[0].eq(ends[1])]
        with m.Elif(take):
            m.d.sync += bursts[0].eq(bursts[0] - 1)
        for n in range(2):
            with m.If(taken & (alive - over == n)):
                m.d.sync += [bursts[n].eq(count << 1), ends[n].eq(end)]
        # `take` comes a cycle after storage asked.
        back = delayed(m, over, STORE_BACK - 2, "back", reset=True)
        halves = Signal(range(3 + (self.fault == "too many")), init=2)
        m.d.sync += halves.eq(halves + back - taken)
        m.d.comb += [Assert(store.i.ready == ((halves != 0) & ~busy)),
                     Assert(store.done == delayed(m, over & ends[0], STORED - 1 + (self.fault == "done"), "over", reset=True)),
                     Cover(over & ends[0] & (owed == 5))]
        if self.fault == "too many":
            m.d.comb += Assert(halves != 0)
        keeps_order(self, m, put=Mux(reads, pieces, 0), value=[*bits], take=delayed(m, take, 1, "came", reset=True),
                    taken=store.word[0] ^ (self.fault == "change"), most=9, patience=1, waiting=Const(0))
        assert_stable(m, request, "request")


CLAIMS: dict[str, type[StageClaim]] = {"fill": FillClaim, "store": StoreClaim}
