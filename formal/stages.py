"""The claims about each stage."""
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from amaranth.hdl import Assert, Assume, Cover, Fragment, Signal, Value

from formal.properties import assert_stable, keeps_order, saboteur
from formal.prove import Claim
import hw.output_fifo
from hw.output_fifo import OutputFifo
from hw.primitives import BlockRam
from hw.queue import Queue
from hw.tokens import Tokens

__all__ = ["OutputFifoClaim", "QueueClaim", "StageClaim", "TokensClaim"]


class StageClaim(Claim):
    """A claim that can be spoilt: `fault` is one of `properties.SABOTAGES` behind the unit, or names one inside it."""

    def __init__(self, fault: str | None = None):
        super().__init__()
        self.fault = fault

    def elaborate(self, platform):
        with small():
            return Fragment.get(super().elaborate(platform), platform)


@contextmanager
def small(places: int = 4, rows: int = 4) -> Iterator[None]:
    """Queues and block RAMs of fewer places while a unit is elaborated. The units do not know how many there are: what they do
    at a limit they do at any, and a solver gets through all states of a small one."""
    with mock.patch.object(Queue, "PLACES", places), \
            mock.patch.object(hw.output_fifo, "BlockRam", lambda *, depth, width: BlockRam(depth=rows, width=width)) as ram:
        ram.LATENCY = BlockRam.LATENCY
        yield


class TokensClaim(StageClaim):
    """`any` says exactly whether there are tokens, given that none is taken from nothing or given beyond the limit."""

    LIMIT = 5
    faults = ("one more",)

    def state(self, m):
        m.submodules.tokens = tokens = Tokens(self.LIMIT, 2)
        give, take = self.free(1, "give"), self.free(1, "take")
        count = Signal(range(self.LIMIT + 1), init=3 if self.fault else 2)
        m.d.comb += [tokens.give.eq(give), tokens.take.eq(take),
                     Assume(~take | (count != 0)), Assume(take | ~give | (count != self.LIMIT)),
                     Assert(tokens.any == (count != 0)), Cover(count == self.LIMIT), Cover(~tokens.any & give)]
        m.d.sync += count.eq(count + give - take)


class QueueClaim(StageClaim):
    """Keeps order, offers steadily, never overflows, given that it is never written when full."""

    faults = ("drop", "repeat", "swap", "change", "waver", "overflow")

    def state(self, m):
        m.submodules.queue = queue = Queue(1)
        put, value = self.free(1, "put"), self.free(1, "value")
        o = saboteur(self, m, queue.o, self.fault if self.fault != "overflow" else None)
        m.d.comb += [queue.w_en.eq(put), queue.w_data.eq(value), o.ready.eq(self.free(1, "ready"))]
        inside = keeps_order(self, m, put=put, value=value, take=o.valid & o.ready, taken=o.payload,
                             most=queue.PLACES + (self.fault == "overflow"), patience=0, waiting=~o.valid)
        m.d.comb += [Assume(~put | (inside != queue.PLACES + (self.fault == "overflow"))), Cover(inside == queue.PLACES)]
        assert_stable(m, o, "o")


class OutputFifoClaim(StageClaim):
    """Keeps order, offers steadily; `room` is exactly "fewer than `depth` reserved and not taken"; no queue inside overflows
    (their own assertions). Given: reserved only with `room`, and a vector comes for each reservation, sooner or later."""

    faults = ("drop", "repeat", "swap", "change", "waver", "unreserved")
    DEPTH = 4

    def state(self, m):
        m.submodules.fifo = fifo = OutputFifo(lanes=1, depth=32)
        fifo.depth = self.DEPTH
        put, value, reserve = self.free(1, "put"), self.free(1, "value"), self.free(1, "reserve")
        o = saboteur(self, m, fifo.o, self.fault if self.fault != "unreserved" else None)
        take = o.valid & o.ready
        m.d.comb += [fifo.i.valid.eq(put), Value.cast(fifo.i.vector).eq(value), fifo.reserve.eq(reserve),
                     o.ready.eq(self.free(1, "ready")), Assume(~reserve | fifo.room)]
        inside = keeps_order(self, m, put=put, value=value, take=take, taken=Value.cast(o.payload)[0], most=self.DEPTH,
                             patience=fifo.LATENCY - 1, waiting=~o.valid)
        promised = Signal(range(self.DEPTH + 1))
        m.d.sync += promised.eq(promised + reserve - put)
        m.d.comb += [Assert(fifo.room == (inside + promised < self.DEPTH)), Cover(~fifo.room)]
        if self.fault != "unreserved":
            m.d.comb += Assume(~put | (promised != 0))
        assert_stable(m, o, "o")
