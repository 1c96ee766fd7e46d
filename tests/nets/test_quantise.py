"""Quantisation: how close the integers come to the float network, and what is fused, shared and refused."""
from dataclasses import replace
import math
import re

import numpy as np
import pytest

from golden import values
from golden.evaluate import evaluate
from nets import digits, float_run
from nets.graph import Add, Clip, Conv, Graph, GraphError, Input, MaxPool, Softmax, Window
from nets.int8.calibrate import HALF, Histogram
from nets.int8.check import check
from nets.int8.clip import RATIOS, best_clip, scale_and_zero, split_ratio
from nets.int8.fuse import plan
from nets.int8.network import QClamp, QConv, QGlobalAvgPool, step_scale
from nets.int8.rounding import InputMoments, round_weights
from nets.labelled import labelled_images
from nets.load import load_model
from nets.model import Model
from nets.moves import Pad
from nets.preprocess import InputSpec, find_images, load_image
from nets.quantise import main, outline, quantise, quantise_with, spread, synthetic_images
from tests.nets.operators import every_operator


@pytest.fixture(scope="module")
def model():
    return every_operator()


@pytest.fixture(scope="module")
def network(model):
    return quantise(model, synthetic_images(model.spec, count=32, seed=1))


def test_every_tensor_is_close_to_its_float(model, network):
    """Noise of at most a fraction of the signal, though it passes through twenty quantised layers."""
    value_of = {step.name: step.value for step in plan(model.graph).steps}
    errors, signals = dict.fromkeys(value_of, 0.0), dict.fromkeys(value_of, 0.0)
    for pixels in synthetic_images(model.spec, count=8, seed=2):
        x = model.spec.normalise(pixels)
        floats = float_run.run(model.graph, x, keep=model.graph.by_name)
        for name, q in values.run(network, network.quantise_input(x), keep=network.by_name).items():
            wanted = floats[value_of[name]].reshape(q.shape)
            errors[name] += float(((network.dequantise(name, q) - wanted) ** 2).sum())
            signals[name] += float((wanted ** 2).sum())
    noise = {name: (errors[name] / signals[name]) ** 0.5 for name in value_of}
    assert max(noise.values()) < 0.04, noise


def test_clamps_are_fused_where_they_can_be(network):
    assert [layer.name for layer in network.layers if isinstance(layer, QClamp)] == ["both/relu"]
    assert network.by_name["sum"].requantise.low == network.tensors["sum"].zero_point
    clip, kind = network.by_name["affine"].requantise, network.tensors["affine"]
    assert kind.scale * (clip.low - kind.zero_point) == pytest.approx(-1, abs=kind.scale)
    assert clip.low > 0 or kind.scale * -kind.zero_point == pytest.approx(-1, abs=kind.scale)


def test_a_last_softmax_is_left_to_the_host(network):
    assert network.output == "classes"
    assert any("softmax is left to the host" in note for note in network.notes)
    assert network.tensors["gate/softmax"].scale == 1 / 256         # one within is not


def test_scales_are_shared_where_values_only_move(network):
    for group in (("left", "right", "both", "both/relu", "mean", "mean/padded"), ("grouped", "shuffle"), ("lrn", "max")):
        assert len({(network.tensors[name].scale, network.tensors[name].zero_point) for name in group}) == 1


