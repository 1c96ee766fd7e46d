"""Words that wait until storage asks for them."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import PULL
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue

__all__ = ["PulledWords"]


class PulledWords(wiring.Component):
    """Takes up to `Queue.PLACES` words ahead. With each ``take`` the next one follows, `arch.sdram.PULL` cycles later.

    Only those that are there may be asked for: an assertion in simulation. A word can be asked for from two cycles after it was
    taken on. ``i.ready`` is a register.

    Members
    -------
    i : ``In(stream.Signature(16))``
    take : ``In(1)``
    word : ``Out(16)``
        A register.
    """

    i: In(stream.Signature(16))
    take: In(1)
    word: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(16)
        m.submodules.space = space = Credits(Queue.PLACES, Queue.PLACES)
        taken, pulled = Signal(), Signal()
        assert PULL == 2
        m.d.comb += [
            self.i.ready.eq(space.any), taken.eq(self.i.valid & self.i.ready), queue.w_en.eq(taken),
            queue.w_data.eq(self.i.payload), queue.o.ready.eq(pulled), space.take.eq(taken), space.give.eq(pulled)]
        m.d.sync += pulled.eq(self.take)
        m.d.comb += self.word.eq(delayed(m, queue.o.payload, 1, "word"))
        return m
