"""Whole networks: every command writes what golden says, no wait is missing, nothing leaves the chip that need not."""
from copy import deepcopy
from dataclasses import replace
import math
from pathlib import Path
import re

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from arch.instruction import Opcode, encode
from boards import find
from compiler import costs
from compiler.build import Compiled, compile_network
from compiler.figures import figures
from compiler.residency import Sampled, Stored
from compiler.stages import NetworkError
from golden import compare, values
from golden.consistency import check_program
from golden.machine import execute
from host.tensors import words_of
from nets.graph import AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Input, Linear, MaxPool, Relu, Window
from nets.int8.network import QConv, QFlatten, QInput, QNetwork
from nets.load import load_model
from nets.model import Model
from nets.moves import Pad, Select
from nets.preprocess import InputSpec
from nets.quantise import outline, quantise, quantise_with, synthetic_images
from tests.sim.networks import describe, networks, single_conv

SMALL = (Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64),
         Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64),
         Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=2048, band_pixels=64))


def network_of(name: str | Path) -> QNetwork:
    return quantise_with(load_model(name), None)


@pytest.fixture(scope="module")
def digits() -> QNetwork:
    return network_of("digits")


def check_values(network: QNetwork, compiled: Compiled, q: np.ndarray):
    """Holds each vector of each command, and the output, against golden's tensors."""
    program = compiled.program
    check_program(program)
    tensors = values.run(network, q, keep=network.by_name)
    result = execute(program, q)
    counts = compare.mismatches(network, tensors, program, result.written)
    wrong = [(part, count) for part, count in zip(program.parts, counts, strict=True) if count]
    assert not wrong
    np.testing.assert_array_equal(compare.final_output(network, program, result.output), tensors[network.output])


def random_input(network: QNetwork) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, network.tensors[network.input.name].shape, np.uint8)


def spilled(compiled: Compiled) -> int:
    return compiled.layout.sizes["spilled"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks(data):
    network, q = data.draw(networks())
    geometry = data.draw(st.sampled_from(SMALL))
    note(f"{describe(network)} on {geometry}")
    try:
        compiled = compile_network(network, geometry)
    except NetworkError as error:
        assert error.problems
        return
    check_values(network, compiled, q)


def test_chunks_of_a_map_that_has_no_room_are_stored_side_by_side():
    geometry = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512)
    network = single_conv(16, 320, (13, 13))
    compiled = compile_network(network, geometry)
    (group,) = compiled.groups
    resident = group.residents[compiled.stages.output]
    assert resident.copies == 2 and resident.chunk_words == 2 * len(group.order.steps[0].output_words)
    check_values(network, compiled, random_input(network))


def test_maps_that_leave_the_chip_share_storage():
    rng, count = np.random.default_rng(7), 7
    layers = [Input(name="l0", shape=(3, 24, 24))]
    for n in range(1, count + 1):
        layers.append(Conv(name=f"l{n}", inputs=(f"l{n - 1}",), bias=rng.normal(size=16).astype(np.float32),
                           weight=rng.normal(size=(16, 3 if n == 1 else 16, 3, 3)).astype(np.float32),
                           window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))))
    spec = InputSpec(size=(24, 24), crop="none")
    graph = Graph(name="chain", layers=tuple(layers), output=f"l{count}")
    network = quantise(Model(graph=graph, spec=spec), synthetic_images(spec))
    compiled = compile_network(network, SMALL[0])
    check_values(network, compiled, random_input(network))
    stored = {buffer for group in compiled.groups for buffer, resident in group.residents.items()
              if isinstance(resident, Stored) and buffer is not compiled.stages.output}
    assert 0 < spilled(compiled) <= 2 * max(buffer.words for buffer in stored) * SMALL[0].input_lanes // 2
    assert len(stored) > 2


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (3, 2)])
def test_only_pixels_that_are_read_come_back(stride, monkeypatch):
    """A map that is too large for the chip is read by a 1x1 convolution in steps, and by another one beside it."""
    monkeypatch.setattr(costs, "SPILL_CYCLES", (0,))
    rng = np.random.default_rng(3)

    def conv(name: str, source: str, out: int, channels: int, **window: object) -> Conv:
        shape = (out, channels, *window["kernel"])
        return Conv(name=name, inputs=(source,), weight=rng.normal(size=shape).astype(np.float32),
                    bias=rng.normal(size=out).astype(np.float32), window=Window(**window))

    steps = {"kernel": (1, 1), "stride": stride}
    layers = (Input(name="x", shape=(3, 21, 23)), conv("a", "x", 24, 3, kernel=(3, 3), padding=(1, 1, 1, 1)),
              conv("b", "a", 32, 24, **steps), conv("c", "a", 40, 24, **steps), Concat(name="d", inputs=("b", "c")),
              conv("e", "d", 8, 72, kernel=(1, 1)))
    spec = InputSpec(size=(21, 23), crop="none")
    graph = Graph(name=f"steps of {stride}", layers=layers, output="e")
    network = quantise(Model(graph=graph, spec=spec), synthetic_images(spec))
    compiled = compile_network(network, SMALL[0])
    assert any(isinstance(resident, Sampled) for group in compiled.groups for resident in group.residents.values())
    check_values(network, compiled, random_input(network))


