"""The MAC array: weight-stationary column pairs on packed multipliers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .primitives import BlockRam, Copy, Multiplier

__all__ = ["MacArray", "beat_layout", "load_layout", "result_layout"]


def beat_layout(lanes: int, depth: int) -> data.StructLayout:
    """One activation vector and what to do with its products."""
    return data.StructLayout({
        "valid": 1, "swap": 1, "first": 1, "last": 1, "addr": ceil_log2(depth),
        "x": data.ArrayLayout(unsigned(8), lanes)})


def load_layout(lanes: int) -> data.StructLayout:
    """Weights and biases of one column pair; index 0 is the even column."""
    return data.StructLayout({
        "valid": 1, "weights": data.ArrayLayout(data.ArrayLayout(signed(8), 2), lanes),
        "bias": data.ArrayLayout(signed(32), 2)})


def result_layout() -> data.StructLayout:
    """A finished sum of one column."""
    return data.StructLayout({"valid": 1, "acc": signed(32)})


class Lane(wiring.Component):
    """One multiplier of a column pair, its weights, and its share of the pair's running sums.

    The multiplier forms P = (w1*1024 + w0) * x. Its low 10 bits are those of w0*x; w0*x has 16
    bits, so only P[10:16] mixes both products. With mid = (P[10:16] - (w1*x mod 64)) mod 64, read
    as signed 6 bits, w0*x = 1024*mid + P[0:10] and w1*x = (P >> 10) - mid, exactly, for w in
    [-127, 127] and x in [0, 255]. Three short sums over the lanes replace two long ones:
    high of P >> 10, low of P[0:10] and, one cycle later, mid.

    Weights travel as w0, w1 - (w0 < 0) (together the 18-bit factor) and w1[0:6].
    """

    # Cycles from x to the sums that include it.
    HIGH_LOW = Multiplier.latency_of() + 1
    MID = HIGH_LOW + 1

    def __init__(self, index: int):
        self.index = index
        grown, before = ceil_log2(index + 1), ceil_log2(max(index, 1))
        super().__init__({
            "x": In(8), "shift": In(1), "swap": In(1), "w_in": In(22), "w_out": Out(22),
            "high_in": In(signed(16 + before)), "high": Out(signed(16 + grown)),
            "low_in": In(10 + before), "low": Out(10 + grown),
            "mid_in": In(signed(6 + before)), "mid": Out(signed(6 + grown))})

    @staticmethod
    def pack(w0: Value, w1: Value) -> Value:
        """The 22 bits in which weights travel."""
        return Cat(w0.as_unsigned(), (w1 - w0[7])[:8], w1[:6])

    def elaborate(self, platform):
        m = Module()
        shadow = Signal(22, reset_less=True)
        active = Signal(22, reset_less=True)
        m.d.comb += self.w_out.eq(shadow)
        with m.If(self.shift):
            m.d.sync += shadow.eq(self.w_in)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        m.submodules.mult = mult = Multiplier()
        w0, top, w1 = active[:8], active[8:16], active[16:]
        m.d.comb += [mult.a.eq(Cat(w0, w0[7].replicate(2), top)), mult.b.eq(self.x)]

        # w1*x mod 64 by gated adds in two stages, as long as the multiplier takes.
        def gated(n):
            return w1[:6 - n] & self.x[n].replicate(6 - n)
        p01 = Signal(6, reset_less=True)
        p23 = Signal(4, reset_less=True)
        p45 = Signal(2, reset_less=True)
        m.d.sync += [p01.eq(gated(0) + (gated(1) << 1)), p23.eq(gated(2) + (gated(3) << 1)),
                     p45.eq(gated(4) + (gated(5) << 1))]
        product = Signal(6, reset_less=True)
        m.d.sync += product.eq(p01 + ((p23 + (p45 << 2))[:4] << 2))

        mid = Signal(signed(6), reset_less=True)
        m.d.sync += [
            self.high.eq(self.high_in + mult.p[10:26].as_signed()),
            self.low.eq(self.low_in + mult.p[:10]),
            mid.eq(mult.p[10:16] - product),
            self.mid.eq(self.mid_in + mid)]
        return m


class Column(wiring.Component):
    """Partial sums of one output channel: adds a beat's sum to the bias or to the stored sum.

    The control bits must arrive ``SUM_AFTER`` cycles before their ``sum``; ``result`` follows the
    control bits by ``LATENCY`` cycles. One beat per cycle, free running.
    """

    SUM_AFTER = BlockRam.LATENCY + 1
    LATENCY = SUM_AFTER + 1
    # A row read while its new value is still on the way to the memory would be stale.
    REVISIT = LATENCY + 1

    def __init__(self, depth: int, sum_bits: int):
        self.depth = depth
        bits = ceil_log2(depth)
        super().__init__({
            "valid": In(1), "first": In(1), "last": In(1), "swap": In(1), "addr": In(bits),
            "sum": In(signed(sum_bits)), "shift": In(1), "bias_in": In(32), "bias_out": Out(32),
            "result": Out(result_layout())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.psums = psums = BlockRam(depth=self.depth, width=32)
        bias = Signal(32, reset_less=True)
        shadow = Signal(32, reset_less=True)
        m.d.comb += self.bias_out.eq(shadow)
        with m.If(self.shift):
            m.d.sync += shadow.eq(self.bias_in)

        # Stage n holds the control bits n cycles after their arrival.
        def delayed(value, cycles, name):
            for n in range(cycles):
                stage = Signal(value.shape(), name=f"{name}{n + 1}", reset_less=True)
                m.d.sync += stage.eq(value)
                value = stage
            return value
        swap = delayed(self.swap, 1, "swap")
        with m.If(swap):
            m.d.sync += bias.eq(shadow)

        first = delayed(self.first, BlockRam.LATENCY, "first")
        start = Signal(32, reset_less=True)
        m.d.sync += start.eq(Mux(first, bias, psums.r_data))
        acc = Signal(32, reset_less=True)
        m.d.sync += acc.eq(start + self.sum)

        valid = delayed(self.valid, self.LATENCY, "valid")
        emit = delayed(delayed(self.valid & self.last, 1, "last"), self.LATENCY - 1, "emit")
        m.d.comb += [
            psums.r_addr.eq(self.addr), psums.w_addr.eq(delayed(self.addr, self.LATENCY, "addr")),
            psums.w_en.eq(valid), psums.w_data.eq(acc),
            self.result.valid.eq(emit), self.result.acc.eq(acc)]
        return m


class MacArray(wiring.Component):
    """`lanes` input channels times `columns` output channels a cycle, weight-stationary.

    Column pair j holds the weights of columns 2j and 2j + 1, two to a multiplier. A beat enters
    pair 0 and moves on one pair a cycle; its lane i follows one cycle behind lane i - 1, so the
    products of a beat meet in a chain of short adders instead of a tree and every wire ends in a
    neighbour. Partial sums wait in one block RAM per column.

    The array is free running: no enables, no resets, no back-pressure. Whoever issues beats
    stalls by not issuing (``valid`` = 0) and keeps credit for the results on the way.

    Timing, counted from the cycle in which a beat is on the ``beat`` port (drive it from
    registers):

    * Column c shows its result ``latency_of_column(c)`` = ``latency`` + c // 2 cycles later, for
      one cycle, if the beat had ``last``. Results leave each column in beat order.
    * ``swap`` marks the first beat of a pass: this beat and all later ones see the weights and
      biases loaded last. ``first`` starts from the bias, otherwise from row ``addr``. The new
      sum is stored in row ``addr`` (harmless after ``last``). ``swap``, ``first``, ``last``
      count only with ``valid``, but ``swap`` must be 0 without it.
    * A row may come again ``min_revisit`` cycles later at the earliest.

    Loading: each cycle with ``load.valid`` shifts in one pair's weights and biases, pair
    ``columns/2 - 1`` first and pair 0 last; pauses are allowed.

    * A swap beat may come ``swap_after_load`` cycles after the last word at the earliest.
    * The first word of the next load may come ``load_after_swap`` cycles after the swap beat at
      the earliest.
    * So passes at full rate have at least ``min_pass`` beats; shorter ones wait for the load.

    Violations of these rules are assertion failures in simulation and wrong sums in hardware.

    Parameters
    ----------
    lanes : int
        Input channels per beat, 1..32.
    columns : int
        Output channels per beat, even, at least 2.
    depth : int
        Rows of partial sums, 8..1024.

    Members
    -------
    beat : ``In(beat_layout(lanes, depth))``
    load : ``In(load_layout(lanes))``
        Weights in [-127, 127] (-128 gives wrong sums); biases any signed 32 bits.
    results : ``Out(ArrayLayout(result_layout(), columns))``
        Sums modulo 2**32, as signed.
    """

    def __init__(self, *, lanes: int, columns: int, depth: int = 512):
        if lanes < 1 or lanes > 32:
            raise ValueError(f"Lanes of an array must be 1..32, not {lanes!r}")
        if columns < 2 or columns % 2:
            raise ValueError(f"Columns of an array must be even and at least 2, not {columns!r}")
        if not 8 <= depth <= 1024:
            raise ValueError(f"Depth of the partial sums must be 8..1024 rows, not {depth!r}")
        self.lanes, self.columns, self.depth = lanes, columns, depth
        super().__init__({
            "beat": In(beat_layout(lanes, depth)), "load": In(load_layout(lanes)),
            "results": Out(data.ArrayLayout(result_layout(), columns))})

    # Cycles from the beat port to the x register of pair 0's last lane, to the sum register of
    # the pair (sums one cycle after mid), and to the control bits of its columns.
    @property
    def _to_sum(self) -> int:
        return self.lanes + Lane.MID + 1

    @property
    def _to_control(self) -> int:
        return self._to_sum - Column.SUM_AFTER

    @property
    def latency(self) -> int:
        """Cycles from a beat to the results of columns 0 and 1."""
        return self._to_control + Column.LATENCY

    def latency_of_column(self, column: int) -> int:
        """Cycles from a beat to the result of one column."""
        return self.latency + column // 2

    @property
    def min_revisit(self) -> int:
        """Least distance in cycles between two beats with the same row."""
        return Column.REVISIT

    # Cycles from a load word on the port to the shift of the shadows.
    _TO_SHIFT = 2

    @property
    def swap_after_load(self) -> int:
        """Least cycles from the last load word to the swap beat that uses it."""
        return self._TO_SHIFT + 1

    @property
    def load_after_swap(self) -> int:
        """Least cycles from a swap beat to the first word of the next load."""
        # The last pair's biases are taken one cycle after its control bits arrive.
        return self._to_control + self.columns // 2 - 1 + 1 - self._TO_SHIFT

    @property
    def min_pass(self) -> int:
        """Least beats of a pass that keep the array busy while the next weights load."""
        return self.load_after_swap + self.columns // 2 - 1 + self.swap_after_load

    def elaborate(self, platform):
        m = Module()
        pairs = self.columns // 2

        def register(value, name):
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        def copy(bit, name):
            m.submodules[name] = c = Copy()
            m.d.comb += c.d.eq(bit)
            return c.q

        # Load words are packed on the way in. The shift line has a copy per pair and four lanes.
        words = [register(register(Lane.pack(*self.load.weights[i]), f"word{i}"), f"word{i}_in")
                 for i in range(self.lanes)]
        biases = [register(register(self.load.bias[n].as_unsigned(), f"bias{n}"), f"bias{n}_in")
                  for n in range(2)]
        shift = register(self.load.valid, "shift")

        # Lane i of the beat and its swap bit wait i cycles; the first pair's x comes after that.
        xs, swaps = [], []
        swap = self.beat.swap
        for i in range(self.lanes):
            x = self.beat.x[i]
            for n in range(i):
                x = register(x, f"x{i}_skew{n}")
            xs.append(x)
            swaps.append(swap)
            swap = copy(swap, f"swap{i}_skew")

        control = Cat(self.beat.valid, self.beat.swap, self.beat.first, self.beat.last,
                      self.beat.addr)
        for n in range(self._to_control):
            control = register(control, f"control_skew{n}")

        for j in range(pairs):
            copies = [copy(shift, f"shift{j}_{g}") for g in range(-(-self.lanes // 4))]
            shift_bias = copy(shift, f"shift{j}_bias")
            high, low, mid = Const(0, signed(16)), Const(0, 10), Const(0, signed(6))
            for i in range(self.lanes):
                m.submodules[f"lane{i}_{j}"] = lane = Lane(i)
                xs[i] = register(xs[i], f"x{i}_{j}")
                m.d.comb += [
                    lane.x.eq(xs[i]), lane.shift.eq(copies[i // 4]), lane.swap.eq(swaps[i]),
                    lane.w_in.eq(words[i]),
                    lane.high_in.eq(high), lane.low_in.eq(low), lane.mid_in.eq(mid)]
                words[i], high, low, mid = lane.w_out, lane.high, lane.low, lane.mid
                if j + 1 < pairs:
                    swaps[i] = copy(swaps[i], f"swap{i}_{j}")

            high, low = register(high, f"high{j}"), register(low, f"low{j}")
            bits = 16 + ceil_log2(self.lanes)
            sums = [register((low + (mid << 10))[:bits].as_signed(), f"sum{2 * j}"),
                    register((high - mid)[:bits].as_signed(), f"sum{2 * j + 1}")]
            for n in range(2):
                m.submodules[f"column{2 * j + n}"] = column = Column(self.depth, bits)
                m.d.comb += [
                    Cat(column.valid, column.swap, column.first, column.last, column.addr)
                    .eq(control),
                    column.sum.eq(sums[n]), column.shift.eq(shift_bias),
                    column.bias_in.eq(biases[n]), self.results[2 * j + n].eq(column.result)]
                biases[n] = column.bias_out
            control = register(control, f"control{j}")

        if platform is None:
            self._check_rules(m)
        return m

    def _check_rules(self, m: Module):
        """Assert the rules of the class docstring, in simulation only."""
        recent = []
        key = Cat(self.beat.addr, self.beat.valid)
        for n in range(self.min_revisit - 1):
            stage = Signal(key.shape(), name=f"recent{n}")
            m.d.sync += stage.eq(key)
            recent.append(stage)
            key = stage
        stale = Cat(stage == Cat(self.beat.addr, 1) for stage in recent).any()
        m.d.sync += Assert(~(self.beat.valid & ~self.beat.first & stale),
                           "a row of partial sums came again before it was stored")
        m.d.sync += Assert(~(self.beat.swap & ~self.beat.valid), "swap without valid")
        for event, other, gap, rule in (
                (self.load.valid, self.beat.swap, self.swap_after_load, "swap too soon after load"),
                (self.beat.swap, self.load.valid, self.load_after_swap, "load too soon after swap")):
            left = Signal(range(gap + 1), name=rule.replace(" ", "_"))
            with m.If(event):
                m.d.sync += left.eq(gap - 1)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            m.d.sync += Assert(~(other & (event | (left != 0))), rule)
