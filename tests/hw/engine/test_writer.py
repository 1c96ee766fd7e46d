"""The writer against plain addresses: word, lanes, value and cycle of every write."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.unit.writer import WriterConfig
from golden.cycles.streams import Readiness
from golden.cycles.writer import passed, vectors
from golden.places import writer_places
from hw.engine.writer import Writer
from sim.verilog.export import Boundary
from sim.verilog.native import Design, ints_of_beats

GEOMETRIES = {groups: Geometry(input_lanes=4, output_lanes=4 // groups, activation_words=4096, weight_words=512)
              for groups in (1, 2)}


@pytest.fixture(scope="module")
def designs() -> dict[int, Design]:
    made = {}
    for groups, geometry in GEOMETRIES.items():
        writer = Writer(geometry)
        made[groups] = Design(writer, probes=lambda w=writer: {
            "write": Boundary(w.w_en.any(), w.w_addr), "enable": Boundary(w.w_en.any(), w.w_en),
            "data": Boundary(w.w_en.any(), w.w_data), "last": Boundary(w.last, w.w_addr)})
    return made


@st.composite
def configs(draw) -> WriterConfig:
    rows, row_words, pixel_words = draw(st.integers(0, 7)), draw(st.integers(0, 90)), draw(st.integers(1, 40))
    ring = draw(st.integers(1, 8))
    return WriterConfig(
        base=draw(st.integers(0, 4095)), lane=draw(st.integers(0, 1)), row_start=draw(st.integers(0, ring - 1)) * row_words,
        row_words=row_words if ring > 1 else 0, ring_words=max(ring * row_words, 1), pixel_words=pixel_words, rows=rows,
        columns=draw(st.integers(1, 12)), output_blocks=draw(st.integers(1, 5)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(configs(), min_size=1, max_size=5), st.sampled_from([1, 2]), st.integers(0, 2**32 - 1))
def test_every_write(designs, commands, groups, seed):
    geometry, rng = GEOMETRIES[groups], np.random.default_rng(seed)
    commands = [WriterConfig(**{**vars(config), "lane": config.lane % groups}) for config in commands]
    count = sum(map(vectors, commands))
    width = 8 * geometry.output_lanes
    values = rng.integers(0, 1 << width, count).tolist()
    allow, grant, slow = (np.append(rng.random(199) < rng.choice([0.1, 0.6, 1]), True) for _ in range(3))
    with designs[groups].simulate() as sim:
        sim.feed("command", [config.pack() for config in commands], slow)
        sim.feed("i", values, allow)
        sim.pattern("grant", grant)
        if count:
            sim.run_until(beats=("write", count), deadline=100_000)
        sim.run_until(drained="command", deadline=100_000)
        sim.step(20)
        seen = {name: sim.beats(name) for name in ("command", "i", "write", "enable", "data", "last")}

    def offers(pattern, cycles):
        """Cycle in which each beat is first offered."""
        return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1))) if len(cycles) else cycles
    command_cycles, cycles, written = passed(geometry, commands, offers(slow, seen["command"].cycle),
                                             offers(allow, seen["i"].cycle), Readiness(grant).later())
    assert seen["command"].cycle.tolist() == command_cycles.tolist()
    assert seen["i"].cycle.tolist() == cycles.tolist()
    assert seen["write"].cycle.tolist() == written.tolist()
    places = [writer_places(geometry, config) for config in commands]
    bits = len(bin(geometry.activation_words)) - 3
    assert ints_of_beats(seen["write"].payload) == [int(word) % (1 << bits) for words, _ in places for word in words.ravel()]
    lanes = [lane for words, lanes in places for lane in lanes.repeat(words[0].size)]
    assert ints_of_beats(seen["enable"].payload) == [1 << int(lane) for lane in lanes]
    assert ints_of_beats(seen["data"].payload) == [sum(value << width * n for n in range(groups)) for value in values]
    ends = np.cumsum([vectors(config) for config in commands if config.rows]) - 1
    assert seen["last"].cycle.tolist() == written[ends.astype(int)].tolist()
