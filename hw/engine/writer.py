"""The writer: vectors to their places in the activation memory."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.writer import WriterConfig
from hw.parts.countdown import Countdown
from hw.parts.layout import record_layout, vector_layout

__all__ = ["UNIT", "Writer"]


class Writer(wiring.Component):
    """Writes the vectors of a command to consecutive places: output block by block, row by row, as in `WriterConfig`.

    A vector is taken only in a cycle after one with ``grant``, and written exactly ``LATENCY`` cycles after that; one a cycle,
    or every second cycle where rows of a single column follow each other. ``i.ready`` depends on registers only. The next command
    is taken in a cycle in which none runs, the first of them the cycle after the last vector; its first vector can be taken two
    cycles later, and the command after one that writes nothing is taken as early. After reset no command runs and nothing is
    written.

    The address is made behind the vector, an adder a cycle: row offset (modulo the ring), start of the row, pixel.

    Members
    -------
    command : ``In(stream.Signature(record_layout(WriterConfig)))``
    i : ``In(stream.Signature(vector_layout(PO)))``
    grant : ``In(1)``
    w_en : ``Out(PI / PO)``
        A bit for each vector in a word.
    w_addr : ``Out(range(activation_words))``
    w_data : ``Out(8 * PI)``
    last : ``Out(1)``
        High with the last write of a command.
    """

    LATENCY = pipeline.WRITE_GRANT

    def __init__(self, geometry: Geometry):
        self.groups = geometry.blocks_per_word
        self.bits = ceil_log2(geometry.activation_words)
        super().__init__({
            "command": In(stream.Signature(record_layout(WriterConfig))),
            "i": In(stream.Signature(vector_layout(geometry.output_lanes))), "grant": In(1),
            "w_en": Out(self.groups), "w_addr": Out(self.bits), "w_data": Out(8 * geometry.input_lanes), "last": Out(1)})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes."""
        return 0

    def elaborate(self, platform):
        m = Module()
        config = Signal(record_layout(WriterConfig), reset_less=True)
        wrapped, slow = Signal(signed(17), reset_less=True), Signal(reset_less=True)    # a row on and back round the ring
        active, load, start, granted, go = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [self.command.ready.eq(~active & ~load), start.eq(self.command.valid & self.command.ready),
                     self.i.ready.eq(active & granted), go.eq(self.i.ready & self.i.valid)]
        m.d.sync += [load.eq(start), granted.eq(self.grant & ~(go & slow))]
        with m.If(start):
            m.d.sync += config.eq(self.command.payload)
        with m.If(load):
            m.d.sync += [wrapped.eq(config.row_words - config.ring_words), active.eq(config.rows != 0),
                         slow.eq((config.columns == 1) & (config.rows != 1))]

        # Stage 0: what is special about the vector now taken.
        first = {name: Signal(name=f"first_{name}") for name in ("column", "row", "block")}
        end = go
        for name, count in (("column", config.columns), ("row", config.rows), ("block", config.output_blocks)):
            m.submodules[f"{name}s"] = counter = Countdown(len(count))
            m.d.comb += [counter.start.eq(load), counter.step.eq(end), counter.again.eq(counter.last), counter.count.eq(count)]
            with m.If(load | end):
                m.d.sync += first[name].eq(load | counter.last)
            end = end & counter.last
        with m.If(end):
            m.d.sync += active.eq(0)

        valid, last, vector = go, end, self.i.payload.as_value()
        new_row, new_block, new_command = first["column"], Signal(), Signal()
        m.d.comb += [new_block.eq(new_row & first["row"]), new_command.eq(new_block & first["block"])]
        stages = []
        for n in range(self.LATENCY - 1):
            stage = {"valid": Signal(name=f"valid{n}"), "last": Signal(name=f"last{n}"),
                     "vector": Signal(len(vector), name=f"vector{n}", reset_less=True),
                     "new_row": Signal(name=f"new_row{n}", reset_less=True)}
            m.d.sync += [stage["valid"].eq(valid), stage["last"].eq(last), stage["vector"].eq(vector),
                         stage["new_row"].eq(new_row)]
            valid, last, vector, new_row = stage["valid"], stage["last"], stage["vector"], stage["new_row"]
            stages.append(stage)
        block1, command1 = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [block1.eq(new_block), command1.eq(new_command)]

        # Stage 1: offset of the row in the ring, word and lane group of the block. Rows are at least two cycles apart: the next
        # one's offset is worked out in between.
        offset, onward = Signal(15, reset_less=True), Signal(15, reset_less=True)
        back = Signal(signed(17), reset_less=True)
        m.d.sync += [onward.eq(offset + config.row_words), back.eq(offset + wrapped)]
        base = Signal(15, reset_less=True)
        group = Signal(range(self.groups), reset_less=True)
        step = Signal(len(config.pixel_words), reset_less=True)
        with m.If(stages[0]["valid"] & stages[0]["new_row"]):
            m.d.sync += [offset.eq(Mux(block1, config.row_start, Mux(back[-1], onward, back))), step.eq(config.pixel_words)]
        with m.If(stages[0]["valid"] & block1):
            m.d.sync += [group.eq(Mux(command1, config.lane, group + 1)),
                         base.eq(Mux(command1, config.base, base + (group == self.groups - 1)))]
        # Stage 2: start of the row.
        line = Signal(15, reset_less=True)
        enable = Signal(self.groups, reset_less=True)
        m.d.sync += [line.eq(base + offset), enable.eq(1 << group)]
        # Stage 3: the vector's word.
        address = Signal(15, reset_less=True)
        with m.If(stages[2]["valid"]):
            m.d.sync += address.eq(Mux(stages[2]["new_row"], line, address + step))
        write = Signal(self.groups)
        m.d.sync += write.eq(Mux(stages[2]["valid"], enable, 0))

        m.d.comb += [self.w_en.eq(write), self.w_addr.eq(address), self.last.eq(last),
                     self.w_data.eq(vector.replicate(self.groups))]
        assert self.LATENCY == 5
        return m


UNIT = Writer        # as `hw.engine.engine` finds it
