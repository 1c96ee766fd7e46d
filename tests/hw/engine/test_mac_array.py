# amaranth: UnusedElaboratable=no
"""The MAC array against plain products in NumPy: values, and the cycle of every result."""
from amaranth.sim import Simulator
import numpy as np
import pytest

from hw.engine.mac_array import MacArray


def test_packed_products_are_exact():
    """The identity behind the packing, for every pair of weights and every activation."""
    x = np.arange(256, dtype=np.int32)
    w = np.arange(-127, 128, dtype=np.int32)
    w1, w0 = w[:, None, None], w[None, :, None]
    for part in np.array_split(w1, 5):
        p = (part * 1024 + w0) * x
        mid = ((p >> 10) - (part * x)) & 63
        mid = (mid ^ 32) - 32
        assert np.array_equal(np.broadcast_to(w0 * x, p.shape), mid * 1024 + (p & 1023))
        assert np.array_equal(np.broadcast_to(part * x, p.shape), (p >> 10) - mid)


class Script:
    """A random but legal sequence of port values, and what must come out of it."""

    def __init__(self, array: MacArray, seed: int, passes: int, *, extreme: bool = False, tight: bool = False):
        self.array, self.rng, self.extreme, self.tight = array, np.random.default_rng(seed), extreme, tight
        self.loads, self.beats, self.expected = {}, {}, [[] for _ in range(array.columns)]
        self.row, self.used = 0, {}
        psums = np.zeros((array.depth, array.columns), dtype=np.int64)
        load_at = 0
        for number in range(passes):
            weights, bias = self._weights(), self.rng.integers(-2**31, 2**31, array.columns)
            cycle = self._load(load_at, weights, bias) + array.swap_after_load
            length = array.min_pass if tight else int(self.rng.integers(1, 2 * array.min_pass))
            swap_at = self._pass(cycle if number == 0 else max(cycle, self.end), length, weights, bias, psums)
            load_at = swap_at + array.load_after_swap + self._gap(20)
        self.end += array.latency_of_column(array.columns) + 4

    def _gap(self, most):
        return 0 if self.tight else int(self.rng.integers(0, most))

    def _weights(self):
        shape = (self.array.lanes, self.array.columns)
        if self.extreme:
            return self.rng.choice([-127, 127], shape)
        return self.rng.integers(-127, 128, shape)

    def _load(self, cycle, weights, bias):
        for pair in reversed(range(self.array.columns // 2)):
            columns = slice(2 * pair, 2 * pair + 2)
            self.loads[cycle] = weights[:, columns], bias[columns]
            last = cycle
            cycle += 1 + self._gap(3)
        return last

    def _pass(self, cycle, length, weights, bias, psums):
        array = self.array
        start, swap_at = self.row, None
        rows = array.depth if self.tight else int(self.rng.integers(array.min_revisit, array.depth + 1))
        for n in range(length):
            row = (start + n % rows) % array.depth
            self.row = (row + 1) % array.depth
            x = self.rng.choice([0, 255], array.lanes) if self.extreme else self.rng.integers(0, 256, array.lanes)
            first, last = (bool(bit) for bit in self.rng.integers(0, 2, 2))
            if not first:
                cycle = max(cycle, self.used.get(row, 0) + array.min_revisit)
            self.used[row] = cycle
            swap_at = cycle if swap_at is None else swap_at
            self.beats[cycle] = {"valid": 1, "swap": n == 0, "first": first, "last": last, "addr": row, "x": x.tolist()}
            psums[row] = np.where(first, bias, psums[row]) + x @ weights
            psums[row] = (psums[row] + 2**31) % 2**32 - 2**31
            if last:
                for column in range(array.columns):
                    self.expected[column].append((cycle + array.latency_of_column(column), int(psums[row, column])))
            cycle += 1 + self._gap(3)
        self.end = cycle
        return swap_at

    async def drive(self, ctx):
        """Put the script on the ports."""
        idle = {"valid": 0, "swap": 0, "first": 1, "last": 1, "addr": 3, "x": [255] * self.array.lanes}
        for cycle in range(self.end):
            ctx.set(self.array.beat, self.beats.get(cycle, idle))
            weights, bias = self.loads.get(cycle, (None, None))
            ctx.set(self.array.load.valid, weights is not None)
            if weights is not None:
                ctx.set(self.array.load.weights, weights.tolist())
                ctx.set(self.array.load.bias, bias.tolist())
            await ctx.tick()

    def watch(self, column: int, seen: list):
        """A process that notes the results of `column`."""
        async def process(ctx):
            result = self.array.results[column]
            for cycle in range(self.end - 1):
                *_, valid, acc = await ctx.tick().sample(result.valid, result.acc)
                if valid:
                    seen.append((cycle, acc))
        return process


def play(array, script):
    """Results of each column as (cycle, value)."""
    seen = [[] for _ in range(array.columns)]
    sim = Simulator(array)
    sim.add_clock(1e-8)
    sim.add_testbench(script.drive)
    for column in range(array.columns):
        sim.add_testbench(script.watch(column, seen[column]))
    sim.run()
    return seen


@pytest.mark.parametrize(("lanes", "columns", "depth", "seed", "options"), [
    (4, 4, 16, 1, {}),
    (4, 4, 16, 2, {"tight": True}),
    (3, 2, 8, 3, {}),
    (1, 2, 8, 4, {"extreme": True}),
    (5, 6, 32, 5, {"extreme": True, "tight": True}),
    (16, 4, 64, 6, {"tight": True, "extreme": True}),
    (17, 2, 64, 7, {"extreme": True}),
])
def test_results_are_exact_and_on_time(lanes, columns, depth, seed, options):
    array = MacArray(lanes=lanes, columns=columns, depth=depth)
    script = Script(array, seed, passes=6, **options)
    assert play(array, script) == script.expected, f"seed {seed}"


@pytest.mark.parametrize(("lut_pairs", "seed", "options"), [(1, 11, {}), (2, 12, {"extreme": True, "tight": True})])
def test_lookup_tables_multiply_alike(lut_pairs, seed, options):
    array = MacArray(lanes=5, columns=4, depth=16, lut_pairs=lut_pairs)
    script = Script(array, seed, passes=6, **options)
    assert play(array, script) == script.expected, f"seed {seed}"


def test_tight_passes_follow_without_a_bubble():
    array = MacArray(lanes=4, columns=4, depth=64)
    script = Script(array, 7, passes=4, tight=True)
    cycles = sorted(script.beats)
    assert cycles == list(range(cycles[0], cycles[0] + 4 * array.min_pass))
    assert play(array, script) == script.expected


@pytest.mark.parametrize(("beats", "loads", "message"), [
    ({0: {"valid": 1, "addr": 5}, 4: {"valid": 1, "addr": 5}}, [], "came again"),
    ({0: {"swap": 1}}, [], "swap without valid"),
    ({2: {"valid": 1, "swap": 1, "first": 1}}, [0], "swap too soon after load"),
    ({0: {"valid": 1, "swap": 1, "first": 1}}, [5], "load too soon after swap"),
])
def test_broken_rules_fail_in_simulation(beats, loads, message):
    array = MacArray(lanes=4, columns=4, depth=16)
    assert (array.swap_after_load, array.load_after_swap, array.min_revisit) == (3, 6, 5)
    sim = Simulator(array)
    sim.add_clock(1e-8)

    async def drive(ctx):
        for cycle in range(12):
            ctx.set(array.beat, {"valid": 0, "swap": 0, "first": 0} | beats.get(cycle, {}))
            ctx.set(array.load.valid, cycle in loads)
            await ctx.tick()
    sim.add_testbench(drive)
    with pytest.raises(AssertionError, match=message):
        sim.run()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"lanes": 0, "columns": 4}, "Lanes of an array must be 1..32, not 0"),
    ({"lanes": 4, "columns": 5}, "Columns of an array must be even and at least 2, not 5"),
    ({"lanes": 4, "columns": 4, "depth": 2048}, r"Depth of the partial sums must be 8..1024 rows, not 2048"),
    ({"lanes": 4, "columns": 4, "lut_pairs": 3}, r"Pairs on lookup tables must be 0..2, not 3"),
])
def test_bad_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MacArray(**arguments)
