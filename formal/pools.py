"""Claims about the pool, in two halves: its steps are the right ones, and whatever the steps, no result is lost.

Without pooling each vector is one step and each step one result (`PassingClaim`), and results come in order (`ResultsClaim`): so
vectors pass in order, unchanged. As one claim about the whole pool that took a solver from half a minute to a quarter of an hour.
"""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.unit.pool import POOL_AVERAGE, POOL_NONE, PoolConfig
from formal.properties import assert_stable, keeps_order, saboteur
from formal.stages import StageClaim
from hw.engine.pool import Pool
from hw.engine.pool_lane import PoolLane
from hw.engine.pool_steps import PoolSteps, step_layout
from hw.parts.layout import record_layout

__all__ = ["CLAIMS", "PassingClaim", "PoolStepsClaim", "ResultsClaim"]


PLACES = 2              # of a queue


class _ShortLane(PoolLane):
    """In place of the arithmetic: the byte of the step that completes a window, as if the pipeline were short."""

    STAGES = 3

    def elaborate(self, platform):
        m = Module()
        value = self.byte
        for n in range(self.STAGES):
            stage = Signal(8, name=f"stage{n}")
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.o.eq(value)
        return m


class _AnySteps(wiring.Component):
    """In place of the control: any steps at any time, but those that complete a window only where there is room, and real ones
    only with a vector."""

    def __init__(self):
        super().__init__({"command": In(stream.Signature(record_layout(PoolConfig))), "vector": In(stream.Signature(0)),
                          "room": In(1), "made": Out(1), "step": Out(step_layout()), "wish": In(1), "emits": In(1),
                          "real": In(1), "result": Out(1)})

    def elaborate(self, platform):
        m = Module()
        clear = self.wish & (self.room | ~self.emits)
        m.d.comb += [self.vector.ready.eq(clear & self.real), self.made.eq(clear & (self.vector.valid | ~self.real)),
                     self.step.emit.eq(self.emits), self.result.eq(self.made & self.emits), self.step.row.real.eq(self.real),
                     self.step.column.real.eq(self.real)]
        return m


class ResultsClaim(StageClaim):
    """Every step that completes a window gives one result, of that step, in order, offered steadily; a vector is taken with each
    real step and no other; the queue of results never overflows. For all sequences of steps, so for windows and maps of any size;
    the lanes' arithmetic is replaced by a delay."""

    faults = ("drop", "repeat", "swap", "change", "waver")

    def __init__(self, fault=None):
        super().__init__(fault)
        self.steps = _AnySteps()

    def state(self, m):
        geometry = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)
        bit, steps = self.free(1, "bit"), self.steps
        m.submodules.pool = pool = Pool(geometry, places=PLACES, lane=_ShortLane, steps=steps)
        m.d.comb += [getattr(steps, name).eq(self.free(1, name)) for name in ("wish", "emits", "real")]
        m.d.comb += [pool.i.valid.eq(self.free(1, "valid")), Value.cast(pool.i.payload)[0].eq(bit),
                     Assert((pool.i.valid & pool.i.ready) == (steps.made & steps.real))]
        # What is offered in the cycle after a reset is nobody's: who follows is in reset, or takes nothing yet.
        after = Signal(init=1, reset_less=True)
        m.d.sync += after.eq(ResetSignal())
        offered = stream.Signature(1).create()
        m.d.comb += [offered.payload.eq(Value.cast(pool.o.payload)[0]), offered.valid.eq(pool.o.valid & ~after),
                     pool.o.ready.eq(offered.ready & ~after)]
        out = saboteur(self, m, offered, self.fault)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=steps.made & steps.emits, value=bit, take=out.valid & out.ready, taken=out.payload,
                    most=PLACES, patience=_ShortLane.STAGES, waiting=~out.valid)
        assert_stable(m, out, "o")


