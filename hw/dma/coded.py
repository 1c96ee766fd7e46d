"""Blocks of compressed weights on their way from storage to weight memory."""
from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import control
from arch.geometry import Geometry
from arch.instruction import CodedTransfer
from arch.transfer import CODED_BACK, CODED_BURST, CODED_COMMAND, CODED_WORD, CODED_WORDS, LOADS_AT_ONCE, ROUTED
from hw.dma.decoder.unit import WeightDecoder
from hw.engine.memory_ports import MemoryWrites
from hw.parts.queue import Queue
from hw.parts.word_fifo import WordFifo

__all__ = ["CodedLoads", "block_layout"]


def block_layout() -> data.StructLayout:
    """What a coded load says of its block, but for its place in storage: see `arch.instruction.CodedTransfer`."""
    fields = {entry.name: entry.bits for entry in CodedTransfer.fields()}
    return data.StructLayout({name: fields[name] for name in ("words", "chip", "chip_words")})


class CodedLoads(wiring.Component):
    """The decoder behind a queue of `words` words, each in a place that was reserved before it was asked for.

    Its words of weights go to the port of weight memory, a cycle later, in cycles in which no plain ones do. A damaged block is
    the last one: what is behind it stays where it is. Timing: see `arch.transfer.CODED_WORD` and what is beside it.

    Parameters
    ----------
    geometry : Geometry
    words : int

    Members
    -------
    begin, block : ``In(1)``, ``In(block_layout())``
        A block will come.
    i : ``In(StructLayout({"valid": 1, "data": 16}))``
        Words of blocks, routed.
    reserve, length : ``In(1)``, ``In(range(CODED_BURST + 1))``
        So many words were asked for.
    room : ``Out(1)``
        From a register: `CODED_BURST` words may be.
    plain, weights
        Port of weight memory: who goes first, and the memory's.
    done : ``Out(1)``
        A block was decoded, for a cycle.
    failed, what : ``Out(1)``, ``Out(4)``
        Registers: a block is damaged, and which `arch.weight_stream.Fault` it has.
    """

    def __init__(self, geometry: Geometry, *, words: int = CODED_WORDS):
        self.geometry, self.words = geometry, words
        port = MemoryWrites(geometry).members["weights"]
        super().__init__({
            "begin": In(1), "block": In(block_layout()), "i": In(data.StructLayout({"valid": 1, "data": 16})),
            "reserve": In(1), "length": In(range(CODED_BURST + 1)), "room": Out(1),
            "plain": port.flip(), "weights": port, "done": Out(1), "failed": Out(1), "what": Out(4)})

    def elaborate(self, platform):
        m = Module()
        units = self.geometry.input_lanes // 2
        m.submodules.words = words = WordFifo(depth=self.words, width=16)
        m.submodules.blocks = blocks = Queue(block_layout(), places=LOADS_AT_ONCE)
        m.submodules.decoder = decoder = WeightDecoder(lanes=self.geometry.decoder_lanes, word_units=units)
        given, came = blocks.o.payload, Signal(16, reset_less=True)
        m.d.sync += [words.w_en.eq(self.i.valid), came.eq(self.i.data)]
        m.d.comb += [
            words.w_data.eq(came), decoder.i.valid.eq(words.o.valid), decoder.i.payload.eq(words.o.payload),
            words.o.ready.eq(decoder.i.ready), blocks.w_en.eq(self.begin), blocks.w_data.eq(self.block),
            decoder.command.valid.eq(blocks.o.valid & ~self.failed), blocks.o.ready.eq(decoder.command.ready & ~self.failed),
            decoder.command.payload.words.eq(given.words),
            decoder.command.payload.eights.eq(given.chip_words << ceil_log2(units) - 1)]
        assert CODED_WORD == ROUTED + 1 + control.FIFO and CODED_COMMAND == 2

        # The port. Words of a block follow each other.
        plain, weights, o = self.plain, self.weights, decoder.o
        address, taken = Signal.like(weights.addr, reset_less=True), Signal()
        m.d.comb += [o.ready.eq(~plain.en), taken.eq(o.valid & o.ready)]
        with m.If(taken):
            m.d.sync += address.eq(address + 1)
        with m.If(blocks.o.valid & blocks.o.ready):
            m.d.sync += address.eq(given.chip)
        written = Signal(weights.data.as_value().shape(), name="written", reset_less=True)
        where = Signal.like(weights.addr, name="where", reset_less=True)
        m.d.sync += [weights.en.eq(plain.en | taken), where.eq(Mux(plain.en, plain.addr, address)),
                     written.eq(Mux(plain.en, plain.data.as_value(), o.payload))]
        m.d.comb += [weights.addr.eq(where), weights.data.as_value().eq(written)]

        m.d.comb += self.done.eq(decoder.done & (decoder.fault == 0))
        with m.If(decoder.done):
            m.d.sync += [self.failed.eq(decoder.fault != 0), self.what.eq(decoder.fault)]

        free, less, back = Signal(range(self.words + 1), init=self.words), Signal.like(self.length), Signal()
        m.d.sync += [back.eq(words.o.valid & words.o.ready), less.eq(Mux(self.reserve, self.length, 0)),
                     free.eq(free + back - less), self.room.eq(free >= CODED_BURST)]
        assert CODED_BACK == 4
        if platform is None:
            m.d.sync += Assert(~self.reserve | (free >= self.length + less), "reserved without room")
        return m