def test_weights_mean_what_the_multiplier_says(model, network):
    """weight * w_scale is the float weight up to rounding, with w_scale from the requantisation factor alone."""
    for layer in network.layers:
        if isinstance(layer, QConv):
            how = layer.requantise
            factor = how.multiplier * 2.0 ** -how.shift
            scale = factor * step_scale(layer, network) / network.tensors[layer.inputs[0]].scale
            source = model.graph.by_name[layer.name]
            own, read = (2.0 ** np.array(network.octaves.get(name, [0])) for name in (layer.name, layer.inputs[0]))
            weight = layer.weight.reshape(len(layer.weight), layer.weight.shape[1], -1)
            read = np.broadcast_to(read, network.tensors[layer.inputs[0]].shape[0]).reshape(layer.groups, 1, -1, 1)
            wanted = getattr(source, "weight", getattr(source, "scale", None)).reshape(weight.shape) * own.reshape(-1, 1, 1)
            wanted = (wanted.reshape(layer.groups, -1, *weight.shape[1:]) / read).reshape(len(scale), -1)
            error = np.abs(layer.weight.reshape(len(scale), -1) * scale[:, None] - wanted)
            # not every weight is near: some are moved to make up for others
            assert (np.median(error, 1) <= 0.005 * np.abs(wanted).max(1)).all(), layer.name
            assert (how.multiplier % 4 == 3).all() and np.abs(layer.weight).max() <= 127
        if isinstance(layer, QGlobalAvgPool):
            source = network.tensors[layer.inputs[0]]
            factor = float(layer.requantise.multiplier[0]) * 2.0 ** -int(layer.requantise.shift[0])
            assert factor * step_scale(layer, network) == pytest.approx(
                source.scale / (source.shape[1] * source.shape[2]), rel=1e-6)


def test_the_same_images_give_the_same_network(model, network):
    again = quantise(model, synthetic_images(model.spec, count=32, seed=1))
    assert again.tensors == network.tensors and again.provenance == network.provenance
    for ours, theirs in zip(network.layers, again.layers, strict=True):
        if isinstance(ours, QConv):
            np.testing.assert_array_equal(ours.weight, theirs.weight)
            np.testing.assert_array_equal(ours.bias, theirs.bias)


def test_ratios_ascend_and_split():
    assert (np.diff(RATIOS) > 0).all()
    multiplier, shift = split_ratio(np.arange(len(RATIOS)))
    np.testing.assert_array_equal(multiplier * 2.0 ** -shift, RATIOS)
    assert (multiplier.min(), multiplier.max(), shift.min(), shift.max()) == (131, 255, 1, 39)


def test_histogram_counts_whatever_the_order():
    rng = np.random.default_rng(5)
    parts = [rng.normal(0, 10.0 ** k, 1000).astype(np.float32) for k in range(-3, 3)]
    forth, back, halves = Histogram(), Histogram(), (Histogram(), Histogram())
    for k, part in enumerate(parts):
        forth.add(part)
        halves[k % 2].add(part)
    for part in reversed(parts):
        back.add(part)
    merged = halves[1].merged(halves[0])
    for one in (forth, back, merged):
        assert one.counts.sum() == 6000 and one.reach == forth.reach
        np.testing.assert_array_equal(one.counts, forth.counts)
        assert (one.low, one.high) == (min(p.min() for p in parts), max(p.max() for p in parts))
    assert forth.reach / 2 <= max(-forth.low, forth.high) < forth.reach == HALF * (forth.centres[1] - forth.centres[0])


def test_clip_drops_outliers_but_keeps_a_uniform_range():
    uniform, outlier = Histogram(), Histogram()
    values_ = np.linspace(0, 1, 100_000, dtype=np.float32)
    uniform.add(values_)
    outlier.add(np.array([3], np.float32))
    for _ in range(100):                    # an error of 4 once weighs less than finer steps for ten million
        outlier.add(values_)
    assert best_clip(uniform) == pytest.approx((0, 1), abs=0.02)
    assert best_clip(outlier)[1] < 1.5
    assert scale_and_zero(0.0, 0.0) == (1.0, 0)
    assert scale_and_zero(-1.0, -0.5) == (float(np.float32(1 / 255)), 255)


def test_rounding_with_covariance_loses_less():
    rng = np.random.default_rng(3)
    source = rng.normal(0, 0.3, (8, 500)) + rng.normal(0, 1, (1, 500))               # inputs much alike
    layer = Conv(name="c", inputs=("i",), weight=rng.normal(0, 1, (4, 8, 1, 1)).astype(np.float32),
                 bias=np.zeros(4, np.float32), window=Window(kernel=(1, 1)))
    moments = InputMoments()
    moments.add(layer, source.reshape(8, 20, 25).astype(np.float32))
    np.testing.assert_allclose(moments.covariance[0], np.cov(source, bias=True), atol=1e-5)
    weight, scale = layer.weight.reshape(1, 4, 8).astype(np.float64), np.full((1, 4, 1), 0.2)

    def error(q):
        return (((weight - q * scale)[0] @ source).var(1)).sum()

    assert error(round_weights(weight, scale, moments.covariance)) < 0.6 * error(round_weights(weight, scale, None))


