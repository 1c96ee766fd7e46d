"""The MAC array: weight-stationary column pairs on packed multipliers."""

from amaranth import Assert, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.engine.mac_lane import WEIGHT_BITS, LutLane, PackedLane, pack
from hw.parts.delay import delayed
from hw.primitives import BlockRam, Copy

__all__ = ["MacArray", "beat_layout", "pair_weights_layout", "result_layout"]


def beat_layout(lanes: int, depth: int) -> data.StructLayout:
    """One activation vector and what to do with its products."""
    return data.StructLayout({
        "valid": 1, "swap": 1, "first": 1, "last": 1, "addr": ceil_log2(depth),
        "x": data.ArrayLayout(unsigned(8), lanes)})


def pair_weights_layout(lanes: int) -> data.StructLayout:
    """Weights and biases of one column pair; index 0 is the even column."""
    return data.StructLayout({
        "valid": 1, "weights": data.ArrayLayout(data.ArrayLayout(signed(8), 2), lanes),
        "bias": data.ArrayLayout(signed(32), 2)})


def result_layout() -> data.StructLayout:
    """A finished sum of one column."""
    return data.StructLayout({"valid": 1, "acc": signed(32)})


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

        swap = delayed(m, self.swap, 1, "swap")
        with m.If(swap):
            m.d.sync += bias.eq(shadow)

        first = delayed(m, self.first, BlockRam.LATENCY, "first")
        start = Signal(32, reset_less=True)
        m.d.sync += start.eq(Mux(first, bias, psums.r_data))
        acc = Signal(32, reset_less=True)
        m.d.sync += acc.eq(start + self.sum)

        valid = delayed(m, self.valid, self.LATENCY, "valid")
        emit = delayed(m, delayed(m, self.valid & self.last, 1, "last"), self.LATENCY - 1, "emit")
        m.d.comb += [
            psums.r_addr.eq(self.addr), psums.w_addr.eq(delayed(m, self.addr, self.LATENCY, "addr")),
            psums.w_en.eq(valid), psums.w_data.eq(acc),
            self.result.valid.eq(emit), self.result.acc.eq(acc)]
        return m


