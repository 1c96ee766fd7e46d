"""The gather's words wait for the write port, and the gather for them: every word in the cycle that the model has."""
import numpy as np
import pytest

from arch.gather import bands
from arch.geometry import Geometry
from golden.cycles.gather_port import gather_timeline
from hw.gather.port import GatherPort
from sim.verilog.export import Boundary
from sim.verilog.native import Design

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=512)


@pytest.fixture(scope="module")
def design() -> Design:
    port = GatherPort(GEOMETRY)
    return Design(port, probes=lambda: {"word": Boundary(port.w_en, port.w_addr), "done": Boundary(port.done, port.w_en)})


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [1, 0.5, 0.1])
def test_words_wait_for_free_cycles(design, share, seed):
    rng = np.random.default_rng(seed)
    channels, kernel, stride = (int(rng.integers(1, n)) for n in (5, 5, 3))
    size = (9 - kernel) // stride + 1
    commands = bands(GEOMETRY, shape=(channels, 9, 9), kernel=kernel, stride=stride, padding=(0, 0), rows=[1, size - 1],
                     columns=size, zero_point=7, base=0, ring_rows=size)
    free = rng.random(20_000) < share
    with design.simulate() as sim:
        sim.pattern("free", free)
        sim.feed("command", [command.pack() for command in commands])
        sim.feed("pixels", rng.integers(0, 256, (81, 4), np.uint8))
        sim.run_until(beats=("done", 2), deadline=len(free) - 1)
        seen = {name: sim.beats(name).cycle for name in ("command", "pixels", "word", "done")}
    line = gather_timeline(GEOMETRY, commands, np.zeros(2, np.int64), np.concatenate(([0], seen["pixels"][:-1] + 1)),
                           np.flatnonzero(~free))
    for name, expected in (("command", line.taken), ("pixels", line.pixels), ("word", line.written), ("done", line.done - 3)):
        np.testing.assert_array_equal(seen[name], expected, name)
