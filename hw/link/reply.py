"""The words of a reply, from wherever they come."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from hw.link.send import reply_layout
from hw.link.words import LENGTHS, LinkWords
from hw.parts.states import States

__all__ = ["Body", "LinkReply"]

_PLACES = range(max(LENGTHS.values()))


class Body(Enum, shape=2):
    """What follows the header of a reply."""

    TABLE = 0               # words that are told one by one, if any
    READ = 1
    EXCHANGE = 2


class _Source(Enum, shape=2):
    """Of the word that is sent next."""

    HEAD, TABLE, READ, EXCHANGE = range(4)


class LinkReply(wiring.Component):
    """Sends a header, and then a table's words or those of a stream, up to its last one.

    Members
    -------
    start : ``In(1)``
        For a cycle. The inputs above the streams stand still from then on until `done`.
    header : ``In(16)``
    body, table : ``In(Body)``, ``In(range(len(LENGTHS)))``
        What follows; for `Body.TABLE`, which words, a number in the order of `LENGTHS`.
    place, word : ``Out``, ``In(16)``
        The place of a word of the table; the word, `LinkWords.LATENCY` cycles later.
    begun, done : ``Out(1)``, ``Out(1)``
        The header was taken, for a cycle; all words were.
    read, exchange : ``In(stream.Signature(reply_layout()))``
        The streams; the second one's words come some cycles after `begun`.
    o : ``Out(stream.Signature(reply_layout()))``
        Its `ready` stays high until something is taken.
    """

    def __init__(self):
        words = stream.Signature(reply_layout())
        super().__init__({
            "start": In(1), "header": In(16), "body": In(Body), "table": In(range(len(LENGTHS))), "place": Out(_PLACES),
            "word": In(16), "begun": Out(1), "done": Out(1), "read": In(words), "exchange": In(words), "o": Out(words)})

    def elaborate(self, platform):
        m = Module()
        o, read, exchange = self.o, self.read, self.exchange
        place, end, last = Signal(_PLACES, reset_less=True), Signal(_PLACES, reset_less=True), Signal(reset_less=True)
        more = Signal(reset_less=True)              # words of the table, any
        m.d.comb += self.place.eq(place)
        m.d.sync += last.eq(place == end)
        source = Signal(_Source, reset_less=True)
        alone = (self.body == Body.TABLE) & ~more
        for one, value, final in (
                (_Source.HEAD, self.header, alone), (_Source.TABLE, self.word, last),
                (_Source.READ, read.payload.word, read.payload.last),
                (_Source.EXCHANGE, exchange.payload.word, exchange.payload.last)):
            with m.If(source == one):
                m.d.comb += [o.payload.word.eq(value), o.payload.last.eq(final)]

        waits = [f"WAIT{n}" for n in range(LinkWords.LATENCY - 1)]
        with States(m, ("IDLE", "HEAD", "TABLE", *waits, "WORD", "STREAM", "PASS")) as states:
            with states.at("IDLE"):
                m.d.sync += [source.eq(_Source.HEAD), place.eq(0)]
                with m.Switch(self.table):
                    for n, length in enumerate(LENGTHS.values()):
                        with m.Case(n):
                            m.d.sync += [end.eq(max(length - 1, 0)), more.eq(length != 0)]
                with m.If(self.start):
                    states.go("HEAD")
            with states.at("HEAD"):
                m.d.comb += o.valid.eq(1)
                with m.If(o.ready):
                    m.d.comb += [self.begun.eq(1), self.done.eq(alone)]
                    states.go("IDLE")
                    with m.If(self.body != Body.TABLE):
                        states.go("STREAM")
                    with m.Elif(more):
                        states.go("TABLE")
            with states.at("TABLE"):
                m.d.sync += source.eq(_Source.TABLE)
                states.go(waits[0])
            for now, after in zip(waits, [*waits[1:], "WORD"], strict=True):
                with states.at(now):
                    states.go(after)
            with states.at("WORD"):
                m.d.comb += o.valid.eq(1)
                with m.If(o.ready):
                    m.d.sync += place.eq(place + 1)
                    states.go("TABLE")
                    with m.If(last):
                        m.d.comb += self.done.eq(1)
                        states.go("IDLE")
            with states.at("STREAM"):
                m.d.sync += source.eq(Mux(self.body == Body.READ, _Source.READ, _Source.EXCHANGE))
                states.go("PASS")
            with states.at("PASS"):
                chosen = Mux(self.body == Body.READ, read.valid, exchange.valid)
                m.d.comb += [o.valid.eq(chosen), read.ready.eq(o.ready & (self.body == Body.READ)),
                             exchange.ready.eq(o.ready & (self.body == Body.EXCHANGE))]
                with m.If(o.valid & o.ready & o.payload.last):
                    m.d.comb += self.done.eq(1)
                    states.go("IDLE")
        return m