class ColumnPair(wiring.Component):
    """All lanes of two columns: the products of a beat, summed.

    Lane i works one cycle behind lane i - 1. The sums appear ``latency`` cycles after the x of
    lane 0: ``lanes`` - 1 for the chain, the lane's own, and one that unpacks the sums.

    Members
    -------
    x, swap : one per lane, each at the lane's own time
    shift : one copy per ``GROUP`` lanes
    w_in, w_out : weights from the pair before and to the pair behind
    even, odd : sums of columns 2j and 2j + 1
    """

    # Lanes that share a copy of the shift enable: 44 registers.
    GROUP = 2

    def __init__(self, lanes: int, *, lut: bool = False):
        self.lanes, self.lut = lanes, lut
        self.sum_bits = 16 + ceil_log2(lanes)
        words = data.ArrayLayout(WEIGHT_BITS, lanes)
        super().__init__({
            "x": In(data.ArrayLayout(8, lanes)), "swap": In(lanes), "shift": In(-(-lanes // self.GROUP)),
            "w_in": In(words), "w_out": Out(words),
            "even": Out(signed(self.sum_bits)), "odd": Out(signed(self.sum_bits))})

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from the x of lane 0 to the sums."""
        return lanes - 1 + PackedLane.LATENCY + 1

    def elaborate(self, platform):
        m = Module()
        sums = {"even": Const(0, signed(16)), "odd": Const(0, signed(16))} if self.lut else \
            {"high": Const(0, signed(16)), "low": Const(0, 10), "mid": Const(0, signed(6))}
        for i in range(self.lanes):
            m.submodules[f"lane{i}"] = lane = (LutLane if self.lut else PackedLane)(i)
            m.d.comb += [
                lane.x.eq(self.x[i]), lane.swap.eq(self.swap[i]), lane.shift.eq(self.shift[i // self.GROUP]),
                lane.w_in.eq(self.w_in[i]), self.w_out[i].eq(lane.w_out)]
            for name, value in sums.items():
                m.d.comb += getattr(lane, f"{name}_in").eq(value)
                sums[name] = getattr(lane, name)
        if self.lut:
            even, odd = sums["even"], sums["odd"]
        else:
            for name in ("high", "low"):                # they lead mid by a cycle
                early = Signal.like(sums[name], name=name, reset_less=True)
                m.d.sync += early.eq(sums[name])
                sums[name] = early
            even = (sums["low"] + (sums["mid"] << 10))[:self.sum_bits]
            odd = (sums["high"] - sums["mid"])[:self.sum_bits]
        for port, total in ((self.even, even), (self.odd, odd)):
            final = Signal(port.shape(), name="total", reset_less=True)
            m.d.sync += final.eq(total)
            m.d.comb += port.eq(final)
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
    lut_pairs : int
        Column pairs, counted from the last, whose multipliers are lookup tables.

    Members
    -------
    beat : ``In(beat_layout(lanes, depth))``
    load : ``In(pair_weights_layout(lanes))``
        Weights in [-127, 127] (-128 gives wrong sums); biases any signed 32 bits.
    results : ``Out(ArrayLayout(result_layout(), columns))``
        Sums modulo 2**32, as signed.
    """

    def __init__(self, *, lanes: int, columns: int, depth: int = 512, lut_pairs: int = 0):
        if lanes < 1 or lanes > 32:
            raise ValueError(f"Lanes of an array must be 1..32, not {lanes!r}")
        if columns < 2 or columns % 2:
            raise ValueError(f"Columns of an array must be even and at least 2, not {columns!r}")
        if not 8 <= depth <= 1024:
            raise ValueError(f"Depth of the partial sums must be 8..1024 rows, not {depth!r}")
        if not 0 <= lut_pairs <= columns // 2:
            raise ValueError(f"Pairs on lookup tables must be 0..{columns // 2}, not {lut_pairs!r}")
        self.lanes, self.columns, self.depth, self.lut_pairs = lanes, columns, depth, lut_pairs
        super().__init__({
            "beat": In(beat_layout(lanes, depth)), "load": In(pair_weights_layout(lanes)),
            "results": Out(data.ArrayLayout(result_layout(), columns))})

    # Cycles from the beat port to the control bits of columns 0 and 1: one x register before the pair.
    @property
    def _to_control(self) -> int:
        return 1 + ColumnPair.latency_of(self.lanes) - Column.SUM_AFTER

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

        # Load words are packed on the way in, while the shift line branches: two pairs, then four lanes.
        words = [register(register(pack(*self.load.weights[i]), f"word{i}"), f"word{i}_in") for i in range(self.lanes)]
        biases = [register(register(self.load.bias[n].as_unsigned(), f"bias{n}"), f"bias{n}_in") for n in range(2)]
        branches = [copy(self.load.valid, f"shift_branch{n}") for n in range(-(-pairs // 2))]

        # Lane i of the beat and its swap bit wait i cycles.
        xs, swaps = list(self.beat.x), [self.beat.swap]
        for i in range(1, self.lanes):
            swaps.append(copy(swaps[-1], f"swap{i}_skew"))
            for n in range(i):
                xs[i] = register(xs[i], f"x{i}_skew{n}")

        control = Cat(self.beat.valid, self.beat.swap, self.beat.first, self.beat.last, self.beat.addr)
        for n in range(self._to_control):
            control = register(control, f"control_skew{n}")

        for j in range(pairs):
            m.submodules[f"pair{j}"] = pair = ColumnPair(self.lanes, lut=j >= pairs - self.lut_pairs)
            xs = [register(x, f"x{i}_{j}") for i, x in enumerate(xs)]
            shifts = [copy(branches[j // 2], f"shift{j}_{n}") for n in range(len(pair.shift) + 1)]
            m.d.comb += [
                Cat(pair.x).eq(Cat(xs)), pair.swap.eq(Cat(swaps)), pair.shift.eq(Cat(shifts[:-1])),
                Cat(pair.w_in).eq(Cat(words))]
            for n, total in enumerate((pair.even, pair.odd)):
                m.submodules[f"column{2 * j + n}"] = column = Column(self.depth, pair.sum_bits)
                m.d.comb += [
                    Cat(column.valid, column.swap, column.first, column.last, column.addr).eq(control),
                    column.sum.eq(total), column.shift.eq(shifts[-1]), column.bias_in.eq(biases[n]),
                    self.results[2 * j + n].eq(column.result)]
                biases[n] = column.bias_out
            if j + 1 < pairs:
                words = list(pair.w_out)
                swaps = [copy(swap, f"swap{i}_{j}") for i, swap in enumerate(swaps)]
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
