"""Claims about the depthwise convolution, in two halves as those of the pool: its steps are the right ones, and whatever the
steps, no result is lost."""
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.unit.depthwise import KERNEL, PASS, WINDOW, DepthwiseConfig, load_cycles
from formal.pools import PoolStepsClaim
from formal.properties import assert_stable, keeps_order, saboteur, watched
from formal.stages import StageClaim
from hw.engine.depthwise import Depthwise
from hw.engine.depthwise.steps import DepthwiseSteps, step_layout
from hw.parts.delay import delayed
from hw.parts.layout import record_layout

__all__ = ["CLAIMS", "FilterResultsClaim", "FilterStepsClaim"]

PLACES = 2              # of a queue
GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512, options=("depthwise",))


class _Short(Depthwise):
    """In place of the arithmetic: the byte of the step that completes a window, as if the pipeline were short."""

    STAGES = 6
    DRAIN = STAGES + 2 - PASS + 1

    def _results(self, m, steps, window):
        return delayed(m, self.i.payload.as_value(), self.STAGES, "stage")


class _AnySteps(wiring.Component):
    """In place of the control: any steps at any time, but those that complete a window or pass only where there is room, those
    that pass only when windows are through, nothing for two cycles behind a window, and real ones only with a vector."""

    def __init__(self):
        super().__init__({"command": In(stream.Signature(record_layout(DepthwiseConfig))), "vector": In(stream.Signature(0)),
                          "room": In(1), "made": Out(1), "step": Out(step_layout()), "result": Out(1), "start": Out(1),
                          "wish": In(1), "windows": In(1), "passes": In(1), "real": In(1)})

    def elaborate(self, platform):
        m = Module()
        since = Signal(range(_Short.DRAIN + 1), init=_Short.DRAIN)     # cycles since a window
        passes, window = self.passes, self.windows & ~self.passes
        emits, real = passes | window, passes | self.real
        clear = self.wish & (self.room | ~emits) & (since >= WINDOW - 1) & (~passes | (since == _Short.DRAIN))
        m.d.comb += [self.vector.ready.eq(clear & real), self.made.eq(clear & (self.vector.valid | ~real)),
                     self.step.passes.eq(passes), self.step.window.eq(window), self.step.emit.eq(emits), self.step.real.eq(real),
                     self.result.eq(self.made & emits)]
        with m.If(self.made & window):
            m.d.sync += since.eq(0)
        with m.Elif(since != _Short.DRAIN):
            m.d.sync += since.eq(since + 1)
        return m


class FilterResultsClaim(StageClaim):
    """Every step that completes a window gives one result, of that step, and every vector that passes itself, in order, offered
    steadily; a vector is taken with each real step and no other; the queue of results never overflows. For all sequences of steps
    that keep their distances, so for maps of any size; the lanes' arithmetic is replaced by a delay."""

    faults = ("drop", "repeat", "swap", "change", "waver")

    def __init__(self, fault=None):
        super().__init__(fault)
        self.steps = _AnySteps()

    def state(self, m):
        bit, steps = self.free(1, "bit"), self.steps
        m.submodules.unit = unit = _Short(GEOMETRY, places=PLACES, steps=steps)
        m.d.comb += [getattr(steps, name).eq(self.free(1, name)) for name in ("wish", "windows", "passes", "real")]
        m.d.comb += [unit.i.valid.eq(self.free(1, "valid")), Value.cast(unit.i.payload)[0].eq(bit),
                     Assert((unit.i.valid & unit.i.ready) == (steps.made & steps.step.real))]
        out = saboteur(self, m, watched(m, unit.o, Value.cast(unit.o.payload)[0]), self.fault)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=steps.made & steps.step.emit, value=bit, take=out.valid & out.ready, taken=out.payload,
                    most=PLACES, patience=_Short.STAGES + 1, waiting=~out.valid)
        assert_stable(m, out, "o")