@pytest.mark.parametrize("preset", PRESETS)
def test_digits_stays_on_every_chip(digits, preset):
    compiled = compile_network(digits, PRESETS[preset], storage_words=32 << 10)
    check_values(digits, compiled, random_input(digits))
    assert not spilled(compiled)


def test_digits_through_a_chip_that_is_much_too_small(digits):
    tiny = Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)
    compiled = compile_network(digits, tiny)
    check_values(digits, compiled, random_input(digits))
    assert spilled(compiled)


def test_squeezenet_keeps_its_activations_on_the_chip(data, monkeypatch):
    monkeypatch.setenv("FIRELINE_DATA", str(data))
    network = network_of("squeezenet1_1")
    compiled = compile_network(network, PRESETS["85f"])
    check_values(network, compiled, random_input(network))
    assert not spilled(compiled)
    # Weights, image and result move once, and little else does.
    moved = {Opcode.LOAD_WEIGHTS: 0, Opcode.LOAD_PIXELS: 0, Opcode.STORE: 0}
    for job in compiled.jobs.jobs:
        if job.opcode in (Opcode.LOAD_WEIGHTS, Opcode.STORE):
            moved[job.opcode] += job.body.words * job.body.runs
        elif job.opcode is Opcode.LOAD_PIXELS:
            moved[job.opcode] += job.body.rows
    assert moved == {Opcode.LOAD_WEIGHTS: 38624, Opcode.LOAD_PIXELS: 224, Opcode.STORE: 126}     # two bytes a score


def test_squeezenet_through_a_small_chip(data, monkeypatch):
    monkeypatch.setenv("FIRELINE_DATA", str(data))
    network = network_of("squeezenet1_1")
    compiled = compile_network(network, PRESETS["25f"])
    check_values(network, compiled, random_input(network))
    assert spilled(compiled) and len(compiled.jobs.computes) == 1555


def test_deep_compression_keeps_its_activations_on_the_chip(data):
    network = network_of(str(data / "models" / "squeezenet1_0_deepcomp.onnx"))
    compiled = compile_network(network, PRESETS["85f"])
    check_program(compiled.program)
    assert not spilled(compiled)


def test_the_same_network_gives_the_same_program(digits):
    first, second = (compile_network(digits, PRESETS["12f"]).program for _ in range(2))
    assert first.instructions == second.instructions and first.parts == second.parts and first.meta == second.meta
    np.testing.assert_array_equal(first.storage, second.storage)


@pytest.mark.parametrize("preset", ["25f", "12f"])
def test_cycles_depend_on_shapes_alone(digits, preset):
    model = load_model("digits")
    found = [figures(compile_network(network, PRESETS[preset]), network, None, 1 << 15) for network in (digits, outline(model))]
    assert found[0] == found[1]


def test_program_lies_in_storage_word_for_word(digits):
    program = compile_network(digits, PRESETS["85f"]).program
    words = [word for instruction in program.instructions for word in encode(instruction)]
    assert program.storage[program.program:program.program + program.program_words].tolist() == words
    assert program.store_base >= program.program + program.program_words


def test_storage_that_is_too_small_is_named_with_what_is_missing(digits):
    with pytest.raises(NetworkError, match=r"storage must have at least [\d,]+ bytes, not 2,000: [\d,]+ are missing"):
        compile_network(digits, PRESETS["85f"], storage_words=1000)


