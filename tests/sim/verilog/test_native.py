# amaranth: UnusedElaboratable=no
import numpy as np
import pytest

from sim.verilog.cache import kept
from sim.verilog.export import Boundary, Rtl, SimulationError, convert
from sim.verilog.native import Design, beats_of_ints, ints_of_beats
from sim.verilog.verilate import FST, VCD
from tests.sim.queue import Queue


@pytest.fixture(scope="module")
def design() -> Design:
    queue = Queue()
    return Design(queue, probes=lambda: {"inside": Boundary(queue.queue.w_en & queue.queue.w_rdy, queue.queue.w_data[:8])})


def values(count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int.from_bytes(rng.bytes(10), "little") << 3 | int(rng.integers(7)) for _ in range(count)]


@pytest.mark.parametrize("allow, ready", [(1, 1), (.5, 1), (1, .5), (.3, .3)])
def test_passes_every_beat(design, allow, ready):
    seed = 3
    rng, sent = np.random.default_rng(seed), values(500, seed)
    with design.simulate() as sim:
        sim.feed("i", sent, allow=np.append(rng.random(97) < allow, True))
        sim.pattern("o__ready", np.append(rng.random(89) < ready, True))
        sim.run_until(beats=("o", len(sent)), deadline=10_000)
        taken, inside, out = sim.beats("i"), sim.beats("inside"), sim.beats("o")
    assert ints_of_beats(out.payload) == ints_of_beats(taken.payload) == sent, f"seed {seed}"
    assert ints_of_beats(inside.payload) == [value & 0xff for value in sent]
    assert (inside.cycle == taken.cycle).all() and (out.cycle >= taken.cycle + 2).all()


def test_cycles_count_from_reset_and_patterns_begin_there(design):
    with design.simulate() as sim:
        assert sim.cycle == 0
        sim.step(5)
        sim.pattern("pause", np.array([False, False, False, True, True]))
        sim.feed("i", [8, 16, 24])
        sim.run_until(beats=("o", 3), deadline=100)
        assert list(sim.beats("i").cycle) == [5, 6, 7]
        assert list(sim.beats("o").cycle) == [7, 10, 11]        # 8 and 9 are pauses
        assert len(sim.beats("o")) == 0                         # handed over once


def test_inputs_and_outputs(design):
    with design.simulate() as sim:
        sim.set("pause", 1)
        sim.feed("i", values(5, 1))
        sim.run_until(drained="i", deadline=100)
        sim.step()
        assert sim.get("level") == 5 and sim.get("o__valid") == 0
        sim.set("pause", 0)
        assert sim.get("o__valid") == 1                         # seen without a clock edge
        sim.run_until(high="o__valid", deadline=1)
        assert sim.pending("i") == 0


def test_two_simulations_of_a_design_are_apart(design):
    with design.simulate() as one, design.simulate() as other:
        one.feed("i", [8])
        one.step(10)
        other.step(1)
        assert (one.cycle, other.cycle) == (10, 1)
        assert len(one.beats("o")) == 1 and len(other.beats("o")) == 0


def test_a_deadline_names_what_is_missing(design):
    with design.simulate() as sim, pytest.raises(SimulationError, match="after 20 cycles: waiting for 1 beats at o"):
        sim.run_until(beats=("o", 1), deadline=20)


def test_a_failed_assertion_ends_the_run(design):
    with design.simulate() as sim, pytest.raises(SimulationError, match="assertion of the design failed in cycle 3"):
        sim.step(3)
        sim.feed("i", [7])
        sim.step(10)


