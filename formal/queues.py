"""Claims about what waits between the units of the machine."""

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Mux, Signal, Value

from arch import control
from arch.geometry import Geometry
from arch.instruction import QUEUES, Transfer
from formal.properties import assert_stable, keeps_order, saboteur, watched
from formal.stages import StageClaim
from hw.dma.pixel_fifo import PixelFifo
from hw.parts.slot import Slot
from hw.parts.word_fifo import WordFifo
from hw.sequencer.command_queue import CommandQueue

__all__ = ["CLAIMS", "CommandQueueClaim", "PixelFifoClaim", "SlotClaim", "WordFifoClaim"]

PLACES = 2              # of a queue
STREAM_FAULTS = ("drop", "repeat", "swap", "change", "waver")


class SlotClaim(StageClaim):
    """Keeps order, offers steadily, holds one payload."""

    faults = STREAM_FAULTS

    def state(self, m):
        m.submodules.slot = slot = Slot(1)
        value = self.free(1, "value")
        m.d.comb += [slot.i.valid.eq(self.free(1, "offer")), slot.i.payload.eq(value)]
        o = saboteur(self, m, slot.o, self.fault)
        m.d.comb += o.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=slot.i.valid & slot.i.ready, value=value, take=o.valid & o.ready, taken=o.payload, most=1,
                    patience=0, waiting=~o.valid)
        assert_stable(m, o, "o")


class WordFifoClaim(StageClaim):
    """Keeps order, offers steadily; neither the RAM nor the queue behind it overflows (their own assertions), given that no more
    than `depth` words are written that have not left by `leaves`."""

    faults = ("drop", "repeat", "overflow")
    DEPTH = 2

    def state(self, m):
        m.submodules.fifo = fifo = WordFifo(depth=self.DEPTH, width=1, places=PLACES)
        put, value = self.free(1, "put"), self.free(1, "value")
        o = saboteur(self, m, fifo.o, self.fault if self.fault != "overflow" else None)
        stored = Signal(range(self.DEPTH + 2))
        m.d.sync += stored.eq(stored + put - fifo.leaves)
        m.d.comb += [fifo.w_en.eq(put), fifo.w_data.eq(value), o.ready.eq(self.free(1, "ready")),
                     Assert(~fifo.leaves | (stored != 0)), Cover(stored == self.DEPTH),
                     Assume(~put | (stored < self.DEPTH + (self.fault == "overflow")))]
        keeps_order(self, m, put=put, value=value, take=o.valid & o.ready, taken=o.payload, most=self.DEPTH + PLACES,
                    patience=control.FIFO - 1, waiting=~o.valid)
        assert_stable(m, o, "o")


class PixelFifoClaim(StageClaim):
    """Pixels, single or in pairs, leave in order, unchanged, and are offered steadily; nothing overflows, given that pixels come
    only after room was reserved for them; room for all is there again when all have left. For rows of one or two pixels."""

    faults = (*STREAM_FAULTS, "unreserved")
    PIXELS = 2

    def state(self, m):
        m.submodules.fifo = fifo = PixelFifo(pixels=self.PIXELS, places=PLACES)
        come, pair, values = self.free(1, "come"), self.free(1, "pair"), (self.free(1, "low"), self.free(1, "high"))
        reserve, width = self.free(1, "reserve"), self.free(2, "width")
        o = saboteur(self, m, fifo.o, self.fault if self.fault != "unreserved" else None)
        low = Signal()
        m.d.comb += [fifo.i.valid.eq(come), fifo.i.entry.pair.eq(pair), fifo.i.entry.data[0].eq(values[0]),
                     fifo.i.entry.data[8].eq(values[1]), fifo.reserve.eq(reserve), fifo.width.eq(width),
                     o.ready.eq(self.free(1, "ready")), low.eq(Value.cast(o.payload)[0])]
        # The row that is checked stays; the next one is checked three cycles later at the earliest.
        before, since, promised, quiet = Signal(2), Signal(2), Signal(4), Signal(3)
        m.d.sync += [before.eq(width), since.eq(Mux(reserve, 0, since + (since != 3)))]
        put = Mux(come, Cat(~pair, pair), 0)
        m.d.comb += [Assume((width == 1) | (width == 2)), Assume(~reserve | (fifo.room & (width == before) & (since >= 2)))]
        if self.fault != "unreserved":
            m.d.comb += Assume(put <= promised)
        m.d.sync += promised.eq(promised + Mux(reserve, width, 0) - put)
        inside = keeps_order(self, m, put=put, value=values, take=o.valid & o.ready, taken=low, most=self.PIXELS,
                             patience=fifo.LATENCY - 1, waiting=~o.valid)
        m.d.sync += quiet.eq(Mux((inside == 0) & (promised == 0) & ~reserve, quiet + (quiet != 7), 0))
        m.d.comb += [Assert((quiet < fifo.BACK) | fifo.room), Cover(~fifo.room & (inside == self.PIXELS))]
        assert_stable(m, o, "o")


