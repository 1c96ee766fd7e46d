"""Scores far from zero: moved there where that is exact, remembered, and told apart."""
import numpy as np
import pytest

from golden import values
from nets import float_run
from nets.graph import AvgPool, Conv, GlobalAvgPool, Graph, Input, MaxPool, Relu, Softmax, Window
from nets.int8.centre import centre
from nets.int8.equalise import measure_ranges
from nets.int8.file import load, save
from nets.int8.fuse import plan
from nets.int8.network import step_scale
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from nets.scores import top
from tests.nets.spread import spread_network


@pytest.mark.parametrize("scores_at", [50, -50, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_scores_far_from_zero_are_told_apart(seed, scores_at):
    """As well as those of the same network around zero."""
    models = [spread_network(seed, decades=0, scores_at=at) for at in (0, scores_at)]
    near, far = (quantise(model, synthetic_images(model.spec)) for model in models)
    assert near.offset == 0 and abs(far.offset - scores_at) < 5, f"seed {seed}"
    assert far.losses[-1].snr > 20 and far.tensors["classes"].scale <= near.tensors["classes"].scale * 1.01
    x = models[1].spec.normalise(synthetic_images(models[1].spec, seed=seed + 50)[0])
    q = values.run(far, far.quantise_input(x))["classes"]
    wanted = float_run.run(models[1].graph, x)["classes"]
    error = np.abs(far.dequantise("classes", q).ravel() - wanted).max()
    assert error < 6 * step_scale(far.layers[-1], far) + 1e-6 * abs(scores_at), f"seed {seed}"


def test_the_offset_is_remembered(tmp_path):
    model = spread_network(0, decades=0, scores_at=50)
    network = quantise(model, synthetic_images(model.spec))
    save(network, tmp_path / "far.fln")
    again = load(tmp_path / "far.fln")
    assert again.offset == network.offset != 0
    q = np.arange(10, dtype=np.uint8).reshape(10, 1, 1)
    kind = network.tensors["classes"]
    wanted = (np.arange(10) - kind.zero_point) * kind.scale + again.offset
    np.testing.assert_allclose(again.dequantise("classes", q).ravel(), wanted)
    powers = np.exp(kind.scale * np.arange(10))
    assert [entry["score"] for entry in top(again, q, 3)] == pytest.approx((powers / powers.sum())[:-4:-1], rel=1e-5)


def chain(*middle):
    weight = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3, 1, 1)
    layers = [Input(name="image", shape=(3, 6, 6)), Conv(name="conv", inputs=("image",), weight=weight,
                                                        bias=np.full(4, 40, np.float32), window=Window(kernel=(1, 1)))]
    for kind, more in middle:
        layers.append(kind(name=f"l{len(layers)}", inputs=(layers[-1].name,), **more))
    return Model(graph=Graph(name="chain", layers=tuple(layers), output=layers[-1].name),
                 spec=InputSpec(size=(6, 6), mean=(0.5,) * 3, std=(0.25,) * 3, crop="none"))


AVERAGE = {"window": Window(kernel=(3, 3), padding=(1, 1, 1, 1))}


@pytest.mark.parametrize(("middle", "moves"), [
    ([], True), ([(GlobalAvgPool, {})], True), ([(MaxPool, AVERAGE), (Softmax, {})], True), ([(AvgPool, AVERAGE)], True),
    ([(AvgPool, AVERAGE | {"count_include_pad": True})], False), ([(Relu, {}), (GlobalAvgPool, {})], False),
])
def test_only_what_moves_along_is_passed(middle, moves):
    model = chain(*middle)
    images = [model.spec.normalise(pixels) for pixels in synthetic_images(model.spec, count=4)]
    graph, offset = centre(model.graph, plan(model.graph), measure_ranges(model.graph, images))
    assert (offset != 0) == moves
    if moves:
        output = next(step.value for step in plan(graph).steps if step.name == plan(graph).output)
        before, after = (float_run.run(g, images[0], keep=[output])[output] for g in (model.graph, graph))
        np.testing.assert_allclose(after + offset, before, rtol=1e-5)
    else:
        assert graph is model.graph


def test_scores_around_zero_stay():
    model = spread_network(1, decades=0)
    assert quantise(model, synthetic_images(model.spec)).offset == 0.0
