"""What surveys of networks share: bounds by hand and by the figures that they were set with, processes, tables, charts."""
import os
import re

import numpy as np
import pytest

from arch.geometry import PRESETS
from bench.survey import charts, tables
from bench.survey.bounds import bounds
from bench.survey.measure import MAIN, alone, measure, slug
from bench.survey.published import SOURCES, TOP1
from boards import find
from cli import OutputError, RequestError, WorkError
from nets.graph import Add, AvgPool, Conv, Flatten, Graph, Input, Linear, Window
from nets.load import load_model
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import outline
from nets.zoo.families import FAMILIES

ENGINE = PRESETS["85f"]         # 16x16


def conv(name, source, out, per_group, kernel, *, groups=1, padding=0):
    return Conv(name=name, inputs=(source,), weight=np.ones((out, per_group, kernel, kernel), np.float32),
                bias=np.zeros(out, np.float32), groups=groups, window=Window(kernel=(kernel, kernel), padding=(padding,) * 4))


def bounds_of(*layers, size=(10, 12)):
    graph = Graph(name="n", layers=(Input(name="x", shape=(3, *size)), *layers), output=layers[-1].name)
    spec = InputSpec(size=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    found = bounds(outline(Model(graph=graph, spec=spec)), ENGINE)
    return {layer.layer: (layer.compute, layer.storage) for layer in found.layers}


def test_bounds_by_hand():
    found = bounds_of(
        conv("image", "x", 40, 3, 5), conv("dense", "image", 20, 40, 3, padding=1),
        conv("depthwise", "dense", 20, 1, 3, groups=20),
        conv("grouped", "depthwise", 40, 10, 1, groups=2), conv("other", "depthwise", 40, 20, 1),
        Add(name="sum", inputs=("grouped", "other")),
        AvgPool(name="pool", inputs=("sum",), window=Window(kernel=(4, 4))), Flatten(name="flat", inputs=("pool",)),
        Linear(name="last", inputs=("flat",), weight=np.ones((7, 40 * 3), np.float32), bias=np.zeros(7, np.float32)))
    passes = {"image": 3 * 5, "dense": 2 * 3 * 9, "depthwise": 2 * 9, "grouped": 1 + 2 + 2, "other": 3 * 2, "sum": 3 * 2,
              "pool": 3 * 16, "last": 3 * 3}            # blocks x words x taps: 75 weights of a window are 5 words
    pixels = {"image": 48, "dense": 48, "depthwise": 24, "grouped": 24, "other": 24, "sum": 24, "pool": 3, "last": 1}
    assert found == {name: (count * pixels[name], count * 128) for name, count in passes.items()}


@pytest.mark.parametrize("name, layer_by_layer", [
    ("squeezenet1_0_simple_bypass", 3.38), ("squeezenet1_0_complex_bypass", 4.95), ("nin", 6.05), ("nin_cifar", 0.97),
    ("wrn16_4", 2.11), ("resnet110_stochastic", 1.39)])
def test_bounds_of_the_zoo(name, layer_by_layer, monkeypatch):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)
    found = bounds(outline(load_model(name)), ENGINE)
    assert found.layer_by_layer / 1e6 == pytest.approx(layer_by_layer, abs=0.005)
    assert max(found.compute, found.storage) == found.overlapped <= found.layer_by_layer


@pytest.mark.parametrize("options, layer_by_layer", [((), 0.404), (("depthwise",), 0.248)])
def test_what_the_unit_computes_costs_nothing(options, layer_by_layer):
    found = bounds(outline(load_model("mobilenet_v1:width=0.25,size=128")), ENGINE.with_options(options))
    assert found.layer_by_layer / 1e6 == pytest.approx(layer_by_layer, abs=0.0005)


@pytest.mark.parametrize("name, bound_by", [("digits", "weights"), ("squeezenet1_1", "compute"), ("nin", "both")])
def test_bounds_say_what_binds(name, bound_by):
    assert bounds(outline(load_model(name)), ENGINE).bound_by == bound_by


def _says(text):
    raise RequestError(text)


def _dies():
    os._exit(7)


def test_work_alone_tells_what_it_raised_and_how_it_died():
    alone(_noop)
    with pytest.raises(RequestError, match="^not so$"):
        alone(_says, "not so")
    with pytest.raises(WorkError, match="dies ended its process with code 7"):
        alone(_dies)


def _noop():
    pass


