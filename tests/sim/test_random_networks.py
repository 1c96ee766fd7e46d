"""Random whole networks through compiler and RTL, an SDRAM behind it: values of every layer, cycles of every command."""
from dataclasses import replace

from hypothesis import HealthCheck, given, note, settings
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import QUEUES
from arch.program import Program
from boards import find
from compiler.build import compile_network
from compiler.stages import NetworkError
from golden import compare, values
from golden.consistency import check_program
from golden.machine import execute
from nets.graph import Window
from nets.int8.network import QFlatten, QNetwork, TensorType
from sim.frame import FrameBench, predict
from sim.run import check_frame
from sim.verilog.verilate import VCD
from tests.sim.networks import averaged, describe, networks, single_conv

# So small that nearly every network needs bands, and many spill.
GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)
OTHERS = (Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=1024, band_pixels=64),
          Geometry(input_lanes=16, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=128))
WIDE = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=128)     # rows of 128 pixels
TIMING = find("ulx3s").timing
WORDS = find("ulx3s").storage_words


def compiled(network: QNetwork, geometry: Geometry) -> Program | None:
    """The program, or None where the network does not fit the small engine."""
    note(describe(network))
    try:
        program = compile_network(network, geometry).program
    except NetworkError as error:
        assert "must" in str(error) or "do not fit" in str(error)
        return None
    check_program(program)
    return program


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks())
def test_programs_compute_what_the_network_says(drawn):
    network, q = drawn
    tensors = values.run(network, q, keep=network.by_name)
    for geometry in (GEOMETRY, *OTHERS):
        program = compiled(network, geometry)
        if program is not None:
            result = execute(program, q)
            assert not any(compare.mismatches(network, tensors, program, result.written))
            if program.again:
                after = execute(program.again, q, after=execute(program, q[:, ::-1].copy()))
                np.testing.assert_array_equal(after.output, result.output)
            np.testing.assert_array_equal(compare.final_output(network, program, result.output), tensors[network.output])


@pytest.fixture(scope="module")
def bench():
    with FrameBench(GEOMETRY, timing=TIMING, words=WORDS, waves=VCD) as bench:       # the model of test_run
        yield bench


@pytest.fixture(scope="module")
def wide():
    with FrameBench(WIDE, timing=TIMING, words=WORDS, waves=VCD) as bench:
        yield bench


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=networks(macs=150_000))
def test_random_networks_on_the_machine(bench, drawn):
    network, q = drawn
    program = compiled(network, GEOMETRY)
    if program is not None:
        check_on_the_machine(bench, network, program, q)


def test_chunks_side_by_side_on_the_machine(bench):
    network = single_conv(16, 160, (9, 9))
    compiled = compile_network(network, GEOMETRY)
    (group,) = compiled.groups
    resident = group.residents[compiled.stages.output]
    assert resident.copies == 2 and resident.chunk_words > len(group.order.steps[0].output_words)
    q = np.random.default_rng(2).integers(0, 256, (16, 9, 9), np.uint8)
    check_on_the_machine(bench, network, compiled.program, q)


def test_strides_that_no_record_holds_on_the_machine(bench):
    network = single_conv(9, 7, (23, 31), Window(kernel=(2, 3), stride=(5, 7)))
    q = np.random.default_rng(4).integers(0, 256, (9, 23, 31), np.uint8)
    check_on_the_machine(bench, network, compile_network(network, GEOMETRY).program, q)


def test_a_mean_that_is_kept_from_band_to_band_on_the_machine(bench):
    """Of a map that does not fit, so each band says what the mean is so far."""
    network = averaged(5, 11, (40, 33))
    compiled = compile_network(network, GEOMETRY)
    assert any(step.running for group in compiled.groups for step in group.order.steps)
    q = np.random.default_rng(5).integers(0, 256, (5, 40, 33), np.uint8)
    check_on_the_machine(bench, network, compiled.program, q)


def test_a_map_that_is_read_as_one_pixel_on_the_machine(bench):
    network = single_conv(6, 4, (13, 12))
    flat, dense = QFlatten(name="flat", inputs=("conv",)), single_conv(4 * 156, 10, (1, 1), Window(kernel=(1, 1))).by_name["conv"]
    zero_point = dense.requantise.zero_point
    network = replace(network, layers=(*network.layers, flat, replace(dense, name="dense", inputs=("flat",))), output="dense",
                      tensors=network.tensors | {"flat": replace(network.tensors["conv"], shape=(4 * 156, 1, 1)),
                                                 "dense": TensorType(shape=(10, 1, 1), scale=1.0, zero_point=zero_point)})
    compiled = compile_network(network, GEOMETRY)
    assert any(stage.work.whole for stage in compiled.stages.stages)
    q = np.random.default_rng(6).integers(0, 256, (6, 13, 12), np.uint8)
    check_on_the_machine(bench, network, compiled.program, q)


@pytest.mark.parametrize("shape, kernel", [((1, 8, 512), 1), ((1, 24, 512), 1), ((3, 14, 420), 3), ((4, 12, 345), 2)])
def test_rows_of_an_image_that_no_window_uses(wide, shape, kernel):
    """The gather is done before it has taken them, and so wide that they wait for room behind it."""
    network = single_conv(shape[0], 4, shape[1:], Window(kernel=(kernel, kernel), stride=(4, 4)))
    program = compile_network(network, WIDE).program
    assert any(i.queue == "gather" for i in program.instructions)
    q = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    check_on_the_machine(wide, network, program, q)


def check_on_the_machine(bench: FrameBench, network: QNetwork, program: Program, q: np.ndarray) -> None:
    """Values of every layer, and the cycle of every command; then those of a second frame."""
    bench.load(program)
    first = check_frame(network, program, q, bench.run(q))
    assert first.mismatches == 0
    foretold = predict(program, timing=TIMING, words=WORDS, start=first.frame.start)
    assert foretold.late(first.frame) == dict.fromkeys(QUEUES, 0)
    assert foretold.cycles == first.frame.cycles
    again = check_frame(network, program.next, q[:, ::-1].copy(), bench.run(q[:, ::-1].copy()))
    assert again.mismatches == 0
    assert (again.frame.program is program) == (program.again is None)
    if program.again:                       # nothing of the constants is loaded; cycles depend on when the SDRAM is refreshed
        loaded = again.frame.requests.words[~again.frame.requests.write].sum()
        assert loaded < first.frame.requests.words[~first.frame.requests.write].sum()
        assert again.frame.cycles < first.frame.cycles
