# amaranth: UnusedElaboratable=no
"""The pool against golden's pooling of whole maps, in bands: every result, and the cycle of every vector and result."""
from amaranth.sim import Simulator
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.unit.pool import POOL_AVERAGE, POOL_MAX, POOL_NONE, PoolConfig
from golden.cycles.pool import passed, steps
from golden.cycles.streams import Readiness
from golden.values import avg_pool, max_pool
from hw.engine.pool import Pool
from hw.engine.pool_lane import PoolLane
from nets.graph import Window
from nets.int8.network import QAvgPool, QMaxPool
from sim.verilog.native import Design, beats_of_ints

LANES = 2
GEOMETRY = Geometry(input_lanes=4, output_lanes=LANES, activation_words=512, weight_words=512)


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Pool(GEOMETRY))


class Map:
    """A map to be pooled: random values, the pooled map as golden has it, and the commands for its bands of rows."""

    def __init__(self, shape, window, *, mode, ceil_mode, include, zero_point, bands, base, rng):
        self.mode, self.window, self.bands, self.blocks = mode, window, bands, shape[0] // LANES
        self.q = rng.choice([rng.integers(0, 256, shape), np.full(shape, 255), rng.choice([0, 255], shape)]).astype(np.uint8)
        kind = dict(name="pool", inputs=("x",), window=window, ceil_mode=ceil_mode)
        if mode == POOL_NONE:
            self.out = self.q
        elif mode == POOL_MAX:
            self.out = max_pool(self.q, QMaxPool(**kind))
        else:
            self.out = avg_pool(self.q, QAvgPool(**kind, count_include_pad=include), zero_point)
        (_, height, width), (_, self.rows, self.columns) = shape, self.out.shape
        top, left, bottom, right = window.padding
        reach = (self.rows - 1) * window.stride[0] - top + window.kernel[0] if mode != POOL_NONE else height
        self.configs, first = [], 0
        for rows in bands:
            end = height + max(reach - height, 0) if first + rows == height else first + rows
            lasts = [r - first for r in self.complete(top) if first <= r < end]
            self.configs.append(PoolConfig(
                mode=mode, kernel_y=window.kernel[0], kernel_x=window.kernel[1], stride_y=window.stride[0],
                stride_x=window.stride[1], left=left, rows=rows, columns=width, out_rows=len(lasts), out_columns=self.columns,
                output_blocks=self.blocks, history=min(first, 2), lead=lasts[0] if lasts else 0,
                overhang_rows=end - first - rows, include_padding=include, top=top, padded_right=right, padded_bottom=bottom,
                zero_point=zero_point, base=base))
            first += rows

    def __repr__(self):
        return f"Map({self.q.shape}, {self.window}, mode={self.mode}, {self.configs})"

    def complete(self, top):
        """Row of the map that completes each pooled row."""
        return [n * self.window.stride[0] - top + self.window.kernel[0] - 1 for n in range(self.rows)]

    def vectors(self, band: int) -> tuple[list[int], list[int]]:
        """What a band takes and gives: output block, row, column."""
        first = sum(self.bands[:band])
        config = self.configs[band]
        end = first + config.rows + config.overhang_rows
        given = [n for n, row in enumerate(self.complete(self.window.padding[0])) if first <= row < end]
        if self.mode == POOL_NONE:
            given = list(range(first, end))
        return _vectors(self.q[:, first:first + config.rows]), _vectors(self.out[:, given])


