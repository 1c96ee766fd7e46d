"""Control of the pool: which step comes next, and when."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.command import POOL_AVERAGE, POOL_NONE, PoolConfig
from hw.countdown import Countdown
from hw.layout import record_layout

__all__ = ["PLACE_BITS", "PoolSteps", "position_layout", "step_layout"]

PLACE_BITS = 11             # of a place in the line memory


def position_layout() -> data.StructLayout:
    """A row or column and the two before it, as far as the kernel reaches: bit 0 is the present one.

    `real`: within the map. `counted`: counts in an average (real, or padding that counts).
    """
    return data.StructLayout({"real": 3, "counted": 3})


def step_layout() -> data.StructLayout:
    """What the lanes have to know about a step."""
    return data.StructLayout({
        "valid": 1, "real": 1,              # a vector belongs to it
        "row": position_layout(), "column": position_layout(),
        "average": 1, "zero_point": 8,
        "store": 1,                         # completes a pooled column: its result is kept at `place`
        "emit": 1,                          # completes a window
        "place": PLACE_BITS})


class PoolSteps(wiring.Component):
    """Walks over the columns, rows and output blocks of a command, overhang included, one step a cycle.

    A real step waits for a vector; a step that completes a window waits until ``room``. Virtual steps stand for the columns and
    rows that overhang the map on the right and at the bottom; a virtual row has as many steps as a real one. Where rows are
    short, 2 cycles pass behind each, so that the line memory can be read 3 cycles after it was written.

    The next step is prepared while the present one waits. ``vector.ready`` depends on registers only. A command is taken in a
    cycle in which none is being prepared, the first of them the cycle after the last step of the one before was; its first step
    can be made 3 cycles later. After reset there is none.

    Members
    -------
    command : ``In(stream.Signature(record_layout(PoolConfig)))``
    vector : ``In(stream.Signature(0))``
    room : ``In(1)``
        From a register: there is a place for one more result.
    step : ``Out(step_layout())``
        The step made in this cycle; `valid`, `store` and `emit` only if one is.
    """

    def __init__(self):
        super().__init__({"command": In(stream.Signature(record_layout(PoolConfig))), "vector": In(stream.Signature(0)),
                          "room": In(1), "step": Out(step_layout())})

    def elaborate(self, platform):
        m = Module()
        step, waiting = Signal(step_layout(), reset_less=True), Signal()
        short, hold = Signal(reset_less=True), Signal(2)
        clear, go, advance = Signal(), Signal(), Signal()

        # The present step.
        m.d.comb += [clear.eq(waiting & (hold == 0) & (self.room | ~step.emit)),
                     self.vector.ready.eq(clear & step.real), go.eq(clear & (self.vector.valid | ~step.real)),
                     self.step.eq(step), self.step.valid.eq(go), self.step.store.eq(go & step.store),
                     self.step.emit.eq(go & step.emit)]
        m.d.sync += hold.eq(Mux(go & short, 1, hold << 1))
        with m.If(advance):
            m.d.sync += waiting.eq(1)
        with m.Elif(go):
            m.d.sync += waiting.eq(0)

        # The next one.
        config, new = Signal(record_layout(PoolConfig), reset_less=True), self.command.payload
        idle, load, run = Signal(init=1), Signal(), Signal()
        lead, start = Signal(11, reset_less=True), Signal(2, reset_less=True)
        pooled, is_short, counts = (Signal(name=name, reset_less=True) for name in ("pooled", "is_short", "counts"))
        reach_y, reach_x = Signal(2, reset_less=True), Signal(2, reset_less=True)
        with m.If(idle & self.command.valid):
            m.d.sync += [config.eq(new), idle.eq(0), load.eq(1), lead.eq(new.lead + 1), start.eq(new.kernel_x - 1 - new.left),
                         pooled.eq(new.mode != POOL_NONE), counts.eq(new.include_padding & (new.mode == POOL_AVERAGE))]
        with m.If(load):
            m.d.sync += [load.eq(0), run.eq(1),
                         reach_y.eq(Mux(pooled, Cat(config.kernel_y >= 2, config.kernel_y == 3), 0)),
                         reach_x.eq(Mux(pooled, Cat(config.kernel_x >= 2, config.kernel_x == 3), 0)),
                         is_short.eq(pooled & (config.kernel_y >= 2) & ((config.columns < 3) | (config.out_columns < 3)))]
        m.d.comb += [self.command.ready.eq(idle), advance.eq(run & (go | ~waiting))]

        def countdown(name, count, start, step):
            m.submodules[name] = counter = Countdown(len(count))
            m.d.comb += [counter.count.eq(count), counter.start.eq(start), counter.step.eq(step)]
            return counter.last

        # Columns: the phase of the stride, and how many windows are still to complete in this row.
        in_columns, complete, ends_row, row_end = Signal(), Signal(), Signal(), Signal()
        phase, done = Signal(2), Signal()
        last_column = countdown("columns", config.columns, load | row_end, advance & in_columns)
        last_complete = countdown("windows", config.out_columns, load | row_end, advance & complete)
        m.d.comb += [complete.eq(~pooled | (phase == 0) & ~done),
                     ends_row.eq((last_column | ~in_columns) & (~pooled | done | complete & last_complete)),
                     row_end.eq(advance & ends_row)]
        with m.If(load | row_end):
            m.d.sync += [in_columns.eq(1), done.eq(0), phase.eq(start)]
        with m.Elif(advance):
            m.d.sync += [in_columns.eq(in_columns & ~last_column), done.eq(done | complete & last_complete),
                         phase.eq(Mux(phase == 0, config.stride_x - 1, phase - 1))]

        # Rows: the same, with the virtual ones counted apart.
        in_rows, row_emits, rows_done, last_row, block_end = (Signal(name=name) for name in (
            "in_rows", "row_emits", "rows_done", "last_row", "block_end"))
        overhang = Signal(2)
        last_in_map = countdown("rows", config.rows, load | block_end, row_end & in_rows)
        due = countdown("due", Mux(load | block_end, lead, config.stride_y), load | block_end | row_end & row_emits, row_end)
        last_emit = countdown("out_rows", config.out_rows, load | block_end, row_end & row_emits)
        m.d.comb += [row_emits.eq(~pooled | due & ~rows_done), block_end.eq(row_end & last_row),
                     last_row.eq(Mux(in_rows, last_in_map & (~pooled | (overhang == 0)), overhang == 1))]
        with m.If(load | block_end):
            m.d.sync += [in_rows.eq(1), rows_done.eq(config.out_rows == 0), overhang.eq(config.overhang_rows)]
        with m.Elif(row_end):
            m.d.sync += [in_rows.eq(in_rows & ~last_in_map), rows_done.eq(rows_done | row_emits & last_emit),
                         overhang.eq(overhang - ~in_rows)]
        with m.If(block_end & countdown("blocks", config.output_blocks, load, block_end)):
            m.d.sync += [run.eq(0), idle.eq(1)]

        # Places of the line memory: every row of a block goes over the same ones.
        place, block_place, next_place = (Signal(PLACE_BITS, name=name) for name in ("place", "block_place", "next_place"))
        m.d.comb += next_place.eq(place + complete)
        with m.If(load):
            m.d.sync += [place.eq(config.base), block_place.eq(config.base)]
        with m.Elif(advance):
            m.d.sync += place.eq(Mux(ends_row & ~last_row, block_place, next_place))
            with m.If(ends_row & last_row):
                m.d.sync += block_place.eq(next_place)

        # What the window covers. Padding beyond the map comes right after its last row or column.
        padding = counts & config.top
        positions = {}
        for axis, present, padded, reach, move, clear, real, counted in (
                ("column", in_columns, config.padded_right, reach_x, advance, load | row_end, 0, Cat(config.left & counts, 0)),
                ("row", in_rows, config.padded_bottom, reach_y, row_end, load | block_end,
                 Cat(config.history != 0, config.history == 2),
                 Cat((config.history != 0) | padding, (config.history == 2) | (config.history == 1) & padding))):
            was_real, was_counted = Signal(2, name=f"{axis}_was_real"), Signal(2, name=f"{axis}_was_counted")
            is_counted = present | counts & padded & was_real[0]
            with m.If(clear):
                m.d.sync += [was_real.eq(real), was_counted.eq(counted)]
            with m.Elif(move):
                m.d.sync += [was_real.eq(Cat(present, was_real)), was_counted.eq(Cat(is_counted, was_counted))]
            positions[axis] = {"real": Cat(present, was_real & reach), "counted": Cat(is_counted, was_counted & reach)}

        with m.If(advance):
            m.d.sync += [step[axis][field].eq(bits) for axis, fields in positions.items() for field, bits in fields.items()]
            m.d.sync += [step.real.eq(in_columns & in_rows), step.store.eq(complete & reach_y[0]),
                         step.emit.eq(complete & row_emits), step.average.eq(config.mode == POOL_AVERAGE),
                         step.zero_point.eq(config.zero_point), step.place.eq(place), short.eq(ends_row & is_short)]
        return m