class PassingClaim(StageClaim):
    """Without pooling every vector is a step that completes a window, and nothing else is one; as many are taken as the commands
    have, and one that waits is taken where there is room. For maps of 2x2 vectors, one after the other.

    The fault: steps without a vector."""

    faults = ("no vector",)
    MOST, PATIENCE = 8, 12          # vectors of commands taken, the last one's in front and those under way; cycles

    def state(self, m):
        m.submodules.steps = steps = PoolSteps(places=4)
        new, there, room = steps.command.payload, self.free(1, "vector"), self.free(1, "room")
        m.d.comb += [new.mode.eq(POOL_NONE), *(new[name].eq(1) for name in ("kernel_y", "kernel_x", "stride_y", "stride_x",
                                                                              "output_blocks")),
                     *(new[name].eq(2) for name in ("rows", "columns", "out_rows", "out_columns")),
                     steps.command.valid.eq(self.free(1, "command")), steps.vector.valid.eq(there), steps.room.eq(room)]
        taken, begins = there & steps.vector.ready, steps.command.valid & steps.command.ready
        left, idle = Signal(range(self.MOST + 1)), Signal(range(self.PATIENCE + 2))
        m.d.sync += [left.eq(left + Mux(begins, 4, 0) - taken),
                     idle.eq(Mux((left != 0) & there & room & ~taken, idle + 1, 0))]
        seen = there & (self.free(1, "strike") if self.fault else 1) & steps.vector.ready
        m.d.comb += [Assert(steps.made == seen), Assert(~taken | steps.step.emit & room & (left != 0)),
                     Assert(~begins | (left <= self.MOST - 4)), Assert(idle <= self.PATIENCE), Cover((left == self.MOST) & taken)]