def test_storage_in_which_compressed_weights_have_room_is_worth_a_word(digits):
    """Only where that is enough, and the chip has no decoder yet."""
    sparse = deepcopy(digits)
    max((layer.weight for layer in sparse.layers if isinstance(layer, QConv)), key=lambda weight: weight.size)[:] = 0
    enough = 2 * compile_network(sparse, PRESETS["85f"]).layout.end
    coding = replace(PRESETS["85f"], options=("decoder",))
    most = enough * 9 // 10
    for geometry, missing, told in ((PRESETS["85f"], 8000, True), (PRESETS["85f"], most, False), (coding, most, False)):
        with pytest.raises(NetworkError, match="are missing") as caught:
            compile_network(sparse, geometry, storage_words=(enough - missing) // 2)
        assert ("compressed, its weights are about" in str(caught.value)) == told, missing


def test_memories_that_are_too_small_are_all_named_with_what_is_missing(digits):
    small = Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)
    wide = outline(load_model("squeezenet:size=63"))
    with pytest.raises(NetworkError) as caught:
        compile_network(wide, small, storage_words=100_000)
    said = list(map(str, caught.value.problems))
    assert any(re.fullmatch(r"fire\d/\w+ \(Conv\): activation memory \(activation_words\) must .*\d+ are missing", line)
               for line in said)
    assert re.fullmatch(r".*: storage must have at least [\d,]+ bytes, not 200,000: [\d,]+ are missing \(weights [\d,]+, "
                        r"parameters [\d,]+, input [\d,]+, output [\d,]+\); compressed, .* \(--units decoder\); "
                        r"--storage-mb \d goes on as if it had", said[-1])


def test_meta_is_all_that_a_host_needs(digits):
    meta = compile_network(digits, PRESETS["85f"]).program.meta
    assert InputSpec.from_json(meta["spec"]) == digits.spec and meta["labels"] == list(digits.labels)
    assert meta["output"]["shape"] == [10, 1, 1] and meta["output"]["scale"] == digits.tensors[digits.output].scale
    assert meta["input"] == {"scale": digits.tensors["input"].scale, "zero_point": digits.tensors["input"].zero_point}


@pytest.mark.parametrize("seed", range(6))
def test_global_average_right_behind_the_image(seed):
    """Of several blocks of channels, each with a sum of its own, whatever bands the image is gathered in."""
    rng = np.random.default_rng(seed)
    channels, classes, side = (int(n) for n in (rng.integers(3, 40), rng.integers(2, 12), rng.integers(5, 20)))
    layers = (Input(name="x", shape=(3, side, side)),
              Conv(name="c", inputs=("x",), weight=rng.normal(size=(channels, 3, 3, 3)).astype(np.float32),
                   bias=rng.normal(size=channels).astype(np.float32), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))),
              Relu(name="r", inputs=("c",)), GlobalAvgPool(name="g", inputs=("r",)), Flatten(name="f", inputs=("g",)),
              Linear(name="l", inputs=("f",), weight=rng.normal(size=(classes, channels)).astype(np.float32),
                     bias=rng.normal(size=classes).astype(np.float32)))
    spec = InputSpec(size=(side, side), crop="none")
    network = quantise(Model(graph=Graph(name=f"seed {seed}", layers=layers, output="l"), spec=spec), synthetic_images(spec))
    for preset in ("25f", "85f"):
        check_values(network, compile_network(network, PRESETS[preset]), random_input(network))


@pytest.mark.parametrize("side, parts", [((13, 13), (8,)), ((12, 3), (5, 9)), ((1, 20), (3,)), ((14, 12), (4, 4, 2))])
def test_fully_connected_layer_of_a_map_larger_than_kernels(side, parts):
    """Also of maps side by side in the pixels of a concatenation; on chips that keep the map, and on one that does not."""
    rng, window = np.random.default_rng(len(parts)), Window(kernel=(3, 3), padding=(1, 1, 1, 1))
    layers = (Input(name="x", shape=(3, *side)), *(
        Conv(name=f"c{n}", inputs=("x",), weight=rng.normal(size=(out, 3, 3, 3)).astype(np.float32),
             bias=rng.normal(size=out).astype(np.float32), window=window) for n, out in enumerate(parts)))
    features = sum(parts) * side[0] * side[1]
    layers += (Concat(name="k", inputs=tuple(f"c{n}" for n in range(len(parts)))), Flatten(name="f", inputs=("k",)),
               Linear(name="l", inputs=("f",), weight=rng.normal(size=(7, features)).astype(np.float32),
                      bias=rng.normal(size=7).astype(np.float32)))
    spec = InputSpec(size=side, crop="none")
    network = quantise(Model(graph=Graph(name="dense", layers=layers, output="l"), spec=spec), synthetic_images(spec, count=4))
    for geometry in (PRESETS["25f"], Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=1024)):
        check_values(network, compile_network(network, geometry), random_input(network))


