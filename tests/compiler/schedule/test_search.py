"""Groups of layers: which buffers they read and write at the same time, and in bands of how many rows."""
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from compiler import costs
from compiler.build import compile_network
from compiler.residency import BroughtChunks, OnChipChunks, StoredChunks
from compiler.schedule.groups import Estimate
from compiler.stages import NetworkError
from nets.graph import Add, Concat, Conv, Graph, Input, MaxPool, Relu, Window
from nets.int8.network import QNetwork
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from tests.compiler.test_build import SMALL, check_values, random_input
from tests.sim.networks import describe, networks


def dense_block(layers: int, growth: int, side: int) -> QNetwork:
    """Each layer reads all before it: a 1x1 convolution, a 3x3 one, and a concatenation."""
    rng = np.random.default_rng(layers)

    def conv(name: str, source: str, out: int, into: int, kernel: int) -> list[Conv | Relu]:
        weight = rng.normal(size=(out, into, kernel, kernel)).astype(np.float32)
        return [Conv(name=f"{name} conv", inputs=(source,), weight=weight, bias=rng.normal(size=out).astype(np.float32),
                     window=Window(kernel=(kernel, kernel), padding=(kernel // 2,) * 4)),
                Relu(name=name, inputs=(f"{name} conv",))]

    found, last, channels = [Input(name="x", shape=(3, side, side)), *conv("first", "x", 2 * growth, 3, 3)], "first", 2 * growth
    for n in range(layers):
        found += [*conv(f"narrow {n}", last, 2 * growth, channels, 1), *conv(f"wide {n}", f"narrow {n}", growth, 2 * growth, 3),
                  Concat(name=f"all {n}", inputs=(last, f"wide {n}"))]
        last, channels = f"all {n}", channels + growth
    found += conv("end", last, growth, channels, 1)
    spec = InputSpec(size=(side, side), crop="none")
    graph = Graph(name="dense", layers=tuple(found), output="end")
    return quantise(Model(graph=graph, spec=spec), synthetic_images(spec))


@pytest.mark.parametrize("lanes", [4, 8])
def test_a_group_reads_some_words_of_a_spilled_concatenation_and_writes_others(lanes):
    """What a layer of a dense block reads need not leave the chip again between its two convolutions."""
    network = dense_block(layers=4, growth=8, side=16)
    geometry = Geometry(input_lanes=lanes, output_lanes=4, activation_words=1024 * 4 // lanes, weight_words=1024, band_pixels=64)
    compiled = compile_network(network, geometry)
    groups = [group for group in compiled.groups if group.apart]
    assert groups
    for group in groups:
        for buffer, written in group.apart.items():
            read = group.residents[buffer]
            assert read is not written and len(group.stages) > 1
            assert not set(read.words) & set(written.words)
            assert read.base + read.size <= written.base or written.base + written.size <= read.base
    check_values(network, compiled, random_input(network))


def test_parameters_that_do_not_all_fit_come_again_for_each_band():
    """Two layers of 40 output blocks each share bands, where the memory holds parameters of 64."""
    rng, channels, side = np.random.default_rng(5), 640, 12

    def conv(name: str, source: str, into: int, kernel: int, groups: int = 1) -> Conv:
        weight = rng.normal(size=(channels, into, kernel, kernel)).astype(np.float32)
        return Conv(name=name, inputs=(source,), weight=weight, bias=rng.normal(size=channels).astype(np.float32), groups=groups,
                    window=Window(kernel=(kernel, kernel), padding=(kernel // 2,) * 4))

    layers = (Input(name="x", shape=(3, side, side)), conv("a", "x", 3, 1), Relu(name="r", inputs=("a",)),
              conv("b", "r", 1, 3, groups=channels), Relu(name="s", inputs=("b",)), conv("c", "s", 1, 3, groups=channels))
    spec = InputSpec(size=(side, side), crop="none")
    network = quantise(Model(graph=Graph(name="wide", layers=layers, output="c"), spec=spec), synthetic_images(spec))
    geometry = Geometry(input_lanes=16, output_lanes=16, activation_words=4096, weight_words=6144)
    compiled = compile_network(network, geometry)
    assert any(len(group.stages) > 1 and any(group.order.bands_of(stage) > 1 and stage not in group.order.settled
                                             for stage in group.stages) for group in compiled.groups)
    check_values(network, compiled, random_input(network))


@pytest.fixture
def chunks(monkeypatch):
    """Groups that run chunk by chunk seem fast, others of several stages slow; and chunks may be small."""
    cycles, compute = Estimate.cycles, Estimate.compute

    def factor(order):
        return 0.1 if order.by_chunk else 10 if len(order.stages) > 1 else 1
    monkeypatch.setattr(Estimate, "cycles", lambda self, order, *args, **kwargs: (
        cycles(self, order, *args, **kwargs) * factor(order)))
    monkeypatch.setattr(Estimate, "compute", lambda self, order: compute(self, order) * factor(order))
    monkeypatch.setattr(costs, "CHUNK_SHARES", (0.03, 0.1, 0.25, 0.5, 1))
    monkeypatch.setattr(costs, "SPILL_CYCLES", (0,))


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("pooled", [False, True])
def test_what_follows_a_convolution_block_by_block_runs_chunk_by_chunk(lanes, pooled, chunks):
    """A residual block whose maps are all too large for the chip: the sum, and what is added to it, never has to be there whole,
    nor have weights to come twice."""
    rng, side, channels = np.random.default_rng(lanes), 18, 48

    def conv(name: str, source: str, into: int, out: int, kernel: int) -> Conv:
        weight = rng.normal(size=(out, into, kernel, kernel)).astype(np.float32)
        return Conv(name=name, inputs=(source,), weight=weight, bias=rng.normal(size=out).astype(np.float32),
                    window=Window(kernel=(kernel, kernel), padding=(kernel // 2,) * 4))

    layers = [Input(name="x", shape=(3, side, side)), conv("first", "x", 3, channels, 3),
              conv("narrow", "first", channels, 8, 1), conv("wide", "narrow", 8, channels, 1),
              Add(name="sum", inputs=("wide", "first")), Relu(name="relu", inputs=("sum",))]
    if pooled:
        layers.append(MaxPool(name="pool", inputs=("relu",), window=Window(kernel=(3, 3), stride=(2, 2))))
    layers.append(conv("end", layers[-1].name, channels, 8, 1))
    spec = InputSpec(size=(side, side), crop="none")
    network = quantise(Model(graph=Graph(name="block", layers=tuple(layers), output="end"), spec=spec), synthetic_images(spec))
    geometry = Geometry(input_lanes=lanes, output_lanes=4, activation_words=2048 * 4 // lanes, weight_words=512, band_pixels=64)
    compiled = compile_network(network, geometry)
    (group,) = (group for group in compiled.groups if group.order.by_chunk)
    assert {stage.layer for stage in group.stages} == {"wide", "sum"}
    assert {BroughtChunks, OnChipChunks} <= {type(place) for place in group.places}
    assert pooled or StoredChunks in {type(place) for place in group.places}
    check_values(network, compiled, random_input(network))


def test_chunks_end_where_groups_of_channels_do(chunks, monkeypatch):
    """Three output blocks read the same words, and memory for weights would hold chunks of four or five."""
    monkeypatch.setattr(costs, "CHUNK_SHARES", (0.3,))
    rng, side, channels = np.random.default_rng(2), 18, 48
    layers = [Input(name="x", shape=(3, side, side))]
    for name, source, into, groups in (("first", "x", 3, 1), ("beside", "x", 3, 1), ("grouped", "first", 12, 4)):
        layers.append(Conv(name=name, inputs=(source,), groups=groups, bias=rng.normal(size=channels).astype(np.float32),
                           weight=rng.normal(size=(channels, into, 3, 3)).astype(np.float32),
                           window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))))
    layers.append(Add(name="sum", inputs=("grouped", "beside")))
    spec = InputSpec(size=(side, side), crop="none")
    network = quantise(Model(graph=Graph(name="groups", layers=tuple(layers), output="sum"), spec=spec), synthetic_images(spec))
    compiled = compile_network(network, Geometry(input_lanes=4, output_lanes=4, activation_words=2048, weight_words=1024,
                                                 band_pixels=64))
    (group,) = (group for group in compiled.groups if group.order.by_chunk)
    assert {stage.work.own.repeat for stage in group.stages} == {1, 3}
    assert {len(step.blocks) for step in group.order.steps} == {3}
    check_values(network, compiled, random_input(network))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks_chunk_by_chunk(chunks, data):
    network, q = data.draw(networks())
    geometry = data.draw(st.sampled_from(SMALL))
    note(f"{describe(network)} on {geometry}")
    try:
        compiled = compile_network(network, geometry)
    except NetworkError:
        return
    check_values(network, compiled, q)
