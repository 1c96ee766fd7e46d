# amaranth: UnusedElaboratable=no
import pytest

from sim.benches.run import compile_bench, run_bench
from sim.verilog.export import Boundary, SimulationError
from tests.sim.queue import Queue


def test_runs_a_bench():
    queue = Queue()
    probes = {"inside": Boundary(queue.queue.w_en & queue.queue.w_rdy, queue.queue.w_data[:8])}
    program = compile_bench(queue, probes=lambda: probes)
    log = run_bench(program, "tests.sim.cocotb_queue", environment={"FIRELINE_SEED": "1"})
    assert "PASS=2" in log


def test_a_failed_bench_is_an_error_with_its_name():
    with pytest.raises(SimulationError, match="passes_every_beat"):
        run_bench(compile_bench(Queue()), "tests.sim.cocotb_queue", test="passes_every_beat")     # no seed, no probe
