"""The families of the zoo: published sizes, options, statistics of batch normalisations, and int8 beside float."""
import numpy as np
import pytest

from nets import float_run
from nets.graph import Affine, Conv, GraphError, Linear
from nets.model import ModelError
from nets.zoo import catalogue as zoo
from nets.zoo.families import FAMILIES


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)


def graph_of(name: str, **options: object):
    family = FAMILIES[name]
    return family.build(name, family.shape, family.classes, **options)


# Parameters as torchvision counts them (no biases beside batch normalisations) and millions of multiply-accumulates, from the
# table of its pretrained weights.
@pytest.mark.parametrize("name, parameters, mmacs", [
    ("googlenet", 6_998_552, 1582), ("alexnet", 60_965_224, 724), ("zfnet", 62_357_608, 1168),
    ("alexnet_torchvision", 61_100_840, 714), ("vgg16", 138_357_544, 15470), ("vgg19", 143_667_240, 19632),
    ("resnet18", 11_689_512, 1814), ("resnet34", 21_797_672, 3664), ("resnet50", 25_557_032, 4089),
    ("resnet101", 44_549_160, 7801), ("resnet152", 60_192_808, 11514), ("wide_resnet50_2", 68_883_240, 11398),
    ("resnext50_32x4d", 25_028_904, 4230), ("densenet121", 7_978_856, 2834), ("densenet169", 14_149_480, 3360),
    ("googlenet_bn", 6_624_904, 1498), ("mobilenet_v2", 3_504_872, 301), ("shufflenet_v2", 2_278_604, 145)])
def test_published_sizes(name, parameters, mmacs):
    graph = graph_of(name)
    normalised = sum(layer.parameters for layer in graph.layers if isinstance(layer, Affine))
    counted = normalised + sum(layer.weight.size + (0 if normalised and isinstance(layer, Conv) else layer.bias.size)
                               for layer in graph.layers if isinstance(layer, Conv | Linear))
    assert counted == parameters
    assert graph.total_macs / 1e6 == pytest.approx(mmacs, rel=0.002)


# From the papers: multiply-accumulates of MobileNet v1 (table 6: 569 M) and ShuffleNet v1 with three groups (table 1: 137 M);
# layers with weights of the others.
@pytest.mark.parametrize("name, mmacs, layers", [
    ("mobilenet_v1", 569, 28), ("shufflenet_v1", 137, 50), ("nin", 969, 12), ("nin_cifar", 223, 9), ("wrn16_4", None, 17),
    ("preact_resnet18", None, 21), ("preact_resnet50", None, 54), ("resnet110_stochastic", None, 112), ("fractalnet", None, 36),
    ("lenet5", None, 5)])
def test_sizes_of_the_papers(name, mmacs, layers):
    graph = graph_of(name)
    assert sum(isinstance(layer, Conv | Linear) for layer in graph.layers) == layers
    if mmacs:
        assert graph.total_macs / 1e6 == pytest.approx(mmacs, rel=0.02)


@pytest.mark.parametrize("name, shape, count", [
    ("mobilenet_v1:width=0.25,size=128", (3, 128, 128), "conv13/pointwise"), ("densenet121:growth=8,size=64", (3, 64, 64), None),
    ("lenet5:size=28,activation=relu", (1, 28, 28), None), ("shufflenet_v1:groups=8,size=64", (3, 64, 64), None),
    ("resnet110_stochastic:shortcut=pad", (3, 32, 32), None), ("fractalnet:columns=2", (3, 32, 32), None),
    ("shufflenet_v2:width=0.5,size=64", (3, 64, 64), None), ("googlenet_bn:transform_input=1,size=64", (3, 64, 64), None)])
def test_options(name, shape, count):
    model = zoo.load(name)
    assert model.spec.shape == shape and model.name == name
    if count:
        assert model.graph.shapes[count][0] == 256
    with np.errstate(all="raise"):
        assert np.isfinite(float_run.run(model.graph, np.zeros(shape, np.float32))[model.graph.output]).all()


