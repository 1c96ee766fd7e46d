"""The window generator: which word is read in which cycle, and what the array does with it."""
from amaranth import Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from arch.record import ADDRESS, SIZE
from arch.unit.window import CarryConfig, WindowConfig
from hw.parts.delay import delayed
from hw.parts.latch import taken_while_idle
from hw.parts.layout import record_layout
from hw.primitives import Copy

__all__ = ["PassGenerator", "WindowGenerator", "issue_layout"]

CONFIG = record_layout(WindowConfig)         # what every engine's has


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

    `o` is stable while `ready` and two cycles longer; `start`, in a cycle with `ready`, takes it. Passes are at least 6 cycles
    apart, 7 with the next command in between. A pass waits for the weights, the last one of an output block for the parameters
    too, and for `settled`: levels that fall within three cycles of `start`. `record`: what it is told.
    """

    def __init__(self, record: type[WindowConfig] = WindowConfig):
        super().__init__({
            "config": In(stream.Signature(record_layout(record))), "weights_ready": In(1), "parameters_ready": In(1),
            "settled": In(1), "o": Out(pass_layout()), "ready": Out(1), "start": In(1), "busy": Out(1)})
        self.carries = issubclass(record, CarryConfig)

    def elaborate(self, platform):
        m = Module()
        o = Signal(pass_layout(), reset_less=True)
        idle, next_idle = Signal(init=1), Signal()
        m.d.comb += [self.o.eq(o), self.busy.eq(~idle), self.config.ready.eq(idle)]
        m.d.sync += idle.eq(next_idle)
        c = taken_while_idle(m, self.config.payload, next_idle)
        m.d.sync += [o[name].eq(c[name]) for name in (
            "row_step", "column_step", "stride_y", "stride_x", "rows", "columns", "height", "width", "zero_point")]
        m.d.sync += [o.ring_step.eq(c.row_step - c.ring_words), o.one_row.eq(c.rows == 1), o.one_column.eq(c.columns == 1)]

        # Rounds left, and with them what follows this pass, one of four; after a reset or a command it is an output block.
        blocks, kx, ky, blocks_out = (Signal.like(count, name=f"{name}_left", reset_less=True) for name, count in (
            ("blocks", c.blocks), ("kx", c.kernel_x), ("ky", c.kernel_y), ("blocks_out", c.output_blocks)))
        last_block, last_kx, last_ky, last_out = (
            Signal(name=f"last_{name}", reset_less=True) for name in ("block", "kx", "ky", "out"))
        to_block, to_kx, to_ky, to_out = (
            Signal(name=f"to_{name}", init=name == "out") for name in ("block", "kx", "ky", "out"))
        over = Signal(reset_less=True)
        m.d.sync += [last_block.eq(blocks == 1), last_kx.eq(kx == 1), last_ky.eq(ky == 1), last_out.eq(blocks_out == 0),
                     over.eq(to_out & last_out), o.last.eq(last_block & last_kx & last_ky)]
        with m.If(~idle):
            m.d.sync += [to_block.eq(~last_block), to_kx.eq(last_block & ~last_kx), to_ky.eq(last_block & last_kx & ~last_ky),
                         to_out.eq(last_block & last_kx & last_ky)]

        # A step to it, two cycles after a start or one after a command was taken, and the cycles until flags have settled.
        started, waiting, allowed, moves = Signal(), Signal(), Signal(), Signal()
        move, new_tap, new_row, new_block = (Signal(name=name) for name in ("move", "new_tap", "new_row", "new_block"))
        weights, parameters = (delayed(m, level, 1, name, reset=True) for level, name in (
            (self.weights_ready, "weights"), (self.parameters_ready, "parameters")))
        m.d.comb += [next_idle.eq(Mux(idle, ~self.config.valid, started & over)),
                     moves.eq(Mux(idle, self.config.valid, started & ~over)),
                     allowed.eq(waiting & self.settled & weights & (parameters | ~to_out))]
        m.d.sync += [
            started.eq(self.start),
            move.eq(moves), new_tap.eq(moves & ~to_block), new_row.eq(moves & (to_ky | to_out)), new_block.eq(moves & to_out),
            waiting.eq(delayed(m, move, 2, "moved", reset=True) | waiting & ~allowed),
            self.ready.eq(allowed | self.ready & ~self.start)]

        # What the step may load, worked out ahead. `corner` is `column` of the current kx at input block 0, `own` of the first
        # kx, `next_own` that in the next output block; `near` is the next tap's `corner` within an output block.
        corner, along, beside, near, below, forward = (
            Signal(ADDRESS, name=name, reset_less=True) for name in ("corner", "along", "beside", "near", "below", "forward"))
        own, next_own = self._own_corners(m, c, next_idle, new_block)
        around, back = Signal(signed(ADDRESS + 2), reset_less=True), Signal(signed(ADDRESS + 2), reset_less=True)
        m.d.sync += [along.eq(o.column + 1), beside.eq(corner + c.pixel_words), near.eq(Mux(last_kx, own, beside)),
                     around.eq(c.row_words - c.ring_words), forward.eq(o.line + c.row_words), back.eq(o.line + around),
                     below.eq(Mux(back[-1], forward, back))]
        begins = o.first
        if self.carries:        # nobody needs to know before a pass is ready
            begins, goes_on = Signal(reset_less=True), Signal(reset_less=True)
            m.d.sync += [goes_on.eq(c.goes_on), o.first.eq(begins & ~goes_on)]
        with m.If(move):
            m.d.sync += [begins.eq(to_out), o.column.eq(Mux(to_block, along, Mux(to_out, next_own, near))),
                         blocks.eq(Mux(to_block, blocks - 1, c.blocks))]
        with m.If(new_tap):
            m.d.sync += [corner.eq(Mux(to_out, next_own, near)), o.ix.eq(Mux(to_kx, o.ix + 1, c.first_column)),
                         kx.eq(Mux(to_kx, kx - 1, c.kernel_x))]
        with m.If(new_row):
            m.d.sync += [o.line.eq(Mux(to_ky, below, c.row_start)), o.iy.eq(Mux(to_ky, o.iy + 1, c.first_row)),
                         ky.eq(Mux(to_ky, ky - 1, c.kernel_y))]
        with m.If(idle):
            m.d.sync += blocks_out.eq(self.config.payload.output_blocks)
        with m.Elif(new_block):
            m.d.sync += blocks_out.eq(blocks_out - 1)
        return m

    def _own_corners(self, m, c, next_idle, new_block):
        """`column` of the first tap of the present output block and, three cycles after it began, of the next one."""
        own, next_own, further = (Signal(ADDRESS, name=name, reset_less=True) for name in ("own", "next_own", "further"))
        repeats, last_repeat = Signal.like(c.block_repeat, name="repeats_left", reset_less=True), Signal(reset_less=True)
        began = delayed(m, new_block, 1, "began", reset=True)
        m.submodules.take_own = idle = Copy(init=1)
        m.d.comb += idle.d.eq(next_idle | ResetSignal())
        m.d.sync += [further.eq(next_own + c.block_step), last_repeat.eq(repeats == 1)]
        moves_on = delayed(m, began & last_repeat, 1, "moves_on", reset=True)
        with m.If(new_block):
            m.d.sync += own.eq(next_own)
        with m.If(idle.q):
            m.d.sync += [next_own.eq(self.config.payload.start), repeats.eq(self.config.payload.block_repeat)]
        with m.Else():
            with m.If(moves_on):
                m.d.sync += next_own.eq(further)
            with m.If(began):
                m.d.sync += repeats.eq(Mux(last_repeat, c.block_repeat, repeats - 1))
        return own, next_own


class WindowGenerator(wiring.Component):
    """Issues the beats of convolutions, at most one a cycle, in the order output block, ky, kx, input block, row, column.

    A beat is issued in a cycle with `read_grant`; its `address` and `issue` show `pipeline.WINDOW` cycles later, as `h_addr` does
    for a cycle without. There are no bubbles between rows, passes, output blocks and commands as long as passes have enough
    beats for the next weights to load, except that several rows of a single column are two cycles apart.
    Three things besides the grant delay a beat:

    * A pass starts only with `weights_ready`, the last pass of an output block only with `parameters_ready` too. Both are
      levels; whoever drives them takes them back in the cycle after `pass_start` or `block_start`.
    * Two beats of one output pixel are at least `pipeline.MIN_REVISIT` cycles apart.
    * A beat of a last pass, which makes a result, needs `room` in the cycle after it is issued; `reserve` shows then that it
      takes a place.

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
        self.geometry, self.record = geometry, Command.records(geometry)["window"]
        super().__init__({
            "config": In(stream.Signature(record_layout(self.record))),
            "read_grant": In(1), "weights_ready": In(1), "parameters_ready": In(1), "room": In(1), "reserve": Out(1),
            "h_addr": In(ceil_log2(geometry.activation_words)),
            "address": Out(ceil_log2(geometry.activation_words)), "issue": Out(issue_layout(geometry)),
            "pass_start": Out(1), "block_start": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.passes = passes = PassGenerator(self.record)
        wiring.connect(m, wiring.flipped(self.config), passes.config)
        m.d.comb += [passes.weights_ready.eq(self.weights_ready), passes.parameters_ready.eq(self.parameters_ready)]

        # When a beat is issued and which one, a cycle after its grant: few registers, for `step` enables them all.
        n = passes.o
        active, first_beat, emits = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        last_row, last_column, slow = (Signal(name=name, reset_less=True) for name in ("last_row", "last_column", "slow"))
        columns, one_column = Signal.like(n.columns, reset_less=True), Signal(reset_less=True)
        rows_left, columns_left = Signal.like(n.rows, reset_less=True), Signal.like(n.columns, reset_less=True)
        granted, next_slow, fire, step, load = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += granted.eq(self.read_grant & ~(step & Mux(load, next_slow, slow)))
        m.d.comb += [
            fire.eq(active & granted & (~emits | self.room)), self.reserve.eq(fire & emits),
            step.eq(~active | granted & (~emits | self.room)),
            load.eq(~active | last_row & last_column),      # with `step`: the next pass replaces this one
            next_slow.eq(n.one_column & ~n.one_row),
            passes.start.eq(step & load & passes.ready), passes.settled.eq(self._settled(m, step)),
            self.busy.eq(active | passes.busy)]
        with m.If(step & load):
            m.d.sync += active.eq(passes.ready)
        # What `step` loads while no pass is ready is never looked at.
        with m.If(step):
            m.d.sync += first_beat.eq(load)
            with m.If(load):
                m.d.sync += [emits.eq(n.last), columns.eq(n.columns), one_column.eq(n.one_column), rows_left.eq(n.rows),
                             columns_left.eq(n.columns), last_row.eq(n.one_row), last_column.eq(n.one_column),
                             slow.eq(next_slow)]
            with m.Elif(last_column):
                m.d.sync += [rows_left.eq(rows_left - 1), columns_left.eq(columns),
                             last_row.eq(rows_left == 2), last_column.eq(one_column)]
            with m.Else():
                m.d.sync += [columns_left.eq(columns_left - 1), last_column.eq(columns_left == 2)]
        m.d.sync += [self.pass_start.eq(passes.start), self.block_start.eq(passes.start & n.last)]

        self._addresses(m, n, step, load, last_column)
        shown, first, emitting = (delayed(m, bit, 1, name, reset=True) for bit, name in (
            (fire, "fired"), (first_beat, "first"), (emits, "emitting")))
        m.d.comb += [bit.eq(delayed(m, value, pipeline.WINDOW - 2, name, reset=True)) for bit, value, name in (
            (self.issue.valid, shown, "valid"), (self.issue.swap, shown & first, "swap"),
            (self.issue.emit_start, shown & first & emitting, "emit_start"))]
        return m

    def _addresses(self, m, n, step, ends, last_column):
        """Where the beats read, two cycles behind: the pass `n` is still there when it is loaded."""
        step, ends, turns = (delayed(m, bit, 1, name) for bit, name in ((step, "step"), (ends, "ends"), (last_column, "turns")))
        load, new_row = step & ends, step & ~ends & turns
        p = Signal(pass_layout(), reset_less=True)
        line, column = Signal(ADDRESS, reset_less=True), Signal(ADDRESS, reset_less=True)
        iy, ix = Signal.like(p.iy, reset_less=True), Signal.like(p.ix, reset_less=True)
        pixel = Signal(ceil_log2(self.geometry.band_pixels), reset_less=True)
        for name, fields in (("rows", ("row_step", "ring_step", "stride_y", "height")),
                             ("columns", ("column_step", "stride_x", "width", "column", "ix")),
                             ("control", ("first", "last", "zero_point"))):
            with m.If(self._copy(m, load, f"load_{name}")):
                m.d.sync += [p[field].eq(n[field]) for field in fields]
        # Rows are at least two cycles apart: the next one's start is worked out in between.
        ahead, wrapped = Signal(ADDRESS, reset_less=True), Signal(signed(ADDRESS + 2), reset_less=True)
        m.d.sync += [ahead.eq(line + p.row_step), wrapped.eq(line + p.ring_step)]
        loads = self._copy(m, load, "load_line")
        with m.If(self._copy(m, load | new_row, "step_line")):
            m.d.sync += [line.eq(Mux(loads, n.line, Mux(wrapped[-1], ahead, wrapped))),
                         iy.eq(Mux(loads, n.iy, iy + p.stride_y))]
        loads, turns = self._copy(m, load, "load_column"), self._copy(m, new_row, "turn_column")
        with m.If(self._copy(m, step, "step_column")):
            m.d.sync += [column.eq(Mux(loads, n.column, Mux(turns, p.column, column + p.column_step))),
                         ix.eq(Mux(loads, n.ix, Mux(turns, p.ix, ix + p.stride_x))), pixel.eq(Mux(loads, 0, pixel + 1))]

        granted, host = delayed(m, self.read_grant, 3, "granted"), delayed(m, self.h_addr, 3, "host")
        issue, address = Signal(self.issue.shape(), reset_less=True), Signal.like(self.address, reset_less=True)
        m.d.sync += [
            address.eq(Mux(granted, line + column, host)), issue.first.eq(p.first), issue.last.eq(p.last),
            issue.addr.eq(pixel), issue.zero_point.eq(p.zero_point),
            # Negative coordinates are huge ones.
            issue.row.eq(iy.as_unsigned() < p.height), issue.column.eq(ix.as_unsigned() < p.width)]
        m.d.comb += [self.issue.eq(issue), self.address.eq(address)]
        assert pipeline.WINDOW == 4

    @staticmethod
    def _copy(m, bit, name):
        """A register of `bit` of its own."""
        m.submodules[name] = copy = Copy()
        m.d.comb += copy.d.eq(bit)
        return copy.q

    def _settled(self, m, step):
        """High when the next pass may start: MIN_REVISIT - 1 beats, or idle cycles after the last one, before this cycle. Falls
        two cycles after a start, before anything waits for it."""
        least = pipeline.MIN_REVISIT - 1
        elapsed, settled = Signal(range(least + 1), init=least), Signal(init=1)
        with m.If(self.pass_start):
            m.d.sync += [elapsed.eq(step), settled.eq(0)]
        with m.Elif(step & ~settled):
            m.d.sync += [elapsed.eq(elapsed + 1), settled.eq(elapsed == least - 1)]
        return settled
