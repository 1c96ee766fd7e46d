"""The window generator: which word is read in which cycle, and what the array does with it."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.command import ADDRESS, SIZE, WindowConfig
from arch.geometry import Geometry
from hw.delay import delayed
from hw.layout import record_layout
from hw.primitives import Copy

__all__ = ["PassGenerator", "WindowGenerator", "issue_layout"]

CONFIG = record_layout(WindowConfig)


def issue_layout(geometry: Geometry) -> data.StructLayout:
    """What goes with an address: the array's control bits, and what replaces padding.

    `row`, `column`: the tap's row and column are inside the map; otherwise it reads as `zero_point`. `emit_start` marks the
    first beat of the last pass of an output block. `swap`, `emit_start` are 0 without `valid`, the rest is then meaningless.
    """
    return data.StructLayout({"valid": 1, "swap": 1, "emit_start": 1, "first": 1, "last": 1,
                              "addr": ceil_log2(geometry.band_pixels), "row": 1, "column": 1, "zero_point": 8})


def pass_layout() -> data.StructLayout:
    """A pass: word offsets and map coordinates of its first tap, and what all of its rows need.

    The tap's address is `line` (offset of the row in the ring) plus `column` (base and offset in the row).
    `ring_step` is row_step - ring_words, negative.
    """
    coordinate = signed(SIZE + 3)
    return data.StructLayout({
        "line": ADDRESS, "iy": coordinate, "column": ADDRESS, "ix": coordinate, "first": 1, "last": 1,
        "ring_step": signed(ADDRESS + 2), "one_row": 1, "one_column": 1,
        **{name: CONFIG[name].shape for name in (
            "row_step", "column_step", "stride_y", "stride_x", "rows", "columns", "height", "width", "zero_point")}})


class PassGenerator(wiring.Component):
    """Works out the next pass while the current one runs: output blocks, then ky, kx and input blocks.

    `o` is stable while `ready`; `start` takes it. `ready` comes back 5 cycles later at the earliest, 6 with the next command.
    """

    config: In(stream.Signature(CONFIG))
    weights_ready: In(1)
    parameters_ready: In(1)
    o: Out(pass_layout())
    ready: Out(1)
    start: In(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        c = Signal(CONFIG, reset_less=True)
        o = Signal(pass_layout(), reset_less=True)
        corner = Signal(ADDRESS, reset_less=True)           # `column` of the current kx at input block 0
        blocks_left, blocks_out_left = Signal.like(c.blocks, reset_less=True), Signal.like(c.output_blocks, reset_less=True)
        kx_left, ky_left = Signal.like(c.kernel_x, reset_less=True), Signal.like(c.kernel_y, reset_less=True)
        last_block, last_kx, last_out = (Signal(name=f"last_{name}", reset_less=True) for name in ("block", "kx", "out"))
        # Worked out ahead: what comes next, and the next row's offset, one of two.
        turn_block, turn_kx, turn_ky = (Signal(name=f"turn_{name}", reset_less=True) for name in ("block", "kx", "ky"))
        forward, back = Signal(ADDRESS, reset_less=True), Signal(signed(ADDRESS + 2), reset_less=True)
        around = Signal(signed(ADDRESS + 2), reset_less=True)
        idle = Signal(init=1)

        m.d.comb += self.o.eq(o)
        m.d.sync += [o[name].eq(c[name]) for name in (
            "row_step", "column_step", "stride_y", "stride_x", "rows", "columns", "height", "width", "zero_point")]
        m.d.sync += [o.ring_step.eq(c.row_step - c.ring_words), o.one_row.eq(c.rows == 1), o.one_column.eq(c.columns == 1)]

        m.d.sync += [around.eq(c.row_words - c.ring_words), forward.eq(o.line + c.row_words), back.eq(o.line + around),
                     turn_block.eq(~o.last & ~last_block), turn_kx.eq(~o.last & last_block & ~last_kx),
                     turn_ky.eq(~o.last & last_block & last_kx)]
        # One register for each state: what they enable is one lookup table away.
        block, flags, waiting, stepping, settle = (Signal(name=name) for name in (
            "block", "flags", "waiting", "stepping", "settle"))
        allowed, started, ends = Signal(), Signal(), Signal()
        m.d.comb += [self.busy.eq(~idle), self.config.ready.eq(idle), started.eq(self.ready & self.start),
                     ends.eq(stepping & o.last), allowed.eq(waiting & self.weights_ready & (self.parameters_ready | ~o.last))]
        m.d.sync += [
            idle.eq(Mux(idle, ~self.config.valid, ends & last_out)),
            block.eq(idle & self.config.valid | ends & ~last_out),      # a new output block
            settle.eq(stepping & ~o.last),                              # as long as the way by `block`
            flags.eq(block | settle), waiting.eq(flags | waiting & ~allowed),
            self.ready.eq(allowed | self.ready & ~self.start), stepping.eq(started)]

        with m.If(idle):
            m.d.sync += [c.eq(self.config.payload), blocks_out_left.eq(self.config.payload.output_blocks)]
        with m.Elif(ends):
            m.d.sync += blocks_out_left.eq(blocks_out_left - 1)
        with m.If(flags):
            m.d.sync += [last_block.eq(blocks_left == 1), last_kx.eq(kx_left == 1), last_out.eq(blocks_out_left == 1),
                         o.last.eq((blocks_left == 1) & (kx_left == 1) & (ky_left == 1))]
        with m.If(block):
            m.d.sync += [
                o.line.eq(c.row_start), o.iy.eq(c.first_row), o.column.eq(c.start), corner.eq(c.start),
                o.ix.eq(c.first_column), o.first.eq(1),
                blocks_left.eq(c.blocks), kx_left.eq(c.kernel_x), ky_left.eq(c.kernel_y)]
        with m.Elif(stepping):
            m.d.sync += o.first.eq(0)
            with m.If(turn_block):
                m.d.sync += [o.column.eq(o.column + 1), blocks_left.eq(blocks_left - 1)]
            with m.If(turn_kx):
                m.d.sync += [o.column.eq(corner + c.pixel_words), corner.eq(corner + c.pixel_words), o.ix.eq(o.ix + 1),
                             blocks_left.eq(c.blocks), kx_left.eq(kx_left - 1)]
            with m.If(turn_ky):
                m.d.sync += [o.column.eq(c.start), corner.eq(c.start), o.ix.eq(c.first_column),
                             blocks_left.eq(c.blocks), kx_left.eq(c.kernel_x),
                             o.line.eq(Mux(back[-1], forward, back)), o.iy.eq(o.iy + 1), ky_left.eq(ky_left - 1)]
        return m


class WindowGenerator(wiring.Component):
    """Issues the beats of convolutions, at most one a cycle, in the order output block, ky, kx, input block, row, column.

    A beat is issued in a cycle with `read_grant`; its `address` and `issue` show `pipeline.WINDOW` cycles later, as `h_addr` does
    for a cycle without. There are no bubbles between rows, passes, output blocks and commands as long as passes have enough
    beats for the next weights to load.
    Three things besides the grant delay a beat:

    * A pass starts only with `weights_ready`, the last pass of an output block only with `parameters_ready` too. Both are
      levels; whoever drives them takes them back in the cycle after `pass_start` or `block_start`.
    * Two beats of one output pixel are at least `pipeline.MIN_REVISIT` cycles apart.
    * A beat of a last pass, which makes a result, needs `room`; `reserve` shows in its cycle that it takes a place.

    Reset drops the command in progress. `golden.cycles.window` has the exact cycle of each beat.

    Members:
    - `config`: stream of `WindowConfig`, taken when the last pass of the command before has started.
    - `read_grant`, `weights_ready`, `parameters_ready`, `room`: In(1), driven from registers. `reserve`: Out(1), combinational.
    - `h_addr`: In, somebody else's word of the activation memory.
    - `address`: Out, word of the activation memory. `issue`: Out(issue_layout(geometry)).
    - `pass_start`, `block_start`: Out(1), the weights (the parameters of an output block) are used up by a pass that starts.
    - `busy`: Out(1), a command is in progress.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({
            "config": In(stream.Signature(CONFIG)),
            "read_grant": In(1), "weights_ready": In(1), "parameters_ready": In(1), "room": In(1), "reserve": Out(1),
            "h_addr": In(ceil_log2(geometry.activation_words)),
            "address": Out(ceil_log2(geometry.activation_words)), "issue": Out(issue_layout(geometry)),
            "pass_start": Out(1), "block_start": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.passes = passes = PassGenerator()
        wiring.connect(m, wiring.flipped(self.config), passes.config)
        m.d.comb += [passes.weights_ready.eq(self.weights_ready), passes.parameters_ready.eq(self.parameters_ready)]

        # When a beat is issued and which one: few registers, for `step` enables them all.
        n = passes.o
        active, first_beat, emits = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        last_row, last_column = Signal(reset_less=True), Signal(reset_less=True)
        columns, one_column = Signal.like(n.columns, reset_less=True), Signal(reset_less=True)
        rows_left, columns_left = Signal.like(n.rows, reset_less=True), Signal.like(n.columns, reset_less=True)
        fire, step, load = Signal(), Signal(), Signal()
        settled = self._settled(m, step, passes.start)
        m.d.comb += [
            fire.eq(active & self.read_grant & (~emits | self.room)), self.reserve.eq(fire & emits),
            step.eq(fire | ~active),
            load.eq(~active | last_row & last_column),      # with `step`: the next pass replaces this one
            passes.start.eq(step & load & passes.ready & settled),
            self.busy.eq(active | passes.busy)]
        with m.If(step & load):
            m.d.sync += active.eq(passes.ready & settled)
        # What `step` loads while no pass is ready is never looked at.
        with m.If(step):
            m.d.sync += first_beat.eq(load)
            with m.If(load):
                m.d.sync += [emits.eq(n.last), columns.eq(n.columns), one_column.eq(n.one_column), rows_left.eq(n.rows),
                             columns_left.eq(n.columns), last_row.eq(n.one_row), last_column.eq(n.one_column)]
            with m.Elif(last_column):
                m.d.sync += [rows_left.eq(rows_left - 1), columns_left.eq(columns),
                             last_row.eq(rows_left == 2), last_column.eq(one_column)]
            with m.Else():
                m.d.sync += [columns_left.eq(columns_left - 1), last_column.eq(columns_left == 2)]
        m.d.sync += [self.pass_start.eq(passes.start), self.block_start.eq(passes.start & n.last)]

        self._addresses(m, n, step, load, last_column)
        valid, swap, emit_start = (delayed(m, bit, pipeline.WINDOW, name, reset=True) for bit, name in (
            (fire, "valid"), (fire & first_beat, "swap"), (fire & first_beat & emits, "emit_start")))
        m.d.comb += [self.issue.valid.eq(valid), self.issue.swap.eq(swap), self.issue.emit_start.eq(emit_start)]
        return m

    def _addresses(self, m, n, step, ends, last_column):
        """Where the beats read, a cycle behind: the pass `n` is still there a cycle after it is loaded."""
        steps, ends, turns = (self._copies(m, bit, name) for bit, name in (
            (step, "step"), (ends, "ends"), (last_column, "turn")))
        load = [a & b for a, b in zip(steps, ends, strict=True)]
        new_row = [a & ~b & c for a, b, c in zip(steps, ends, turns, strict=True)]
        new_column = [a & ~b & ~c for a, b, c in zip(steps, ends, turns, strict=True)]
        p = Signal(pass_layout(), reset_less=True)
        line, column = Signal(ADDRESS, reset_less=True), Signal(ADDRESS, reset_less=True)
        iy, ix = Signal.like(p.iy, reset_less=True), Signal.like(p.ix, reset_less=True)
        pixel = Signal(ceil_log2(self.geometry.band_pixels), reset_less=True)
        ahead, wrapped = line + p.row_step, line + p.ring_step
        with m.If(load[0]):
            m.d.sync += p.eq(n)
        with m.If(load[1]):
            m.d.sync += [line.eq(n.line), iy.eq(n.iy), pixel.eq(0)]
        with m.Else():
            with m.If(new_row[1] | new_column[1]):
                m.d.sync += pixel.eq(pixel + 1)
            with m.If(new_row[1]):
                m.d.sync += [line.eq(Mux(wrapped[-1], ahead, wrapped)), iy.eq(iy + p.stride_y)]
        with m.If(load[2]):
            m.d.sync += [column.eq(n.column), ix.eq(n.ix)]
        with m.Elif(new_row[2]):
            m.d.sync += [column.eq(p.column), ix.eq(p.ix)]
        with m.Elif(new_column[2]):
            m.d.sync += [column.eq(column + p.column_step), ix.eq(ix + p.stride_x)]

        granted, host = delayed(m, self.read_grant, 1, "granted"), delayed(m, self.h_addr, 1, "host")
        issue = Signal(self.issue.shape(), reset_less=True)
        m.d.sync += [
            self.address.eq(Mux(granted, line + column, host)), issue.first.eq(p.first), issue.last.eq(p.last),
            issue.addr.eq(pixel), issue.zero_point.eq(p.zero_point),
            # Negative coordinates are huge ones.
            issue.row.eq(iy.as_unsigned() < p.height), issue.column.eq(ix.as_unsigned() < p.width)]
        m.d.comb += self.issue.eq(issue)
        assert pipeline.WINDOW == 2

    @staticmethod
    def _copies(m, bit, name):
        """Registers of `bit`: for the pass, for rows, for columns."""
        copies = []
        for n in range(3):
            m.submodules[f"{name}{n}"] = copy = Copy()
            m.d.comb += copy.d.eq(bit)
            copies.append(copy.q)
        return copies

    def _settled(self, m, step, start):
        """High when the next pass may start: MIN_REVISIT - 1 beats, or idle cycles after the last one, before this cycle."""
        least = pipeline.MIN_REVISIT - 1
        elapsed, settled = Signal(range(least + 1), init=least), Signal(init=1)
        with m.If(start):
            m.d.sync += [elapsed.eq(0), settled.eq(0)]
        with m.Elif(step & ~settled):
            m.d.sync += [elapsed.eq(elapsed + 1), settled.eq(elapsed == least - 1)]
        return settled
