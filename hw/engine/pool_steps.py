"""Control of the pool: which step comes next, and when."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.unit.pool import POOL_AVERAGE, POOL_NONE, PoolConfig
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.issue import issue_steps
from hw.parts.layout import record_layout
from hw.parts.queue import Queue
from hw.primitives import Copy

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
        "row": position_layout(), "column": position_layout(),
        "real": 1,                          # lies within the map: takes a vector
        "average": 1, "zero_point": 8,
        "store": 1,                         # completes a pooled column: its result is kept at `place`
        "emit": 1,                          # completes a window
        "place": PLACE_BITS,
        "short": 1})                        # the last one of a short row


class PoolSteps(wiring.Component):
    """Walks over the columns, rows and output blocks of a command, overhang included, one step a cycle.

    A real step waits for a vector; a step that completes a window waits until ``room``. Virtual steps stand for the columns and
    rows that overhang the map on the right and at the bottom; a virtual row has as many steps as a real one. Where rows are
    short, 2 cycles pass behind each, so that the line memory can be read 3 cycles after it was written.

    Steps are prepared up to 16 ahead, so that there is no gap between commands: in one cycle where the step lies in its row, in
    the next where the row lies in its block, then a queue and a register. A command is taken in a cycle in which none is being
    prepared; its first step can be made 7 cycles later. ``vector.ready`` depends on registers only. After reset there is none.

    Members
    -------
    command : ``In(stream.Signature(record_layout(PoolConfig)))``
    vector : ``In(stream.Signature(0))``
    room : ``In(1)``
        From a register: there is a place for one more result.
    made : ``Out(1)``
        A step is made in this cycle.
    step : ``Out(step_layout())``
    result : ``Out(1)``
        ``made`` and ``step.emit``, from a register of its own.
    """

    def __init__(self, *, places: int = Queue.PLACES):
        self.places = places
        super().__init__({"command": In(stream.Signature(record_layout(PoolConfig))), "vector": In(stream.Signature(0)),
                          "room": In(1), "made": Out(1), "step": Out(step_layout()), "result": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(step_layout(), places=self.places)
        m.submodules.space = space = Credits(self.places, self.places)
        issue_steps(m, platform, self, queue, space, rests="short")

        config, new = Signal(record_layout(PoolConfig), reset_less=True), self.command.payload
        lead = Signal(11, reset_less=True)          # rows to the first one that completes a window, itself included
        all_rows = Signal(11, reset_less=True)      # of the map and what overhangs it
        idle, taken, run, tick, end = Signal(init=1), Signal(), Signal(), Signal(), Signal()
        pooled, short, counts = (Signal(name=name, reset_less=True) for name in ("pooled", "short", "counts"))
        m.d.sync += taken.eq(0)
        loads = []
        for name in ("columns", "rows"):
            m.submodules[f"load_{name}"] = copy = Copy()
            m.d.comb += copy.d.eq(taken & ~ResetSignal())
            loads.append(copy.q)
        load = loads[0]
        with m.If(idle & self.command.valid):
            m.d.sync += [config.eq(new), idle.eq(0), taken.eq(1), lead.eq(new.lead + 1), pooled.eq(new.mode != POOL_NONE),
                         all_rows.eq(new.rows + Mux(new.mode != POOL_NONE, new.overhang_rows, 0)),
                         counts.eq(new.include_padding & (new.mode == POOL_AVERAGE))]
        with m.If(load):
            m.d.sync += [run.eq(1),
                         short.eq(pooled & (config.kernel_y >= 2) & ((config.columns < 3) | (config.out_columns < 3)))]
        with m.If(end):
            m.d.sync += [run.eq(0), idle.eq(1)]
        m.d.comb += [self.command.ready.eq(idle), tick.eq(run & space.any)]
        column = self._columns(m, config, pooled, counts, load, tick)
        made = Signal()
        m.d.comb += [made.eq(tick & column.valid), space.take.eq(made)]
        next_step, last = self._rows(m, config, lead, all_rows, pooled, counts, loads[1], tick, made, column)
        prepared = Signal(step_layout(), reset_less=True)
        m.d.sync += [prepared.eq(next_step), prepared.real.eq(next_step.row.real[0] & next_step.column.real[0]),
                     prepared.short.eq(column.ends_row & short), queue.w_en.eq(made)]
        m.d.comb += [queue.w_data.eq(prepared), end.eq(made & last)]
        return m

    def _columns(self, m, config, pooled, counts, load, tick):
        """Where the next step lies in its row; rows follow each other without end."""
        column = Signal(data.StructLayout({"valid": 1, "position": position_layout(), "complete": 1, "ends_row": 1}),
                        reset_less=True)
        inside, complete, ends, done, now_done = (Signal(name=name, reset_less=True) for name in (
            "in_columns", "complete", "ends_row", "columns_done", "columns_now_done"))
        phase = Signal(2, reset_less=True)
        last = self._countdown(m, "columns", config.columns, load, tick & (inside | ends), ends)
        last_complete = self._countdown(m, "windows", config.out_columns, load, tick & (complete | ends), ends)
        # Registers of what stays during a command; without a pool every step is complete, and no row waits for windows.
        first_phase, first_complete, stride_is_one = (Signal(bits, name=name, reset_less=True) for name, bits in (
            ("first_phase", 2), ("first_complete", 1), ("stride_is_one", 1)))
        reach = Signal(2, name="column_reach", reset_less=True)
        left = config.kernel_x - 1 - config.left
        m.d.sync += [first_phase.eq(left), first_complete.eq(~pooled | (left == 0)), stride_is_one.eq(config.stride_x == 1),
                     reach.eq(Cat(config.kernel_x >= 2, config.kernel_x == 3) & pooled.replicate(2))]
        m.d.comb += [now_done.eq(done | complete & last_complete), ends.eq((last | ~inside) & now_done)]
        with m.If(load | tick):
            with m.If(load | ends):
                m.d.sync += [inside.eq(1), done.eq(~pooled), phase.eq(first_phase), complete.eq(first_complete)]
            with m.Else():
                m.d.sync += [inside.eq(~last & inside), done.eq(now_done),
                             phase.eq(Mux(phase == 0, config.stride_x - 1, phase - 1)),
                             complete.eq(~pooled | ((phase == 1) | (phase == 0) & stride_is_one) & ~now_done)]
        position = self._position(m, "column", inside, counts & config.padded_right, reach, load, tick, ends,
                                  0, Cat(config.left & counts, 0))
        with m.If(load):
            m.d.sync += [column.valid.eq(0), column.ends_row.eq(0)]
        with m.Elif(tick):
            m.d.sync += [column.valid.eq(1), column.position.eq(position), column.complete.eq(complete), column.ends_row.eq(ends)]
        return column

    def _rows(self, m, config, lead, all_rows, pooled, counts, load, tick, made, column):
        """The step of `column` in its row and block, and whether it is the command's last."""
        inside, emits, done, last, row_end = (Signal(name=name, reset_less=True) for name in (
            "in_rows", "row_emits", "rows_done", "last_row", "end_of_row"))
        m.d.comb += row_end.eq(tick & column.ends_row)
        m.d.comb += last.eq(self._countdown(m, "all_rows", all_rows, load, row_end, last))
        last_in_map = self._countdown(m, "rows", config.rows, load, row_end, last)
        due, left = Signal(reset_less=True), Signal(11, reset_less=True)        # as a countdown, but of two numbers
        # Registers of what stays during a command.
        lead_is_one, stride_is_one, no_rows = (Signal(name=name, reset_less=True) for name in (
            "lead_is_one", "row_stride_is_one", "no_rows"))
        reach = Signal(2, name="row_reach", reset_less=True)
        m.d.sync += [lead_is_one.eq(lead == 1), stride_is_one.eq(config.stride_y == 1), no_rows.eq(config.out_rows == 0),
                     reach.eq(Cat(config.kernel_y >= 2, config.kernel_y == 3) & pooled.replicate(2))]
        with m.If(load | row_end):
            with m.If(load | last):
                m.d.sync += [left.eq(lead), due.eq(lead_is_one)]
            with m.Else():                                          # of no concern when done
                m.d.sync += [left.eq(Mux(due, config.stride_y, left - 1)), due.eq(Mux(due, stride_is_one, left == 2))]
        last_emit = self._countdown(m, "out_rows", config.out_rows, load, row_end & (emits | last), last)
        m.d.comb += emits.eq(~pooled | due & ~done)
        with m.If(load | row_end):
            with m.If(load | last):
                m.d.sync += [inside.eq(1), done.eq(no_rows)]
            with m.Else():
                m.d.sync += [inside.eq(inside & ~last_in_map), done.eq(done | emits & last_emit)]
        last_block = self._countdown(m, "blocks", config.output_blocks, load, row_end & last)

        # Places of the line memory: every row of a block goes over the same ones.
        place, first, following = (Signal(PLACE_BITS, name=name, reset_less=True) for name in (
            "place", "first_place", "next_place"))
        m.d.comb += following.eq(place + column.complete)
        with m.If(load | made):
            m.d.sync += place.eq(Mux(load, config.base, Mux(column.ends_row & ~last, first, following)))
        with m.If(load | row_end & last):
            m.d.sync += first.eq(Mux(load, config.base, following))

        above, padding = config.history, counts & config.top
        position = self._position(m, "row", inside, counts & config.padded_bottom, reach, load, row_end, last,
                                  Cat(above != 0, above == 2), Cat((above != 0) | padding, (above == 2) | (above == 1) & padding))
        step = Signal(step_layout())
        m.d.comb += [step.row.eq(position), step.column.eq(column.position), step.average.eq(config.mode == POOL_AVERAGE),
                     step.zero_point.eq(config.zero_point), step.store.eq(column.complete & reach[0]),
                     step.emit.eq(column.complete & emits), step.place.eq(place)]
        return step, column.ends_row & last & last_block

    @staticmethod
    def _countdown(m, name, count, start, step, again=0):
        m.submodules[name] = counter = Countdown(len(count), early=True)
        m.d.comb += [counter.count.eq(count), counter.start.eq(start), counter.step.eq(step), counter.again.eq(again)]
        return counter.last

    @staticmethod
    def _position(m, name, present, padded, reach, load, move, clear, real, counted):
        """What the window covers; `load`, or `move` with `clear`, begins anew. Padding beyond the map comes right after its last
        row or column."""
        was_real, was_counted = (Signal(2, name=f"{name}_{field}", reset_less=True) for field in ("was_real", "was_counted"))
        is_counted = present | padded & was_real[0]
        with m.If(load | move):
            with m.If(load | clear):
                m.d.sync += [was_real.eq(real), was_counted.eq(counted)]
            with m.Else():
                m.d.sync += [was_real.eq(Cat(present, was_real)), was_counted.eq(Cat(is_counted, was_counted))]
        position = Signal(position_layout(), name=name)
        m.d.comb += [position.real.eq(Cat(present, was_real & reach)), position.counted.eq(Cat(is_counted, was_counted & reach))]
        return position
