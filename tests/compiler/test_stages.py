"""Lowering: what is fused, where concatenated tensors lie, and what is refused."""
from dataclasses import replace
import re

import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from compiler.build import compile_network
from compiler.convolution import Own
from compiler.lowering.lower import lower
from compiler.lowering.sparse import identity
from compiler.stages import NetworkError, Origin
from golden import values
from nets.graph import Window
from nets.int8.network import (
    QLRN,
    QAdd,
    QAvgPool,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QMaxPool,
    QNetwork,
    QSoftmax,
    Requantise,
    TensorType,
    lrn_entries,
)
from nets.preprocess import InputSpec

GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64)
POOL = Window(kernel=(2, 2), stride=(2, 2))


def conv(name, source, shape, **window) -> QConv:
    return QConv(name=name, inputs=(source,), weight=np.ones(shape, np.int8), bias=np.zeros(shape[0], np.int32),
                 window=Window(**{"kernel": shape[2:]} | window), groups=1,
                 requantise=Requantise(multiplier=np.array(1), shift=np.array(1), zero_point=3))


def network(*layers, shape=(8, 8, 8), **shapes) -> QNetwork:
    """Layers behind an input `x`; `shapes` of their tensors."""
    kinds = {"x": shape} | shapes
    return QNetwork(name="net", layers=(QInput(name="x"), *layers), output=layers[-1].name,
                    tensors={name: TensorType(shape=size, scale=1.0, zero_point=3) for name, size in kinds.items()},
                    spec=InputSpec(size=shape[1:]))


@pytest.mark.parametrize("zero_point", [0, 7, 128, 255])
def test_a_copy_is_exact(zero_point):
    q = np.arange(256, dtype=np.uint8).reshape(2, 16, 8)
    np.testing.assert_array_equal(values.conv(q, identity("copy", "x", 2, zero_point), zero_point), q)


@pytest.mark.parametrize("channels, kernel, words", [(1, (10, 4), 13), (3, (7, 7), 19), (1, (1, 9), 0), (3, (2, 11), 0)])
def test_the_gather_makes_windows_of_rectangles_where_that_saves_passes(channels, kernel, words):
    stages = lower(network(conv("a", "x", (6, channels, *kernel)), shape=(channels, 19, 19),
                           a=(6, 20 - kernel[0], 20 - kernel[1])), GEOMETRY)
    assert (stages.image is not None) == bool(words)
    if words:
        assert stages.stages[0].sources[0].buffer.pixel_words == words and stages.image.window.kernel == (max(kernel),) * 2


def test_pool_behind_a_convolution_is_fused():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), QMaxPool(name="p", inputs=("a",), window=POOL, ceil_mode=False),
                          a=(6, 8, 8), p=(6, 4, 4)), GEOMETRY)
    assert [(s.layer, s.tensor, s.target.buffer.name) for s in found.stages] == [("a", "p", "p")]


def test_pool_behind_a_concatenation_goes_into_its_branches():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), conv("b", "x", (5, 8, 1, 1)), QConcat(name="c", inputs=("a", "b")),
                          QMaxPool(name="p", inputs=("c",), window=POOL, ceil_mode=False), conv("d", "p", (4, 11, 1, 1)),
                          a=(6, 8, 8), b=(5, 8, 8), c=(11, 8, 8), p=(11, 4, 4), d=(4, 4, 4)), GEOMETRY)
    assert [(s.layer, s.tensor, s.channel, s.target.buffer.name, s.target.words) for s in found.stages] == [
        ("a", "p", 0, "p", range(1)), ("b", "p", 6, "p", range(1, 2)), ("d", "d", 0, "d", range(1))]
    # Channels between the parts have no weight: b's five begin at a word of their own.
    weight = found.stages[2].work.conv.weight[:, :, 0, 0]
    assert weight.shape == (4, 16) and weight[:, :6].all() and weight[:, 8:13].all()
    assert not weight[:, 6:8].any() and not weight[:, 13:].any()


def test_output_that_is_not_alone_is_packed():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), conv("b", "x", (5, 8, 1, 1)), QConcat(name="c", inputs=("a", "b")),
                          a=(6, 8, 8), b=(5, 8, 8), c=(11, 8, 8)), GEOMETRY)
    assert found.stages[-1].target.buffer is found.output and found.output.name == "c, packed"


BEFORE = QMaxPool(name="p", inputs=("x",), window=POOL, ceil_mode=False), QFlatten(name="f", inputs=("p",))


def test_flattened_map_is_read_by_a_kernel_of_its_size():
    found = lower(network(*BEFORE, conv("a", "f", (4, 128, 1, 1)), QSoftmax(name="s", inputs=("a",),
                          table=np.zeros(256, np.uint16)),
                          shape=(8, 8, 8), p=(8, 4, 4), f=(128, 1, 1), a=(4, 1, 1), s=(4, 1, 1)), GEOMETRY)
    assert found.stages[-1].work.conv.window.kernel == (4, 4) and found.softmax and found.output_name == "a"