def test_a_network_is_measured_once(tmp_path, monkeypatch):
    boards, told = [find(MAIN), find("versa-ecp5"), find("ulx3s-12f"), find("ulx3s-25f")], []
    first = measure("digits", tmp_path, boards, told.append)
    assert told == ["layers", "ulx3s-85f", "versa-ecp5", "ulx3s-12f, ulx3s-25f"]
    cycles = first["boards"][MAIN]["cycles"]
    assert first["boards"][MAIN]["frames_per_s"] == pytest.approx(140e6 / cycles)
    assert first["boards"]["ulx3s-12f"] == first["boards"]["ulx3s-25f"]
    assert 10 < first["compiling"]["megabytes"] < 3000 and first["compiling"]["seconds"] > 0
    assert sum(first["boards"][MAIN]["bound"].values()) == pytest.approx(1)
    monkeypatch.setattr("bench.survey.measure.alone", lambda *_: pytest.fail("was measured again"))
    assert measure("digits", tmp_path, boards, told.append) == first


def test_what_does_not_fit_is_known_before_it_is_compiled(tmp_path):
    record = measure("squeezenet1_1:classes=3,size=64", tmp_path, [find("versa-ecp5")], lambda what: None)
    assert re.match("[0-9,]+ bytes of weights do not fit storage of 65,536", record["boards"]["versa-ecp5"]["refused"][0])


def test_slugs_are_names_of_folders():
    assert slug("mobilenet_v1:width=0.25,size=128") == "mobilenet_v1_width_0.25_size_128"
    assert slug("../x y.onnx") == ".._x_y.onnx"


ROW = {"network": "resnet18", "macs": 1_814_073_344, "parameters": 11_684_712, "cycles": 10_400_000, "frames_per_s": 13.4,
       "overlapped": 7_220_000, "layer_by_layer": 10_080_000, "bound_by": "both", "of_overlapped": 0.694,
       "of_layer_by_layer": 0.969, "limit": ("memory", 0.5),
       "refused": [], "storage_bytes": 12_000_000, "fits": True, "seconds": 31.2, "megabytes": 800,
       "commands": 400, "boards": {"ulx3s-85f": 13.4, "versa-ecp5": None}}
ENLARGED = ROW | {"network": "resnet152", "fits": False, "storage_bytes": 61_000_000, "frames_per_s": None,
                  "boards": {"ulx3s-85f": None, "versa-ecp5": None}}
REFUSED = ROW | {"network": "odd", "cycles": None, "frames_per_s": None, "refused": ["a" * 200, "b"], "limit": None,
                 "fits": False, "boards": {"ulx3s-85f": None, "versa-ecp5": None}}


def test_page_says_what_fits_and_what_not():
    page = tables.page([ROW, ENLARGED, REFUSED], "ulx3s-85f", 140.0, "python -m bench.zoo", "zoo.png")
    assert "| `resnet18` | 1,814 | 11.68 M | 10.40 | 7.22 (69.4%) | 10.08 (96.9%) | memory, 50% | 400 | 31 s, 800 MB |" in page
    assert "* `odd` is refused: " + "a" * 90 + "… (and 1 more)\n" in page
    assert "* `resnet152`\\*: takes 61.0 MB of storage, more than the board has" in page
    assert "| `resnet18` | 13.4 |  |" in page and "(zoo.png)" in page
    assert all(len(line) <= 130 or line.startswith("|") for line in page.splitlines() if "http" not in line)


def test_charts_are_pictures_and_may_be_empty():
    rows = [ROW, ROW | {"network": "googlenet_bn", "macs": 1_500_000_000}, ENLARGED, REFUSED]
    assert charts.survey(rows, ".png").startswith(b"\x89PNG") and charts.survey([], ".svg").startswith(b"<?xml")
    with pytest.raises(OutputError, match="plot must end in"):
        charts.survey(rows, ".doc")


@pytest.mark.parametrize("gap, beside", [(10.0, "left"), (1.2, "center")])
def test_a_name_lies_on_no_other_circle(gap, beside):
    """Beside its circle where there is room; above or below it where another is in the way."""
    figure = charts._figure(8, 6)
    axes = figure.subplots()
    axes.set(xlim=(0, 40), ylim=(0, 10))
    charts._label(axes, [("first", 10, 5, 60), ("second", 10 + gap, 5, 60)])
    first, second = axes.texts
    assert first.get_horizontalalignment() == beside and second.get_horizontalalignment() == "left"
    assert not first.get_window_extent().overlaps(second.get_window_extent())


def test_published_figures_are_of_networks_that_there_are():
    assert TOP1.keys() <= FAMILIES.keys() and {source for _, source in TOP1.values()} == set(SOURCES)
    assert all(50 < value < 80 for value, _ in TOP1.values())
