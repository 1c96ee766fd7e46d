"""Words of storage, as fast as they are taken."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.link.send import reply_layout
from hw.parts.queue import Queue
from hw.parts.slot import Slot
from hw.parts.states import States
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["LinkRead"]


class LinkRead(wiring.Component):
    """Reads in bursts of at most `Queue.PLACES` words, for which there is always room.

    Parameters
    ----------
    storage_bits : int
        Of a word's address.

    Members
    -------
    start : ``In(1)``
        With `address` and `count` (a bit more, at least 1); not before the last word of the read before was taken.
    request : ``Out(stream.Signature(request_layout(storage_bits)))``
    r : ``In(word_layout())``
    o : ``Out(stream.Signature(reply_layout()))``
    """

    def __init__(self, storage_bits: int):
        super().__init__({"start": In(1), "address": In(storage_bits), "count": In(storage_bits + 1),
                          "request": Out(stream.Signature(request_layout(storage_bits))), "r": In(word_layout()),
                          "o": Out(stream.Signature(reply_layout()))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(16)
        # Of the burst, and behind it.
        address, left = Signal.like(self.address, reset_less=True), Signal.like(self.count, reset_less=True)
        burst, many, final = Signal(range(Queue.PLACES + 1), reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        one, wait = Signal(reset_less=True), Signal()
        # A register between the queue and whoever takes its words.
        m.submodules.slot = slot = Slot(reply_layout())
        connect(m, slot.o, flipped(self.o))
        taken, took = Signal(), Signal()                 # `took` a cycle later; words come every other cycle at most
        m.d.comb += [
            slot.i.valid.eq(queue.o.valid), slot.i.payload.word.eq(queue.o.payload), slot.i.payload.last.eq(final & one),
            queue.o.ready.eq(slot.i.ready), taken.eq(queue.o.valid & queue.o.ready)]
        # Only while a read is under way: other words are not ours.
        m.d.comb += [queue.w_en.eq(self.r.valid & wait), queue.w_data.eq(self.r.data),
                     self.request.payload.address.eq(address), self.request.payload.length.eq(burst)]
        assert Queue.PLACES == 16               # without a carry chain
        m.d.sync += [many.eq(left[5:].any() | left[4] & left[:4].any()), took.eq(taken)]
        with m.If(took):
            m.d.sync += [burst.eq(burst - 1), one.eq(burst == 2)]
        with States(m, ("IDLE", "MEASURE", "CUT", "REQUEST", "WORDS")) as states:
            with states.at("IDLE"):
                m.d.sync += [address.eq(self.address), left.eq(self.count)]
                with m.If(self.start):
                    states.go("MEASURE")
            with states.at("MEASURE"):
                states.go("CUT")
            with states.at("CUT"):
                m.d.sync += [burst.eq(Mux(many, Queue.PLACES, left)), final.eq(~many)]
                states.go("REQUEST")
            with states.at("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                m.d.sync += one.eq(burst == 1)
                with m.If(self.request.ready):
                    m.d.sync += [wait.eq(1), address.eq(address + burst), left.eq(left - burst)]
                    states.go("WORDS")
            with states.at("WORDS"):
                with m.If(taken & one):
                    m.d.sync += wait.eq(0)
                    states.go("CUT")                # `many` is up to date: words take longer than a cycle to come
                    with m.If(final):
                        states.go("IDLE")
        return m
