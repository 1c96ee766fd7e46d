"""The zoo: every name loads, options reach the configuration, notes tell where weights are from."""
import argparse
from dataclasses import replace
from pathlib import Path
import re
import shutil

import numpy as np
import pytest

from nets.graph import GraphError
from nets.model import ModelError
from nets.onnx.importer import import_onnx
from nets.preprocess import read_side_file
from nets.zoo import catalogue as zoo
from nets.zoo.squeezenet import SqueezeNetConfig, squeezenet
from nets.zoo.weights import convolutions

SMALL = "squeezenet:base_e=8,incr_e=8,modules=2,pools=1,conv1_channels=8,size=33x40,classes=7"


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)


@pytest.mark.parametrize("name, parameters", [
    ("digits", 40_346), ("squeezenet1_0", 1_248_424), ("squeezenet1_1", 1_235_496),
    ("squeezenet1_0_simple_bypass", 1_248_424), ("squeezenet1_0_complex_bypass", 1_589_672),
    ("squeezenet", 1_248_424)])
def test_every_name_loads(name, parameters):
    model = zoo.load(name)
    assert (model.name, model.graph.parameters) == (name, parameters)
    assert model.graph.shapes[model.graph.output] == (10 if name == "digits" else 1000,)
    assert all(np.isfinite(conv.weight).all() for conv in convolutions(model.graph))
    assert bool(model.notes) == (name != "digits")


def test_names_and_what_is_none():
    assert all(map(zoo.is_name, (*zoo.NAMES, "squeezenet", "squeezenet1_1:size=96")))
    assert not any(map(zoo.is_name, ("resnet19", "digits.onnx", "./digits", "digits:size=64", "")))


