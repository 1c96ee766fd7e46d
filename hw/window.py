"""The window generator: which word is read in which cycle, and what the array does with it."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.command import ADDRESS, SIZE, WindowConfig
from arch.geometry import Geometry
from hw.layout import record_layout

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
        wrapped = o.line - c.ring_words

        m.d.comb += self.o.eq(o)
        m.d.sync += [o[name].eq(c[name]) for name in (
            "row_step", "column_step", "stride_y", "stride_x", "rows", "columns", "height", "width", "zero_point")]
        m.d.sync += [o.ring_step.eq(c.row_step - c.ring_words), o.one_row.eq(c.rows == 1), o.one_column.eq(c.columns == 1)]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.config.ready.eq(1)
                m.d.sync += [c.eq(self.config.payload), blocks_out_left.eq(self.config.payload.output_blocks)]
                with m.If(self.config.valid):
                    m.next = "BLOCK"
            with m.State("BLOCK"):                          # a new output block
                m.d.sync += [
                    o.line.eq(c.row_start), o.iy.eq(c.first_row), o.column.eq(c.start), corner.eq(c.start),
                    o.ix.eq(c.first_column), o.first.eq(1),
                    blocks_left.eq(c.blocks), kx_left.eq(c.kernel_x), ky_left.eq(c.kernel_y)]
                m.next = "FLAGS"
            with m.State("FLAGS"):
                m.d.sync += [last_block.eq(blocks_left == 1), last_kx.eq(kx_left == 1),
                             last_out.eq(blocks_out_left == 1),
                             o.last.eq((blocks_left == 1) & (kx_left == 1) & (ky_left == 1))]
                m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.weights_ready & (self.parameters_ready | ~o.last)):
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += self.ready.eq(1)
                with m.If(self.start):
                    m.next = "STEP"
            with m.State("STEP"):
                m.d.sync += o.first.eq(0)
                m.next = "WRAP"
                with m.If(o.last):
                    m.d.sync += blocks_out_left.eq(blocks_out_left - 1)
                    m.next = "BLOCK"
                    with m.If(last_out):
                        m.next = "IDLE"
                with m.Elif(~last_block):
                    m.d.sync += [o.column.eq(o.column + 1), blocks_left.eq(blocks_left - 1)]
                with m.Elif(~last_kx):
                    m.d.sync += [o.column.eq(corner + c.pixel_words), corner.eq(corner + c.pixel_words), o.ix.eq(o.ix + 1),
                                 blocks_left.eq(c.blocks), kx_left.eq(kx_left - 1)]
                with m.Else():
                    m.d.sync += [o.column.eq(c.start), corner.eq(c.start), o.ix.eq(c.first_column),
                                 blocks_left.eq(c.blocks), kx_left.eq(c.kernel_x),
                                 o.line.eq(o.line + c.row_words), o.iy.eq(o.iy + 1), ky_left.eq(ky_left - 1)]
            with m.State("WRAP"):
                with m.If(wrapped >= 0):
                    m.d.sync += o.line.eq(wrapped)
                m.next = "FLAGS"
        return m


class WindowGenerator(wiring.Component):
    """Issues the beats of convolutions, at most one a cycle, in the order output block, ky, kx, input block, row, column.

    A beat is issued in a cycle with `read_grant`; its `address` and `issue` show `pipeline.WINDOW` cycles later. There are no
    bubbles between rows, passes, output blocks and commands as long as passes have enough beats for the next weights to load.
    Three things besides the grant delay a beat:

    * A pass starts only with `weights_ready`, the last pass of an output block only with `parameters_ready` too. Both are
      levels; whoever drives them takes them back in the cycle after `pass_start` or `block_start`.
    * Two beats of one output pixel are at least `pipeline.MIN_REVISIT` cycles apart.
    * A beat of a last pass, which makes a result, needs `room`; `reserve` shows in its cycle that it takes a place.

    Reset drops the command in progress. `golden.cycles.window` has the exact cycle of each beat.

    Members:
    - `config`: stream of `WindowConfig`, taken when the last pass of the command before has started.
    - `read_grant`, `weights_ready`, `parameters_ready`, `room`: In(1), driven from registers. `reserve`: Out(1), combinational.
    - `address`: Out, word of the activation memory. `issue`: Out(issue_layout(geometry)).
    - `pass_start`, `block_start`: Out(1), the weights (the parameters of an output block) are used up by a pass that starts.
    - `busy`: Out(1), a command is in progress.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({
            "config": In(stream.Signature(CONFIG)),
            "read_grant": In(1), "weights_ready": In(1), "parameters_ready": In(1), "room": In(1), "reserve": Out(1),
            "address": Out(ceil_log2(geometry.activation_words)), "issue": Out(issue_layout(geometry)),
            "pass_start": Out(1), "block_start": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.passes = passes = PassGenerator()
        wiring.connect(m, wiring.flipped(self.config), passes.config)
        m.d.comb += [passes.weights_ready.eq(self.weights_ready), passes.parameters_ready.eq(self.parameters_ready)]

        active, first_beat = Signal(), Signal(reset_less=True)
        last_row, last_column = Signal(reset_less=True), Signal(reset_less=True)
        p = Signal(pass_layout(), reset_less=True)          # the running pass; the generator moves on to the next one
        fire, step, load = Signal(), Signal(), Signal()
        settled = self._settled(m, step, passes.start)
        m.d.comb += [
            fire.eq(active & self.read_grant & (~p.last | self.room)), self.reserve.eq(fire & p.last),
            step.eq(fire | ~active),
            load.eq(~active | last_row & last_column),      # with `step`: the next pass replaces this one
            passes.start.eq(step & load & passes.ready & settled),
            self.busy.eq(active | passes.busy)]
        with m.If(step & load):
            m.d.sync += active.eq(passes.ready & settled)

        # What `step` loads while no pass is ready is never looked at.
        line, column = Signal(ADDRESS, reset_less=True), Signal(ADDRESS, reset_less=True)
        iy, ix = Signal.like(p.iy, reset_less=True), Signal.like(p.ix, reset_less=True)
        rows_left, columns_left = Signal.like(p.rows, reset_less=True), Signal.like(p.columns, reset_less=True)
        pixel = Signal(ceil_log2(self.geometry.band_pixels), reset_less=True)
        ahead = line + p.row_step
        wrapped = line + p.ring_step
        with m.If(step):
            m.d.sync += first_beat.eq(load)
            with m.If(load):
                n = passes.o
                m.d.sync += [
                    p.eq(n), line.eq(n.line), iy.eq(n.iy), column.eq(n.column), ix.eq(n.ix), pixel.eq(0),
                    rows_left.eq(n.rows), columns_left.eq(n.columns), last_row.eq(n.one_row), last_column.eq(n.one_column)]
            with m.Else():
                m.d.sync += pixel.eq(pixel + 1)
                with m.If(last_column):
                    m.d.sync += [
                        line.eq(Mux(wrapped[-1], ahead, wrapped)), iy.eq(iy + p.stride_y), column.eq(p.column), ix.eq(p.ix),
                        rows_left.eq(rows_left - 1), columns_left.eq(p.columns),
                        last_row.eq(rows_left == 2), last_column.eq(p.one_column)]
                with m.Else():
                    m.d.sync += [column.eq(column + p.column_step), ix.eq(ix + p.stride_x),
                                 columns_left.eq(columns_left - 1), last_column.eq(columns_left == 2)]

        issue = Signal(self.issue.shape(), reset_less=True)
        valid, swap, emit_start = Signal(), Signal(), Signal()
        m.d.sync += [
            valid.eq(fire), swap.eq(fire & first_beat), emit_start.eq(fire & first_beat & p.last),
            self.address.eq(line + column), issue.first.eq(p.first), issue.last.eq(p.last), issue.addr.eq(pixel),
            # Negative coordinates are huge ones.
            issue.row.eq(iy.as_unsigned() < p.height), issue.column.eq(ix.as_unsigned() < p.width),
            issue.zero_point.eq(p.zero_point)]
        m.d.sync += [self.pass_start.eq(passes.start), self.block_start.eq(passes.start & passes.o.last)]
        m.d.comb += [self.issue.eq(issue), self.issue.valid.eq(valid), self.issue.swap.eq(swap),
                     self.issue.emit_start.eq(emit_start)]
        return m

    def _settled(self, m, step, start):
        """High when the next pass may start: MIN_REVISIT - 1 beats, or idle cycles after the last one, before this cycle."""
        least = pipeline.MIN_REVISIT - 1
        elapsed, settled = Signal(range(least + 1), init=least), Signal(init=1)
        with m.If(start):
            m.d.sync += [elapsed.eq(0), settled.eq(0)]
        with m.Elif(step & ~settled):
            m.d.sync += [elapsed.eq(elapsed + 1), settled.eq(elapsed == least - 1)]
        return settled
