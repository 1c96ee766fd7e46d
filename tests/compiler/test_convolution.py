"""Sums of more products than there is room for weights: in portions, each of which goes on with the one before."""
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import Opcode
from compiler.build import compile_network
from compiler.convolution import Convolution
from compiler.listing import lines, text_of
from compiler.residency import Brought, Stored
from golden import compare, values
from golden.machine import execute
from nets.graph import Conv, Flatten, Graph, Input, Linear, MaxPool, Relu, Window
from nets.int8.network import QMaxPool, QNetwork
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from tests.compiler.test_build import check_values, random_input
from tests.hw.engine.layers import conv_of
from tests.sim.networks import single_conv

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=64,
                    options=("carry",))
HALF = replace(GEOMETRY, input_lanes=8, activation_words=1024)


def work(channels: int, out: int, pool: QMaxPool | None = None) -> Convolution:
    conv = conv_of(np.random.default_rng(1), channels, out, Window(kernel=(1, 1)))
    return Convolution(geometry=GEOMETRY, conv=conv, pool=pool, height=1, width=1, zero_point=0)


@pytest.mark.parametrize("channels, out, portions", [
    (512, 8, 1),            # two blocks of 256 words side by side
    (516, 8, 2),            # not quite
    (1024, 4, 1),           # no other block
    (1028, 4, 3), (4 * 1281, 9, 11)])
def test_portions_leave_room_for_the_next_one(channels, out, portions):
    found = work(channels, out)
    assert len(found.portions) == portions and not list(found.against())
    assert [word for part in found.portions for word in part] == list(range(found.input_words))
    assert [word for part in found.portion_words for word in part] == list(range(found.block_words))
    if portions > 1:
        assert max(map(len, found.portion_words)) <= GEOMETRY.weight_words // 2
        assert max(map(len, found.portions)) - min(map(len, found.portions)) <= 1


def test_no_portions_where_their_results_would_be_pooled():
    (_, reason), = work(1028, 4, QMaxPool(name="pool", inputs=("conv",), ceil_mode=False,
                                         window=Window(kernel=(1, 1)))).against()
    assert reason == "weights of 4 channels must be at most 512 words (weight_words), not 514: 2 are missing"


def connected(channels: int, side: int, *outs: int) -> QNetwork:
    """A convolution and a pool, and fully connected layers of so many channels behind what they make."""
    rng = np.random.default_rng(side)
    layers = [Input(name="x", shape=(3, 2 * side, 2 * side)),
              Conv(name="conv", inputs=("x",), weight=rng.normal(size=(channels, 3, 3, 3)).astype(np.float32),
                   bias=np.zeros(channels, np.float32), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))),
              Relu(name="relu", inputs=("conv",)),
              MaxPool(name="pool", inputs=("relu",), window=Window(kernel=(2, 2), stride=(2, 2))),
              Flatten(name="flat", inputs=("pool",))]
    features = channels * side * side
    for n, out in enumerate(outs):
        weight = rng.normal(0, features ** -0.5, (out, features)).astype(np.float32)
        layers += [Linear(name=f"fc{n}", inputs=(layers[-1].name,), weight=weight, bias=rng.normal(size=out).astype(np.float32))]
        if n + 1 < len(outs):
            layers += [Relu(name=f"relu{n}", inputs=(f"fc{n}",))]
        features = out
    spec = InputSpec(size=(2 * side, 2 * side), crop="none")
    return quantise(Model(graph=Graph(name="connected", layers=tuple(layers), output=layers[-1].name), spec=spec),
                    synthetic_images(spec, count=4))


@pytest.mark.parametrize("geometry", [GEOMETRY, HALF], ids=["whole words", "half words"])
@pytest.mark.parametrize("channels, side", [(20, 9), (24, 13)], ids=["window", "map at once"])
def test_fully_connected_layers_of_any_size(geometry, channels, side):
    network = connected(channels, side, 1100, 21, 5)
    compiled = compile_network(network, geometry)
    check_values(network, compiled, random_input(network))
    # Weights come once: each word of storage is loaded once.
    loaded = Counter()
    for instruction in compiled.program.instructions:
        if instruction.opcode is Opcode.LOAD_WEIGHTS:
            body = instruction.body
            loaded.update(range(body.storage, body.storage + body.words * geometry.input_lanes))
    stages = [stage for stage in compiled.stages.stages if len(stage.work.portions) > 1]
    assert [stage.layer for stage in stages] == ["fc0", "fc1"]
    for stage in stages:
        first, words = compiled.layout.weights[stage], stage.work.blocks * stage.work.block_words * geometry.input_lanes
        assert all(loaded[word] == 1 for word in range(first, first + words))


@pytest.mark.parametrize("size", [(6, 6), (19, 19)], ids=["whole", "spilled"])
def test_bands_of_a_convolution_with_large_weights(size):
    """Of several bands each has all portions; where the output leaves the chip, only what is whole does."""
    geometry = replace(GEOMETRY, activation_words=2048 if size[0] < 10 else 8192)
    network = single_conv(66, 10, size, Window(kernel=(5, 5), padding=(2, 2, 2, 2)))
    compiled = compile_network(network, geometry)
    (group,) = compiled.groups
    assert any(isinstance(place, Stored) for place in group.places) and any(isinstance(place, Brought) for place in group.places)
    assert len({step.band.rows for step in group.order.steps}) == (1 if size[0] < 10 else 7)
    check_values(network, compiled, random_input(network))


def test_what_is_not_whole_is_not_compared_and_what_is_made_of_it_is():
    network = single_conv(1200, 10, (1, 1), Window(kernel=(1, 1)))
    compiled, q = compile_network(network, GEOMETRY), random_input(network)
    tensors, written = values.run(network, q, keep=network.by_name), list(execute(compiled.program, q).written)
    last = [not command.window.goes_on for command in (
        instruction.body for instruction in compiled.program.instructions if instruction.opcode is Opcode.COMPUTE)][1:] + [True]
    for n, whole in enumerate(last):
        spoilt = [vectors ^ (n == m) for m, vectors in enumerate(written)]
        counts = compare.mismatches(network, tensors, compiled.program, tuple(spoilt))
        assert [bool(count) for count in counts] == [whole and n == m for m in range(len(last))]
    assert 0 < sum(last) < len(last)
    said = [text_of(line) for line in lines(compiled.program.storage[compiled.program.program:], GEOMETRY,
                                            base=compiled.program.program, parts=compiled.program.parts)]
    said = [text.splitlines()[0].endswith("channels 0..3, sums go on") for text in said if "COMPUTE" in text][:4]
    assert said == [False, True, True, False]
