"""Orders of the steps of a group: who runs when, and how many rows are kept for it."""
from dataclasses import replace

import numpy as np

from arch.geometry import PRESETS
from compiler.lowering.lower import lower
from compiler.schedule.orders import interleaved
from compiler.schedule.steps import Cuts
from nets.graph import Window
from nets.int8.network import QAdd, QInput, QNetwork, Requantise, TensorType
from nets.preprocess import InputSpec
from tests.hw.engine.layers import conv_of

SQUARE = PRESETS["85f"]


def test_branches_do_not_run_ahead_of_who_reads_them():
    """A branch of a sum that is always possible keeps its rows in a ring, as the other one does."""
    shape = (16, 32, 32)
    sum_of = QAdd(name="sum", inputs=("b", "c"), weights=(1, 1), requantise=Requantise(
        multiplier=np.array([1]), shift=np.array([1]), zero_point=0))
    window = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
    layers = [QInput(name="x")]
    for name, source in (("a", "x"), ("b", "a"), ("c", "x")):
        conv = conv_of(np.random.default_rng(1), 16, 16, window)
        layers.append(replace(conv, name=name, inputs=(source,)))
    net = QNetwork(name="net", layers=(*layers, sum_of), output="sum", spec=InputSpec(size=shape[1:]), tensors={
        name: TensorType(shape=shape, scale=1.0, zero_point=0) for name in ("x", "a", "b", "c", "sum")})
    stages = lower(net, SQUARE).stages
    for order in interleaved(SQUARE, stages, Cuts(), (2, 2, 2, 2)):
        rows = {stage.layer: order.rings.written(stage.target.buffer) for stage in stages[:-1]}
        assert max(rows.values()) <= 8
