"""Words of a frame to the flash, and what comes back."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.send import reply_layout
from hw.link.spi import answer_layout, exchange_layout
from hw.parts.states import States

__all__ = ["LinkExchange"]


class LinkExchange(wiring.Component):
    """Each word's low byte goes to the flash, and is answered by a word with the byte that came meanwhile.

    Parameters
    ----------
    latency : int
        The word of the frame is there so many cycles and two more after `start` or `next`.

    Members
    -------
    start : ``In(1)``
        For a cycle; the frame stands at the first byte from then on.
    count : ``In(9)``
        Bytes, at least 1; until `start`.
    next : ``Out(1)``
        The frame moves on to the next word.
    byte : ``In(8)``
        Of the frame.
    exchange, exchanged : ``Out(stream.Signature(exchange_layout()))``, ``In(answer_layout())``
        The flash.
    o : ``Out(stream.Signature(reply_layout()))``
    """

    def __init__(self, latency: int):
        self.latency = latency
        super().__init__({
            "start": In(1), "count": In(9), "next": Out(1), "byte": In(8), "exchange": Out(stream.Signature(exchange_layout())),
            "exchanged": In(answer_layout()), "o": Out(stream.Signature(reply_layout()))})

    def elaborate(self, platform):
        m = Module()
        left, step, ended = Signal(9, reset_less=True), Signal(range(self.latency + 1)), Signal(reset_less=True)
        m.d.comb += [self.exchange.payload.data.eq(self.byte), self.exchange.payload.last.eq(ended),
                     self.o.payload.word.eq(self.exchanged.data), self.o.payload.last.eq(ended)]
        m.d.sync += [step.eq(step + 1), ended.eq(left == 1)]
        with States(m, ("IDLE", "FETCH", "OUT", "BACK", "ANSWER")) as states:
            with states.at("IDLE"):
                m.d.sync += [left.eq(self.count), step.eq(0)]
                with m.If(self.start):
                    states.go("FETCH")
            with states.at("FETCH"):
                with m.If(step == self.latency):
                    states.go("OUT")
            with states.at("OUT"):
                m.d.comb += self.exchange.valid.eq(1)
                with m.If(self.exchange.ready):
                    states.go("BACK")
            with states.at("BACK"):
                with m.If(self.exchanged.valid):
                    states.go("ANSWER")
            with states.at("ANSWER"):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += step.eq(0)
                with m.If(self.o.ready):
                    m.d.comb += self.next.eq(1)
                    m.d.sync += left.eq(left - 1)
                    states.go("FETCH")
                    with m.If(ended):
                        states.go("IDLE")
        return m
