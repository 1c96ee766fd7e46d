"""Networks with tables on the RTL of the whole machine: values of every layer, cycles of every command."""
from dataclasses import replace

import pytest

from boards import find
from compiler.build import compile_network
from sim.frame import FrameBench
from tests.compiler.test_build import random_input
from tests.compiler.test_tables import GEOMETRY, every_place, many_tables
from tests.sim.test_random_networks import check_on_the_machine

BOARD = find("ulx3s")


@pytest.fixture(scope="module")
def bench():
    with FrameBench(replace(GEOMETRY, input_lanes=8), timing=BOARD.timing, words=BOARD.storage_words) as bench:
        yield bench


@pytest.mark.parametrize("network", [every_place, many_tables])
def test_tables_on_the_machine(bench, network):
    network = network()
    program = compile_network(network, bench.bench.geometry).program
    check_on_the_machine(bench, network, program, random_input(network))