def _vectors(part: np.ndarray) -> list[int]:
    blocks = part.reshape(len(part) // LANES, LANES, *part.shape[1:]).astype(np.int64)
    return sum(blocks[:, n] << 8 * n for n in range(LANES)).ravel().tolist()


@st.composite
def maps(draw, largest=14, base=0):
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, min(1, k - 1))) for k in (*kernel, *kernel))
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    assume(height + padding[0] + padding[2] >= kernel[0] and width + padding[1] + padding[3] >= kernel[1])
    cuts = sorted(draw(st.sets(st.integers(1, max(height - 1, 1)), max_size=3)) - {height})
    bands = np.diff([0, *cuts, height]).tolist()
    mode = draw(st.sampled_from([POOL_MAX, POOL_AVERAGE, POOL_AVERAGE, POOL_NONE]))
    ceil_mode = draw(st.booleans())
    window = Window(kernel=kernel, stride=stride, padding=padding)
    return Map((LANES * draw(st.integers(1, 3)), height, width), window, mode=mode, ceil_mode=ceil_mode,
               include=draw(st.integers(0, 1)), zero_point=draw(st.sampled_from([0, 7, 128, 255])), bands=bands, base=base,
               rng=np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


def check(design, commands, allow, slow, ready):
    """`commands`: (config, vectors in, vectors out)."""
    configs, into, out = [command[0] for command in commands], sum((c[1] for c in commands), []), \
        sum((c[2] for c in commands), [])
    with design.simulate() as sim:
        sim.feed("command", [config.pack() for config in configs], slow)
        sim.feed("i", beats_of_ints(into, 8 * LANES), allow)
        sim.pattern("o__ready", ready)
        if out:
            sim.run_until(beats=("o", len(out)), deadline=200_000)
        sim.run_until(drained="i", deadline=200_000)
        sim.run_until(drained="command", deadline=200_000)
        sim.step(60)
        seen = {name: sim.beats(name) for name in ("command", "i", "o")}

    def offers(pattern, cycles):
        return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1))) if len(cycles) else cycles
    assert seen["o"].payload.tobytes() == beats_of_ints(out, 8 * LANES).tobytes()
    command_cycles, taken, left = passed(GEOMETRY, configs, offers(slow, seen["command"].cycle),
                                         offers(allow, seen["i"].cycle), Readiness(ready))
    assert seen["command"].cycle.tolist() == command_cycles.tolist()
    assert seen["i"].cycle.tolist() == taken.tolist()
    assert seen["o"].cycle.tolist() == left.tolist()
    return seen


def patterns(seed, chances):
    rng = np.random.default_rng(seed)
    return [np.append(rng.random(311) < chance, True) for chance in chances]


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(maps(), min_size=1, max_size=2), st.tuples(*[st.sampled_from([0.2, 0.7, 1.0, 1.0])] * 3),
       st.integers(0, 2**32 - 1))
def test_maps_in_bands(design, drawn, chances, seed):
    commands = [(config, *map_.vectors(n)) for map_ in drawn for n, config in enumerate(map_.configs)]
    check(design, commands, *patterns(seed, chances))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(maps(), maps(base=100), st.integers(0, 2**32 - 1))
def test_interleaved_maps_keep_apart(design, one, other, seed):
    commands = [(map_.configs[n], *map_.vectors(n)) for n in range(4) for map_ in (one, other) if n < len(map_.configs)]
    check(design, commands, *patterns(seed, (0.8, 1, 0.8)))


@pytest.mark.parametrize("height, width, kernel, stride, ceil_mode", [
    (60, 60, 3, 2, False), (57, 57, 3, 2, True), (56, 56, 3, 2, True), (60, 60, 3, 1, False), (13, 60, 2, 2, False),
    (60, 2, 2, 1, False), (1, 1, 1, 1, False)])
@pytest.mark.parametrize("mode", [POOL_MAX, POOL_AVERAGE])
def test_whole_maps_at_full_rate(design, height, width, kernel, stride, ceil_mode, mode):
    window = Window(kernel=(kernel, kernel), stride=(stride, stride))
    map_ = Map((2 * LANES, height, width), window, mode=mode, ceil_mode=ceil_mode, include=0, zero_point=3, bands=[height],
               base=0, rng=np.random.default_rng(1))
    always = np.ones(1, bool)
    seen = check(design, [(map_.configs[0], *map_.vectors(0))], always, always, always)
    if width > 2:           # a step a cycle, without a gap
        real, gives, _ = steps(map_.configs[0])
        assert (seen["i"].cycle - seen["i"].cycle[0] == np.flatnonzero(real)).all()
        assert (seen["o"].cycle - seen["i"].cycle[0] == np.flatnonzero(gives) + Pool.LATENCY).all()


def test_every_sum_and_count_divides_exactly():
    """The mean of every count for every possible sum, padding included, against the definition."""
    dut = PoolLane()
    cases = [(total, count) for count in (1, 2, 3, 4, 6, 9) for total in range(255 * count + 1)]

    def at(n):
        return cases[min(max(n, 0), len(cases) - 1)]

    async def bench(ctx):
        # The sum comes in as an offset to nothing: all of the window's values are padding.
        for cycle in range(len(cases) + 5):
            total, count = at(cycle)
            ctx.set(dut.offset, total + count // 2)
            count = at(cycle - 1)[1]
            ctx.set(dut.halve, (count in (2, 6)) | (count == 4) << 1)
            count = at(cycle - 2)[1]
            ctx.set(dut.triple, count in (3, 6))
            ctx.set(dut.ninefold, count in (1, 2, 4))
            if cycle >= 5:
                total, count = at(cycle - 5)
                assert ctx.get(dut.o) == (2 * total + count) // (2 * count), (total, count)
            await ctx.tick()
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