class PoolStepsClaim(StageClaim):
    """The steps of a command, in order: those of its map and of what overhangs it, row by row, real where the map is, each made
    once; a window is completed where kernel and stride say, kept and combined at its column's place; real steps take a vector
    each, and only those; a step that completes a window waits for room. For windows of 2x2 and 3x3 at strides of 1 to 3, and for
    none; one and two blocks of maps of up to three by three, at the first or a later band; two commands at a time.

    Subclasses choose the window.
    """

    faults = ("one row less",)
    kernel, stride = 2, 2
    depth = 16              # a map of 3x3 from the command to its last step, or two smaller ones
    PATIENCE = 12

    def state(self, m):
        m.submodules.steps = steps = PoolSteps(places=PLACES)
        room, offer, there = self.free(1, "room"), self.free(1, "command"), self.free(1, "vector")
        small_fields = {name: self.free(2, name) for name in (
            "rows", "columns", "out_rows", "out_columns", "output_blocks", "history", "lead", "overhang_rows")}
        small_fields |= {name: self.free(1, name) for name in ("left", "base")}
        new = steps.command.payload
        m.d.comb += [new[name].eq(value) for name, value in small_fields.items()]
        pooled = self.kernel > 1
        m.d.comb += [new.mode.eq(POOL_AVERAGE if pooled else POOL_NONE), steps.room.eq(room), steps.command.valid.eq(offer),
                     steps.vector.valid.eq(there)]
        m.d.comb += [new[name].eq(self.kernel) for name in ("kernel_y", "kernel_x")]
        m.d.comb += [new[name].eq(self.stride) for name in ("stride_y", "stride_x")]
        m.d.comb += [Assume(~offer | one) for one in self._legal(small_fields, pooled)]
        self._walk(m, steps, small_fields, offer, room, there, pooled)

    def _legal(self, f, pooled):
        """What a command must be: windows that begin in the map or its padding, rows that the pooled ones need."""
        last_row = f["lead"] + (f["out_rows"] - 1) * self.stride
        legal = [f["rows"] != 0, f["columns"] != 0, f["out_columns"] != 0, f["output_blocks"] != 0,
                 f["output_blocks"] <= 2, f["history"] <= 2, f["overhang_rows"] <= 2]
        if pooled:
            beyond = (f["out_columns"] - 1) * self.stride - f["left"] + self.kernel - f["columns"]
            legal += [(f["out_rows"] == 0) | (last_row < f["rows"] + f["overhang_rows"]), beyond <= 2,
                      (f["overhang_rows"] == 0) | (f["out_rows"] != 0) & (last_row == f["rows"] + f["overhang_rows"] - 1)]
        else:
            legal += [f["left"] == 0, f["history"] == 0, f["lead"] == 0, f["overhang_rows"] == 0, f["out_rows"] == f["rows"],
                      f["out_columns"] == f["columns"]]
        return legal

    def _walk(self, m, steps, f, offer, room, there, pooled):
        """The steps, one after the other."""
        # The command whose steps are made, and the next one.
        now, then = ({name: Signal(len(value), name=f"{name}_{when}") for name, value in f.items()} for when in ("now", "then"))
        busy, queued, last = Signal(), Signal(), Signal()
        taken, next_one = offer & steps.command.ready, ~busy | last
        m.d.comb += Assume(~offer | ~queued)
        m.d.sync += [busy.eq(~next_one | queued | taken), queued.eq(Mux(next_one, 0, queued | taken))]
        coming = {name: Mux(queued, then[name], value) for name, value in f.items()}
        with m.If(~queued):
            m.d.sync += [then[name].eq(value) for name, value in f.items()]

        # Where the step is, and how far the next windows are.
        row, column, block, windows_x, windows_y = (Signal(4, name=name) for name in (
            "row", "column", "block", "windows_x", "windows_y"))
        to_x, to_y = Signal(3), Signal(3)
        stride = Const(self.stride - 1)
        if pooled:
            complete_x = (to_x == 0) & (windows_x != now["out_columns"])
            complete_y = (to_y == 0) & (windows_y != now["out_rows"])
        else:
            complete_x, complete_y = Const(1), Const(1)
        made = steps.made
        row_ends = (column + 1 >= now["columns"]) & (windows_x + complete_x == now["out_columns"] if pooled else 1)
        block_ends = row_ends & (row + 1 == now["rows"] + now["overhang_rows"])
        m.d.comb += last.eq(made & block_ends & (block + 1 == now["output_blocks"]))

        def begin(command):
            return [row.eq(0), windows_y.eq(0), to_y.eq(command["lead"]), *begin_row(command)]

        def begin_row(command):
            return [column.eq(0), windows_x.eq(0), to_x.eq(self.kernel - 1 - command["left"])]
        with m.If(next_one):
            m.d.sync += [*(now[name].eq(value) for name, value in coming.items()), *begin(coming), block.eq(0)]
        with m.Elif(made & block_ends):
            m.d.sync += [*begin(now), block.eq(block + 1)]
        with m.Elif(made & row_ends):
            m.d.sync += [row.eq(row + 1), windows_y.eq(windows_y + complete_y), *begin_row(now),
                         to_y.eq(Mux(to_y == 0, stride, to_y - 1))]
        with m.Elif(made):
            m.d.sync += [column.eq(column + 1), windows_x.eq(windows_x + complete_x), to_x.eq(Mux(to_x == 0, stride, to_x - 1))]
        m.d.comb += Cover(last & (block == 1) & queued)
        at = SimpleNamespace(row=row, column=column, block=block, window=windows_x, complete_x=complete_x, complete_y=complete_y,
                             busy=busy)
        self._claims(m, steps, now, at, room, there, pooled)

    def _claims(self, m, steps, now, at, room, there, pooled):
        """What a step is told, when it is made."""
        step, made = steps.step, steps.made

        def real(position, size, history, back):
            """Whether the row or column that many before is one of the map."""
            return (Mux(position >= back, position - back < size, history + position >= back)
                    if back < self.kernel else Const(0))
        in_rows = Cat(real(at.row, now["rows"], now["history"], back) for back in range(3))
        in_columns = Cat(real(at.column, now["columns"], Const(0), back) for back in range(3))
        emits, place = at.complete_x & at.complete_y, now["base"] + at.window
        if pooled:
            place = place + Mux(at.block[0], now["out_columns"], 0)
        ends = (now["rows"] + now["overhang_rows"]) if self.fault == "one row less" else None
        m.d.comb += [
            Assert(~made | at.busy), Assert((there & steps.vector.ready) == (made & in_rows[0] & in_columns[0])),
            Assert(~made | (step.row.real == in_rows)), Assert(~made | (step.column.real == in_columns)),
            Assert(~made | (step.emit == emits)), Assert(~(made & emits) | room),
            Assert(~(made & at.complete_x) | (step.place == place) | (not pooled))]
        if self.fault == "one row less":
            m.d.comb += Assert(~made | (at.row != ends - 1))
        idle = Signal(range(self.PATIENCE + 2))
        m.d.sync += idle.eq(Mux(at.busy & room & there & ~made, idle + 1, 0))
        m.d.comb += Assert(idle <= self.PATIENCE)


# The fault of one window shows enough.
CLAIMS: dict[str, type[StageClaim]] = {"results": ResultsClaim, "passing": PassingClaim} | {
    f"steps{kernel}x{kernel}s{stride}": type("PoolStepsClaim", (PoolStepsClaim,), {
        "kernel": kernel, "stride": stride, "faults": PoolStepsClaim.faults if kernel == 1 else ()})
    for kernel, stride in ((1, 1), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3))}
