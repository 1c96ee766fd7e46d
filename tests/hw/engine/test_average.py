# amaranth: UnusedElaboratable=no
"""The global average against golden: every value, and the cycle of every vector."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.unit.average import AverageConfig
from golden.cycles.average import passed
from golden.cycles.streams import Readiness
from golden.values import requantise
from hw.engine.average import GlobalAverage
from nets.int8.network import Requantise
from sim.verilog.native import Design, beats_of_ints

LANES = (6,)
PLAIN = dict(enable=0, first=0, last=0, start=0, multiplier=0, shift=1, zero_point=0, low=0, high=0)


@pytest.fixture(scope="module")
def designs() -> dict[int, Design]:
    return {lanes: Design(GlobalAverage(geometry_of(lanes))) for lanes in LANES}


def geometry_of(lanes: int) -> Geometry:
    return Geometry(input_lanes=lanes * 2, output_lanes=lanes, activation_words=512, weight_words=512)


def _vectors(q: np.ndarray, lanes: int) -> list[int]:
    blocks = q.reshape(len(q) // lanes, lanes, -1).astype(np.int64)
    return sum(blocks[:, n] << 8 * n for n in range(lanes)).ravel().tolist()


def passing(rng, lanes: int):
    """A command whose vectors pass."""
    config = AverageConfig(**PLAIN, pixels=int(rng.integers(0, 12)), output_blocks=int(rng.integers(1, 4)))
    values = _vectors(rng.integers(0, 256, (lanes * config.output_blocks, config.pixels)), lanes)
    return [(config, values, values)]


def averaging(rng, lanes: int):
    """Commands for a map: at once, or in bands of one output block, which may all say what the sums are so far."""
    blocks, bands = (int(rng.integers(1, 4)), 1) if rng.random() < 0.5 else (1, int(rng.integers(1, 4)))
    sizes = rng.integers(1, 40, bands)
    q = rng.choice([rng.integers(0, 256, (lanes * blocks, sizes.sum())), np.full((lanes * blocks, sizes.sum()), 255)])
    fraction = int(rng.random() < 0.4)
    zero_point, shift = int(rng.integers(0, 256)), int(rng.integers(1 + 8 * fraction, 14))
    low, high = sorted(rng.integers(0, 256, 2).tolist())
    rule = dict(multiplier=int(rng.integers(0, 256)), shift=shift, zero_point=int(rng.integers(0, 256)), low=low, high=high,
                fraction=fraction)
    how = Requantise(multiplier=np.array([rule["multiplier"]]), shift=np.array([shift]), zero_point=rule["zero_point"], low=low,
                     high=high)
    edges, start, running = np.concatenate(([0], np.cumsum(sizes))), -zero_point * int(sizes.sum()), rng.random() < 0.5
    said = [running or n == bands - 1 for n in range(bands)]

    def results(pixels):
        """The vectors of each block, its fraction behind it."""
        acc = q[:, :pixels].sum(1, keepdims=True) + start
        second = [rule["zero_point"] + (acc * rule["multiplier"] >> shift - 8) & 255] if fraction else []
        return _vectors(np.concatenate([requantise(acc, how), *second], axis=1), lanes)
    return [(AverageConfig(enable=1, first=int(n == 0), last=int(said[n]), pixels=int(sizes[n]), output_blocks=blocks,
                           start=start, **rule), _vectors(q[:, edges[n]:edges[n + 1]], lanes),
             results(edges[n + 1]) if said[n] else [])
            for n in range(bands)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(LANES), st.lists(st.booleans(), min_size=1, max_size=6),
       st.tuples(*[st.sampled_from([0.05, 0.3, 0.8, 1.0, 1.0])] * 3), st.integers(0, 2**32 - 1))
def test_values_and_cycles(designs, lanes, kinds, chances, seed):
    rng = np.random.default_rng(seed)
    commands = [command for average in kinds for command in (averaging if average else passing)(rng, lanes)]
    configs, into, out = [[part for command in commands for part in ([command[n]] if n == 0 else command[n])] for n in range(3)]
    slow, allow, ready = (np.append(rng.random(211) < chance, True) for chance in chances)
    with designs[lanes].simulate() as sim:
        sim.feed("command", [config.pack() for config in configs], slow)
        sim.feed("i", beats_of_ints(into, 8 * lanes), allow)
        sim.pattern("o__ready", ready)
        if out:
            sim.run_until(beats=("o", len(out)), deadline=100_000)
        sim.run_until(drained="i", deadline=100_000)
        sim.run_until(drained="command", deadline=100_000)
        sim.step(60)
        seen = {name: sim.beats(name) for name in ("command", "i", "o")}

    def offers(pattern, cycles):
        return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1))) if len(cycles) else cycles
    assert seen["o"].payload.tobytes() == beats_of_ints(out, 8 * lanes).tobytes()
    expected = passed(geometry_of(lanes), configs, offers(slow, seen["command"].cycle), offers(allow, seen["i"].cycle),
                      Readiness(ready))
    for name, cycles in zip(("command", "i", "o"), expected, strict=True):
        assert seen[name].cycle.tolist() == cycles.tolist(), name


def test_largest_map(designs):
    """1023 x 1023 bytes of 255 do not leave the sum's bits; 1023 commands of 1023."""
    configs = [AverageConfig(enable=1, first=int(n == 0), last=int(n == 1022), pixels=1023, output_blocks=1, start=0,
                             multiplier=128, shift=27, zero_point=3, low=0, high=255) for n in range(1023)]
    with designs[6].simulate() as sim:
        sim.feed("command", [config.pack() for config in configs])
        sim.feed("i", np.full((1023 * 1023, 6), 255, np.uint8))
        sim.run_until(beats=("o", 1), deadline=2_000_000)
        value = 3 + ((255 * 1023 * 1023 * 128 + (1 << 26)) >> 27)
        assert sim.beats("o").payload.tolist() == [[min(value, 255)] * 6]
