"""Networks that bring their integers: what is taken as it is, and what comes nearest where the chip cannot hold it."""
import numpy as np
import pytest

from nets import float_run
from nets.graph import Affine, AvgPool, Concat, Conv, Graph, Input, MaxPool, Relu, Softmax, Window
from nets.int8.fuse import plan
from nets.int8.given import FactorError, nearest, settle, sum_factors
from nets.int8.network import MULTIPLIER_MAX, SHIFT_MAX, WEIGHT_MAX, TensorType
from nets.int8.quantised import Quantisation

A, B, C = (Quantisation(scale=scale, zero_point=zero) for scale, zero in ((0.1, 3), (0.2, 5), (0.3, 7)))
POINT = Window(kernel=(1, 1))


def conv(name: str, source: str, kind: Quantisation | None = None) -> Conv:
    return Conv(name=name, inputs=(source,), weight=np.ones((2, 2, 1, 1), np.float32), bias=np.zeros(2, np.float32), window=POINT,
                quantised=kind)


def graph(*layers, output: str | None = None) -> Graph:
    return Graph(name="net", layers=(Input(name="x", shape=(2, 3, 3), quantised=A), *layers), output=output or layers[-1].name)


def test_the_nearest_multiplier_is_half_a_bit_away_at_most():
    ratio = 2.0 ** np.random.default_rng(1).uniform(-30, 6, 5000)
    multiplier, shift = nearest(ratio)
    assert multiplier.min() >= 128 and multiplier.max() <= MULTIPLIER_MAX and 1 <= shift.min() and shift.max() <= SHIFT_MAX
    assert np.abs(multiplier * 2.0 ** -shift / ratio - 1).max() <= 1 / 256
    exact = np.arange(128, 256) * 2.0 ** -12
    assert np.array_equal(nearest(exact)[0], np.arange(128, 256)) and np.array_equal(nearest(exact)[1], np.full(128, 12))


def test_the_ends_of_multipliers():
    multiplier, shift = nearest(np.array([127.5, 2.0 ** -39, 2.0 ** -60, 0.0, 255.7 / 4096]))
    assert (multiplier * 2.0 ** -shift).tolist() == [127.5, 2.0 ** -39, 0.0, 0.0, 256 / 4096]
    for ratio in (127.6, np.inf):
        with pytest.raises(FactorError, match="steps of the output, more than 127.5"):
            nearest(np.array([ratio]))


def test_sums_count_both_inputs_nearly_as_they_should():
    """Both are off together by less than 0.8 steps at the end of the range."""
    rng = np.random.default_rng(2)
    worst = 0.0
    for scales in 2.0 ** rng.uniform(-5, 3, (200, 2)):
        kinds = [TensorType(shape=(1, 1, 1), scale=scale, zero_point=0) for scale in scales]
        weights, multiplier, shift = sum_factors(kinds, TensorType(shape=(1, 1, 1), scale=1.0, zero_point=0))
        assert max(weights) <= WEIGHT_MAX and multiplier.shape == shift.shape == (1,)
        got = np.array(weights) * float(multiplier[0]) * 2.0 ** -float(shift[0])
        worst = max(worst, float((np.abs(got - scales) / scales.max()).max()))
    assert worst < 0.8 / 255


@pytest.mark.parametrize("scales", [(1e30, 1.0), (1e-30, 1e-30), (1e-30, 1.0)])
def test_sums_of_scales_far_apart(scales):
    kinds = [TensorType(shape=(1, 1, 1), scale=scale, zero_point=0) for scale in scales]
    if max(scales) > 1:
        with pytest.raises(FactorError):
            sum_factors(kinds, TensorType(shape=(1, 1, 1), scale=1.0, zero_point=0))
    else:
        weights, _, _ = sum_factors(kinds, TensorType(shape=(1, 1, 1), scale=1.0, zero_point=0))
        assert 0 <= min(weights) <= max(weights) <= WEIGHT_MAX


