"""Networks that need options of the engine, on the RTL of the whole machine: values of every layer, cycles of every command."""
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
import numpy as np
import pytest

from arch.instruction import Opcode
from arch.units import OPTIONAL
from boards import find
from compiler.build import compile_network
from golden import compare, values
from golden.machine import execute
from nets.graph import Window
from nets.int8.network import QNetwork
from nets.load import load_model
from nets.quantise import quantise_with
from sim.frame import FrameBench
from tests.compiler import test_lrn
from tests.compiler.test_build import random_input
from tests.compiler.test_depthwise import blocks
from tests.compiler.test_tables import GEOMETRY, every_place, many_tables
from tests.sim.networks import networks, single_conv, thinned
from tests.sim.test_random_networks import check_on_the_machine, compiled

BOARD = find("ulx3s")
ALL = replace(GEOMETRY, weight_words=512, options=OPTIONAL)
SMALL = replace(ALL, activation_words=512)


def lenet5() -> QNetwork:
    return quantise_with(load_model("lenet5:size=28"))


@pytest.fixture(scope="module")
def bench():
    with FrameBench(replace(ALL, input_lanes=8), timing=BOARD.timing, words=BOARD.storage_words) as bench:
        yield bench


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(units=OPTIONAL))
def test_programs_compute_what_the_network_says(drawn):
    network, q = drawn
    tensors = values.run(network, q, keep=network.by_name)
    for geometry in (SMALL, replace(SMALL, input_lanes=8), replace(SMALL, input_lanes=16, activation_words=1024)):
        if program := compiled(network, geometry):
            result = execute(program, q)
            assert not any(compare.mismatches(network, tensors, program, result.written))
            np.testing.assert_array_equal(compare.final_output(network, program, result.output), tensors[network.output])


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(macs=150_000, units=OPTIONAL))
def test_random_networks_on_the_machine(bench, drawn):
    network, q = drawn
    if program := compiled(network, bench.bench.geometry):
        check_on_the_machine(bench, network, program, q)


def test_an_entry_of_another_network_is_noticed(bench):
    """The comparison itself: golden with one entry changed that is read, of a table whose values are written."""
    network = every_place()
    program = compile_network(network, bench.bench.geometry).program
    q = random_input(network)
    read = values.run(network, q, keep=network.by_name)["both"]
    network.by_name["both/sigmoid"].table[read[0, 0, 0]] ^= 1
    with pytest.raises(AssertionError):
        check_on_the_machine(bench, network, program, q)


@pytest.mark.parametrize("network", [every_place, many_tables, lenet5, test_lrn.every_place])
def test_tables_and_normalisations_on_the_machine(bench, network):
    network = network()
    program = compile_network(network, bench.bench.geometry).program
    check_on_the_machine(bench, network, program, random_input(network))


def test_depthwise_convolutions_on_the_machine(bench):
    network = blocks()
    program = compile_network(network, bench.bench.geometry).program
    assert any(one.body.depthwise.enable for one in program.instructions if one.opcode is Opcode.COMPUTE)
    check_on_the_machine(bench, network, program, random_input(network))


def test_a_weight_of_another_network_is_noticed(bench):
    network = blocks()
    program = compile_network(network, bench.bench.geometry).program
    weight = network.by_name["b/filter"].weight
    weight[3, 0, 1, 1] = -weight[3, 0, 1, 1] if abs(int(weight[3, 0, 1, 1])) > 64 else 127
    with pytest.raises(AssertionError):
        check_on_the_machine(bench, network, program, random_input(network))


def test_compressed_weights_on_the_machine(bench):
    """Those of a stage that come again for each band, more than the memory holds."""
    network = thinned(single_conv(16, 64, (14, 14), Window(kernel=(3, 3))), 0.3, np.random.default_rng(1))
    program = compile_network(network, bench.bench.geometry).program
    assert sum(one.opcode is Opcode.LOAD_CODED for one in program.instructions) > 10
    check_on_the_machine(bench, network, program, random_input(network))


@pytest.mark.parametrize("channels, size, window", [
    (2200, (1, 1), Window(kernel=(1, 1))), (160, (5, 4), Window(kernel=(5, 5), padding=(2, 2, 2, 2)))],
    ids=["connected", "window"])
def test_sums_that_go_on_on_the_machine(bench, channels, size, window):
    """Of an output block that has more weights than there is room for."""
    network = single_conv(channels, 10, size, window)
    program = compile_network(network, bench.bench.geometry).program
    assert any(instruction.body.window.goes_on for instruction in program.instructions if instruction.opcode is Opcode.COMPUTE)
    check_on_the_machine(bench, network, program, random_input(network))
