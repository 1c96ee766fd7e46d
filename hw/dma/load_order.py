"""Loads are completed in the order of their queue, wherever their words go."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.transfer import JOINED, LOAD_BACK, LOADS_AT_ONCE
from hw.parts.credits import Credits
from hw.parts.queue import Queue

__all__ = ["LoadOrder"]


class LoadOrder(wiring.Component):
    """At most `at_once` loads are under way. A load is completed `JOINED` cycles after it was through, or in the cycle
    behind that of the load before it.

    Members
    -------
    taken, coded : ``In(1)``, ``In(1)``
        A load is taken, a coded one.
    plain, decoded : ``In(1)``, ``In(1)``
        The next load of each kind is through.
    failed : ``In(1)``
        The block of the next coded load that is not yet through is damaged; stays. Not high in a cycle with `decoded`.
    may : ``Out(1)``
        From a register: one more may be taken, from `LOAD_BACK` cycles after a completion on if the next one looks at it in
        a register.
    done, fault : ``Out(1)``, ``Out(1)``
        Registers: a load is completed, for a cycle; the load whose turn it is, is damaged.
    """

    taken: In(1)
    coded: In(1)
    plain: In(1)
    decoded: In(1)
    failed: In(1)
    may: Out(1)
    done: Out(1)
    fault: Out(1)

    def __init__(self, *, at_once: int = LOADS_AT_ONCE):
        self.at_once = at_once
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = Queue(1, places=self.at_once)
        m.submodules.places = places = Credits(self.at_once, self.at_once)
        m.submodules.plains = plains = Credits(self.at_once)
        m.submodules.decodeds = decodeds = Credits(self.at_once)
        head, through = order.o.payload, Signal()
        m.d.comb += [
            order.w_en.eq(self.taken), order.w_data.eq(self.coded), places.take.eq(self.taken), places.give.eq(self.done),
            self.may.eq(places.any), plains.give.eq(self.plain), decodeds.give.eq(self.decoded),
            through.eq(order.o.valid & Mux(head, decodeds.any, plains.any)), order.o.ready.eq(through),
            plains.take.eq(through & ~head), decodeds.take.eq(through & head)]
        m.d.sync += [self.done.eq(through), self.fault.eq(order.o.valid & head & ~decodeds.any & self.failed)]
        assert JOINED == 2 and LOAD_BACK == 2
        return m
