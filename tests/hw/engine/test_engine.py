"""Layers on the engine's RTL: memory and every beat equal to the integer reference, each beat in the cycle that the model has."""
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch import pipeline, units
from arch.gather import bands as gather_bands
from arch.gather import words_per_pixel
from arch.geometry import Geometry
from compiler.bands import bands
from compiler.layer import LayerPlan, plan_layer
from compiler.maps import Map
from golden.cycles.engine import Timeline
from golden.cycles.gather_port import GatherTimeline, gather_timeline
from nets.graph import Window
from nets.int8.network import QMaxPool
from sim.cases import Case
from sim.engine import EngineBench, Run, differences, mismatches, predicted
from sim.expected import Expected
from tests.hw.engine.layers import conv_of, layers, own_inputs, with_table

# Small memories make bands, phases and full queues frequent.
GEOMETRIES = {
    "4x4": Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=512, band_pixels=64, fifo_words=32),
    "8x2": Geometry(input_lanes=8, output_lanes=2, lut_pairs=1, requantise_multipliers=False, activation_words=1536,
                    weight_words=512, fifo_words=32),
}


@pytest.fixture(scope="module", params=GEOMETRIES)
def bench(request) -> EngineBench:
    return EngineBench(GEOMETRIES[request.param])


def expected(bench: EngineBench, layer: Case, plan: LayerPlan, target: Map) -> Expected:
    return Expected(bench.geometry, plan, layer, target)


