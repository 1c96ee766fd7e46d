"""The SqueezeNet family against published counts, torchvision's layers and the paper's formulas."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from nets.graph import Add, Concat, Conv, GraphError
from nets.zoo.squeezenet import V1_0, V1_1, Bypass, SqueezeNetConfig, squeezenet
from nets.zoo.weights import convolutions, initialise, with_weights, with_weights_of

SMALL = SqueezeNetConfig(base_e=8, incr_e=4, modules=3, pools=(1,), conv1_channels=6,
                         conv1_kernel=3, classes=5, input_shape=(1, 16, 20))


@pytest.mark.parametrize("config, parameters, macs", [
    (V1_0, 1_248_424, 818_924_576),                 # torchvision: 1248424, 0.82 GMAC
    (V1_1, 1_235_496, 349_151_936),                 # torchvision: 1235496, 0.35 GMAC
    (replace(V1_0, bypass=Bypass.SIMPLE), 1_248_424, 818_924_576),
])
def test_counts_are_the_published_ones(config, parameters, macs):
    graph = squeezenet(config)
    assert (graph.parameters, graph.total_macs) == (parameters, macs)


def test_v1_1_has_torchvision_s_shapes():
    graph = squeezenet(V1_1)
    shapes = {name: graph.shapes[name] for name in
              ("conv1", "pool1", "fire2/squeeze1x1", "fire3/concat", "pool3", "pool5",
               "fire6/squeeze1x1", "fire6/expand3x3", "fire9/concat", "drop9", "conv10", "logits")}
    assert shapes == {
        "conv1": (64, 111, 111), "pool1": (64, 55, 55), "fire2/squeeze1x1": (16, 55, 55),
        "fire3/concat": (128, 55, 55), "pool3": (128, 27, 27), "pool5": (256, 13, 13),
        "fire6/squeeze1x1": (48, 13, 13), "fire6/expand3x3": (192, 13, 13),
        "fire9/concat": (512, 13, 13), "drop9": (512, 13, 13), "conv10": (1000, 13, 13),
        "logits": (1000,)}


def test_v1_0_pools_after_layers_1_4_8():
    graph = squeezenet(V1_0)
    assert [graph.shapes[f"pool{n}"] for n in (1, 4, 8)] == [(96, 54, 54), (256, 27, 27), (512, 13, 13)]
    assert graph.by_name["conv1"].window.kernel == (7, 7)


def test_deploy_size_and_padding_give_15x15():
    graph = squeezenet(replace(V1_0, last_padding=1).with_size((227, 227)))
    assert graph.shapes["conv10"] == (1000, 15, 15)


@given(st.builds(
    SqueezeNetConfig, base_e=st.integers(2, 40), incr_e=st.integers(0, 30),
    pct3x3=st.floats(0.01, 0.99), freq=st.integers(1, 5), sr=st.floats(0.01, 1),
    modules=st.integers(1, 9), bypass=st.sampled_from(Bypass), conv1_channels=st.integers(1, 40),
    conv1_kernel=st.sampled_from((1, 3, 5)), pools=st.sets(st.integers(1, 2)).map(sorted),
    classes=st.integers(1, 12), input_shape=st.just((3, 33, 40))))
@settings(max_examples=60, deadline=None)
def test_every_point_follows_the_formulas(config):
    graph = squeezenet(config)
    for i in range(config.modules):
        e = config.base_e + config.incr_e * (i // config.freq)
        squeeze, small, large, out = (graph.shapes[f"fire{i + 2}/{part}"][0] for part in
                                      ("squeeze1x1", "expand1x1", "expand3x3", "concat"))
        assert small + large == out == e
        assert abs(large - config.pct3x3 * e) <= 1 and small >= 1 and large >= 1
        assert abs(squeeze - config.sr * e) <= 1 and squeeze >= 1
    assert graph.shapes["logits"] == (config.classes,)


@pytest.mark.parametrize("bypass, adds, extra", [
    (Bypass.NONE, [], []), (Bypass.SIMPLE, [3, 5, 7, 9], []),
    (Bypass.COMPLEX, [2, 3, 4, 5, 6, 7, 8, 9], [2, 4, 6, 8])])
def test_bypasses_stand_where_the_paper_draws_them(bypass, adds, extra):
    graph = squeezenet(replace(V1_0, bypass=bypass))
    assert [layer.name for layer in graph.layers if isinstance(layer, Add)] == [
        f"fire{n}/add" for n in adds]
    assert [conv.name for conv in convolutions(graph) if "bypass" in conv.name] == [
        f"fire{n}/bypass1x1" for n in extra]


def test_bypass_adds_the_module_s_input_to_its_output():
    graph = squeezenet(replace(V1_0, bypass=Bypass.COMPLEX))
    assert graph.by_name["fire5/add"].inputs == ("fire5/concat", "pool4")
    assert graph.by_name["fire5/squeeze1x1"].inputs == ("pool4",)
    assert graph.by_name["fire6/add"].inputs == ("fire6/concat", "fire6/bypass1x1")
    assert graph.by_name["fire6/bypass1x1"].inputs == ("fire5/add",)


def test_expansions_read_the_squeezed_tensor_and_concat_has_1x1_first():
    graph = squeezenet(SMALL)
    assert graph.by_name["fire2/expand1x1"].inputs == ("fire2/relu_squeeze1x1",)
    assert graph.by_name["fire2/expand3x3"].inputs == ("fire2/relu_squeeze1x1",)
    concats = [layer.inputs for layer in graph.layers if isinstance(layer, Concat)]
    assert concats[0] == ("fire2/relu_expand1x1", "fire2/relu_expand3x3")


@pytest.mark.parametrize("values, error, message", [
    (dict(base_e=1), ValueError, r"base_e must be 2\.\.8192, not 1"),
    (dict(base_e="128"), TypeError, r"base_e must be an integer, not '128'"),
    (dict(incr_e=-1), ValueError, r"incr_e must be 0\.\.8192, not -1"),
    (dict(freq=0), ValueError, r"freq must be 1\.\.64, not 0"),
    (dict(freq=True), TypeError, r"freq must be an integer, not True"),
    (dict(pct3x3=1.0), ValueError, r"pct3x3 must lie between 0 and 1, not 1.0"),
    (dict(pct3x3=float("nan")), ValueError, r"pct3x3 must lie between 0 and 1, not nan"),
    (dict(sr=0), ValueError, r"sr must be over 0 and at most 1, not 0"),
    (dict(sr="x"), TypeError, r"sr must be a number, not 'x'"),
    (dict(bypass="some"), ValueError, r"bypass must be one of none, simple, complex, not 'some'"),
    (dict(pools=(10,)), ValueError, r"pools must be 1\.\.9, not 10"),
    (dict(input_shape=(224, 224)), ValueError, r"input_shape must be channels, height, width"),
    (dict(input_shape=(0, 9, 9)), ValueError, r"input channels must be 1\.\.64, not 0"),
    (dict(input_shape=(3, 9, 9000)), ValueError, r"input size must be 1\.\.4096, not 9000"),
])
def test_values_outside_the_family_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        SqueezeNetConfig(**values)


def test_image_smaller_than_the_kernels_is_refused():
    with pytest.raises(GraphError, match=r"pool8 \(MaxPool\).*does not fit 1x1"):
        squeezenet(V1_0.with_size((20, 20)))


def test_network_beyond_reason_is_refused_before_it_takes_memory():
    with pytest.raises(GraphError, match=r"parameters must be at most 100,000,000"):
        squeezenet(replace(V1_0, base_e=8192, incr_e=8192, modules=64))


def test_initialisation_depends_on_the_seed_alone_and_says_so():
    graph = squeezenet(SMALL)
    one, same, other = initialise(graph, 7), initialise(graph, 7), initialise(graph, 8)
    assert "weights are not trained: seeded initialisation 7" in one.notes
    for a, b, c in zip(*map(convolutions, (one, same, other)), strict=True):
        assert np.array_equal(a.weight, b.weight) and not np.array_equal(a.weight, c.weight)
        assert a.weight.dtype == np.float32 and not a.bias.any()


def test_initialisation_has_the_variance_of_he_and_glorot():
    graph = initialise(squeezenet(V1_1), 3)
    for name, variance in (("fire9/expand3x3", 2 / (64 * 9)), ("conv10", 2 / (512 + 1000))):
        assert np.var(graph.by_name[name].weight) == pytest.approx(variance, rel=0.02)


def test_seed_must_not_be_negative():
    with pytest.raises(ValueError, match=r"seed must be 0\.\..*, not -1"):
        initialise(squeezenet(SMALL), -1)


def test_weights_of_another_network_are_taken_in_order():
    graph, trained = squeezenet(SMALL), initialise(squeezenet(SMALL.with_size((40, 40))), 5)
    copy = with_weights_of(graph, trained)
    assert copy.input.shape == graph.input.shape and copy.notes == ()
    for a, b in zip(convolutions(copy), convolutions(trained), strict=True):
        assert np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias)


def test_weights_that_do_not_fit_are_all_named():
    graph = squeezenet(SMALL)
    weights = {conv.name: (conv.weight, conv.bias) for conv in convolutions(graph)}
    weights["conv9"] = weights.pop("conv1")
    weights["fire2/squeeze1x1"] = (np.zeros((1, 1, 1, 1)), np.zeros(1))
    weights["fire3/squeeze1x1"] = tuple(np.full_like(v, np.nan) for v in weights["fire3/squeeze1x1"])
    with pytest.raises(GraphError) as caught:
        with_weights(graph, weights)
    assert [(problem.name, problem.reason[:14]) for problem in caught.value.problems] == [
        ("conv1", "has no weights"), ("conv9", "is not in the "),
        ("fire2/squeeze1x1", "weight and bia"), ("fire3/squeeze1x1", "weight and bia")]


def test_network_with_other_convolutions_is_refused():
    with pytest.raises(GraphError, match="must have 11 convolutions, not 26"):
        with_weights_of(squeezenet(SMALL), squeezenet(V1_0))
    assert isinstance(convolutions(squeezenet(SMALL))[0], Conv)
