"""Drawn layers on the engine's RTL: at every boundary, the value and the cycle of every beat are golden's."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from bench.engine import measure
from nets.graph import Window
from nets.int8.network import QConv, Requantise
from sim.cases import Case, gathered
from sim.engine import CocotbBench, EngineBench, differences, mismatches, predicted
from sim.expected import Expected
from sim.verilog.export import SimulationError
from tests.hw.engine.layers import Grouped, conv_of, layers

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=2048, fifo_words=32)
WORDS = 3800                # of activation memory for input and output together


@pytest.fixture(scope="module")
def bench() -> EngineBench:
    return EngineBench(GEOMETRY)


@pytest.fixture(scope="module")
def cocotb_bench() -> CocotbBench:
    return CocotbBench(GEOMETRY)


def grants(seed: int | None) -> dict[str, np.ndarray]:
    """Patterns of random density for both grants: input gaps and back-pressure. None: neither."""
    if seed is None:
        return {}
    rng = np.random.default_rng(seed)
    return {name: np.append(rng.random(rng.integers(1, 300)) < rng.choice([.05, .3, .7, .95]), True)
            for name in ("read_grant", "write_grant")}


def check(bench: EngineBench, case: Case, stalls: dict[str, np.ndarray]) -> None:
    plan, target, memory = case.place(bench.geometry)
    run = bench.run(plan, memory, **stalls)
    expected = Expected(bench.geometry, plan, case, target)
    wrong = differences(mismatches(run.beats, predicted(bench.geometry, plan, run.offered, **stalls), expected))
    assert not wrong
    if target.ring_rows == target.height:
        np.testing.assert_array_equal(target.fetch(bench.geometry, run.memory), expected.output)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(case=layers(words=WORDS, lanes=GEOMETRY.input_lanes, width=60, macs=400_000),
       seed=st.one_of(st.none(), st.integers(0, 2**32 - 1)))
def test_drawn_layers(bench, case, seed):
    check(bench, case, grants(seed))


@pytest.mark.parametrize("zero_point", [0, 128, 255])
@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize("weight", [-127, 127])
def test_extremes(bench, weight, pixel, zero_point):
    how = Requantise(multiplier=np.full(6, 255), shift=np.full(6, 26), zero_point=128)
    conv = QConv(name="extreme", inputs=("x",), weight=np.full((6, 9, 3, 3), weight, np.int8), bias=np.zeros(6, np.int32),
                 window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)), groups=1, requantise=how)
    check(bench, Case(name="extreme", conv=conv, x=np.full((9, 7, 5), pixel, np.uint8), zero_point=zero_point), grants(None))


@pytest.mark.parametrize("seed", range(8))
def test_layers_of_an_image(bench, seed):
    """From its pixels: the words that the gather makes beside the layer, and the layer."""
    rng = np.random.default_rng(seed)
    kernel, stride, channels = (int(rng.integers(1, most)) for most in (5, 4, 5))
    window = Window(kernel=(kernel, kernel), stride=(stride, stride), padding=tuple(rng.integers(0, kernel, 4).tolist()))
    case = gathered(Case(name="drawn", conv=conv_of(rng, channels, 9, window), zero_point=3,
                         x=rng.integers(0, 256, (channels, 20, 19), np.uint8)))
    found = measure(bench, case, **grants(seed if seed % 2 else None))
    assert (found.wrong, found.late) == (0, 0) and found.cycles == found.predicted_cycles


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_layer_under_cocotb(cocotb_bench, seed):
    rng = np.random.default_rng(5)
    conv = conv_of(rng, 6, 10, Window(kernel=(3, 3), stride=(2, 1), padding=(1, 1, 1, 1)))
    case = Case(name="drawn", conv=conv, x=rng.integers(0, 256, (6, 15, 20), np.uint8), zero_point=128)
    assert "are as expected" in cocotb_bench.run(case, **grants(seed))


@pytest.mark.parametrize("seed", [None, 3])
def test_inputs_of_their_own_under_cocotb(cocotb_bench, seed):
    rng = np.random.default_rng(8)
    conv = replace(conv_of(rng, 4, 24, Window(kernel=(3, 3), padding=(1, 1, 1, 1))), groups=3)
    case = Grouped(name="drawn", conv=conv, x=rng.integers(0, 256, (12, 11, 9), np.uint8), zero_point=128)
    assert "are as expected" in cocotb_bench.run(case, **grants(seed))


def test_a_beat_out_of_place_is_noticed(bench):
    """The comparison itself: a wrong value, a late beat, a missing one."""
    rng = np.random.default_rng(6)
    case = Case(name="drawn", conv=conv_of(rng, 4, 4, Window(kernel=(1, 1))), x=rng.integers(0, 256, (4, 8, 8), np.uint8),
                zero_point=0)
    plan, target, memory = case.place(GEOMETRY)
    run = bench.run(plan, memory)
    expected = Expected(GEOMETRY, plan, case, target)
    line = predicted(GEOMETRY, plan, run.offered)
    assert not differences(mismatches(run.beats, line, expected))
    run.beats["written"].payload[3, 2] ^= 1
    run.beats["pooled"].cycle[5] += 1
    run.beats["array"].cycle, run.beats["array"].payload = run.beats["array"].cycle[:-1], run.beats["array"].payload[:-1]
    assert differences(mismatches(run.beats, line, expected)) == (
        "array: of 63 beats 1 differ in value, 1 in cycle; pooled: of 64 beats 0 differ in value, 1 in cycle; "
        "written: of 64 beats 1 differ in value, 0 in cycle")


def test_cocotb_notices_a_wrong_value(cocotb_bench):
    rng = np.random.default_rng(7)
    case = Case(name="drawn", conv=conv_of(rng, 4, 4, Window(kernel=(1, 1))), x=rng.integers(0, 256, (4, 8, 8), np.uint8),
                zero_point=0)
    wrong = Case(name="other", conv=case.conv, x=case.x ^ np.uint8(1), zero_point=0)
    place = case.place
    object.__setattr__(wrong, "place", place)               # the memory of one, the values of the other
    with pytest.raises(SimulationError, match="beat 0 at array"):
        cocotb_bench.run(wrong)