def plan_of(bench: EngineBench, layer: Case, *, offset: int = 0, **bases: int) -> tuple[LayerPlan, Map, Map, np.ndarray]:
    """Plan, maps of input and output, and an activation memory that holds the input."""
    geometry, (channels, height, width) = bench.geometry, layer.shape
    source = Map.whole(geometry, layer.x.shape, base=5)
    target = Map(base=5 + source.words, channels=channels, height=height, width=width, ring_rows=height, offset=offset,
                 pixel_words=-(-(offset + channels) // geometry.input_lanes))
    assert target.base + target.words <= geometry.activation_words
    memory = np.full((geometry.activation_words, geometry.input_lanes), 77, np.uint8)
    source.store(geometry, memory, layer.x)
    plan = plan_layer(geometry, layer.conv, source=source, target=target, zero_point=layer.zero_point, pool=layer.pool,
                      table=layer.table, table_zero_point=layer.table_zero_point, **bases)
    return plan, source, target, memory


def check_cycles(run: Run, line: Timeline, gather: GatherTimeline | None = None):
    when = {"command": line.taken, "done": line.done - 1}       # the count shows in the cycle after
    none = np.zeros(0, np.int64)
    for name, part in (("gather_command", "taken"), ("pixels", "pixels"), ("gathered", "written"), ("gather_done", "done")):
        when[name] = none if gather is None else getattr(gather, part) - 3 * (part == "done")
    for name, beats in run.beats.items():
        np.testing.assert_array_equal(beats.cycle, when[name] if name in when else line.passed[name], name)


def check(bench: EngineBench, layer: Case, read_grant: np.ndarray | None, write_grant: np.ndarray | None, **places: int):
    plan, _, target, memory = plan_of(bench, layer, **places)
    check_plan(bench, layer, plan, target, memory, read_grant, write_grant)


def check_plan(bench: EngineBench, layer: Case, plan: LayerPlan, target: Map, memory: np.ndarray, read_grant: np.ndarray | None,
               write_grant: np.ndarray | None):
    geometry, values = bench.geometry, expected(bench, layer, plan, target)
    want = values.output
    run = bench.run(plan, memory, read_grant=read_grant, write_grant=write_grant)
    np.testing.assert_array_equal(target.fetch(geometry, run.memory), want)
    # Nothing else changed, but for idle channels of the last output block.
    spare = -want.shape[0] % geometry.output_lanes
    for kept in (run.memory, memory):
        Map(**{**vars(target), "channels": want.shape[0] + spare}).store(geometry, kept, 0)
    np.testing.assert_array_equal(run.memory, memory)
    line = predicted(geometry, plan, run.offered, read_grant=read_grant, write_grant=write_grant)
    check_cycles(run, line)
    assert not differences(mismatches(run.beats, line, values))


@st.composite
def grants(draw) -> np.ndarray | None:
    """None, or a pattern of the cycles with a grant."""
    if draw(st.booleans()):
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.append(rng.random(draw(st.integers(1, 200))) < draw(st.sampled_from([0.05, 0.3, 0.9])), True)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_layers(bench, data):
    geometry = bench.geometry
    layer = data.draw(layers(words=geometry.activation_words - 200, lanes=geometry.input_lanes, width=60, macs=400_000))
    offset = geometry.output_lanes * data.draw(st.integers(0, 2))
    check(bench, layer, data.draw(grants()), data.draw(grants()), offset=offset,
          weight_base=data.draw(st.sampled_from([0, 500])), parameter_base=data.draw(st.sampled_from([0, 511])))


@pytest.fixture(scope="module")
def bench_with_tables() -> EngineBench:
    return EngineBench(replace(GEOMETRIES["8x2"], options=("table",)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_layers_with_tables(bench_with_tables, data):
    """And without, on an engine that has them."""
    bench = bench_with_tables
    layer = data.draw(layers(words=bench.geometry.activation_words - 200, lanes=bench.geometry.input_lanes, width=60,
                             macs=200_000))
    if data.draw(st.integers(0, 3)):
        layer = with_table(layer, np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))))
    check(bench, layer, data.draw(grants()), data.draw(grants()))


def test_a_wrong_entry_is_noticed(bench_with_tables):
    bench = bench_with_tables
    layer = with_table(draw_layer(4, bench.geometry), np.random.default_rng(4))
    plan, _, target, memory = plan_of(bench, layer)
    run = bench.run(plan, memory)
    line, values = predicted(bench.geometry, plan, run.offered), expected(bench, layer, plan, target)
    assert not differences(mismatches(run.beats, line, values))
    read = int(values.payload("fifo")[20, 0])
    layer.table.table[read] ^= 1
    assert "mapped: of" in differences(mismatches(run.beats, line, expected(bench, layer, plan, target)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_output_blocks_read_inputs_of_their_own(bench, data):
    geometry = bench.geometry
    layer = data.draw(own_inputs(lanes=(geometry.input_lanes, geometry.output_lanes)))
    plan, target, memory = layer.place(geometry, base=5)
    assume(len(plan.phases) == 1)           # others would begin in another output block
    check_plan(bench, layer, plan, target, memory, data.draw(grants()), data.draw(grants()))


@pytest.mark.parametrize("words, out, kernel, fraction", [(560, 11, 1, False), (21, 9, 5, False), (530, 6, 1, True)],
                         ids=["connected", "bands", "scores"])
@pytest.mark.parametrize("engine", GEOMETRIES)
def test_sums_go_on_from_command_to_command(engine, words, out, kernel, fraction):
    """More weights for an output block than the memory holds: what each command writes, too."""
    bench = EngineBench(replace(GEOMETRIES[engine], options=("carry",)))
    rng, channels = np.random.default_rng(words), words * bench.geometry.input_lanes - 1
    size = (1, 1) if kernel == 1 else (1 + bench.geometry.band_pixels // 8, 8) if bench.geometry.band_pixels < 512 else (8, 8)
    conv = conv_of(rng, channels, out, Window(kernel=(kernel, kernel), padding=(kernel // 2,) * 4))
    how = conv.requantise
    if fraction:
        how = replace(how, shift=np.maximum(how.shift, 9), low=1, high=254, fraction=True)
    layer = Case(name="large", x=rng.integers(0, 256, (channels, *size), np.uint8), zero_point=77,
                 conv=replace(conv, requantise=how))
    for density in (None, 0.4):
        grants = [None if density is None else np.append(rng.random(97) < density, True) for _ in range(2)]
        check(bench, layer, *grants, offset=2 * bench.geometry.output_lanes, weight_base=500)
    assert sum(command.window.goes_on for command in plan_of(bench, layer)[0].commands) >= 4


def draw_layer(seed: int, geometry: Geometry, pool=None) -> Case:
    """A 3x3 layer of several bands."""
    rng = np.random.default_rng(seed)
    conv = conv_of(rng, 6, 9, Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    return Case(name="drawn", x=rng.integers(0, 256, (6, 20, 19), np.uint8), zero_point=3, conv=conv, pool=pool)


def test_weights_that_fill_more_than_half_of_the_memory(bench):
    """Those of the next output block come when the ones before are through."""
    channels = 6 * bench.geometry.input_lanes // bench.geometry.output_lanes        # 11x11 taps of them are 484 words, or 363
    conv = conv_of(np.random.default_rng(9), channels, 10, Window(kernel=(11, 11)))
    layer = Case(name="drawn", x=np.random.default_rng(1).integers(0, 256, (channels, 12, 11), np.uint8), zero_point=3,
                 conv=conv)
    plan = plan_of(bench, layer)[0]
    assert len(plan.phases) == -(-10 // bench.geometry.output_lanes) and plan.side_by_side == 1
    check(bench, layer, None, None)


def test_digest_and_idle(bench):
    with bench.design.simulate() as sim:
        assert sim.get("digest") == bench.geometry.digest
        sim.step(50)
        assert not sim.get("busy") and sim.get("done") == 0


def test_host_reads_in_cycles_without_grant(bench):
    """The read port belongs to the host in cycles without a grant, whatever the engine does in the others."""
    geometry, latency = bench.geometry, pipeline.WINDOW + pipeline.ACTIVATION_READ
    layer = draw_layer(1, geometry)
    plan, source, target, memory = plan_of(bench, layer)
    rng = np.random.default_rng(2)
    with bench.design.simulate() as sim:
        bench.load(sim, plan, memory)
        sim.set("write_grant", 1)
        sim.feed("command", [command.pack() for command in plan.commands])
        due = []
        for cycle in range(3000):
            granted, address = bool(rng.random() < 0.6), int(rng.integers(source.base, source.base + source.words))
            sim.set("read_grant", granted)
            sim.set("h_addr", address)
            due.append(None if granted else address)
            if cycle >= latency and due[cycle - latency] is not None:
                word = memory[due[cycle - latency]].tobytes()
                assert sim.get("h_data").to_bytes(geometry.input_lanes, "little") == word
            sim.step()
        sim.set("read_grant", 1)
        sim.run_until(beats=("done", len(plan.commands)), deadline=100_000)
        np.testing.assert_array_equal(target.fetch(geometry, bench.memory(sim)), expected(bench, layer, plan, target).output)


@pytest.mark.parametrize("cycles", [6, 333, 1100, "emitting", "pooling"])
def test_reset_in_the_middle(bench, cycles):
    """After a reset the engine is as new, whatever it was doing; only the memories remember."""
    geometry = bench.geometry
    layer = draw_layer(3, geometry, QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)),
                                             ceil_mode=True))
    plan, source, target, memory = plan_of(bench, layer)
    line = predicted(geometry, plan, np.zeros(len(plan.commands), np.int64))
    cycles = {"emitting": int(line.passed["array"][10]) - 5, "pooling": int(line.passed["fifo"][10]) + 1}.get(cycles, cycles)
    with bench.design.simulate() as sim:
        bench.load(sim, plan, memory)
        sim.set("read_grant", 1)
        sim.set("write_grant", 1)
        # As many as are taken before: what is offered stays.
        number = min(pipeline.COMMANDS, 1 + (cycles - 1 - pipeline.COMMAND_TAKEN) // pipeline.COMMAND_SPACING)
        sim.feed("command", [command.pack() for command in plan.commands[:number]])
        sim.step(cycles)
        assert not sim.pending("command")
        sim.set("rst", 1)
        sim.step(units.vector(geometry))
        sim.set("rst", 0)
        assert not sim.get("busy") and sim.get("done") == 0
        run = bench.execute(sim, plan, memory)
        np.testing.assert_array_equal(target.fetch(geometry, run.memory), expected(bench, layer, plan, target).output)
        check_cycles(run, predicted(geometry, plan, run.offered))


def test_a_command_offered_during_a_reset_is_taken_after_it(bench):
    geometry = bench.geometry
    layer = draw_layer(4, geometry)
    plan, source, target, memory = plan_of(bench, layer)
    with bench.design.simulate() as sim:
        sim.set("rst", 1)
        sim.step(units.vector(geometry))
        sim.feed("command", [plan.commands[-1].pack()])
        sim.step()
        sim.set("rst", 0)
        assert sim.pending("command") and not sim.get("busy")
        sim.step(pipeline.COMMAND_TAKEN + 4)
        assert not sim.pending("command") and sim.get("busy")
        sim.set("rst", 1)
        sim.step(units.vector(geometry))
        sim.set("rst", 0)
        run = bench.execute(sim, plan, memory)
        np.testing.assert_array_equal(target.fetch(geometry, run.memory), expected(bench, layer, plan, target).output)
        check_cycles(run, predicted(geometry, plan, run.offered))


@pytest.mark.parametrize("seed", range(12))
def test_gather_beside_a_layer(bench, seed):
    """Windows of an image arrive while a layer runs; neither changes what the other does, and the layer's cycles stay."""
    geometry, rng = bench.geometry, np.random.default_rng(seed)
    layer = draw_layer(seed, geometry)
    plan, source, target, memory = plan_of(bench, layer)
    channels, height, width, kernel, stride = (int(rng.integers(a, b)) for a, b in ((1, 5), (9, 16), (9, 16), (1, 4), (1, 3)))
    size = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    base = target.base + target.words
    rows = [len(band) for band in bands(size[0], 1, 4)]
    image = rng.integers(0, 256, (channels, height, width), np.uint8)
    commands = gather_bands(geometry, shape=image.shape, kernel=kernel, stride=stride, padding=(0, 0), rows=rows,
                            columns=size[1], zero_point=0, base=base, ring_rows=size[0])
    pixels = np.zeros((height * width, 4), np.uint8)
    pixels[:, :channels] = image.transpose(1, 2, 0).reshape(-1, channels)
    run = bench.run(plan, memory, gather=commands, pixels=pixels)
    np.testing.assert_array_equal(target.fetch(geometry, run.memory), expected(bench, layer, plan, target).output)
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    columns = Map(base=base, channels=kernel * kernel * channels, height=size[0], width=size[1], ring_rows=size[0],
                  pixel_words=words_per_pixel(geometry, channels=channels, kernel=kernel))
    np.testing.assert_array_equal(columns.fetch(geometry, run.memory),
                                  windows.transpose(3, 4, 0, 1, 2).reshape(-1, *size))
    line = predicted(geometry, plan, run.offered)
    check_cycles(run, line, gather_timeline(geometry, commands, np.zeros(len(commands), np.int64),
                                            np.concatenate(([0], run.beats["pixels"].cycle[:-1] + 1)), line.written))


def test_rings_of_rows(bench):
    """Input and output in rings that hold a few rows: each band finds its rows there, wherever the ring wraps."""
    geometry = bench.geometry
    layer = draw_layer(5, geometry)
    (out, *_), (channels, height, width) = layer.shape, layer.x.shape
    source = Map(base=9, channels=channels, height=height, width=width, ring_rows=7,
                 pixel_words=-(-channels // geometry.input_lanes))
    target = Map(base=9 + source.words, channels=out, height=height, width=width, ring_rows=5,
                 pixel_words=-(-out // geometry.input_lanes))
    # At most 3 rows a band, and 2 more of the input.
    plan = plan_layer(replace(geometry, band_pixels=64), layer.conv, source=source, target=target, zero_point=layer.zero_point)
    want = expected(bench, layer, plan, target).output
    memory, done = np.zeros((geometry.activation_words, geometry.input_lanes), np.uint8), 0
    with bench.design.simulate() as sim:
        for number, command in enumerate(plan.commands):
            y = range(max(command.window.first_row, 0), min(command.window.first_row + command.window.rows + 2, height))
            memory.reshape(-1)[source.bytes_of(geometry, y)] = layer.x[:, y]
            bench.load(sim, plan, memory)               # without a grant
            sim.pattern("read_grant", np.ones(1, bool))
            sim.set("write_grant", 1)
            sim.feed("command", [command.pack()])
            sim.run_until(beats=("done", number + 1), deadline=100_000)
            sim.step(4)
            memory = bench.memory(sim)
            rows = range(done, done + command.writer.rows)
            np.testing.assert_array_equal(memory.reshape(-1)[target.bytes_of(geometry, rows)], want[:, rows])
            done += len(rows)
    assert done == height and len(plan.commands) > 5