@pytest.mark.parametrize("name", ["pool4", "pool5_s1_p2_spp", "global_maxpool", "keras_flatten_nhwc", "avgpool_full_map",
                                  "flatten_13"])
def test_cases_of_pools_and_flattened_maps(data, name):
    path = data / "cases" / f"{name}.onnx"
    if not path.exists():
        pytest.skip("needs the folder cases/ of FIRELINE_DATA")
    network = network_of(path)
    board = find("versa-ecp5")
    check_values(network, compile_network(network, board.geometry, storage_words=board.storage_words), random_input(network))


LARGE_POOLS = {
    "4x4": MaxPool(name="p", inputs=("r",), window=Window(kernel=(4, 4), stride=(4, 4))),
    "pyramid": MaxPool(name="p", inputs=("r",), window=Window(kernel=(9, 9), padding=(4, 4, 4, 4))),
    "ceil": MaxPool(name="p", inputs=("r",), window=Window(kernel=(6, 5), stride=(5, 4), padding=(0, 2, 3, 1)), ceil_mode=True),
    "global": MaxPool(name="p", inputs=("r",), window=Window(kernel=(23, 19))),
    "picks": MaxPool(name="p", inputs=("r",), window=Window(kernel=(1, 1), stride=(7, 2))),
    "mean": AvgPool(name="p", inputs=("r",), window=Window(kernel=(5, 5), stride=(3, 3))),
    "padded mean": AvgPool(name="p", inputs=("r",), window=Window(kernel=(7, 4), stride=(6, 2), padding=(3, 1, 2, 0)),
                           count_include_pad=True),
    "long mean": AvgPool(name="p", inputs=("r",), window=Window(kernel=(22, 1), stride=(11, 1))),
    "means of columns": AvgPool(name="p", inputs=("r",), window=Window(kernel=(23, 1))),
}


@pytest.mark.parametrize("name", LARGE_POOLS)
def test_large_pools(name):
    """On chips that keep the map, and on one that does not."""
    rng, spec = np.random.default_rng(2), InputSpec(size=(23, 19), crop="none")
    layers = (Input(name="x", shape=(3, 23, 19)),
              Conv(name="c", inputs=("x",), weight=rng.normal(size=(11, 3, 3, 3)).astype(np.float32),
                   bias=rng.normal(size=11).astype(np.float32), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))),
              Relu(name="r", inputs=("c",)), LARGE_POOLS[name],
              Conv(name="d", inputs=("p",), weight=rng.normal(size=(6, 11, 1, 1)).astype(np.float32),
                   bias=rng.normal(size=6).astype(np.float32), window=Window(kernel=(1, 1))))
    network = quantise(Model(graph=Graph(name=name, layers=layers, output="d"), spec=spec), synthetic_images(spec, count=4))
    for geometry in (PRESETS["25f"], Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=1024)):
        check_values(network, compile_network(network, geometry), random_input(network))


@pytest.mark.parametrize("name, side, channels, room", [
    ("image", (40, 33), 12, 512), ("convolution", (48, 30), 20, 512), ("pool", (61, 40), 9, 1024),
    ("convolution", (30, 48), 8, 4096)])
def test_global_average_of_a_map_that_does_not_fit(name, side, channels, room):
    """Its sums are kept from band to band, while rows that are through make room; where it fits, bands write nothing."""
    rng, window = np.random.default_rng(channels), Window(kernel=(3, 3), padding=(1, 1, 1, 1))

    def conv(name: str, source: str, out: int, into: int) -> Conv:
        return Conv(name=name, inputs=(source,), weight=rng.normal(size=(out, into, 3, 3)).astype(np.float32),
                    bias=rng.normal(size=out).astype(np.float32), window=window)

    middle = {"image": (), "convolution": (conv("d", "c", channels, channels), Relu(name="r", inputs=("d",))),
              "pool": (MaxPool(name="r", inputs=("c",), window=Window(kernel=(2, 2), stride=(1, 1))),)}[name]
    layers = (Input(name="x", shape=(3, *side)), conv("c", "x", channels, 3), *middle,
              GlobalAvgPool(name="g", inputs=(middle[-1].name if middle else "c",)))
    spec = InputSpec(size=side, crop="none")
    network = quantise(Model(graph=Graph(name="mean", layers=layers, output="g"), spec=spec), synthetic_images(spec))
    for lanes in (4, 8):
        geometry = Geometry(input_lanes=lanes, output_lanes=4, activation_words=room, weight_words=512, band_pixels=64)
        compiled = compile_network(network, geometry)
        assert any(step.running for group in compiled.groups for step in group.order.steps) == (room < 4096)
        check_values(network, compiled, random_input(network))


