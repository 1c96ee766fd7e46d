"""Storage for two: the machine's DMA while a program runs, and the host."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.parts.slot import Slot
from hw.primitives import Copy
from hw.storage.arbiter import request_layout, word_layout
from hw.storage.pulled_words import PulledWords

__all__ = ["StorageShare"]


class StorageShare(wiring.Component):
    """Storage is the host's while ``host`` is high, else the DMA's; all ports are those of `hw.storage.sdram.Sdram`.

    The host's requests wait in a register. It gives words to be written before it asks for room in storage for them, and so at
    most `Queue.PLACES` a request.

    Parameters
    ----------
    address_bits : int

    Members
    -------
    request, take, w, r :
        Storage.
    own_request, own_take, own_w, own_r :
        The DMA.
    host_request, host_w, host_r : ``In(stream)``, ``In(stream.Signature(16))``, ``Out(word_layout())``
        The host.
    host : ``In(1)``
        A register, low while words of the DMA's requests are to come, or of the host's (``idle`` low) high.
    asks : ``In(1)``
        A register: the host's requests are heard.
    idle : ``Out(1)``
        No word of the host's requests is to come, and none is heard.
    """

    def __init__(self, address_bits: int):
        requests = stream.Signature(request_layout(address_bits))
        super().__init__({
            "request": Out(requests), "take": In(1), "w": Out(16), "r": In(word_layout()),
            "own_request": In(requests), "own_take": Out(1), "own_w": In(16), "own_r": Out(word_layout()),
            "host_request": In(requests), "host_w": In(stream.Signature(16)), "host_r": Out(word_layout()),
            "host": In(1), "asks": In(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        host, own, request = self.host, self.own_request, self.request
        m.submodules.slot, m.submodules.words = slot, words = Slot(own.payload.shape()), PulledWords()
        connect(m, flipped(self.host_request), slot.i)
        connect(m, flipped(self.host_w), words.i)
        # Payloads are chosen a cycle late; the host is not heard before. `asked`, a register: its request is offered to storage.
        # Nor is the DMA, which may still offer a request of a program that was stopped.
        may, asked, own_may = Signal(), Signal(), Signal()
        m.d.sync += [own_may.eq(~host), may.eq(host & self.asks),
                     asked.eq(Mux(asked, ~request.ready, slot.o.valid & may & self.asks))]
        for name, payload, guests, owns in (("request", request.payload, slot.o.payload, own.payload),
                                            ("words", self.w, words.word, self.own_w)):
            m.submodules[f"{name}_is_hosts"] = choice = Copy()
            m.d.comb += [choice.d.eq(host), payload.eq(Mux(choice.q, guests, owns))]
        m.d.comb += [
            request.valid.eq(asked | own.valid & own_may & ~host), slot.o.ready.eq(request.ready & asked),
            own.ready.eq(request.ready & own_may & ~host), self.own_take.eq(self.take & ~host),
            words.take.eq(self.take & host), self.own_r.data.eq(self.r.data), self.own_r.valid.eq(self.r.valid & ~host),
            self.host_r.data.eq(self.r.data), self.host_r.valid.eq(self.r.valid & host)]

        # Words of the host's requests that are to come, either way.
        owed, more, less = Signal(20), Signal.like(request.payload.length), Signal(2)
        m.d.sync += [more.eq(Mux(slot.o.valid & slot.o.ready, slot.o.payload.length, 0)),
                     less.eq((self.r.valid & host) + (self.take & host)), owed.eq(owed + more - less),
                     self.idle.eq((owed == 0) & (more == 0) & ~self.asks & ~asked)]
        return m
