"""Programs with compressed weights: the same integers, in fewer bytes, in no more cycles."""
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from arch.instruction import Opcode
from compiler import costs
from compiler.build import STORAGE_WORDS, compile_network
from compiler.coding.shares import Piece, shares
from compiler.figures import figures
from compiler.stages import NetworkError
from golden.weight_stream import decode, decode_table
from nets.graph import Window
from nets.int8.network import QConv
from tests.compiler.test_build import check_values, network_of, random_input
from tests.sim.networks import describe, networks, single_conv, thinned

SMALL = [Geometry(input_lanes=lanes, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=64).with_options(
    ["decoder"]) for lanes in (4, 8)]


def loads(program, opcode) -> list:
    return [one.body for one in program.instructions if one.opcode is opcode]


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks(data):
    network, q = data.draw(networks(units=("decoder",)))
    geometry = data.draw(st.sampled_from(SMALL))
    note(f"{describe(network)} on {geometry}")
    try:
        compiled = compile_network(network, geometry)
    except NetworkError as error:
        assert error.problems
        return
    check_values(network, compiled, q)


@pytest.mark.parametrize("preset", ["85f", "12f"])
def test_digits_are_shorter_and_no_slower(preset, monkeypatch):
    network, geometry = network_of("digits"), PRESETS[preset].with_options(["decoder"])
    compiled = compile_network(network, geometry)
    monkeypatch.setattr(costs, "CODED_TRIES", 0)
    plain = compile_network(network, geometry)
    check_values(network, compiled, random_input(network))
    blocks = loads(compiled.program, Opcode.LOAD_CODED)
    assert len(blocks) > 10 and not loads(plain.program, Opcode.LOAD_CODED)
    found, usual = (figures(one, network, None, STORAGE_WORDS) for one in (compiled, plain))
    assert found["cycles"] <= usual["cycles"]
    assert found["stored_weight_bytes"] < usual["stored_weight_bytes"] and found["weight_bytes"] == usual["weight_bytes"]
    assert sum(layer["bytes"] for layer in found["layers"]) < sum(layer["bytes"] for layer in usual["layers"])
    assert found["storage_bytes"]["weights"] < usual["storage_bytes"]["weights"]


def test_a_stage_whose_loads_overlap_is_cut_where_they_end():
    """Bands that each load all weights anew, at other places of a memory that does not hold them."""
    network = thinned(single_conv(16, 64, (12, 12), Window(kernel=(3, 3))), 0.3, np.random.default_rng(1))
    compiled = compile_network(network, SMALL[0])
    check_values(network, compiled, random_input(network))
    blocks = [body for body in loads(compiled.program, Opcode.LOAD_CODED) if body.chip_words]
    stored = {body.storage: body.words for body in blocks}
    plain = compiled.stages.stages[0].work.weights.size // 2
    assert len(blocks) > len(stored) and sum(stored.values()) < 0.6 * plain


def pieces(stage, *ends):
    return [Piece(stage, range(*pair)) for pair in ends]


@dataclass(frozen=True, eq=False)
class Weights:
    """A stage, as far as its weights matter."""

    weights: np.ndarray

    @property
    def work(self) -> "Weights":
        return self


def stages_of(weights: list[np.ndarray]) -> list[Weights]:
    return list(map(Weights, weights))


def laplace(rng, spread: float, words: int = 1024) -> np.ndarray:
    return np.clip(rng.laplace(0, spread, (words, 4, 2)), -127, 127).astype(np.int8)


def test_stages_share_a_table_where_they_take_turns_or_are_alike():
    rng = np.random.default_rng(1)
    a, b, c, d = stages_of([laplace(rng, spread) for spread in (1, 40, 40, 3)])
    halves = (0, 512), (512, 1024)
    alone = [piece for stage in (c, d) for piece in pieces(stage, *halves)]
    found = shares([*pieces(a, halves[0]), *pieces(b, *halves), *pieces(a, halves[1]), *alone])
    assert [share.stages for share in found] == [(a, b), (c,), (d,)]
    found = shares([*pieces(a, *halves), *pieces(b, *halves), *alone])
    assert [share.stages for share in found] == [(a,), (b, c), (d,)]
    for share in found:
        for piece, block in share.blocks.items():
            weights, = decode([block], decode_table(share.table))
            np.testing.assert_array_equal(weights, piece.weights.reshape(-1))


def test_parts_are_what_overlapping_loads_have_in_common():
    stage, = stages_of([laplace(np.random.default_rng(2), 3)])
    apart = pieces(stage, (0, 256), (256, 512), (0, 256))
    assert set(shares(apart)[0].blocks) == set(apart)
    over = pieces(stage, (0, 256), (256, 512), (0, 200), (200, 400), (400, 512))
    share, = shares(over)
    assert set(share.blocks) == set(pieces(stage, (0, 200), (200, 256), (256, 400), (400, 512)))
    assert share.parts[over[0]] == tuple(pieces(stage, (0, 200), (200, 256)))


def test_what_is_no_shorter_stays_plain():
    noise = np.random.default_rng(3).integers(-128, 128, (512, 4, 2)).astype(np.int8)
    share, = shares(pieces(stages_of([noise])[0], (0, 512)))
    assert not share.shorter and list(share.blocks.values()) == [None]
    network = single_conv(16, 64, (9, 9))
    even = np.random.default_rng(4).integers(-128, 128, (64, 16, 1, 1)).astype(np.int8)
    network = replace(network, layers=tuple(
        replace(layer, weight=even) if isinstance(layer, QConv) else layer for layer in network.layers))
    compiled = compile_network(network, SMALL[0])
    assert not loads(compiled.program, Opcode.LOAD_CODED) and not compiled.layout.coded