def one_conv(weight, bias, *more):
    layers = (Input(name="image", shape=(1, 4, 4)),
              Conv(name="conv", inputs=("image",), weight=np.asarray(weight, np.float32).reshape(-1, 1, 1, 1),
                   bias=np.asarray(bias, np.float32), window=Window(kernel=(1, 1))), *more)
    spec = InputSpec(size=(4, 4), channels="L", mean=(0.0,), std=(1.0,))
    return Model(graph=Graph(name="one", layers=layers, output=layers[-1].name), spec=spec)


@pytest.mark.parametrize(("weight", "bias"), [
    ([0, 0], [0, 0]), ([0, 1], [5, 0]), ([1e-30, 1], [0, 0]), ([1e-6, 1], [3, 1e-9]), ([1e20, -1e20], [0, 1]), ([1, -1], [-5, 5]),
])
def test_odd_weights_come_through(weight, bias):
    model = one_conv(weight, bias)
    images = synthetic_images(model.spec)
    network = quantise(model, images)
    x = model.spec.normalise(images[0])
    floats = float_run.run(model.graph, x)["conv"]
    got = network.dequantise("conv", values.run(network, network.quantise_input(x))["conv"])
    assert np.abs(got - floats).max() <= 2.6 * network.tensors["conv"].scale


@pytest.mark.parametrize("layer", [
    Clip(name="late", inputs=("conv",), low=-math.inf, high=-30.0), Clip(name="late", inputs=("conv",), low=20.0, high=math.inf),
    Pad(name="late", inputs=("conv",), before=(0, 1, 1), after=(0, 1, 1), value=-7.0)])
@pytest.mark.parametrize("pooled", [False, True])
def test_constants_beyond_all_values_come_through(layer, pooled):
    """What a clamp or padding puts in may lie outside of what the images give: then it is all or much of what leaves."""
    pool = MaxPool(name="pool", inputs=("conv",), window=Window(kernel=(2, 2), stride=(1, 1)))
    more = (pool, replace(layer, inputs=("pool",))) if pooled else (layer,)
    model = one_conv([1, 2], [0, 0], *more)
    images = synthetic_images(model.spec)
    network = quantise(model, images)
    x = model.spec.normalise(images[0])
    floats = float_run.run(model.graph, x)["late"]
    got = network.dequantise(network.output, values.run(network, network.quantise_input(x))[network.output])
    assert np.abs(got - floats).max() <= 2 * network.tensors[network.output].scale


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1e12, 1e22])
def test_values_of_any_size_come_through(size):
    """Every layer in its own scale, however far it is from that of its input."""
    second = Conv(name="second", inputs=("conv",), weight=np.full((2, 2, 1, 1), 1 / size, np.float32),
                  bias=np.ones(2, np.float32), window=Window(kernel=(1, 1)))
    model = one_conv([size, size / 3], [0, size], second)
    images = synthetic_images(model.spec)
    network = quantise(model, images)
    x = model.spec.normalise(images[1])
    floats = float_run.run(model.graph, x)["second"]
    got = network.dequantise("second", values.run(network, network.quantise_input(x))["second"])
    assert np.abs(got - floats).max() <= 4 * network.tensors["second"].scale


def test_values_beyond_float_are_refused():
    model = one_conv([3e38], [3e38])
    with pytest.raises(GraphError, match=re.escape("one: conv (Conv): values are not finite on a calibration image")):
        quantise(model, synthetic_images(model.spec))


def test_accumulators_beyond_int32_are_named(network):
    layer = network.by_name["stem"]
    bad = replace(layer, bias=np.full(len(layer.bias), 2**31 - 5, np.int32))
    with pytest.raises(GraphError, match=r"stem \(Conv\): accumulator may reach .*, beyond int32"):
        check(replace(network, layers=tuple(bad if one is layer else one for one in network.layers)))


