"""Bare cores of the same peak rate, organised differently: memories and arithmetic, nothing else.

Each has `lanes` input and `columns` output channels a cycle, two products to a multiplier,
registers on every side of every memory and multiplier, and no resets. Their control comes from
outside. They exist to be routed, see `bench.cores`.
"""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.engine.mac_array import Column, MacArray, beat_layout
from hw.engine.mac_lane import PackedLane
from hw.primitives import BlockRam, Copy, Multiplier

__all__ = ["OutputStationary", "SharedWeight", "WeightStationary"]

# Block RAM tiles of an activation memory of 4096 words of 16 bytes; weights take 64 tiles too.
_DEPTH = 4096
_SLICE = 16         # bits of a memory word that share a copy of its address: four tiles


def _register(m: Module, value, name: str):
    stage = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage


def _copies(m: Module, value, count: int, name: str) -> list:
    """Registers that hold the same value, kept apart by synthesis."""
    copies = []
    for n in range(count):
        bits = []
        for bit in range(len(value)):
            m.submodules[f"{name}{n}_{bit}"] = copy = Copy()
            m.d.comb += copy.d.eq(value[bit])
            bits.append(copy.q)
        copies.append(Cat(bits))
    return copies


class _Memory(wiring.Component):
    """A wide memory in slices, each with registered addresses and data of its own."""

    def __init__(self, depth: int, width: int):
        self.depth, self.width = depth, width
        bits = ceil_log2(depth)
        super().__init__({"r_addr": In(bits), "r_data": Out(width),
                          "w_addr": In(bits), "w_data": In(width), "w_en": In(1)})

    def elaborate(self, platform):
        m = Module()
        slices = -(-self.width // _SLICE)
        # Addresses branch twice, with a register of their own at the root: the memories must not limit the cores.
        root = _register(m, Cat(self.r_addr, self.w_addr, self.w_en), "root")
        branches = _copies(m, root, -(-slices // 4), "branch")
        control = [_copies(m, branches[n // 4], 1, f"control{n}_")[0] for n in range(slices)]
        w_data = _register(m, self.w_data, "w_data")
        bits = len(self.r_addr)
        words = []
        for n in range(slices):
            low, high = n * _SLICE, min((n + 1) * _SLICE, self.width)
            m.submodules[f"slice{n}"] = ram = BlockRam(depth=self.depth, width=high - low)
            m.d.comb += [ram.r_addr.eq(control[n][:bits]), ram.w_addr.eq(control[n][bits:2 * bits]),
                         ram.w_en.eq(control[n][-1]), ram.w_data.eq(w_data[low:high])]
            words.append(ram.r_data)
        m.d.comb += self.r_data.eq(_register(m, Cat(words), "r_register"))
        return m


class _Core(wiring.Component):
    """Ports of all cores. Activations and weights are written word by word, results leave."""

    def __init__(self, lanes: int, results, extra: dict):
        self.lanes = lanes
        address = ceil_log2(_DEPTH)
        super().__init__({
            "x_addr": In(address), "write_addr": In(address), "write_x": In(1), "write_w": In(1), "write": In(32),
            "control": In(beat_layout(0, 512)), "results": Out(results), **extra})

    def _activations(self, m: Module, width: int):
        return self._memory(m, "activations", _DEPTH * 8 * self.lanes // width, width, self.x_addr, self.write_x)

    def _memory(self, m: Module, name: str, depth: int, width: int, address, enable):
        m.submodules[name] = memory = _Memory(depth, width)
        # A written word repeats the port's 32 bits, each lane turned by one, so that nothing is shared.
        word = self.write
        written = Cat(word.rotate_left(n) for n in range(-(-width // 32)))[:width]
        m.d.comb += [memory.r_addr.eq(address), memory.w_addr.eq(self.write_addr), memory.w_en.eq(enable),
                     memory.w_data.eq(written)]
        return memory.r_data


class WeightStationary(_Core):
    """`MacArray` between its memories; `lut_pairs` of its pairs multiply in lookup tables."""

    def __init__(self, *, lanes: int, columns: int, lut_pairs: int = 0):
        self.array = MacArray(lanes=lanes, columns=columns, lut_pairs=lut_pairs)
        super().__init__(lanes, self.array.results.shape(), {"w_addr": In(ceil_log2(_DEPTH)), "load": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        x = self._activations(m, 8 * self.lanes)
        w = self._memory(m, "weights", _DEPTH, 16 * self.lanes, self.w_addr, self.write_w)
        m.d.comb += [
            array.beat.eq(Cat(self.control, x)), array.load.valid.eq(self.load), Cat(array.load.weights).eq(w),
            Cat(array.load.bias).eq(self.write.replicate(2)), self.results.eq(array.results)]
        return m


class SharedWeight(_Core):
    """Weight-stationary columns where a multiplier serves one weight and two pixels: x1*1024 + x0 times w.

    Half the columns, two pixels a beat: weights of 8 bits instead of 22 wait and move, activations
    of 16 bits instead of 8, and the activation memory delivers two pixels a cycle.
    """

    def __init__(self, *, lanes: int, columns: int):
        self.columns = columns // 2
        super().__init__(lanes, data.ArrayLayout(33, columns), {"w_addr": In(ceil_log2(_DEPTH)), "load": In(1)})

    def elaborate(self, platform):
        m = Module()
        x = self._activations(m, 16 * self.lanes)
        words = self._memory(m, "weights", 2 * _DEPTH, 8 * self.lanes, Cat(self.w_addr, self.write_x), self.write_w)
        xs = [x[16 * i:16 * i + 16] for i in range(self.lanes)]
        ws = [_register(m, words[8 * i:8 * i + 8], f"word{i}") for i in range(self.lanes)]
        swaps = [self.control.swap]
        for i in range(1, self.lanes):
            swaps += _copies(m, swaps[-1], 1, f"swap{i}_skew")
            for n in range(i):
                xs[i] = _register(m, xs[i], f"x{i}_skew{n}")
        control = Cat(self.control.valid, self.control.swap, self.control.first, self.control.last, self.control.addr)
        for n in range(self.lanes + 2):
            control = _register(m, control, f"control{n}_skew")
        branches = _copies(m, self.load, -(-self.columns // 2), "branch")
        for c in range(self.columns):
            shifts = _copies(m, branches[c // 2], -(-self.lanes // 4) + 1, f"shift{c}_")
            sums = {"high": Const(0, signed(16)), "low": Const(0, 10), "mid": Const(0, signed(6))}
            # Named as the array's pairs and lanes, so that the same floor plan holds.
            m.submodules[f"pair{c}"] = pair = Module()
            for i in range(self.lanes):
                xs[i] = _register(m, xs[i], f"x{i}_{c}")
                pair.submodules[f"lane{i}"] = lane = _PixelLane(i)
                m.d.comb += [lane.x.eq(xs[i]), lane.w_in.eq(ws[i]), lane.shift.eq(shifts[i // 4]), lane.swap.eq(swaps[i])]
                for name, value in sums.items():
                    m.d.comb += getattr(lane, f"{name}_in").eq(value)
                    sums[name] = getattr(lane, name)
                ws[i] = lane.w_out
                swaps[i] = _copies(m, swaps[i], 1, f"swap{i}_{c}_")[0]
            high, low = _register(m, sums["high"], f"high{c}"), _register(m, sums["low"], f"low{c}")
            bits = 16 + ceil_log2(self.lanes)
            totals = (low + (sums["mid"] << 10))[:bits].as_signed(), (high - sums["mid"])[:bits].as_signed()
            for n in range(2):
                m.submodules[f"column{2 * c + n}"] = column = Column(512, bits)
                m.d.comb += [
                    Cat(column.valid, column.swap, column.first, column.last, column.addr).eq(control),
                    column.sum.eq(_register(m, totals[n], f"total{c}_{n}")), column.shift.eq(shifts[-1]),
                    column.bias_in.eq(self.write), self.results[2 * c + n].eq(column.result)]
            control = _register(m, control, f"control{c}")
        return m


class _PixelLane(wiring.Component):
    """As `hw.engine.mac_lane.PackedLane`, with one weight and two activations."""

    def __init__(self, index: int):
        super().__init__({"x": In(16), "shift": In(1), "swap": In(1), "w_in": In(8), "w_out": Out(8), **PackedLane.sums(index)})

    def elaborate(self, platform):
        m = Module()
        shadow, w = Signal(8, reset_less=True), Signal(8, reset_less=True)
        with m.If(self.shift):
            m.d.sync += shadow.eq(self.w_in)
        with m.If(self.swap):
            m.d.sync += w.eq(shadow)
        m.d.comb += self.w_out.eq(shadow)
        m.submodules.mult = mult = Multiplier()
        # x1*1024 + x0 would need an 18-bit unsigned operand; less 1024*128 it is signed, and w1*x1 less 128*w mod 64 = w*x1.
        m.d.comb += [mult.a.eq(Cat(self.x[:8], Const(0, 2), self.x[8:15], ~self.x[15])), mult.b.eq(w.as_signed())]
        x1 = self.x[8:]

        def gated(n):
            return w[:6 - n] & x1[n].replicate(6 - n)
        p01, p23 = _register(m, (gated(0) + (gated(1) << 1))[:6], "p01"), _register(m, (gated(2) + (gated(3) << 1))[:4], "p23")
        p45 = _register(m, (gated(4) + (gated(5) << 1))[:2], "p45")
        product = _register(m, (p01 + ((p23 + (p45 << 2))[:4] << 2))[:6], "product")
        mid = _register(m, (mult.p[10:16] - product)[:6].as_signed(), "mid_term")
        for name, term in (("high", mult.p[10:26].as_signed()), ("low", mult.p[:10]), ("mid", mid)):
            after = getattr(self, name)
            m.d.comb += after.eq(_register(m, (getattr(self, f"{name}_in") + term)[:len(after)], f"{name}_sum"))
        return m


class OutputStationary(_Core):
    """Every weight read every cycle from block RAMs beside its multiplier, adder trees, accumulators.

    Two packed 18-bit factors to a block RAM word, `lanes` * `columns` / 4 block RAMs. Activations
    spread through two levels of registers; accumulators start over with `first`.
    """

    def __init__(self, *, lanes: int, columns: int):
        self.columns = columns
        super().__init__(lanes, data.ArrayLayout(33, columns), {"w_addr": In(9)})

    def elaborate(self, platform):
        m = Module()
        pairs = self.columns // 2
        x = self._activations(m, 8 * self.lanes)
        xs = [_copies(m, x[8 * i:8 * i + 8], pairs, f"x{i}_") for i in range(self.lanes)]
        addresses = _copies(m, Cat(self.w_addr, self.write_addr[:9], self.write_w), pairs, "address")
        control = Cat(self.control.valid, self.control.first, self.control.last)
        for n in range(ceil_log2(self.lanes) + 6):
            control = _register(m, control, f"control{n}")
        controls = _copies(m, control, self.columns, "start")
        for j in range(pairs):
            address, written = _register(m, addresses[j], f"address{j}"), _register(m, self.write.rotate_left(j), f"write{j}")
            highs, lows, mids = [], [], []
            for i in range(0, self.lanes, 2):
                m.submodules[f"weights{j}_{i}"] = ram = BlockRam(depth=512, width=36)
                m.d.comb += [ram.r_addr.eq(address[:9]), ram.w_addr.eq(address[9:18]), ram.w_en.eq(address[18]),
                             ram.w_data.eq(Cat(written, written[:4]).rotate_left(i))]
                for n in range(2):
                    high, low, mid = self._product(m, f"{j}_{i + n}", ram.r_data[18 * n:18 * n + 18],
                                                   _register(m, xs[i + n][j], f"x{j}_{i + n}"))
                    highs.append(high), lows.append(low), mids.append(mid)
            high, low = (_register(m, self._tree(m, terms, f"{name}{j}"), f"{name}{j}_end")
                         for name, terms in (("high", highs), ("low", lows)))
            mid = self._tree(m, mids, f"mid{j}")
            bits = 16 + ceil_log2(self.lanes)
            for n, total in enumerate(((low + (mid << 10)), (high - mid))):
                total = _register(m, total[:bits].as_signed(), f"total{j}_{n}")
                acc = Signal(signed(32), name=f"acc{j}_{n}", reset_less=True)
                start = controls[2 * j + n]
                with m.If(start[0]):
                    m.d.sync += acc.eq(Mux(start[1], 0, acc) + total)
                m.d.comb += self.results[2 * j + n].eq(Cat(start[2], acc))
        return m

    def _product(self, m, name, factor, x):
        m.submodules[f"mult{name}"] = mult = Multiplier()
        m.d.comb += [mult.a.eq(factor), mult.b.eq(x)]
        # w1 of the packed factor: its upper bits, plus the borrow of a negative w0.
        w1 = _register(m, (factor[10:16] + factor[9])[:6], f"w1_{name}")
        late = _register(m, x[:6], f"x_{name}")

        def gated(n):
            return w1[:6 - n] & late[n].replicate(6 - n)
        p01 = _register(m, (gated(0) + (gated(1) << 1))[:6], f"p01_{name}")
        p23 = _register(m, (gated(2) + (gated(3) << 1))[:4], f"p23_{name}")
        p45 = _register(m, (gated(4) + (gated(5) << 1))[:2], f"p45_{name}")
        mid = _register(m, (mult.p[10:16] - (p01 + ((p23 + (p45 << 2))[:4] << 2)))[:6].as_signed(), f"mid_{name}")
        return mult.p[10:26].as_signed(), mult.p[:10], mid

    def _tree(self, m, terms, name):
        level = 0
        while len(terms) > 1:
            terms = [_register(m, terms[n] + terms[n + 1], f"{name}_{level}_{n}") if n + 1 < len(terms) else terms[n]
                     for n in range(0, len(terms), 2)]
            level += 1
        return terms[0]
