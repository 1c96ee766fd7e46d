"""What steps take of the array, against the cycles of the engine."""
import numpy as np
import pytest

from arch.geometry import PRESETS
from compiler.layer import plan_layer
from compiler.maps import Map
from compiler.schedule.steps import shortest_pass
from golden.cycles.engine import timeline
from nets.graph import Window
from tests.hw.engine.layers import conv_of


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("side", [1, 3, 7])
def test_a_pass_lasts_as_long_as_its_pixels_or_the_shortest_one(preset, side):
    geometry = PRESETS[preset]
    channels = 4 * geometry.input_lanes
    conv = conv_of(np.random.default_rng(0), channels, 4 * geometry.output_lanes, Window(kernel=(1, 1)))
    plan = plan_layer(geometry, conv, source=Map.whole(geometry, (channels, side, side), 0), zero_point=0,
                      target=Map.whole(geometry, (4 * geometry.output_lanes, side, side), 0))
    begins = timeline(geometry, plan.commands, np.zeros(len(plan.commands), np.int64)).issued[:, 0]
    assert set(np.diff(begins)[1:].tolist()) == {max(side * side, shortest_pass(geometry))}
