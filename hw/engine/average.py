"""Global average: the sum of a whole map, requantised."""
from amaranth import Array, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import average
from arch.unit.average import AverageConfig
from hw.engine.requantise_lane import RequantiseLane
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.latch import SLICE_BITS, taken_while_idle
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.primitives import Copy, copied
from hw.primitives.gated_add import GatedAdd

__all__ = ["GlobalAverage", "UNIT"]

SUM_BITS = 28               # 1023 x 1023 bytes of 255
LANES_PER_COPY = 2          # lanes served by one copy of a control line


class GlobalAverage(wiring.Component):
    """Passes vectors on, or sums those of an output block into one, as `AverageConfig` says; exactly golden's values.

    A vector that passes is offered two cycles later, one a cycle. The result of a block is offered
    `average.latency(PO)` cycles after its last vector was taken: a single lane requantises one channel a cycle, and the next
    vector (or command) is taken when it is done, in the cycle of the offer at the earliest. With `fraction` another result of the
    same sums follows as if one more vector had been taken then. Otherwise the next command is taken
    from two cycles after the last vector on, and its first vector three cycles later.

    A credit is taken for each result and comes back when the result is taken, `average.BACK` cycles later; vectors are
    taken while there is one. So
    ``i.ready`` depends on registers only, ``o.valid`` is a register and ``o.payload`` stable until taken. After reset nothing
    is under way; sums start with the first vector of a command with `first`.

    Members
    -------
    command : ``In(stream.Signature(record_layout(AverageConfig)))``
    i, o : ``In/Out(stream.Signature(vector_layout(PO)))``
    """

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES):
        self.places, self.lanes = places, geometry.output_lanes
        vector = vector_layout(self.lanes)
        super().__init__({"command": In(stream.Signature(record_layout(AverageConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector))})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes."""
        return 0

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(vector_layout(self.lanes), places=self.places, slice_bits=SLICE_BITS)
        m.submodules.room = room = Credits(self.places, self.places)
        connect(m, flipped(self.o), queue.o)

        idles = Signal()
        config = taken_while_idle(m, self.command.payload, idles)
        right = Signal(6, reset_less=True)
        idle, taken, load, run, result, ended = Signal(init=1), Signal(), Signal(), Signal(), Signal(), Signal()
        over, first = Signal(), Signal()
        go, step, read = Signal(), Signal(), Signal()
        # A fraction is to be made of sums that are still there: when the result before it is, and `due` in registers of its own.
        again, due, fraction = Signal(), Signal(), Signal(reset_less=True)
        # Vectors make results; blocks do; there are no vectors; blocks make two results.
        each, reads, none, twice = (Signal(name=name, reset_less=True) for name in ("each", "reads", "none", "twice"))
        both = config.enable & config.last & config.fraction
        m.d.sync += [each.eq(~config.enable), reads.eq(config.enable & config.last), none.eq(config.pixels == 0), twice.eq(both)]
        m.submodules.pixels = pixels = Countdown(len(config.pixels), early=True)
        m.submodules.results = results = Countdown(len(config.output_blocks) + 1, early=True)
        m.d.comb += [
            pixels.count.eq(config.pixels), pixels.start.eq(load), pixels.step.eq(go), pixels.again.eq(pixels.last),
            results.count.eq(Mux(both, config.output_blocks << 1, config.output_blocks)), results.start.eq(load),
            results.step.eq(step),
            self.command.ready.eq(idle), self.i.ready.eq(run & room.any), go.eq(self.i.valid & self.i.ready),
            step.eq(room.any & (run & self.i.valid & pixels.last | due)), read.eq(step & reads)]
        m.d.comb += idles.eq(idle & ~self.command.valid | load & none | ended | result & over)
        m.d.sync += [taken.eq(idle & self.command.valid), load.eq(taken), ended.eq(step & results.last & ~reads),
                     idle.eq(idles), right.eq(config.shift - 1)]
        with m.If(load):
            m.d.sync += run.eq(~none)
        with m.If(load | step):
            m.d.sync += first.eq(config.first)
        with m.Elif(go):
            m.d.sync += first.eq(0)
        with m.If(step):
            m.d.sync += [over.eq(results.last), run.eq(~(reads | results.last)), due.eq(0), again.eq(twice & ~again)]
        with m.If(result):
            m.d.sync += [run.eq(~(over | again)), due.eq(again & ~over)]

        passes, left = Signal(), Signal()
        m.d.sync += left.eq(queue.o.valid & queue.o.ready)
        assert average.BACK == 2
        m.d.comb += [passes.eq(go & each), room.take.eq(passes | read), room.give.eq(left)]

        # The sums, two cycles behind.
        vector = Signal(vector_layout(self.lanes), reset_less=True)
        m.d.sync += vector.eq(self.i.payload)
        sums = []
        for n in range(self.lanes):
            if n % LANES_PER_COPY == 0:
                m.submodules[f"valid{n}"], m.submodules[f"keep{n}"] = valid, keep = Copy(), Copy()
                m.d.comb += [valid.d.eq(go & config.enable), keep.d.eq(~first)]
            total = Signal(SUM_BITS, name=f"sum{n}", reset_less=True)
            m.submodules[f"add{n}"] = add = GatedAdd(SUM_BITS)
            m.d.comb += [add.a.eq(total), add.gate_a.eq(keep.q), add.b.eq(vector[n]), add.gate_b.eq(1)]
            with m.If(valid.q):
                m.d.sync += total.eq(add.o)
            sums.append(total)

        # One after the other through the lane, into the result's last byte.
        m.submodules.lane = lane = RequantiseLane(multiplier=False)
        with m.If(read):
            m.d.sync += fraction.eq(again)
        lane_sum, done = self._one_by_one(m, read, sums)
        acc, bytes_ = Signal(32, reset_less=True), Signal(8 * self.lanes, reset_less=True)
        m.d.sync += [acc.eq(lane_sum + config.start), bytes_.eq(Cat(bytes_, lane.q)[8:])]
        m.d.comb += [lane.acc.eq(acc.as_signed()), lane.factor.eq(config.multiplier), lane.right.eq(right),
                     lane.zero_point.eq(config.zero_point), lane.low.eq(config.low), lane.high.eq(config.high),
                     lane.fraction.eq(fraction)]
        assert average.latency(self.lanes) == 2 + 2 + 1 + lane.LATENCY + self.lanes + 1 and average.PASS == 2
        for n in range(1 + lane.LATENCY + 1):
            stage = Signal(name=f"done{n}")
            m.d.sync += stage.eq(done)
            before, done = done, stage
        m.d.comb += result.eq(done)
        self._put(m, queue, passes, vector.as_value(), before, bytes_)
        return m

    @staticmethod
    def _put(m, queue, passes, vector, made, result):
        """Into the queue a cycle later: a vector that `passes`, or a result that is `made`."""
        for n, span in enumerate(queue.slices):
            m.submodules[f"put{n}"], m.submodules[f"passed{n}"] = put, copy = Copy(), Copy()
            m.d.comb += [put.d.eq((passes | made) & ~ResetSignal()), queue.w_en[n].eq(put.q), copy.d.eq(passes),
                         queue.w_data.as_value()[span].eq(Mux(copy.q, vector[span], result[span]))]

    def _one_by_one(self, m, read, sums):
        """The sums in turn, the first one 4 cycles after `read`, and a bit that comes with the last one."""
        m.submodules.turns = turns = Countdown(len(sums).bit_length())
        index, following, reading, ready = Signal(range(len(sums))), Signal(range(len(sums))), Signal(), Signal()
        m.d.sync += ready.eq(read)              # the last vector is added in the cycle after it was taken
        m.d.comb += [turns.start.eq(ready), turns.count.eq(len(sums)), turns.step.eq(reading)]
        m.d.comb += following.eq(Mux(ready, 0, index + reading))
        m.d.sync += index.eq(following)
        with m.If(ready):
            m.d.sync += reading.eq(1)
        with m.Elif(reading):
            m.d.sync += reading.eq(~turns.last)
        last = [Signal(name=f"last{n}") for n in range(2)]
        m.d.sync += [last[0].eq(reading & turns.last), last[1].eq(last[0])]
        spans = [slice(low, low + SUM_BITS // 2) for low in range(0, SUM_BITS, SUM_BITS // 2)]
        groups = []
        for first in range(0, len(sums), 4):
            group = Signal(SUM_BITS, name=f"group{first}", reset_less=True)
            for n, span in enumerate(spans):
                own = copied(m, following[:2], f"index{first}_{n}")
                m.d.sync += group[span].eq(Array(part[span] for part in sums[first:first + 4])[own])
            groups.append(group)
        chosen = Signal(SUM_BITS, reset_less=True)
        for n, span in enumerate(spans):
            own = copied(m, index[2:], f"late_index{n}")
            m.d.sync += chosen[span].eq(Array(group[span] for group in groups)[own] if len(groups) > 1 else groups[0][span])
        return chosen, last[1]


UNIT = GlobalAverage        # as `hw.engine.engine` finds it
