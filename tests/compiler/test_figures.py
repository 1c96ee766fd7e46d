"""What a frame takes, before anything is built: the real networks on the boards that they are meant for."""
import argparse

import pytest

from boards import find
from compiler.build import compile_network
from compiler.figures import figures
from compiler.lowering.needs import needed
from nets.network import add_network_arguments, outline_from_arguments


@pytest.mark.parametrize("name, board, cycles, utilisation", [
    ("squeezenet1_1", "ulx3s", 1_388_685, .98), ("squeezenet1_0", "ulx3s", 3_301_502, .96),
    ("squeezenet1_1", "ulx3s-25f", 11_732_033, .93), ("digits", "versa-ecp5", 40_297, .69),
    ("alexnet_torchvision", "ulx3s-64mb", 32_618_772, .085)])
def test_a_frame_takes_as_long_as_it_did(name, board, cycles, utilisation):
    """Exact, as the RTL is: a schedule that got worse shows here, not in a report somebody has to read."""
    parser, board = argparse.ArgumentParser(), find(board)
    add_network_arguments(parser)
    network = outline_from_arguments(parser.parse_args(["--model", name]))
    geometry = board.geometry.with_options(needed(network, board.geometry))
    compiled = compile_network(network, geometry, storage_words=board.storage_words)
    data = figures(compiled, network, board.timing, board.storage_words)
    assert data["cycles"] == cycles
    assert data["utilisation"] >= utilisation
    assert sum(layer["macs"] for layer in data["layers"]) == data["macs"]
    assert max(end for spans in data["timeline"].values() for _, end in spans) <= cycles
