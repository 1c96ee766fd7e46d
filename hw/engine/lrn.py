"""Local response normalisation: bytes are divided by a power of what lies around them in neighbouring channels."""
from amaranth import Array, Cat, Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import lrn
from arch.unit.lrn import ABOVE, BELOW, ENTRIES, FILL, FUNCTIONS, MOST_PIXELS, MOST_SIZE, LrnConfig
from hw.engine.memory_ports import constants_write
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.latch import SLICE_BITS, taken_while_idle
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.primitives import BlockRam, Copy, Multiplier

__all__ = ["LocalResponse", "NormaliseLane", "UNIT"]

SQUARE_BITS, SUM_BITS, INDEX_BITS = 16, 19, 4
BASE_BITS, DROP_BITS, SHIFT_BITS, REST_BITS = 17, 14, 5, 14


class NormaliseLane(wiring.Component):
    """One channel after the other, free running: ``q`` follows the element `ABOVE` channels above it by `LATENCY` cycles.

    Members
    -------
    x : ``In(8)``
        A channel, the next one in the next cycle.
    size, function, zero_point, zero_point_out
        As in `LrnConfig`, steady while elements are on their way.
    constants : ``In(constants_write("lrn"))``
    q : ``Out(8)``
        Registered.
    """

    LATENCY = 27
    MULTIPLIERS = 2

    def __init__(self):
        super().__init__({"x": In(8), "size": In(range(MOST_SIZE + 1)), "function": In(range(FUNCTIONS)), "zero_point": In(8),
                          "zero_point_out": In(8), "constants": In(constants_write("lrn")), "q": Out(8)})

    @staticmethod
    def block_rams() -> int:
        """Block RAMs that it takes."""
        return BlockRam.tiles(depth=FUNCTIONS * ENTRIES, width=BASE_BITS + DROP_BITS + SHIFT_BITS)

    def elaborate(self, platform):
        m = Module()

        def register(value, name):
            return delayed(m, value, 1, name)
        value = Signal(signed(9), reset_less=True)
        m.d.sync += value.eq(self.x - self.zero_point)
        total = self._sum(m, register, self._square(m, register, value))
        base, drop, shift, rest = self._entry(m, register, total)

        m.submodules.line, m.submodules.product = line, product = Multiplier(), Multiplier()
        less, factor = Signal(DROP_BITS + 1, reset_less=True), Signal(signed(BASE_BITS + 1), reset_less=True)
        m.d.comb += [line.a.eq(drop), line.b.eq(rest)]
        m.d.sync += [less.eq((line.p[:REST_BITS + DROP_BITS] + (1 << REST_BITS - 1)) >> REST_BITS),
                     factor.eq(delayed(m, base, line.latency + 1, "base") - less)]
        centre = delayed(m, value, 18 + ABOVE, "value")
        m.d.comb += [product.a.eq(factor), product.b.eq(centre)]
        shift = delayed(m, shift, line.latency + 2 + product.latency, "shift")
        scaled = self._shifted(m, product.p[:9 + BASE_BITS + 1].as_signed(), shift)

        rounded = Signal(signed(len(scaled)), reset_less=True)
        moved = Signal(signed(len(scaled) + 1), reset_less=True)
        m.d.sync += [rounded.eq((scaled + 1) >> 1), moved.eq(rounded + self.zero_point_out),
                     self.q.eq(Mux(moved[-1], 0, moved[:8] | moved[8:-1].any().replicate(8)))]
        return m

    @staticmethod
    def _square(m, register, value):
        """value**2, four cycles later: of the halves of its magnitude."""
        size = register(Mux(value[-1], -value, value)[:8], "magnitude")
        low, high = size[:4], size[4:]
        of = Array(n * n for n in range(16))
        ends = register(register(Cat(*(Mux(half == 15, 225, of[half])[:8] for half in (low, high))), "ends"), "waiting")
        parts = [register(Mux(low[n], high, 0) + (Mux(low[n + 1], high, 0) << 1), f"part{n}_") for n in (0, 2)]
        cross = register(parts[0] + (parts[1] << 2), "cross")
        return register((ends + (cross << 5))[:SQUARE_BITS], "square")

    def _sum(self, m, register, square):
        """The sum of the squares that belong to a window, three cycles after the newest one."""
        squares = [square]
        for n in range(1, MOST_SIZE):
            squares.append(register(squares[-1], f"square{n}_"))
        # Of those above, the first is the farthest; of those below, the last.
        inside = [self.size // 2 >= ABOVE - n if n <= ABOVE else (self.size - 1) // 2 >= n - ABOVE for n in range(MOST_SIZE)]
        gated = []
        for n, one in enumerate(squares):
            gate = Signal(name=f"gate{n}", reset_less=True)
            m.d.sync += gate.eq(inside[n])
            gated.append(one & gate.replicate(SQUARE_BITS))
        assert BELOW + 1 + ABOVE == MOST_SIZE == 5
        pairs = [register(gated[0] + gated[1], "above"), register(gated[2] + gated[3], "below"), register(gated[4], "last")]
        four, last = register(pairs[0] + pairs[1], "four"), register(pairs[2], "lasts")
        return register((four + last)[:SUM_BITS], "total")

    def _entry(self, m, register, total):
        """Base, drop and shift of the sum's entry, and the rest of the sum, seven cycles later."""
        steps = []
        for step in (8, 4, 2, 1):
            free = total[-step:] == 0
            if step == 1:           # sums below 32 are not moved further than that
                free = free & ~(steps[0] & steps[1] & steps[2])
            total = register(Mux(free, total << step, total)[:SUM_BITS], f"moved{step}_")
            steps = [register(one, f"step{step}_{n}_") for n, one in enumerate((*steps, free))]
        octave = Mux(total[-1], ~Cat(*reversed(steps)), 0)[:4]
        address = register(Cat(total[-1 - INDEX_BITS:-1], octave, self.function), "address")
        m.submodules.entries = entries = BlockRam(depth=FUNCTIONS * ENTRIES, width=BASE_BITS + DROP_BITS + SHIFT_BITS)
        given, both = self.constants, BASE_BITS + DROP_BITS
        m.d.comb += [entries.r_addr.eq(address), entries.w_addr.eq(given.addr), entries.w_en.eq(given.en),
                     entries.w_data.eq(Cat(given.data[:both], given.data[32:32 + SHIFT_BITS]))]
        rest = delayed(m, total[:REST_BITS], 1 + BlockRam.LATENCY, "rest")
        return entries.r_data[:BASE_BITS], entries.r_data[BASE_BITS:both], entries.r_data[both:], rest

    @staticmethod
    def _shifted(m, value, shift):
        """value >> shift, three cycles later."""
        for n, (low, high) in enumerate(((3, 5), (1, 3), (0, 1))):
            moved = Signal(value.shape(), name=f"moved_by{n}", reset_less=True)
            m.d.sync += moved.eq(Array(value >> (k << low) for k in range(1 << high - low))[shift[low:high]])
            value, shift = moved, delayed(m, shift, 1, f"later{n}_")
        return value


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