def test_the_page_of_networks_lists_all_of_them_with_their_options():
    page = (Path(__file__).parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")
    table = page.partition("## The zoo\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines() if row.startswith("| `")]
    listed = {name: set(re.findall(r"`(\w+)=", options)) for names, _, _, options in rows
              for name in re.findall(r"`(\w+)`", names)}
    assert listed == {name: set(family.options) for name, family in zoo.FAMILIES.items()} | {"digits": set()}


def test_random_weights_follow_the_seed_and_are_announced():
    first, same, other = (convolutions(zoo.load(SMALL, seed=seed).graph)[0].weight
                          for seed in (0, 0, 1))
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert zoo.load(SMALL, seed=4).notes == ("weights are not trained: seeded initialisation 4",)


def test_options_make_the_same_network_as_the_configuration():
    model = zoo.load("squeezenet:base_e=16,incr_e=8,pct3x3=0.25,freq=3,sr=0.5,modules=5,"
                     "bypass=complex,pools=1+4,conv1_channels=20,conv1_kernel=5,conv1_stride=1,"
                     "classes=12,size=48x64")
    expected = squeezenet(SqueezeNetConfig(
        base_e=16, incr_e=8, pct3x3=0.25, freq=3, sr=0.5, modules=5, bypass="complex",
        pools=(1, 4), conv1_channels=20, conv1_kernel=5, conv1_stride=1, classes=12,
        input_shape=(3, 48, 64)))
    assert model.graph.shapes == expected.shapes
    assert model.spec.size == (48, 64)


def test_options_change_only_what_they_name():
    graph = zoo.load("squeezenet1_1:bypass=simple,classes=10").graph
    assert graph.by_name["conv1"].weight.shape == (64, 3, 3, 3)
    assert "fire3/add" in graph.shapes and graph.shapes["logits"] == (10,)


@pytest.mark.parametrize("name, message", [
    ("resnet19", "resnet19: is no network; did you mean resnet1.*[?] The zoo has digits, squeezenet1_0"),
    ("shufflnet_v2:width=2", "did you mean shufflenet_v2[?]"),
    ("digits:size=8", "digits:size=8: is no network; did you mean digits[?] .* all but digits take options"),
    ("squeezenet:", "'' must be option=value with one of base_e"),
    ("squeezenet:depth=3", "'depth=3' must be option=value with one of base_e"),
    ("squeezenet:sr", "'sr' must be option=value"),
    ("squeezenet:sr=much", "sr must be squeeze ratio.*, not 'much'"),
    ("squeezenet:sr=2", "sr must be over 0 and at most 1, not 2.0"),
    ("squeezenet:freq=1.5", "freq must be modules between two increments, not '1.5'"),
    ("squeezenet:size=12x", "size must be an input size in pixels, such as 224 or 224x320, not '12x'"),
    ("squeezenet:size=12", r"pool1 .*does not fit 3x3|pool4 .*does not fit"),
    ("squeezenet:size=axb", "size must be an input size in pixels, such as 224 or 224x320, not 'axb'"),
    ("lenet5:classes=0", "classes must be a number of classes, at least 1, not '0'"),
    ("nin_cifar:classes=-3", "classes must be a number of classes, at least 1, not '-3'"),
    ("wrn16_4:size=32x0", "size must be an input size in pixels, such as 224 or 224x320, not '32x0'"),
    ("squeezenet:pools=1+x", "pools must be layers followed by a pool"),
    ("squeezenet:bypass=maybe", "bypass must be one of none, simple, complex"),
])
def test_names_that_cannot_be_are_refused(name, message):
    with pytest.raises((ModelError, GraphError), match=message):
        zoo.load(name)


def test_negative_seed_is_refused():
    with pytest.raises(ModelError, match=r"seed must be 0\.\.2\*\*63 - 1, not -1"):
        zoo.load("squeezenet1_1", seed=-1)


def family(*flags):
    parser = argparse.ArgumentParser()
    zoo.add_family_arguments(parser)
    return parser.parse_args(flags)


def test_flags_become_options_and_win():
    assert zoo.with_family_arguments("squeezenet1_1", family()) == "squeezenet1_1"
    assert zoo.with_family_arguments("some/file.onnx", family()) == "some/file.onnx"
    assert zoo.with_family_arguments("squeezenet:sr=0.5,freq=1",
                                     family("--sr", "0.25", "--bypass", "simple")) == (
        "squeezenet:sr=0.25,freq=1,bypass=simple")


@pytest.mark.parametrize("name", ["digits", "some/file.onnx"])
def test_flags_need_a_network_of_the_family(name):
    with pytest.raises(ModelError, match=f"{re.escape(name)}: --base-e must go with --model squeezenet"):
        zoo.with_family_arguments(name, family("--base-e", "64"))


def test_trained_weights_come_from_the_data_folder(data, monkeypatch):
    monkeypatch.setenv("FIRELINE_DATA", str(data))
    path = data / "models" / "squeezenet1_1.onnx"
    model, file = zoo.load("squeezenet1_1"), import_onnx(path)
    assert model.notes == (f"trained weights: {path}",)
    assert (model.spec, model.labels, 0) == read_side_file(path.with_suffix(".json"))
    for own, other in zip(convolutions(model.graph), convolutions(file), strict=True):
        assert np.array_equal(own.weight, other.weight) and np.array_equal(own.bias, other.bias)
        assert own.window == other.window
    assert {shape for shape in model.graph.shapes.values()} == set(file.shapes.values())


def test_trained_weights_fit_other_image_sizes_but_no_other_network(data, monkeypatch):
    monkeypatch.setenv("FIRELINE_DATA", str(data))
    small = zoo.load("squeezenet1_1:size=128")
    assert small.notes[0].startswith("trained weights") and small.spec.size == (128, 128)
    other = zoo.load("squeezenet1_1:sr=0.25,classes=10")
    assert other.notes == ("weights are not trained: seeded initialisation 0",)
    assert other.labels == () and len(zoo.load("squeezenet1_0").labels) == 1000


def test_file_of_another_network_is_refused(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    shutil.copy(zoo.digits.MODEL, tmp_path / "models" / "squeezenet1_1.onnx")
    monkeypatch.setenv("FIRELINE_DATA", str(tmp_path))
    with pytest.raises(GraphError, match="must have 26 convolutions, not 14"):
        zoo.load("squeezenet1_1")


def test_imagenet_preparation_is_torchvision_s():
    assert replace(zoo.IMAGENET, size=(224, 224)) == zoo.load("squeezenet1_0").spec
    assert zoo.IMAGENET.mean == (0.485, 0.456, 0.406) and zoo.IMAGENET.resize == 256
