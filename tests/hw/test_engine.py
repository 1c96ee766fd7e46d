"""Layers on the engine's RTL: memory equal to the integer reference, every beat in the cycle that the model has for it."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from compiler.layer import Map, plan_layer
from golden import values
from golden.cycles.engine import timeline
from golden.cycles.streams import Readiness
from nets.quantised import QAvgPool, QGlobalAvgPool, QMaxPool
from tests.hw.engine_bench import EngineBench
from tests.hw.layers import Layer, layers

# Small memories make bands, phases and full queues frequent.
GEOMETRIES = {
    "4x4": Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=512, band_pixels=64, fifo_words=32),
    "8x2": Geometry(input_lanes=8, output_lanes=2, lut_pairs=1, requantise_multipliers=False, activation_words=1536,
                    weight_words=512, fifo_words=32),
}


@pytest.fixture(scope="module", params=GEOMETRIES)
def bench(request) -> EngineBench:
    return EngineBench(GEOMETRIES[request.param])


def reference(layer: Layer) -> np.ndarray:
    q = values.conv(layer.x, layer.conv, layer.zero_point)
    zero_point = layer.conv.requantise.zero_point
    match layer.pool:
        case QMaxPool():
            return values.max_pool(q, layer.pool)
        case QAvgPool():
            return values.avg_pool(q, layer.pool, zero_point)
        case QGlobalAvgPool():
            return values.global_avg_pool(q, layer.pool, zero_point)
    return q


def check(bench: EngineBench, layer: Layer, read_grant, write_grant, *, weight_base=0, parameter_base=0, offset=0):
    geometry, want = bench.geometry, reference(layer)
    source = Map.whole(geometry, layer.x.shape, base=5)
    words = -(-(offset + want.shape[0]) // geometry.input_lanes)
    target = Map(base=5 + source.words, channels=want.shape[0], height=want.shape[1], width=want.shape[2], pixel_words=words,
                 ring_rows=want.shape[1], offset=offset)
    assert target.base + target.words <= geometry.activation_words
    plan = plan_layer(geometry, layer.conv, source=source, target=target, zero_point=layer.zero_point, pool=layer.pool,
                      weight_base=weight_base, parameter_base=parameter_base)
    memory = np.full((geometry.activation_words, geometry.input_lanes), 77, np.uint8)
    source.store(geometry, memory, layer.x)
    run = bench.run(plan, memory, read_grant=read_grant, write_grant=write_grant)
    np.testing.assert_array_equal(target.fetch(geometry, run.memory), want)
    # Nothing else changed, but for idle channels of the last output block.
    spare = -(-want.shape[0] // geometry.output_lanes) * geometry.output_lanes - want.shape[0]
    for kept in (run.memory, memory):
        Map(**{**vars(target), "channels": want.shape[0] + spare}).store(geometry, kept, 0)
    np.testing.assert_array_equal(run.memory, memory)

    line = timeline(geometry, plan.commands, run.offered, read_grant=Readiness(read_grant), write_grant=Readiness(write_grant))
    for name, beats in run.beats.items():
        expected = {"command": line.taken, "done": line.done - 1}       # the count shows in the cycle after
        np.testing.assert_array_equal(beats.cycle, expected[name] if name in expected else getattr(line, name), name)


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
