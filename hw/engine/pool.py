"""Streaming pool: maximum or average of windows up to 3x3, while the vectors pass."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.hdl import Assert, DomainRenamer
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import pool
from arch.unit.pool import PoolConfig
from hw.engine.pool_lane import MEAN, OLDER, RESULT_BITS, PoolLane
from hw.engine.pool_steps import PoolSteps
from hw.parts.credits import Credits
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.parts.reset import late_domain
from hw.primitives import BlockRam, Copy
from hw.primitives.gated_add import GatedAdd

__all__ = ["Pool", "UNIT"]

LANES_PER_COPY = 4          # lanes served by one copy of a control line


class Pool(wiring.Component):
    """Pools a stream of vectors as `PoolConfig` says; exactly golden's maximum and average. Without a mode vectors pass.

    One step a cycle (see `PoolSteps`), and what completes a window in cycle t is offered from cycle t + ``LATENCY`` on. The
    lanes cannot wait: a step that completes a window takes a credit, which comes back when the result is taken; there are as many
    as places in the queue behind the lanes, just enough for a result every cycle. So ``i.ready`` depends on registers only,
    ``o.valid`` is a register, and ``o.payload`` stable until taken. After reset nothing is under way; in the cycle after it
    ``o.valid`` may still be high, and who follows must be in reset too, or take nothing yet.

    Of each output block and pooled column the last two rows' results are kept in the line memory between rows, bands and
    commands; other commands may pass between two bands of a map if they use other places.

    Parameters
    ----------
    geometry : Geometry
    places : int
        Of the queue of results.
    lane, steps :
        The class of the lanes; the control. Proofs put simpler ones in their place.

    Members
    -------
    command : ``In(stream.Signature(record_layout(PoolConfig)))``
    i, o : ``In/Out(stream.Signature(vector_layout(PO)))``
    """

    LATENCY = pool.LATENCY

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES, lane: type[PoolLane] = PoolLane, steps=None):
        self.lanes, self.words, self.places = geometry.output_lanes, geometry.pool_words, places
        self.lane, self.steps = lane, steps or PoolSteps(places=places)
        vector = vector_layout(self.lanes)
        super().__init__({"command": In(stream.Signature(record_layout(PoolConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector))})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes: the line memory."""
        return BlockRam.tiles(depth=geometry.pool_words, width=2 * RESULT_BITS * geometry.output_lanes)

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = steps = self.steps
        m.submodules.room = room = Credits(self.places, self.places)
        connect(m, flipped(self.command), steps.command)
        m.d.comb += [steps.vector.valid.eq(self.i.valid), self.i.ready.eq(steps.vector.ready), steps.room.eq(room.any),
                     room.take.eq(steps.result)]

        delayed = {}

        def at(stage, value, name, since=0, **kwargs):
            """A value of stage `since`, delayed to `stage`."""
            chain = delayed.setdefault(name, {since: value})
            for n in range(since, stage):
                if n + 1 not in chain:
                    chain[n + 1] = Signal(value.shape(), name=f"{name}{n + 1}", **(kwargs or {"reset_less": True}))
                    m.d.sync += chain[n + 1].eq(chain[n])
            return chain[stage]

        def copy(value, name):
            m.submodules[name] = register = Copy()
            m.d.comb += register.d.eq(value)
            return register.q

        step, made = steps.step, steps.made
        real = step.real
        m.submodules.lines = lines = BlockRam(depth=self.words, width=2 * RESULT_BITS * self.lanes)
        bits = len(lines.r_addr)
        m.d.comb += [lines.r_addr.eq(at(OLDER - BlockRam.LATENCY, step.place, "place")[:bits]),
                     lines.w_addr.eq(at(OLDER, step.place, "place")[:bits]),
                     lines.w_en.eq(at(OLDER, made & step.store, "store", init=0))]

        # Combination n takes the n-th of these operands if it is real.
        operands = (step.column.real[1] & step.row.real[0], step.column.real[2] & step.row.real[0], step.row.real[1],
                    step.row.real[2])
        take_sum = [at(1 + 2 * n, one & step.average, f"take_sum{n}_") for n, one in enumerate(operands)]
        take_maximum = [at(1 + 2 * n, one & ~step.average, f"take_maximum{n}_") for n, one in enumerate(operands)]
        offset, halve, triple, ninefold = self._mean(m, at, step)
        emit = at(self.lane.STAGES - 1, made & step.emit, "emit", init=0)
        for first in range(0, self.lanes, LANES_PER_COPY):
            end = min(first + LANES_PER_COPY, self.lanes)
            # In reset a cycle later than the pool, which is many cycles before the next result.
            reset = late_domain(m, f"queue{first}")
            m.submodules[f"queue{first}"] = DomainRenamer(f"queue{first}")(
                queue := Queue(vector_layout(end - first), places=self.places))
            put = copy(emit & ~ResetSignal(), f"emit_{first}")
            if platform is None:
                # Places of results to come and of those that are there; proofs that go on from any state need to know.
                used = sum(delayed["emit"][n] for n in range(1, self.lane.STAGES)) + put + queue.held.number
                m.d.comb += Assert(ResetSignal() | reset | (room.number + used == self.places), "results got lost")
            m.d.comb += [queue.w_en.eq(put), queue.o.ready.eq(self.o.ready),
                         Cat(self.o.payload[n] for n in range(first, end)).eq(queue.o.payload.as_value())]
            if first == 0:
                # In reset, which the room left a cycle before, nothing comes back; who takes a vector then is in reset, or idle.
                m.d.comb += [self.o.valid.eq(queue.o.valid), room.give.eq(queue.o.valid & self.o.ready & ~reset)]
            present = copy(at(1, real, "real"), f"present_{first}")
            maximum = Cat(copy(at(2 * n, ~step.average & (real if n == 0 else 1), f"maximum{n}_"), f"maximum{n}_{first}")
                          for n in range(4))
            sums = Cat(copy(bit, f"take_sum{n}_{first}") for n, bit in enumerate(take_sum))
            maxima = Cat(copy(bit, f"take_maximum{n}_{first}") for n, bit in enumerate(take_maximum))
            offsets = Cat(copy(bit, f"offset{n}_{first}") for n, bit in enumerate(offset))
            halves = Cat(copy(halve[n], f"halve{n}_{first}") for n in range(2))
            triples, ninefolds = copy(triple, f"triple_{first}"), copy(ninefold, f"ninefold_{first}")
            for n in range(first, end):
                m.submodules[f"lane{n}"] = lane = self.lane()
                line = lines.r_data.word_select(n, 2 * RESULT_BITS)
                m.d.comb += [
                    lane.byte.eq(self.i.payload[n]), lane.step.eq(copy(made, f"step{n}")), lane.present.eq(present),
                    lane.maximum.eq(maximum), lane.take_sum.eq(sums), lane.take_maximum.eq(maxima),
                    lane.older1.eq(line[:RESULT_BITS]), lane.older2.eq(line[RESULT_BITS:]), lane.offset.eq(offsets),
                    lane.halve.eq(halves), lane.triple.eq(triples), lane.ninefold.eq(ninefolds),
                    queue.w_data[n - first].eq(lane.o),
                    lines.w_data.word_select(n, 2 * RESULT_BITS).eq(Cat(lane.result, lane.older1))]
        assert self.LATENCY == PoolLane.STAGES + 1
        return m

    def _mean(self, m: Module, at, step):
        """One stage ahead of their use: offset of the sums, shifts and factors of the division.

        offset = zero_point * (padding that counts) + count // 2; all zero, and the count 1, for a maximum.
        """
        def register(value, name):
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        # Rows and columns of the window in stage 1, all its positions in stage 3.
        average = at(1, step.average, "average")
        positions = {}
        for field in ("real", "counted"):
            sides = []
            for axis in ("row", "column"):
                present = at(1, step[axis][field], f"{axis}_{field}")
                sides.append(register(Mux(average, present[0] + present[1] + present[2], 1), f"{axis}s_{field}"))
            a, b = sides
            positions[field] = register((Mux(b[0], a, 0) + (Mux(b[1], a, 0) << 1))[:4], f"positions_{field}")
        count = positions["counted"]
        padding = register((count - positions["real"])[:4], "padding")
        zero_point = at(4, step.zero_point, "zero_point")
        parts = []
        for n in (0, 2):
            m.submodules[f"padding{n}"] = part = GatedAdd(10)
            m.d.comb += [part.a.eq(zero_point), part.gate_a.eq(padding[n]), part.b.eq(zero_point << 1),
                         part.gate_b.eq(padding[n + 1])]
            parts.append(register(part.o, f"padding_part{n}"))
        value = register((parts[0] + (parts[1] << 2))[:12], "padding_value")
        offset = register((value + at(6, count >> 1, "half", since=3))[:12], "offset")
        late = at(MEAN, count, "count", since=3)
        division = at(MEAN, Cat((late == 2) | (late == 6), late == 4), "halve", since=MEAN)
        factor = at(MEAN + 1, Cat((late == 3) | (late == 6), (late == 1) | (late == 2) | (late == 4)), "factor", since=MEAN)
        return at(MEAN - 1, offset, "offset", since=7), division, factor[0], factor[1]


UNIT = Pool        # as `hw.engine.engine` finds it