def test_flattened_map_larger_than_kernels_is_read_as_one_pixel():
    """Channels of all its pixels, row by row, each with all words of a pixel."""
    weight = np.arange(4 * 9 * 12 * 2).reshape(4, 9, 12, 2) % 127
    dense = replace(conv("a", "f", (4, 216, 1, 1)), weight=weight.reshape(4, -1, 1, 1).astype(np.int8))
    _, stage = lower(network(*BEFORE, dense, shape=(9, 24, 4), p=(9, 12, 2), f=(216, 1, 1), a=(4, 1, 1)), GEOMETRY).stages
    spread = stage.work.conv.weight.reshape(4, 12, 2, 16)
    np.testing.assert_array_equal(spread[..., :9], weight.transpose(0, 2, 3, 1))
    assert not spread[..., 9:].any() and stage.work.whole and stage.sources[0].words == range(2)


def test_flattened_maps_that_are_too_large_are_told():
    """By the words that are read at once, by the weights of a block, and what is no fully connected layer."""
    net = network(*BEFORE, conv("a", "f", (4, 4608, 1, 1)), replace(conv("b", "f", (4, 1, 1, 1)), groups=4608),
                  shape=(8, 48, 48), p=(8, 24, 24), f=(4608, 1, 1), a=(4, 1, 1), b=(4608, 1, 1))
    assert problems_of(net) == [
        ("a (Conv): weights of 4 channels must be at most 512 words (weight_words), not 1152: 640 are missing; "
         "--units carry adds what lets sums go on from command to command"),
        "b (Conv): a convolution of a flattened tensor must be a fully connected layer: 1x1, in one group"]
    net = network(replace(BEFORE[1], inputs=("x",)), conv("a", "f", (4, 32776, 1, 1)), shape=(8, 17, 241), f=(32776, 1, 1),
                  a=(4, 1, 1))
    assert problems_of(net)[0] == ("a (Conv): a map that is read at once must have at most 4095 words of 8 channels, not 4097: "
                                   "pool it before, or give it fewer channels")


def test_global_average_is_fused_only_if_its_input_fits():
    how = Requantise(multiplier=np.array(1), shift=np.array(6), zero_point=0)
    layers = conv("a", "x", (4, 8, 1, 1)), QGlobalAvgPool(name="g", inputs=("a",), requantise=how)
    for side, stages in ((8, 1), (40, 2)):
        net = network(*layers, shape=(8, side, side), a=(4, side, side), g=(4, 1, 1))
        assert len(lower(net, GEOMETRY).stages) == stages


def problems_of(net) -> list[str]:
    return list(map(str, lower(net, GEOMETRY).problems))


def lrn(name, source) -> QLRN:
    """An operator that no unit of the engine computes."""
    entries = lrn_entries(1)
    return QLRN(name=name, inputs=(source,), size=1, base=np.zeros(entries, np.int32), drop=np.zeros(entries, np.int32),
                shift=np.ones(entries, np.uint8))


NO_LRN = 'the engine has no unit "lrn": --units lrn adds it, and hw.build --units lrn makes such a chip'
TOO_WIDE = "output rows must be at most 64 pixels (band_pixels), not 70: 6 are missing"


def test_all_problems_are_told_at_once():
    net = network(conv("a", "x", (4, 8, 12, 1)), conv("b", "x", (4, 8, 1, 7), dilation=(1, 2)), lrn("n", "a"),
                  conv("d", "n", (4, 4, 1, 1)), conv("e", "x", (4, 8, 9, 9)), shape=(8, 70, 70), a=(4, 59, 70), b=(4, 70, 58),
                  n=(4, 59, 70), d=(4, 59, 70), e=(4, 62, 62))
    assert problems_of(net) == [
        "a (Conv): kernel must be at most 11, not (12, 1)", f"a (Conv): {TOO_WIDE}",
        f"n (LRN): {NO_LRN}", "b (Conv): kernel must be at most 11, not (1, 13)", f"d (Conv): {TOO_WIDE}"]


def test_layers_behind_any_refused_one_are_looked_at():
    """Behind an operator without a unit, a convolution, a flattened map that a pool reads; in branches and at the end."""
    bad = {"padding": (16, 0, 0, 0)}
    net = network(
        lrn("n", "x"), conv("a", "n", (4, 8, 1, 1), **bad), replace(conv("g", "a", (4, 1, 3, 3)), groups=4),
        QConcat(name="c", inputs=("a", "g")), conv("b", "c", (4, 8, 1, 1), **bad), QFlatten(name="f", inputs=("b",)),
        QMaxPool(name="p", inputs=("f",), window=Window(kernel=(1, 1)), ceil_mode=False), conv("z", "p", (4, 36, 1, 1), **bad),
        shape=(8, 3, 3), n=(8, 3, 3), a=(4, 3, 3), g=(4, 3, 3), c=(8, 3, 3), b=(4, 3, 3), f=(36, 1, 1), p=(36, 1, 1),
        z=(4, 1, 1))
    named = [(problem.name, problem.op) for problem in lower(net, GEOMETRY).problems]
    assert named == [("n", "LRN"), ("a", "Conv"), ("b", "Conv"), ("p", "MaxPool"), ("z", "Conv")]