class FilterStepsClaim(PoolStepsClaim):
    """The steps of a command, in order: those of its map and of what lies behind it, row by row, real where the map is, each made
    once; a window is completed where strides say, and two cycles pass behind it; real steps take a vector each, and only those; a
    step that completes a window waits for room, the first one of a block for its constants, which are asked for once, behind
    the windows before. One and two blocks of maps of three columns and up to three rows, at the first or a later band; two
    commands at a time.

    The faults: a row less is expected, or a cycle more behind windows.

    Subclasses choose the stride.
    """

    faults = ("one row less", "longer window")
    kernel, stride = KERNEL, 1
    depth = 18
    PATIENCE = 20

    def state(self, m):
        m.submodules.steps = steps = DepthwiseSteps(GEOMETRY, places=PLACES)
        room, offer, there = self.free(1, "room"), self.free(1, "command"), self.free(1, "vector")
        fields = {name: self.free(2, name) for name in (
            "rows", "columns", "out_rows", "out_columns", "output_blocks", "history", "lead", "overhang_rows", "words")}
        fields |= {name: self.free(1, name) for name in ("left", "base")}
        new = steps.command.payload
        m.d.comb += [*(new[name].eq(value) for name, value in fields.items()), new.enable.eq(1),
                     new.stride_y.eq(self.stride), new.stride_x.eq(self.stride), steps.room.eq(room),
                     steps.command.valid.eq(offer), steps.vector.valid.eq(there)]
        m.d.comb += [Assume(~offer | one) for one in (*self._legal(fields, True), fields["columns"] == KERNEL)]
        self._walk(m, steps, fields, offer, room, there, True)

    def _claims(self, m, steps, now, at, room, there, pooled):
        step, made = steps.step, steps.made

        def row_is_real(back):
            return Mux(at.row >= back, at.row - back < now["rows"], now["history"] + at.row >= back)
        inside, windows = at.column < now["columns"], at.complete_x & at.complete_y
        first = (at.row == 0) & (at.column == 0)
        word = now["words"] + at.block * (GEOMETRY.pairs)
        claims = [at.busy, step.real == (row_is_real(0) & inside), step.column == inside,
                  step.above == Cat(row_is_real(1), row_is_real(2)), step.first == (at.column == 0), step.window == windows,
                  step.emit == windows, ~windows | room, step.loads == first, ~step.passes, ~first | (step.word == word),
                  ~inside | (step.place == now["base"] + Mux(at.block[0], now["columns"], 0) + at.column)]
        # Cycles since a window, and since constants were asked for.
        least = WINDOW + (self.fault == "longer window")
        since, asked, age = Signal(3, init=7), Signal(), Signal(3)
        m.d.sync += [since.eq(Mux(made & step.window, 1, Mux(since == 7, 7, since + 1))), age.eq(Mux(age == 7, 7, age + 1))]
        with m.If(made & step.loads):
            m.d.sync += asked.eq(0)
        with m.If(steps.start):
            m.d.sync += [asked.eq(1), age.eq(1)]
        m.d.comb += [*(Assert(~made | one) for one in claims), Assert(~made | (since >= least)),
                     Assert((there & steps.vector.ready) == (made & step.real)),
                     Assert(~made | ~first | asked & (age >= load_cycles(GEOMETRY))),
                     Assert(~steps.start | ~asked & (since >= WINDOW) & at.busy & first & (step.word == word))]
        if self.fault == "one row less":
            m.d.comb += Assert(~made | (at.row != now["rows"] + now["overhang_rows"] - 1))
        idle = Signal(range(self.PATIENCE + 2))
        m.d.sync += idle.eq(Mux(at.busy & room & there & ~made, idle + 1, 0))
        m.d.comb += Assert(idle <= self.PATIENCE)


class _StrideTwo(FilterStepsClaim):
    stride = 2


CLAIMS: dict[str, type[StageClaim]] = {"filter": FilterResultsClaim, "filtersteps1": FilterStepsClaim,
                                       "filtersteps2": _StrideTwo}