@pytest.mark.parametrize("width, parameters", [(0.5, 1_366_792), (1.5, 3_503_624), (2.0, 7_393_996)])
def test_shufflenet_v2_has_torchvision_s_parameters_at_every_width(width, parameters):
    graph = graph_of("shufflenet_v2", width=width)
    normalised = sum(len(layer.weight) for layer in graph.layers if isinstance(layer, Conv))       # have no bias there
    assert graph.parameters - normalised == parameters


def test_shufflenet_v2_s_branches_straddle_words_of_channels():
    graph = graph_of("shufflenet_v2")
    unit = graph.by_name["stage2.1.through"]
    assert unit.channels.tolist() == list(range(58, 116)) and graph.shapes["stage2.1.around"] == (58, 28, 28)


def test_a_transformed_input_is_one_more_layer():
    assert len(graph_of("googlenet_bn", transform_input=True).layers) == len(graph_of("googlenet_bn").layers) + 1


def test_zero_padded_shortcuts_keep_every_second_pixel():
    model = zoo.load("resnet110_stochastic:shortcut=pad")
    tensors = float_run.run(model.graph, np.random.default_rng(3).standard_normal((3, 32, 32)).astype(np.float32),
                            keep=model.graph.by_name)
    layer = model.graph.by_name["layer2.0.shortcut"]
    whole, padded = tensors[layer.inputs[0]], tensors[layer.name]
    assert (padded[:16] == whole[:, ::2, ::2]).all() and not padded[16:].any()


def test_survival_falls_from_block_to_block():
    graph = graph_of("resnet110_stochastic")
    factors = [layer.scale[0] for layer in graph.layers if layer.name.endswith("survival")]
    assert len(factors) == 54 and factors[0] == pytest.approx(1 - 0.5 / 54) and factors[-1] == 0.5
    assert factors == sorted(factors, reverse=True)


def test_statistics_are_measured_layer_by_layer():
    model = zoo.load("wrn16_4")
    inputs = zoo._inputs(model.spec)
    kept = [float_run.run(model.graph, x, keep=model.graph.by_name) for x in inputs]
    for layer in model.graph.layers:
        if isinstance(layer, Affine):
            values = np.concatenate([tensors[layer.name].reshape(len(layer.scale), -1) for tensors in kept], axis=1)
            assert np.abs(values.std(axis=1)).max() < 1.6 and np.abs(values.mean(axis=1)).max() < 1.5
            assert values.std() > 0.5
    assert zoo.load("wrn16_4").graph.by_name["norm"].scale.tolist() == model.graph.by_name["norm"].scale.tolist()


@pytest.mark.parametrize("name, branch, other", [
    ("resnet18:size=64", "layer2.0.conv2/norm", "layer2.0.downsample/norm"),
    ("mobilenet_v2:size=64", "block3/project/norm", "block3/expand/norm")])
def test_residual_branches_count_less_than_their_shortcuts(name, branch, other):
    """As in trained networks: else rounding drowns what deep ones compute."""
    model = zoo.load(name)
    kept = [float_run.run(model.graph, x, keep=model.graph.by_name) for x in zoo._inputs(model.spec)]
    spread = {at: np.concatenate([tensors[at].reshape(len(tensors[at]), -1) for tensors in kept], axis=1).std(axis=1)
              for at in (branch, other)}
    assert spread[branch].max() < 0.5 < np.median(spread[other])


@pytest.mark.parametrize("name, message", [
    ("mobilenet_v1:width=0", "width must be factor of all channels, such as 0.25, not '0'"),
    ("mobilenet_v1:growth=3", "'growth=3' must be option=value with one of width, classes, size"),
    ("shufflenet_v1:groups=5", "groups must be one of 1, 2, 3, 4, 8, not 5"),
    ("shufflenet_v2:width=0.75", "width must be one of 0.5, 1.0, 1.5, 2.0, not 0.75"),
    ("resnet110_stochastic:shortcut=none", "shortcut must be conv or pad"),
    ("resnet18:size=0", "size must be an input size in pixels, such as 224 or 224x320, not .0."),
    ("nin:size=20", "pool3|pool2|conv3"),
])
def test_names_that_cannot_be_are_refused(name, message):
    with pytest.raises((ModelError, GraphError), match=message):
        zoo.load(name)
