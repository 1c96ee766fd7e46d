"""The lane of a local response normalisation: elements come one after the other, and each gets a factor by those around it."""
from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.unit.lrn import ABOVE, BELOW, ENTRIES, FUNCTIONS, MOST_SIZE
from hw.engine.memory_ports import constants_write
from hw.parts.delay import delayed
from hw.primitives import BlockRam, Multiplier

__all__ = ["NormaliseLane"]

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
