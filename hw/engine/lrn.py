"""Local response normalisation: bytes are divided by a power of what lies around them in neighbouring channels."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import lrn
from arch.unit.lrn import ABOVE, BELOW, FILL, MOST_PIXELS, LrnConfig
from hw.engine.lrn_lane import NormaliseLane
from hw.engine.memory_ports import constants_write
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.latch import SLICE_BITS, taken_while_idle
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.primitives import BlockRam, Copy

__all__ = ["LocalResponse", "UNIT"]


class LocalResponse(wiring.Component):
    """Passes vectors on, or normalises each byte by those of the channels around it, as `LrnConfig` says: golden's values.

    A vector that passes is offered two cycles later, one a cycle. Otherwise the vectors of an output block wait in a line memory
    until those of the next one come, or the block was the last. Each step then makes one: it takes the next block's vector of
    the pixel, and the elements of the one that waited go through a single lane, one a cycle, with two of each neighbour around
    them. The next step is `lrn.turn(PO)` cycles later, or `lrn.FILL` behind one that makes nothing; the vector is offered
    `lrn.latency(PO)` cycles after its step. The next command is taken when the last one is offered, or two cycles after the
    last vector that passes, and its first vector three cycles later.

    A credit is taken for each vector that is made or passes, and comes back when it is taken, `lrn.BACK` cycles later; steps are
    made while there is one. So ``i.ready`` depends on registers only, ``o.valid`` is a register and ``o.payload`` stable until
    taken. After reset nothing is under way; functions keep their entries.

    A word of `constants` can be looked up from the next cycle on.

    Members
    -------
    command : ``In(stream.Signature(record_layout(LrnConfig)))``
    i, o : ``In/Out(stream.Signature(vector_layout(PO)))``
    constants : ``In(constants_write("lrn"))``
    """

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES, lane: type[NormaliseLane] = NormaliseLane,
                 memory: type[BlockRam] = BlockRam):
        self.places, self.lanes, self.lane, self.memory = places, geometry.output_lanes, lane, memory
        vector = vector_layout(self.lanes)
        super().__init__({"command": In(stream.Signature(record_layout(LrnConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector)), "constants": In(constants_write("lrn"))})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes."""
        return BlockRam.tiles(depth=MOST_PIXELS, width=8 * (BELOW + geometry.output_lanes)) + NormaliseLane.block_rams()

    @staticmethod
    def cells(geometry: Geometry) -> dict[str, int]:
        """Lookup tables and registers, nearly: of units synthesised alone; and its multipliers."""
        return {"lut4": 773 + 53 * geometry.output_lanes // 2, "ff": 1044 + 29 * geometry.output_lanes,
                "multipliers": NormaliseLane.MULTIPLIERS}

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(vector_layout(self.lanes), places=self.places, slice_bits=SLICE_BITS)
        m.submodules.room = room = Credits(self.places, self.places)
        connect(m, flipped(self.o), queue.o)
        go, final = Signal(), Signal()
        # Steps of a block that waits for the next one, and of the last one, for which no vector is taken.
        config, load, run, finished = self._commands(m, final)
        last, ending = self._count(m, config, load, go)
        filling, flushing, waits, left = Signal(), Signal(), Signal(), Signal(range(lrn.turn(self.lanes)))
        with m.If(load):
            m.d.sync += [filling.eq(config.enable), flushing.eq(0)]
        with m.Elif(go & last):
            m.d.sync += [filling.eq(0), flushing.eq(config.enable & ending)]
        with m.If(go):
            m.d.sync += [waits.eq(config.enable), left.eq(Mux(filling, FILL - 1, lrn.turn(self.lanes) - 1))]
        with m.Elif(waits):
            m.d.sync += [waits.eq(left != 1), left.eq(left - 1)]
        open_ = run & room.any & ~waits
        m.d.comb += [self.i.ready.eq(open_ & ~flushing), go.eq(open_ & (self.i.valid | flushing))]
        m.d.comb += final.eq(go & last & Mux(config.enable, flushing, ending))

        passes, makes, taken = Signal(), Signal(), Signal()
        m.d.sync += taken.eq(queue.o.valid & queue.o.ready)
        assert lrn.BACK == 2
        m.d.comb += [passes.eq(go & ~config.enable), makes.eq(go & config.enable & ~filling),
                     room.take.eq(passes | makes), room.give.eq(taken)]
        vector = Signal(vector_layout(self.lanes), reset_less=True)
        m.d.sync += vector.eq(self.i.payload)
        m.submodules.lane = lane = self.lane()
        m.d.comb += [lane.x.eq(self._elements(m, config, vector.as_value(), go, makes, filling, flushing, last)),
                     lane.size.eq(config.size), lane.function.eq(config.function), lane.zero_point.eq(config.zero_point),
                     lane.zero_point_out.eq(config.zero_point_out)]
        connect(m, flipped(self.constants), lane.constants)
        result = Signal(8 * self.lanes, reset_less=True)
        m.d.sync += result.eq(Cat(result, lane.q)[8:])
        latency = 2 + lrn.turn(self.lanes) - 1 + lane.LATENCY + 1 + 1
        assert latency == lrn.latency(self.lanes) or self.lane is not NormaliseLane
        made = delayed(m, makes, latency - 2, "made", reset=True)
        m.d.comb += finished.eq(delayed(m, final & config.enable, latency - 1, "finished", reset=True))
        self._put(m, queue, passes, vector.as_value(), made, result)
        return m

    def _commands(self, m, final):
        """The command, the cycle in which it can be begun, whether it is under way, and a signal to say that its last vector is
        made."""
        idles, idle, taken, load, run, finished = Signal(), Signal(init=1), Signal(), Signal(), Signal(), Signal()
        config = taken_while_idle(m, self.command.payload, idles)
        none, passed = Signal(reset_less=True), Signal()
        m.d.sync += [none.eq(config.pixels == 0), passed.eq(final & ~config.enable), taken.eq(idle & self.command.valid),
                     load.eq(taken), idle.eq(idles)]
        m.d.comb += [self.command.ready.eq(idle), idles.eq(idle & ~self.command.valid | load & none | passed | finished)]
        with m.If(load):
            m.d.sync += run.eq(~none)
        with m.Elif(final):
            m.d.sync += run.eq(0)
        return config, load, run, finished

    @staticmethod
    def _count(m, config, load, go):
        """Whether a step is the last of its block, and whether vectors of the last block are taken."""
        m.submodules.pixels = pixels = Countdown(len(config.pixels), early=True)
        m.submodules.blocks = blocks = Countdown(len(config.output_blocks), early=True)
        m.d.comb += [pixels.count.eq(config.pixels), pixels.start.eq(load), pixels.step.eq(go), pixels.again.eq(pixels.last),
                     blocks.count.eq(config.output_blocks), blocks.start.eq(load), blocks.step.eq(go & pixels.last)]
        return pixels.last, blocks.last

    def _elements(self, m, config, vector, go, makes, filling, flushing, last):
        """The channels of the vector that is made, one a cycle, with those around them: the first one two cycles after `makes`.

        The line memory holds for each pixel the vector that waits, and the last two channels of the one before it.
        """
        ends = 8 * BELOW
        m.submodules.line = line = self.memory(depth=MOST_PIXELS, width=8 * (BELOW + self.lanes))
        place, none = Signal(range(MOST_PIXELS)), config.zero_point.replicate(max(BELOW, ABOVE))
        with m.If(go):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        begins, over = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [begins.eq(filling), over.eq(flushing)]
        waiting, before = line.r_data[ends:], line.r_data[:ends]
        m.d.comb += [line.r_addr.eq(place), line.w_addr.eq(delayed(m, place, 1, "written")), line.w_en.eq(delayed(
            m, go & config.enable, 1, "write", reset=True)),
            line.w_data.eq(Cat(Mux(begins, none[:ends], waiting[-ends:]), vector))]
        whole = Cat(before, waiting, Mux(over, none[:8 * ABOVE], vector[:8 * ABOVE]))
        chain = Signal(len(whole), reset_less=True)
        for low in range(0, len(whole), SLICE_BITS):
            m.submodules[f"begin{low}"] = copy = Copy()
            span = slice(low, min(low + SLICE_BITS, len(whole)))
            m.d.comb += copy.d.eq(makes)
            m.d.sync += chain[span].eq(Mux(copy.q, whole[span], Cat(chain, chain[-8:])[span.start + 8:span.stop + 8]))
        return chain[:8]

    @staticmethod
    def _put(m, queue, passes, vector, made, result):
        """Into the queue a cycle later: a vector that `passes`, or a result that is `made`."""
        for n, span in enumerate(queue.slices):
            m.submodules[f"put{n}"], m.submodules[f"passed{n}"] = put, copy = Copy(), Copy()
            m.d.comb += [put.d.eq((passes | made) & ~ResetSignal()), queue.w_en[n].eq(put.q), copy.d.eq(passes),
                         queue.w_data.as_value()[span].eq(Mux(copy.q, vector[span], result[span]))]


UNIT = LocalResponse        # as `hw.engine.engine` finds it