@pytest.mark.parametrize("call, message", [
    (lambda sim: sim.set("level", 1), "port must be an input, not 'level'"),
    (lambda sim: sim.pattern("level", [1]), "port must be an input of one bit, not 'level'"),
    (lambda sim: sim.pattern("pause", []), r"pattern must be one value or more in a row, not of shape \(0,\)"),
    (lambda sim: sim.feed("o", [1]), "stream must be an input of the design, not 'o'"),
    (lambda sim: sim.feed("i", np.zeros((2, 3), np.uint8)),
     r"payload must be uint8 of shape \(n, 11\), not uint8 of shape \(2, 3\)"),
])
def test_refuses(design, call, message):
    with design.simulate() as sim, pytest.raises(ValueError, match=message):
        call(sim)


def test_ints_and_beats():
    assert beats_of_ints([1, -1, 0x123], 12).tolist() == [[1, 0], [0xff, 0x0f], [0x23, 1]]
    assert ints_of_beats(beats_of_ints([5, 1 << 82], 83)) == [5, 1 << 82]


def times_of(path) -> list[int]:
    return [int(line[1:]) for line in path.read_text().splitlines() if line.startswith("#")]


def test_waveform_of_a_window(tmp_path, design):
    traced = Design(Queue(), waves=VCD)
    path = tmp_path / "window.vcd"
    with traced.simulate() as sim, design.simulate() as plain:
        for one in (sim, plain):
            one.feed("i", values(50, 2))
            one.step(10)
        with sim.waves(path):
            sim.step(20)
        plain.step(20)
        assert sim.cycle == plain.cycle == 30
        for one in (sim, plain):
            one.run_until(beats=("o", 50), deadline=100)
        assert (sim.beats("o").payload == plain.beats("o").payload).all()
    times = times_of(path)
    assert times == sorted(set(times)) and times[0] == 100 and times[-1] == 295
    text = path.read_text()
    assert "level" in text and "clk" in text
    save = path.with_suffix(".gtkw")
    assert "top.o__payload[82:0]" in save.read_text()
    save.write_text("mine")
    with traced.simulate() as sim:
        sim.feed("i", values(5, 2))
        with sim.waves(path):
            assert sim.advance(1000, high="o__valid")
        assert sim.get("o__valid") and sim.cycle == 2 and times_of(path)[-1] == 20      # what stopped it is shown
        assert save.read_text() == "mine"
        with pytest.raises(OSError, match="cannot be written"), sim.waves(tmp_path / "none" / "window.vcd"):
            pass


def test_waveform_as_fst(tmp_path):
    try:
        traced = Design(Queue(), waves=FST)
    except SimulationError as error:
        assert "apt install liblz4-dev zlib1g-dev" in str(error)
        pytest.skip(str(error))
    with traced.simulate() as sim:
        sim.feed("i", values(5, 2))
        with sim.waves(tmp_path / "window.fst"):
            sim.step(50)
    assert (tmp_path / "window.fst").stat().st_size > 300


def test_every_simulation_is_recorded_where_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Design, "record", tmp_path / "waves")
    design = Design(Queue())
    for cycles in (10, 20):
        with design.simulate() as sim:
            sim.step(cycles)
    assert [times_of(tmp_path / "waves" / name)[-1] for name in ("0.vcd", "1.vcd")] == [95, 195]


def test_advance_says_whether_the_port_rose(design):
    with design.simulate() as sim:
        assert not sim.advance(5, high="o__valid") and sim.cycle == 5
        sim.feed("i", values(1, 1))
        assert sim.advance(100, high="o__valid") and sim.cycle == 7


def test_verilog_is_kept_by_its_key_and_sources(tmp_path, monkeypatch):
    made = []

    def make() -> Rtl:
        made.append(1)
        return convert(Queue())
    first = kept("a", make, tmp_path)
    assert kept("a", make, tmp_path) == first == convert(Queue()) and len(made) == 1
    kept("b", make, tmp_path)
    monkeypatch.setattr("sim.verilog.cache.sources", lambda: "others")
    kept("a", make, tmp_path)
    assert len(made) == 3
    with Design.of(first).simulate() as sim:
        sim.feed("i", values(3, 1))
        sim.run_until(beats=("o", 3), deadline=100)