class CommandQueueClaim(StageClaim):
    """Each instruction's record is offered once, in order, with the words that came, steadily, and its payload stays three
    cycles longer; it is offered when its tokens are there and not before, nor during `halt`; no queue inside overflows. Claimed
    of the lowest bit of any word of any instruction of the store queue, which may wait for two other queues."""

    faults = ("drop", "repeat", "change", "waver", "tokens")
    QUEUE = "store"
    GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)
    depth = 26              # the least that shows each fault, of two instructions; a cycle more takes three times as long
    WORDS = 4               # that wait
    WAITS = (0, 2)          # places in QUEUES

    def state(self, m):
        m.submodules.queue = queue = CommandQueue(self.GEOMETRY, self.QUEUE, words=self.WORDS, places=PLACES)
        widths = [bits for field in Transfer.fields()
                  for bits in ([16, field.bits - 16] if field.bits > 16 else [field.bits])]     # words of the record
        bodies = len(widths)

        # Words of instructions: header, waits, body.
        write, bit, waits = self.free(1, "write"), self.free(1, "bit"), self.free(len(self.WAITS), "waits")
        left, place, header = Signal(len(self.WAITS)), Signal(range(bodies)), Signal(init=1)
        which = Signal(range(bodies))                       # the word that is followed, the same in all instructions
        chosen, number = Signal(), self.free(range(bodies), "number")
        m.d.sync += chosen.eq(1)
        with m.If(~chosen):
            m.d.sync += which.eq(number)
        stored = Signal(range(self.WORDS + 1))
        m.d.sync += stored.eq(stored + write - queue.leaves)
        body = ~header & (left == 0)
        last = body & (place == bodies - 1)
        m.d.comb += [Assume(number < bodies), Assume(~write | chosen), Assume(~write | (stored != self.WORDS)),
                     queue.w_en.eq(write), queue.w_data.header.eq(header), queue.w_data.last.eq(last),
                     queue.w_data.word.eq(Mux(header, Cat([0, 0, 0, 0], [
                         waits[self.WAITS.index(n)] if n in self.WAITS else 0 for n in range(len(QUEUES))]), bit))]
        followed, needs = Signal(), Signal(len(self.WAITS))     # of the instruction that is being written
        with m.If(write):
            with m.If(header):
                m.d.sync += [header.eq(0), left.eq(waits), place.eq(0), needs.eq(0)]
            with m.Elif(left != 0):
                # A wait for one token or, which no program has, for none.
                m.d.sync += [left.eq(left & (left - 1)), needs.eq(needs | Mux(bit, left & ~(left - 1), 0))]
            with m.Else():
                m.d.sync += [place.eq(place + 1), header.eq(last)]
                with m.If(place == which):
                    m.d.sync += followed.eq(bit)
        value = Cat(Mux(which == bodies - 1, bit, followed), needs)

        given, come = Signal(len(self.WAITS)), self.free(len(self.WAITS), "come")
        m.d.sync += given.eq(given | come)
        for n, at in enumerate(self.WAITS):
            m.d.comb += queue.tokens[at].eq(given[n])
        halt = self.free(1, "halt")
        payload = Value.cast(queue.o.payload)
        seen = Signal()
        m.d.comb += [queue.halt.eq(halt), seen.eq(Array(payload[sum(widths[:n])] for n in range(bodies))[which])]
        view = saboteur(self, m, watched(m, queue.o, seen), self.fault if self.fault != "tokens" else None)
        m.d.comb += view.ready.eq(self.free(1, "ready"))
        take = view.valid & view.ready

        # The needs of the record that is offered travel beside it, in a queue of the claim's own.
        put = write & last
        waiting = [Signal(len(self.WAITS), name=f"needs{n}") for n in range(3)]
        count = Signal(range(4))
        m.d.sync += count.eq(count + put - take)
        for n, one in enumerate(waiting):
            following = waiting[n + 1] if n < 2 else 0
            m.d.sync += one.eq(Mux(put & (count - take == n), needs, Mux(take, following, one)))
        earlier, halted = Signal(len(self.WAITS)), Signal()
        offered = Signal()
        m.d.sync += [earlier.eq(given), halted.eq(halt), offered.eq(view.valid & ~take)]
        if self.fault == "tokens":
            m.d.comb += Assert(~view.valid | (waiting[0] == 0))
        m.d.comb += [Assert(~view.valid | ((waiting[0] & ~earlier) == 0)), Assert(~view.valid | offered | ~halted),
                     Cover(take & (waiting[0] == 3))]
        slow = (waiting[0] & ~given).any() | halt
        keeps_order(self, m, put=put, value=value[0], take=take, taken=view.payload, most=3,
                    patience=2 * bodies + 8, waiting=~view.valid & ~slow, ahead_of=0)
        assert_stable(m, view, "o")
        after, before = Signal(2), Signal()
        m.d.sync += [after.eq(Mux(take, 3, after - (after != 0))), before.eq(seen)]
        m.d.comb += Assert((after == 0) | (seen == before))


CLAIMS: dict[str, type[StageClaim]] = {
    "slot": SlotClaim, "words": WordFifoClaim, "pixels": PixelFifoClaim, "commands": CommandQueueClaim}