def test_an_identity_stands_where_a_scale_changes_and_nothing_computes():
    settled = settle(graph(conv("a", "x", B), Concat(name="c", inputs=("x", "a", "x"), quantised=C),
                           MaxPool(name="m", inputs=("c",), window=POINT), conv("b", "a", C)))
    assert [(layer.op, layer.name, layer.inputs) for layer in settled.layers[2:]] == [
        ("Affine", "c/0", ("x",)), ("Affine", "c/1", ("a",)), ("Affine", "c/2", ("x",)), ("Concat", "c", ("c/0", "c/1", "c/2")),
        ("MaxPool", "m", ("c",)), ("Conv", "b", ("a",))]
    assert all(layer.quantised == C for layer in settled.layers if isinstance(layer, Affine))
    assert set(plan(settled).given.values()) == {A, B, C} and plan(settled).complete


def test_what_has_no_scale_has_that_of_what_it_moves():
    one = graph(conv("a", "x", B), MaxPool(name="m", inputs=("a",), window=POINT), conv("b", "m", C))
    assert [layer.name for layer in settle(one).layers] == ["x", "a", "m", "b"]
    assert plan(settle(one)).given == {"x": A, "a": B, "b": C}
    assert not plan(settle(graph(conv("a", "x")))).complete


def test_what_one_reads_has_its_scale_at_once():
    """Within the limits of its own, which may be those of an activation that a quantiser took out."""
    found = plan(settle(graph(conv("a", "x", B), Concat(name="c", inputs=("x", "a"), quantised=C))))
    assert [step.name for step in found.steps] == ["x", "a", "c/0", "c"]
    (step,) = [step for step in found.steps if step.name == "a"]
    assert (step.low, step.high) == B.range and found.complete and found.given[found.leader["a"]] == C


@pytest.mark.parametrize("kind", [B, C])
def test_a_clamp_is_fused_whatever_its_scale(kind):
    found = plan(settle(graph(conv("a", "x", B), Relu(name="r", inputs=("a",), quantised=kind))))
    assert [step.name for step in found.steps] == ["x", "a"] and set(found.given.values()) == {A, kind}
    assert found.steps[-1].value == "r"
    assert (found.steps[-1].low, found.steps[-1].high) == (0, np.inf if kind == B else B.range[1])


def test_a_clamp_with_a_scale_of_its_own_is_not_fused_where_others_read_before_it():
    layers = conv("a", "x", B), Relu(name="r", inputs=("a",), quantised=C), conv("b", "a", B)
    found = plan(settle(graph(*layers, Concat(name="c", inputs=("r", "b"), quantised=C))))
    assert [step.name for step in found.steps] == ["x", "a", "r/0", "b", "c"] and found.complete


@pytest.mark.parametrize("window, counted, steps", [
    (Window(kernel=(2, 2)), False, [("Conv", "m")]), (Window(kernel=(2, 2), padding=(1, 1, 0, 0)), True, [("Conv", "m")]),
    (Window(kernel=(2, 2), padding=(1, 1, 0, 0)), False, [("AvgPool", "m/avgpool"), ("Affine", "m")])])
def test_a_mean_of_another_scale_is_rounded_once(window, counted, steps):
    pool = AvgPool(name="m", inputs=("x",), window=window, count_include_pad=counted, quantised=B)
    settled = settle(graph(pool))
    assert [(layer.op, layer.name) for layer in settled.layers[1:]] == steps and plan(settled).complete
    x = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(np.float32)
    got = float_run.run(settled, x)["m"]
    assert np.abs(got - float_run.run(graph(pool), x)["m"]).max() <= (B.scale if len(steps) > 1 else 0) * 1.001


def test_a_softmax_has_its_own_scale():
    settled = settle(graph(Softmax(name="s", inputs=("x",), quantised=B), conv("a", "s", B)))
    assert [(layer.op, layer.name) for layer in settled.layers[1:]] == [("Softmax", "s/softmax"), ("Affine", "s"), ("Conv", "a")]
    assert settled.layers[1].quantised == Quantisation(scale=1 / 256, zero_point=0)


def test_the_float_reference_rounds_to_steps():
    one = graph(conv("a", "x", B))
    x = np.array([0.14, 0.15, -5, 99], np.float32)
    assert A.rounded(x).tolist() == pytest.approx([0.1, 0.2, -0.3, 25.2])
    tensors = float_run.run(one, np.full((2, 3, 3), 0.17, np.float32), keep={"x"})
    assert np.allclose(tensors["x"], 0.2) and np.allclose(tensors["a"], 0.4)
