"""Real layers with real weights and activations on the 16x16 engine: the value and the cycle of every beat, also under cocotb."""
from dataclasses import replace
import hashlib
from pathlib import Path

import numpy as np
import pytest

from arch.geometry import PRESETS
from bench.engine import measure
from golden import values
from nets.digits import IMAGES
from nets.int8 import file as quantised_file
from nets.int8.network import QNetwork
from nets.preprocess import find_images, load_image
from nets.quantise import quantise_with
from nets.zoo import catalogue as zoo
from sim.cases import Case, cases_of
from sim.engine import CocotbBench, EngineBench, differences, mismatches, predicted
from sim.expected import Expected
from sim.verilog.verilate import BUILD, cached, digest

# The chip keeps a layer's maps in bands and its weights in a ring; here they lie whole.
GEOMETRY = replace(PRESETS["85f"], activation_words=32768, weight_words=16384)
FIRE = ("fire9/squeeze1x1", "fire9/expand1x1", "fire9/expand3x3")
CALIBRATION_IMAGES = 4


@pytest.fixture(scope="module")
def bench() -> EngineBench:
    return EngineBench(GEOMETRY)


@pytest.fixture(scope="module")
def cocotb_bench() -> CocotbBench:
    return CocotbBench(GEOMETRY)


def cases(network: QNetwork, image: Path) -> dict[str, Case]:
    x = network.quantise_input(network.spec.normalise(load_image(image, network.spec)))
    return {case.name: case for case in cases_of(network, values.run(network, x, keep=network.by_name))}


@pytest.fixture(scope="module")
def digits() -> dict[str, Case]:
    return cases(quantise_with(zoo.load("digits"), limit=CALIBRATION_IMAGES), find_images(IMAGES)[0])


@pytest.fixture(scope="module")
def squeezenet(data, monkeypatch_module) -> dict[str, Case]:
    """SqueezeNet v1.1 on a photograph; quantised once and kept, as all test processes want it."""
    monkeypatch_module.setenv("FIRELINE_DATA", str(data))
    photographs = data / "images" / "imagenet-sample"
    sources = sorted((Path(__file__).parents[2] / "nets").rglob("*.py"))
    key = "squeezenet-" + digest(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources))

    def make(work: Path) -> None:
        network = quantise_with(zoo.load("squeezenet1_1"), photographs, limit=CALIBRATION_IMAGES)
        quantised_file.save(network, work / "network.fln")

    network = quantised_file.load(cached(key, make, BUILD) / "network.fln")
    return cases(network, find_images(photographs)[7])


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def grants(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: np.append(rng.random(997) < .8, True) for name in ("read_grant", "write_grant")}


def check(bench: EngineBench, case: Case, **stalls: np.ndarray) -> int:
    """Cycles of a layer that agrees with golden in every beat."""
    plan, target, memory = case.place(GEOMETRY)
    run = bench.run(plan, memory, **stalls)
    expected = Expected(GEOMETRY, plan, case, target)
    wrong = differences(mismatches(run.beats, predicted(GEOMETRY, plan, run.offered, **stalls), expected))
    assert not wrong
    return int(run.beats["written"].cycle[-1]) + 1


def test_every_layer_of_digits(bench, digits):
    for case in digits.values():
        check(bench, case)
        check(bench, case, **grants(1))


@pytest.mark.parametrize("name, least", [("conv1", .80), *((name, .97) for name in FIRE), ("conv10", .97)])
def test_squeezenet_at_full_rate(bench, squeezenet, name, least):
    case = squeezenet[name]
    macs = case.conv.weight.size * np.prod(case.size)
    assert macs / (GEOMETRY.macs * check(bench, case)) >= least


@pytest.mark.parametrize("stalls", [{}, grants(4)], ids=["", "stalls"])
def test_squeezenet_from_its_pixels(bench, squeezenet, stalls):
    """conv1 while the gather makes its words."""
    assert squeezenet["conv1"].raster
    found = measure(bench, squeezenet["conv1"], **stalls)
    assert (found.wrong, found.late) == (0, 0) and found.cycles == found.predicted_cycles


@pytest.mark.parametrize("name", ["conv1", *FIRE, "conv10"])
def test_squeezenet_with_gaps_and_back_pressure(bench, squeezenet, name):
    check(bench, squeezenet[name], **grants(2))


@pytest.mark.parametrize("name", ["conv1", *FIRE, "conv10"])
def test_squeezenet_under_cocotb(cocotb_bench, squeezenet, name):
    assert "are as expected" in cocotb_bench.run(squeezenet[name])


def test_squeezenet_under_cocotb_with_gaps_and_back_pressure(cocotb_bench, squeezenet):
    assert "are as expected" in cocotb_bench.run(squeezenet["fire9/squeeze1x1"], **grants(3))