@pytest.mark.parametrize("last", ["pad", "select", "concat", "flat", "image"])
def test_values_that_only_move(last):
    """Padding around a map, channels picked from one, and outputs that were flattened, or are the image."""
    rng = np.random.default_rng(3)

    def conv(name: str, source: str, out: int, into: int) -> Conv:
        return Conv(name=name, inputs=(source,), weight=rng.normal(size=(out, into, 3, 3)).astype(np.float32),
                    bias=rng.normal(size=out).astype(np.float32), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)))

    layers = (Input(name="x", shape=(3, 9, 8)), conv("c", "x", 12, 3), Relu(name="r", inputs=("c",)),
              Pad(name="p", inputs=("r",), before=(0, 1, 2), after=(0, 3, 0)),
              MaxPool(name="m", inputs=("p",), window=Window(kernel=(2, 2), stride=(2, 2)), ceil_mode=True),
              Select(name="s", inputs=("m",), channels=np.array([9, 2, 3, 11])), conv("d", "s", 5, 4), conv("e", "m", 7, 12),
              Concat(name="k", inputs=("d", "s", "e")))
    layers = layers[:{"pad": 4, "select": 6, "concat": 9, "flat": 9, "image": 1}[last]]
    if last in ("flat", "image"):
        layers += (Flatten(name="f", inputs=(layers[-1].name,)),)
    spec = InputSpec(size=(9, 8), crop="none")
    network = quantise(Model(graph=Graph(name="moves", layers=layers, output=layers[-1].name), spec=spec), synthetic_images(spec))
    check_values(network, compile_network(network, PRESETS["25f"]), random_input(network))


@pytest.mark.parametrize("shape, geometry", [((1, 1, 45), SMALL[0]), ((2, 3, 7), SMALL[1])])
def test_an_input_that_is_only_read_flattened_comes_as_one_pixel(shape, geometry):
    features = math.prod(shape)
    dense = single_conv(features, 9, (1, 1), Window(kernel=(1, 1)))
    layers = (QInput(name="x"), QFlatten(name="flat", inputs=("x",)), replace(dense.by_name["conv"], inputs=("flat",)))
    tensors = dense.tensors | {"x": replace(dense.tensors["x"], shape=shape), "flat": dense.tensors["x"]}
    network = replace(dense, layers=layers, tensors=tensors, spec=InputSpec(size=shape[1:]))
    compiled = compile_network(network, geometry)
    given = compiled.program.input
    assert given.shape == (features, 1, 1) and given.pixel_words == -(-features // geometry.input_lanes)
    q = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    check_values(network, compiled, q)
    assert words_of(given, q, geometry.input_lanes).view(np.uint8)[:features].tolist() == q.ravel().tolist()


def test_while_the_image_comes_more_than_its_first_layer_is_computed():
    rng, window = np.random.default_rng(5), Window(kernel=(3, 3), padding=(1, 1, 1, 1))
    layers = (Input(name="x", shape=(3, 32, 32)),
              *(Conv(name=name, inputs=(source,), weight=rng.normal(size=(16, into, 3, 3)).astype(np.float32),
                     bias=rng.normal(size=16).astype(np.float32), window=window)
                for name, source, into in (("a", "x", 3), ("b", "a", 16), ("c", "b", 16))))
    spec = InputSpec(size=(32, 32), crop="none")
    network = quantise(Model(graph=Graph(name="three", layers=layers, output="c"), spec=spec), synthetic_images(spec))
    compiled = compile_network(network, PRESETS["85f"])
    order = [part.layer for part in compiled.program.parts]
    assert order.index("c") < len(order) - 1 - order[::-1].index("a")
    check_values(network, compiled, random_input(network))
