"""The model in time: figures of real layers, and what stalls may do."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch import pipeline, units
from arch.geometry import PRESETS, Geometry
from compiler.layer import LayerPlan, plan_layer
from compiler.maps import Map
from golden.cycles.engine import Timeline, timeline
from golden.cycles.streams import Readiness
from nets.graph import Window
from nets.int8.network import QConv, QGlobalAvgPool, QMaxPool, Requantise

SMALL = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=512, band_pixels=64, fifo_words=32)
POOL = QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=True)
AVERAGE = QGlobalAvgPool(name="pool", inputs=("conv",), requantise=Requantise(multiplier=np.array(200), shift=np.array(16),
                                                                            zero_point=0))
# SqueezeNet v1.1: name, input channels (conv1: gathered), output channels, kernel, size, what follows.
SQUEEZENET = [("conv1", 27, 64, 1, 111, POOL), ("conv10", 512, 1000, 1, 13, AVERAGE)]
for fire, channels, squeeze, expand, size in ((2, 64, 16, 64, 55), (3, 128, 16, 64, 55), (4, 128, 32, 128, 27),
                                              (5, 256, 32, 128, 27), (6, 256, 48, 192, 13), (7, 384, 48, 192, 13),
                                              (8, 384, 64, 256, 13), (9, 512, 64, 256, 13)):
    pool = POOL if fire in (3, 5) else None
    SQUEEZENET += [(f"fire{fire}/squeeze1x1", channels, squeeze, 1, size, None),
                   (f"fire{fire}/expand1x1", squeeze, expand, 1, size, pool),
                   (f"fire{fire}/expand3x3", squeeze, expand, 3, size, pool)]


def plan_of(geometry: Geometry, channels: int, out: int, kernel: int, size: int, pool=None) -> LayerPlan:
    conv = QConv(name="conv", inputs=("x",), weight=np.zeros((out, channels, kernel, kernel), np.int8),
                 bias=np.zeros(out, np.int32), window=Window(kernel=(kernel, kernel), padding=(kernel // 2,) * 4), groups=1,
                 requantise=Requantise(multiplier=np.array(1), shift=np.array(1), zero_point=0))
    after = (1, 1) if pool is AVERAGE else pool.window.output_size(size, size, ceil_mode=True) if pool else (size, size)
    return plan_layer(geometry, conv, source=Map.whole(geometry, (channels, size, size), 0),
                      target=Map.whole(geometry, (out, *after), 0), zero_point=0, pool=pool)


def at_once(plan: LayerPlan, geometry: Geometry, **grants: Readiness) -> Timeline:
    return timeline(geometry, plan.commands, np.zeros(len(plan.commands), np.int64), **grants)


@pytest.mark.parametrize("name, channels, out, kernel, size, pool", SQUEEZENET, ids=lambda value: str(value)[:20])
def test_squeezenet_keeps_the_array_busy(name, channels, out, kernel, size, pool):
    """Share of PI x PO used from the first weight word read, two cycles after the loader takes its record, to the last write."""
    geometry = PRESETS["85f"]
    plan = plan_of(geometry, channels, out, kernel, size, pool)
    cycles = at_once(plan, geometry).written[-1] - (pipeline.COMMAND_TAKEN + pipeline.DISPATCH + 2) + 1
    assert plan.macs / geometry.macs / cycles > (0.84 if name == "conv1" else 0.985)


def test_cycles_of_a_layer_by_hand():
    """One pass of 16 beats for each of two output blocks, on 4x4 lanes."""
    plan = plan_of(SMALL, 4, 8, 1, 4)
    line = at_once(plan, SMALL)
    assert line.taken.tolist() == [pipeline.COMMAND_TAKEN]
    # Records are taken in 4. Weights are read in 6 and 7, the first of which lets the pass start; it is seen in 7, the pass
    # starts in 9 with its first beat. The second one waits for its parameters, read in 23 and 24, a cycle longer than for beats.
    assert line.issued.tolist() == [[9, 24], [26, 41]]
    assert line.passed["array"].tolist() == [n + pipeline.operand(SMALL) + 10 for n in (*range(9, 25), *range(26, 42))]
    assert line.passed["requantised"].tolist() == [n + 12 for n in line.passed["array"].tolist()]
    assert line.passed["requantised"][0] == 9 + units.vector(SMALL)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]), st.integers(3, 12),
       st.sampled_from([None, POOL, AVERAGE]), st.integers(0, 2**32 - 1))
def test_stalls_only_delay(channels, out, kernel, size, pool, seed):
    rng = np.random.default_rng(seed)
    plan = plan_of(SMALL, channels, out, kernel, size, pool)
    free = at_once(plan, SMALL)
    grants = [np.append(rng.random(97) < rng.choice([0.1, 0.5, 0.9]), True) for _ in range(2)]
    slow = at_once(plan, SMALL, read_grant=Readiness(grants[0]), write_grant=Readiness(grants[1]))
    assert (*free.passed,) == (*slow.passed,) == units.boundaries(SMALL)
    for name in ("issued", "done", *free.passed):
        fast, late = (line.passed[name] if name in line.passed else getattr(line, name) for line in (free, slow))
        assert fast.shape == late.shape and np.all(fast <= late), name
        assert np.all(np.diff(late.reshape(-1, 2)[:, 0] if name == "issued" else late) > 0), name
    assert len(free.passed["array"]) == sum(c.window.pixels * c.window.output_blocks for c in plan.commands)
    assert np.all(grants[1][(slow.written - pipeline.WRITE_GRANT) % 98]), "written without a grant"
    # The FIFO never holds, nor is promised, more than its places.
    behind = slow.passed["array"] - SMALL.input_lanes - 6 - pipeline.operand(SMALL)
    assert np.all(slow.passed["fifo"][:-SMALL.fifo_words] < behind[SMALL.fifo_words:])
