"""Compressed blocks of weights become words of weight memory."""
from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import weight_stream as form
from arch.weight_stream import Fault, Kind
from hw.dma.decoder.bits import BitString
from hw.dma.decoder.rounds import Rounds
from hw.dma.decoder.tables import TableWriter
from hw.dma.decoder.words import Words
from hw.parts.states import States

__all__ = ["WeightDecoder", "command_layout"]

CHECK = crc.Algorithm(crc_width=16, polynomial=0x1021, initial_crc=0xffff, reflect_input=False, reflect_output=False,
                      xor_output=0)


EIGHTS_BITS = form.EIGHTS.bit_length() + 2      # more than a block may have, but not more than weight memory has room for


def command_layout() -> data.StructLayout:
    """A block: its words of storage, and how many weights are to come, in eights; 0 for a table."""
    return data.StructLayout({"words": 16, "eights": EIGHTS_BITS})


class WeightDecoder(wiring.Component):
    """Takes a word of 16 bits and gives at least four weights a cycle (with two `lanes`: two), more where units are 0, as long as
    storage and taker keep up; docs/weight_stream.md has the format, `golden.cycles.weight_decoder` every cycle.

    A damaged block ends in a fault: the rest of its words is taken and no word is given any more, an offered one withdrawn.
    Before, it may have given as many words as it says it has, never more.

    Parameters
    ----------
    lanes : int
        Symbols of a round, 2 or 4.
    word_units : int
        Units (of four weights) of a word that is given, 2, 4 or 8.

    Members
    -------
    command : ``In(stream.Signature(command_layout()))``
        Taken while no block is under way.
    i : ``In(stream.Signature(16))``
        All words of the block.
    o : ``Out(stream.Signature(32 * word_units))``
        Its weights, the first in the lowest bits; what is behind a block's end in its last word is 0.
    done, fault : ``Out(1)``, ``Out(Fault)``
        For a cycle, when all words were taken on both sides; 0 for a block that is whole.
    """

    def __init__(self, *, lanes: int = 4, word_units: int = 8):
        if lanes not in (2, 4):
            raise ValueError(f"lanes must be 2 or 4, not {lanes!r}")
        if word_units not in (2, 4, 8):
            raise ValueError(f"word_units must be 2, 4 or 8, not {word_units!r}")
        self.lanes, self.word_units = lanes, word_units
        super().__init__({
            "command": In(stream.Signature(command_layout())), "i": In(stream.Signature(16)),
            "o": Out(stream.Signature(8 * form.UNIT * word_units)), "done": Out(1), "fault": Out(4)})

    def elaborate(self, platform):
        m = Module()
        lanes, clear = self.lanes, Signal(init=1)
        reset = ResetInserter(clear)
        m.submodules.bits = bits = reset(BitString(lanes=lanes))
        m.submodules.rounds = rounds = reset(Rounds(lanes=lanes))
        m.submodules.words = words = reset(Words(lanes=lanes, word_units=self.word_units))
        m.submodules.table = table = reset(TableWriter())
        m.submodules.check = check = CHECK(data_width=16).create()
        connect(m, words.o, flipped(self.o))
        masked, units, start = Signal(), Signal(13), Signal()
        for name in ("wanted", "bits", "offsets"):
            m.d.comb += getattr(bits, name).eq(getattr(rounds, name))
        m.d.comb += [rounds.take.eq(bits.take), rounds.fields.eq(bits.fields), rounds.room.eq(words.room)]
        for name in ("masks", "mask_en", "masks_done", "reserve", "values", "value_en"):
            m.d.comb += getattr(words, name).eq(getattr(rounds, name))
        for name in ("w_en", "w_addr", "w_data", "major"):
            m.d.comb += getattr(rounds, name).eq(getattr(table, name))
        for part in (rounds, words):
            m.d.comb += [part.start.eq(start), part.units.eq(units), part.masked.eq(masked)]

        block = _Block()
        m.d.comb += [masked.eq(block.head[15]), units.eq(Cat(Const(0, 1), block.head[:12]))]
        self._control(m, block, bits, rounds, words, table, check, start=start, clear=clear)
        return m

    def _control(self, m, block, bits, rounds, words, table, check, *, start, clear) -> None:
        """Takes a block's words, one part after the other, and says what is wrong with it."""
        taken, left, one_left, of_table = self.i.valid & self.i.ready, block.left, block.one_left, block.of_table
        m.d.comb += [check.data.eq(self.i.payload), check.valid.eq(taken), bits.word.eq(self.i.payload),
                     table.i.payload.eq(self.i.payload), table.masked.eq(block.head[15]), self.fault.eq(block.fault)]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), one_left.eq(left == 2)]
        m.d.sync += clear.eq(0)

        def fails(what):
            m.d.sync += [block.fault.eq(what), clear.eq(1)]
            states.go("DRAIN")

        names = "IDLE", "FIRST", "SECOND", "BEGIN", "TABLE", "WEIGHTS", "LAST", "SETTLE", "END", "DRAIN", "DONE"
        with States(m, names) as states:
            self._open(m, states, fails, block, check)
            with states.at("BEGIN"):
                m.d.comb += [start.eq(~of_table), table.start.eq(of_table)]
                states.go("WEIGHTS")
                with m.If(of_table):
                    states.go("TABLE")
            with states.at("TABLE"):
                m.d.comb += [table.i.valid.eq(self.i.valid & ~one_left), self.i.ready.eq(table.i.ready & ~one_left)]
                with m.If(table.wrong | one_left & table.idle):
                    fails(Fault.TABLE)
                with m.Elif(table.complete):
                    states.go("LAST")
                    with m.If(~one_left):
                        fails(Fault.REST)
            with states.at("WEIGHTS"):
                m.d.comb += [self.i.ready.eq(bits.room & ~one_left), bits.put.eq(taken)]
                with m.If(rounds.finished):
                    states.go("LAST")
                    with m.If(~one_left):
                        fails(Mux(rounds.beyond, Fault.MASK, Fault.REST))
                with m.Elif(one_left & rounds.wanted & bits.few):
                    fails(Fault.OVERRUN)
            with states.at("LAST"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    states.go("SETTLE")
            with states.at("SETTLE"):
                states.go("END")
            with states.at("END"):
                with m.If(rounds.beyond):
                    fails(Fault.MASK)
                with m.Elif(bits.rest | bits.one):
                    fails(Fault.REST)
                with m.Elif(check.crc != 0):
                    fails(Fault.CHECK)
                with m.Elif(of_table | words.finished):
                    with m.If(of_table):
                        m.d.sync += [block.values_known.eq(1), block.masks_known.eq(block.head[15])]
                    states.go("DONE")
            with states.at("DRAIN"):
                m.d.comb += self.i.ready.eq(left != 0)
                with m.If(left == 0):
                    states.go("DONE")
            with states.at("DONE"):
                m.d.comb += self.done.eq(1)
                m.d.sync += clear.eq(1)
                states.go("IDLE")

    def _open(self, m, states, fails, block, check) -> None:
        """The states in which a command and the first two words are taken."""
        with states.at("IDLE"):
            given = self.command.payload
            m.d.comb += [self.command.ready.eq(1), check.start.eq(1)]
            m.d.sync += [block.size.eq(given.words), block.left.eq(given.words), block.of_table.eq(given.eights == 0),
                         block.eights.eq(given.eights), block.fault.eq(0)]
            with m.If(self.command.valid):
                with m.If(given.eights == 0):
                    m.d.sync += [block.values_known.eq(0), block.masks_known.eq(0)]
                states.go("FIRST")
                with m.If(given.words < form.HEADER + form.CHECKED):
                    fails(Fault.LENGTH)
        with states.at("FIRST"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += block.head.eq(self.i.payload)
            with m.If(self.i.valid):
                states.go("SECOND")
        with states.at("SECOND"):
            m.d.comb += self.i.ready.eq(1)
            count, kind = block.head[:12], block.head[12:15]
            with m.If(self.i.valid):
                states.go("BEGIN")
                with m.If(self.i.payload != block.size):
                    fails(Fault.LENGTH)
                with m.Elif(Mux(block.of_table, (kind != Kind.TABLE) | (count != 0), kind != Kind.WEIGHTS)):
                    fails(Fault.KIND)
                with m.Elif(count != block.eights):
                    fails(Fault.COUNT)
                with m.Elif(~block.of_table & (~block.values_known | block.head[15] & ~block.masks_known)):
                    fails(Fault.TABLE)


class _Block:
    """What is known of a block, and which parts of a table there are."""

    def __init__(self):
        self.size, self.left = (Signal(16, name=name, reset_less=True) for name in ("size", "left"))
        self.eights = Signal(EIGHTS_BITS, name="eights", reset_less=True)
        self.one_left, self.head = Signal(name="one_left", reset_less=True), Signal(16, name="head", reset_less=True)
        self.of_table, self.fault = Signal(name="of_table"), Signal(4, name="fault")
        self.values_known, self.masks_known = Signal(name="values_known"), Signal(name="masks_known")