def test_a_network_of_softmax_alone_is_refused():
    layers = (Input(name="image", shape=(1, 4, 4)), Softmax(name="softmax", inputs=("image",)))
    with pytest.raises(GraphError, match="nothing to compute on integers"):
        plan(Graph(name="none", layers=layers, output="softmax"))


def test_no_image_is_refused(model):
    with pytest.raises(ValueError, match="images must be at least one, not none"):
        quantise(model, [])


def test_an_outline_has_the_shapes_of_the_network(model, network):
    outlined = outline(model)
    assert [(type(layer), layer.name, layer.inputs) for layer in outlined.layers] == [
        (type(layer), layer.name, layer.inputs) for layer in network.layers]
    assert {name: kind.shape for name, kind in outlined.tensors.items()} == {
        name: kind.shape for name, kind in network.tensors.items()}
    for layer in outlined.layers:
        if isinstance(layer, QConv):
            assert layer.weight.shape == network.by_name[layer.name].weight.shape and not layer.weight.any()


def test_spread_takes_both_ends():
    assert spread(list(range(500)), 3) == [0, 250, 499]
    assert spread([1, 2], 64) == [1, 2] and spread([1, 2], 1) == [1]


def test_networks_without_images_are_calibrated_on_noise_and_say_so(model):
    assert any("synthetic images" in note for note in quantise_with(model).notes)
    assert quantise_with(load_model("digits")).notes == load_model("digits").notes


def test_digits_are_read():
    """The target: at least 97 % of the images that digits was not trained on."""
    network = quantise_with(load_model("digits"))
    images = labelled_images(digits.IMAGES, 10)
    assert len(images) >= 300
    assert evaluate(network, None, images)["int8"]["top1"] >= 0.97


@pytest.mark.parametrize("name", ["squeezenet1_1", "squeezenet1_0_deepcomp"])
def test_trained_networks_keep_their_ranking(data, name):
    """A small version of bench.accuracy: the integers choose the float network's class, or nearly always."""
    model = load_model(data / "models" / f"{name}.onnx")
    folder = data / "images" / "imagenet-sample"
    network = quantise_with(model, folder, limit=16)
    same = 0
    chosen = spread(find_images(folder), 41)[::2]
    for path in chosen:
        x = model.spec.normalise(load_image(path, model.spec))
        best = float_run.run(model.graph, x)[model.graph.output].argmax()
        same += int(values.run(network, network.quantise_input(x))[network.output].argmax() == best)
    assert same >= len(chosen) - 3


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--limit", "x"]])
def test_bad_limits_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", "x.fln"])
    assert "must be a positive number" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(12))
def test_an_addition_counts_each_input_as_it_should(seed):
    """To half a step of the sum, at the end of the range of both: inputs whose ranges are alike, or far apart."""
    rng = np.random.default_rng(seed)
    gain = 10 ** rng.uniform(-2, 2)
    sides = [Conv(name=name, inputs=("image",), weight=(size * rng.normal(0, 1, (4, 1, 1, 1))).astype(np.float32),
                  bias=(size * rng.normal(0, 1, 4)).astype(np.float32), window=Window(kernel=(1, 1)))
             for name, size in (("a", 1.0), ("b", gain))]
    model = one_conv([1], [0], *sides, Add(name="sum", inputs=("a", "b")))
    network = quantise(model, synthetic_images(model.spec))
    layer, kinds = network.by_name["sum"], network.tensors
    unit = float(layer.requantise.multiplier[0] * 2.0 ** -layer.requantise.shift[0])
    octaves = {name: network.octaves.get(name, (0,) * 4) for name in ("a", "b", "sum")}
    assert octaves["a"] == octaves["b"] == octaves["sum"]
    for name, weight in zip(layer.inputs, layer.weights, strict=True):
        wrong = abs(weight * unit - kinds[name].scale / kinds["sum"].scale) * 255
        assert wrong < 0.5, f"seed {seed}: {name} is wrong by {wrong:.2f} steps"
    assert network.losses[-1].snr > 35, f"seed {seed}"