def test_a_refusal_names_the_layer_that_is_at_fault():
    """A pool, not the convolution in front of it."""
    pool = QMaxPool(name="p", inputs=("a",), window=Window(kernel=(7, 7)), ceil_mode=False)
    assert problems_of(network(conv("a", "x", (6, 8, 1, 1)), pool, a=(6, 8, 8), p=(6, 2, 2))) == [
        "p (MaxPool): pool kernel must be at most 3, not (7, 7)"]


def test_an_average_that_divides_by_several_numbers_is_told_as_that():
    pool = QAvgPool(name="p", inputs=("x",), window=Window(kernel=(5, 5), padding=(2, 2, 2, 2)), ceil_mode=False,
                    count_include_pad=False)
    (problem,) = problems_of(network(pool, p=(8, 8, 8)))
    assert problem.startswith("p (AvgPool): an average pool of more than 3x3 must divide by one number everywhere")


def test_an_average_that_pads_nothing_is_told_of_its_kernel_alone():
    pool = QAvgPool(name="p", inputs=("x",), window=Window(kernel=(13, 13)), ceil_mode=False, count_include_pad=True)
    assert problems_of(network(pool, shape=(8, 16, 16), p=(8, 4, 4))) == [
        "p (AvgPool): the kernel of an average pool must be at most 11, or a product with factors of its stride, not (13, 13)"]


def test_memories_are_looked_at_beside_refused_layers():
    net = network(conv("a", "x", (1024, 8, 1, 1)), lrn("n", "a"), conv("b", "n", (4, 1024, 1, 1)), shape=(8, 60, 60),
                  a=(1024, 60, 60), n=(1024, 60, 60), b=(4, 60, 60))
    with pytest.raises(NetworkError) as caught:
        compile_network(net, GEOMETRY, storage_words=1000)
    said = [re.sub(r"\d[\d,]+\d", "N", str(problem)) for problem in caught.value.problems]
    assert said == [
        f"n (LRN): {NO_LRN}",
        *(f"{name} (Conv): activation memory (activation_words) must have at least N words for its smallest band, not N: N are "
          f"missing" for name in "ab"),
        ("net (network): storage must have at least N bytes, not N: N are missing (weights N, parameters N, "
         "input N, output N); --storage-mb 1 goes on as if it had")]


def addition(name, *sources) -> QAdd:
    return QAdd(name=name, inputs=sources, weights=(3, 5), requantise=Requantise(
        multiplier=np.array([2]), shift=np.array([4]), zero_point=0))


def test_an_addition_is_a_stage_that_reads_both_maps():
    """Each in its own buffer; an output block reads its own word of both. The sum of one block is what the next adds to."""
    shape = {name: (16, 8, 8) for name in ("a", "b", "c", "d", "sum", "more")}
    found = lower(network(conv("a", "x", (16, 8, 1, 1)), conv("b", "a", (16, 16, 1, 1)), addition("sum", "b", "a"),
                          conv("c", "sum", (16, 16, 1, 1)), addition("more", "sum", "c"), conv("d", "more", (16, 16, 1, 1)),
                          **shape), GEOMETRY)
    assert not found.problems
    read = {stage.layer: [source.buffer.name for source in stage.sources] for stage in found.stages}
    assert read == {"a": ["x"], "b": ["a"], "sum": ["b", "a"], "c": ["sum"], "more": ["sum", "c"], "d": ["more"]}
    (stage,) = (stage for stage in found.stages if stage.layer == "sum")
    assert (stage.work.maps, stage.work.passes, stage.work.own) == (2, 2, Own(step=1, repeat=2))


def test_an_input_of_an_addition_that_lies_beside_others_is_copied():
    """What a concatenation holds, once for a tensor that is added to itself; not the image."""
    shape = {"a": (8, 8, 8), "c": (16, 8, 8), "twice": (8, 8, 8), "sum": (8, 8, 8), "end": (4, 8, 8)}
    found = lower(network(conv("a", "x", (8, 8, 1, 1)), addition("twice", "a", "a"), QConcat(name="c", inputs=("a", "twice")),
                          addition("sum", "x", "twice"), QConcat(name="d", inputs=("c", "sum")), conv("end", "d", (4, 24, 1, 1)),
                          d=(24, 8, 8), **shape), GEOMETRY)
    assert not found.problems
    written = [(stage.layer, stage.target.buffer.name) for stage in found.stages]
    assert written == [("a", "d"), ("a", "a"), ("twice", "d"), ("twice", "twice"), ("sum", "d"), ("end", "end")]


def test_image_of_few_channels_is_gathered():
    net = network(conv("a", "x", (4, 3, 3, 3)), shape=(3, 20, 20), a=(4, 18, 18))
    found = lower(net, PRESETS["85f"])
    assert found.image is net.by_name["a"] and found.stages[0].sources[0].buffer.origin is Origin.GATHER
    assert found.stages[0].work.conv.weight.shape == (4, 32, 1, 1)
