"""Control of the depthwise convolution: which step comes next, and when."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.unit.depthwise import DRAIN, KERNEL, PAIR_WORDS, DepthwiseConfig, load_cycles
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.issue import issue_steps
from hw.parts.latch import SLICE_BITS, taken_while_idle
from hw.parts.layout import record_layout
from hw.parts.queue import Queue
from hw.primitives import Copy

__all__ = ["PLACE_BITS", "DepthwiseSteps", "rule_layout", "step_layout"]

PLACE_BITS = 11             # of a place in the line memory
WORD_BITS = (PAIR_WORDS - 1).bit_length()


def rule_layout() -> data.StructLayout:
    """What all channels of a command share; fields as `DepthwiseConfig`."""
    return data.StructLayout({"padding": 8, "zero_point": 8, "low": 8, "high": 8})


def step_layout() -> data.StructLayout:
    """What the lanes have to know about a step."""
    return data.StructLayout({
        "passes": 1,                        # the vector passes
        "loads": 1,                         # the first one of a block, which waits for constants
        "real": 1,                          # lies within the map: takes a vector
        "column": 1, "above": 2,            # whether its column lies within the map, and the two rows above it do
        "first": 1,                         # of its row
        "emit": 1,                          # completes a window, or passes
        "window": 1,                        # completes a window
        "place": PLACE_BITS, "word": WORD_BITS, "rule": rule_layout()})


class DepthwiseSteps(wiring.Component):
    """Walks over the columns, rows and output blocks of a command, virtual rows and columns behind the map included.

    A step a cycle, but for two cycles behind each that completes a window. A real step waits for a vector; one that completes a
    window or passes waits until ``room``. The first one of each block that is convolved waits `load_cycles` for its constants,
    whose first word is shown as ``start`` is high; a vector passes at the earliest ``DRAIN`` cycles after a window.

    Steps are prepared up to 16 ahead, so that there is no gap between commands: in one cycle where the step lies in its row, in
    the next where the row lies in its block, then a queue and a register. A command is taken in a cycle in which none is being
    prepared; its first step can be made 7 cycles later. ``vector.ready`` depends on registers only. After reset there is none.

    Members
    -------
    command : ``In(stream.Signature(record_layout(DepthwiseConfig)))``
    vector : ``In(stream.Signature(0))``
    room : ``In(1)``
        From a register: there is a place for one more result.
    made : ``Out(1)``
        A step is made in this cycle.
    step : ``Out(step_layout())``
    result : ``Out(1)``
        ``made`` and ``step.emit``, from a register of its own.
    start : ``Out(1)``
        The constants from ``step.word`` on are to be loaded. They are there `load_cycles` later.
    """

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES):
        self.places, self.pairs, self.load = places, geometry.pairs, load_cycles(geometry)
        super().__init__({"command": In(stream.Signature(record_layout(DepthwiseConfig))), "vector": In(stream.Signature(0)),
                          "room": In(1), "made": Out(1), "step": Out(step_layout()), "result": Out(1), "start": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(step_layout(), places=self.places, slice_bits=SLICE_BITS)
        m.submodules.space = space = Credits(self.places, self.places)
        issue_steps(m, platform, self, queue, space, rests="window", late=lambda go, due: self._late(m, self.step, go, due))

        lead = Signal(11, reset_less=True)          # rows to the first one that completes a window, itself included
        all_rows = Signal(11, reset_less=True)      # of the map and virtual ones
        idle, taken, run, tick, end = Signal(init=1), Signal(), Signal(), Signal(), Signal()
        new = self.command.payload
        config = taken_while_idle(m, new, end | idle & ~self.command.valid)
        m.d.sync += taken.eq(0)
        loads = []
        for name in ("columns", "rows"):
            m.submodules[f"load_{name}"] = copy = Copy()
            m.d.comb += copy.d.eq(taken & ~ResetSignal())
            loads.append(copy.q)
        with m.If(idle & self.command.valid):
            m.d.sync += [idle.eq(0), taken.eq(1), lead.eq(new.lead + 1),
                         all_rows.eq(new.rows + Mux(new.enable, new.overhang_rows, 0))]
        with m.If(loads[0]):
            m.d.sync += run.eq(1)
        with m.If(end):
            m.d.sync += [run.eq(0), idle.eq(1)]
        m.d.comb += [self.command.ready.eq(idle), tick.eq(run & space.any)]
        column = self._columns(m, config, loads[0], tick)
        made = Signal()
        m.d.comb += [made.eq(tick & column.valid), space.take.eq(made)]
        next_step, last = self._rows(m, config, lead, all_rows, loads[1], tick, made, column)
        prepared = Signal(step_layout(), reset_less=True)
        m.d.sync += prepared.eq(next_step)
        for n, put in enumerate(queue.w_en):
            m.submodules[f"put{n}"] = copy = Copy()
            m.d.comb += [copy.d.eq(made & ~ResetSignal()), put.eq(copy.q)]
        m.d.comb += [queue.w_data.eq(prepared), end.eq(made & last)]
        return m

    def _late(self, m, step, go, due):
        """Whether the step still waits for constants, or for the windows before it."""
        started, loaded, used, drained, window = Signal(), Signal(), Signal(), Signal(init=1), Signal()
        left = Signal(range(DRAIN))
        m.d.comb += self.start.eq(due & step.loads & ~started)
        there = delayed(m, self.start, self.load - 1, "start", reset=True)
        m.d.sync += [used.eq(go & step.loads), started.eq((started | self.start) & ~used), loaded.eq((loaded | there) & ~used),
                     window.eq(go & step.window), drained.eq((drained | (left == 1)) & ~window)]
        with m.If(window):
            m.d.sync += left.eq(DRAIN - 2)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return step.loads & ~loaded | step.passes & ~drained

    def _columns(self, m, config, load, tick):
        """Where the next step lies in its row; rows follow each other without end."""
        column = Signal(data.StructLayout({"valid": 1, "inside": 1, "first": 1, "complete": 1, "ends_row": 1}), reset_less=True)
        inside, first, complete, ends, done, now_done, phase = (Signal(name=name, reset_less=True) for name in (
            "in_columns", "first_column", "complete", "ends_row", "columns_done", "columns_now_done", "phase"))
        last = self._countdown(m, "columns", config.columns, load, tick & (inside | ends), ends)
        last_complete = self._countdown(m, "windows", config.out_columns, load, tick & (complete | ends), ends)
        # Columns before the first one that completes a window: a register of what stays during a command; where vectors pass,
        # each step completes one, and no row waits for them.
        wait, ahead = Signal(2, reset_less=True), Signal(2, reset_less=True)
        m.d.sync += wait.eq(Mux(config.enable, KERNEL - 1 - config.left, 0))
        m.d.comb += [now_done.eq(done | complete & last_complete), ends.eq((last | ~inside) & now_done)]
        with m.If(load | tick):
            with m.If(load | ends):
                m.d.sync += [inside.eq(1), first.eq(1), done.eq(~config.enable), ahead.eq(wait), complete.eq(wait == 0),
                             phase.eq(0)]
            with m.Else():
                begun = (ahead == 0) | (ahead == 1)         # from the next column on
                turn = Mux(ahead == 1, 0, ~phase & (config.stride_x == 2))
                m.d.sync += [inside.eq(~last & inside), first.eq(0), done.eq(now_done), ahead.eq(Mux(ahead == 0, 0, ahead - 1)),
                             phase.eq(turn), complete.eq(~config.enable | begun & ~turn & ~now_done)]
        with m.If(load):
            m.d.sync += [column.valid.eq(0), column.ends_row.eq(0)]
        with m.Elif(tick):
            m.d.sync += [column.valid.eq(1), column.inside.eq(inside), column.first.eq(first), column.complete.eq(complete),
                         column.ends_row.eq(ends)]
        return column

    def _rows(self, m, config, lead, all_rows, load, tick, made, column):
        """The step of `column` in its row and block, and whether it is the command's last."""
        inside, emits, done, last, row_end, first_row = (Signal(name=name, reset_less=True) for name in (
            "in_rows", "row_emits", "rows_done", "last_row", "end_of_row", "first_row"))
        m.d.comb += row_end.eq(tick & column.ends_row)
        m.d.comb += last.eq(self._countdown(m, "all_rows", all_rows, load, row_end, last))
        last_in_map = self._countdown(m, "rows", config.rows, load, row_end, last)
        due, left = Signal(reset_less=True), Signal(11, reset_less=True)        # as a countdown, but of two numbers
        # Registers of what stays during a command.
        lead_is_one, stride_is_one, no_rows = (Signal(name=name, reset_less=True) for name in (
            "lead_is_one", "row_stride_is_one", "no_rows"))
        m.d.sync += [lead_is_one.eq(lead == 1), stride_is_one.eq(config.stride_y == 1), no_rows.eq(config.out_rows == 0)]
        with m.If(load | row_end):
            with m.If(load | last):
                m.d.sync += [left.eq(lead), due.eq(lead_is_one)]
            with m.Else():                                          # of no concern when done
                m.d.sync += [left.eq(Mux(due, config.stride_y, left - 1)), due.eq(Mux(due, stride_is_one, left == 2))]
        last_emit = self._countdown(m, "out_rows", config.out_rows, load, row_end & (emits | last), last)
        m.d.comb += emits.eq(~config.enable | due & ~done)
        above = Signal(2, reset_less=True)
        with m.If(load | row_end):
            with m.If(load | last):
                m.d.sync += [inside.eq(1), done.eq(no_rows), first_row.eq(1),
                             above.eq(Cat(config.history != 0, config.history == 2))]
            with m.Else():
                m.d.sync += [inside.eq(inside & ~last_in_map), done.eq(done | emits & last_emit), first_row.eq(0),
                             above.eq(Cat(inside, above))]
        last_block = self._countdown(m, "blocks", config.output_blocks, load, row_end & last)

        # Places of the line memory: every row of a block goes over the same ones. Constants: as many words for each block.
        place, first, following = (Signal(PLACE_BITS, name=name, reset_less=True) for name in (
            "place", "first_place", "next_place"))
        word = Signal(WORD_BITS, reset_less=True)
        m.d.comb += following.eq(place + column.inside)
        with m.If(load | made):
            m.d.sync += place.eq(Mux(load, config.base, Mux(column.ends_row & ~last, first, following)))
        with m.If(load | row_end & last):
            m.d.sync += [first.eq(Mux(load, config.base, following)), word.eq(Mux(load, config.words, word + self.pairs))]

        step = Signal(step_layout())
        window = config.enable & column.complete & emits
        m.d.comb += [step.passes.eq(~config.enable), step.loads.eq(config.enable & first_row & column.first),
                     step.real.eq(inside & column.inside), step.column.eq(column.inside), step.above.eq(above),
                     step.first.eq(column.first), step.emit.eq(~config.enable | window), step.window.eq(window),
                     step.place.eq(place), step.word.eq(word),
                     *(step.rule[name].eq(config[name]) for name in ("padding", "zero_point", "low", "high"))]
        return step, column.ends_row & last & last_block

    @staticmethod
    def _countdown(m, name, count, start, step, again=0):
        m.submodules[name] = counter = Countdown(len(count), early=True)
        m.d.comb += [counter.count.eq(count), counter.start.eq(start), counter.step.eq(step), counter.again.eq(again)]
        return counter.last
