"""Words of a frame to storage."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.queue import Queue
from hw.parts.states import States
from hw.storage.arbiter import request_layout

__all__ = ["LinkWrite"]


class LinkWrite(wiring.Component):
    """Gives storage up to `Queue.PLACES` words at a time, then asks for room for them.

    Parameters
    ----------
    storage_bits : int
        Of a word's address.
    latency : int
        The word of the frame is there so many cycles and two more after `start` or `next`.

    Members
    -------
    start : ``In(1)``
        For a cycle; the frame stands at the first word from then on.
    address, count : ``In(storage_bits)``, ``In(storage_bits + 1)``
        Until `start`; at least one word.
    next : ``Out(1)``
        The frame moves on to the next word.
    room : ``In(1)``
        Storage takes a word: from a register, and as it was in the cycle before, for words come seldom.
    give : ``Out(1)``
        The word of the frame goes to storage in this cycle.
    request : ``Out(stream.Signature(request_layout(storage_bits)))``
    done : ``Out(1)``
        All words were asked for, for a cycle.
    """

    def __init__(self, storage_bits: int, latency: int):
        self.latency = latency
        super().__init__({
            "start": In(1), "address": In(storage_bits), "count": In(storage_bits + 1), "next": Out(1), "room": In(1),
            "give": Out(1), "request": Out(stream.Signature(request_layout(storage_bits))), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        address, left = Signal.like(self.address, reset_less=True), Signal(9, reset_less=True)
        step, ended, over = Signal(range(self.latency + 1)), Signal(reset_less=True), Signal(reset_less=True)
        burst, full = Signal(range(Queue.PLACES + 1)), Signal(reset_less=True)
        m.d.comb += [self.request.payload.write.eq(1), self.request.payload.address.eq(address),
                     self.request.payload.length.eq(burst)]
        m.d.sync += [step.eq(step + 1), ended.eq(left == 1), full.eq(burst == Queue.PLACES - 1)]
        with States(m, ("IDLE", "FETCH", "GIVE", "REQUEST")) as states:
            with states.at("IDLE"):
                m.d.sync += [address.eq(self.address), left.eq(self.count), burst.eq(0), step.eq(0)]
                with m.If(self.start):
                    states.go("FETCH")
            with states.at("FETCH"):
                with m.If(step == self.latency):
                    states.go("GIVE")
            with states.at("GIVE"):
                m.d.comb += self.give.eq(self.room)
                m.d.sync += [step.eq(0), over.eq(ended)]
                with m.If(self.room):
                    m.d.comb += self.next.eq(1)
                    m.d.sync += [left.eq(left - 1), burst.eq(burst + 1)]
                    states.go("FETCH")
                    with m.If(ended | full):
                        states.go("REQUEST")
            with states.at("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                m.d.sync += step.eq(0)
                with m.If(self.request.ready):
                    m.d.sync += [address.eq(address + burst), burst.eq(0)]
                    states.go("FETCH")
                    with m.If(over):
                        m.d.comb += self.done.eq(1)
                        states.go("IDLE")
        return m
