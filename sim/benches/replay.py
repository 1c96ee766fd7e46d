"""cocotb bench of the engine: loads a case, runs it, and holds every beat against what golden says, value and cycle.

`replay` is called from ordinary Python and starts the simulator; `replays` is what cocotb finds when it imports this module
inside the simulator's process. The case travels between them as a file.
"""
from collections.abc import Mapping
import itertools
import os
from pathlib import Path
import tempfile

import cocotb
from cocotb.triggers import ClockCycles
import numpy as np

from sim.benches.run import run_bench
from sim.benches.streams import Bench, Monitor, drive, feed
from sim.verilog.native import Beats, ints_of_beats

__all__ = ["replay", "replays"]

CASE = "FIRELINE_CASE"
QUIET = 100                 # cycles after the last beat in which no other may come


def replay(program: Path, *, loads: Mapping[str, np.ndarray], command: np.ndarray, expected: Mapping[str, Beats],
           grants: Mapping[str, np.ndarray], settle: int) -> str:
    """Runs one case on a program of `sim.benches.run.compile_bench`; returns the log. Raises SimulationError naming the
    first beat that differs.

    `loads` are beats (uint8) for input streams, given one stream after the other; `settle` cycles later is cycle 0, from which
    on `command` is offered. `grants` are patterns for one-bit inputs, one value a cycle, repeated.
    """
    arrays = {f"load {name}": beats for name, beats in loads.items()} | {"command": command, "settle": np.array(settle)}
    arrays |= {f"grant {name}": np.asarray(values, bool) for name, values in grants.items()}
    for name, beats in expected.items():
        arrays |= {f"cycle {name}": beats.cycle, f"payload {name}": beats.payload}
    with tempfile.TemporaryDirectory(prefix="case.") as work:
        path = Path(work).resolve() / "case.npz"
        np.savez(path, **arrays)
        return run_bench(program, __name__, environment={CASE: str(path)})


def _named(case: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{kind} "): case[key] for key in case if key.startswith(f"{kind} ")}


@cocotb.test()
async def replays(dut):
    case = dict(np.load(os.environ[CASE]))
    loads, grants = _named(case, "load"), _named(case, "grant")
    bench = Bench(dut)
    for name in (*loads, "command"):
        getattr(dut, f"{name}__valid").value = 0
    for name in grants:
        getattr(dut, name).value = 0
    await bench.start()
    for name, beats in loads.items():
        await feed(bench, name, ints_of_beats(beats))
    await ClockCycles(dut.clk, int(case["settle"]))

    origin = bench.cycle
    monitors = {name: Monitor.of(bench, f"probe_{name}") for name in _named(case, "cycle")}
    for name, pattern in grants.items():
        if pattern.all():
            getattr(dut, name).value = 1
        else:
            cocotb.start_soon(drive(bench, getattr(dut, name), itertools.cycle(pattern.tolist())))
    cocotb.start_soon(feed(bench, "command", ints_of_beats(case["command"])))
    last = max(int(cycles[-1]) for cycles in _named(case, "cycle").values() if len(cycles))
    await ClockCycles(dut.clk, last + QUIET)
    for name, monitor in monitors.items():
        cycles, payload = case[f"cycle {name}"], case[f"payload {name}"]
        seen = [(cycle - origin, value) for cycle, value in monitor.beats]
        want = list(zip(cycles.tolist(), ints_of_beats(payload), strict=True))
        for number, (passed, should) in enumerate(zip(seen, want, strict=False)):
            assert passed == should, f"beat {number} at {name}: cycle and value {passed}, not {should}"
        assert len(seen) == len(want), f"{len(seen)} beats at {name}, not {len(want)}"
    dut._log.info("%d beats in %d cycles are as expected", sum(len(m.beats) for m in monitors.values()), bench.cycle - origin)
