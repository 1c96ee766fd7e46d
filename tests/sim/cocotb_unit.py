"""cocotb side of the benches of single stream units: their constants are written, then commands and vectors offered with gaps
while the taker pauses; what passed each stream, and when, is written into a file for whoever knows what should have."""
import itertools
import os

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
import numpy as np

from sim.benches.streams import Bench, Monitor, drive, feed
from sim.verilog.native import beats_of_ints, ints_of_beats

CASE, SEEN = "FIRELINE_CASE", "FIRELINE_SEEN"
GIVEN = ("command", "i")
QUIET = 60                  # cycles after the last vector, in which others would be noticed


@cocotb.test(timeout_time=1000, timeout_unit="us")
async def passes_vectors(dut):
    case = dict(np.load(os.environ[CASE]))
    bench = Bench(dut)
    for name in ("command__valid", "i__valid", "o__ready", "constants__en"):
        getattr(dut, name).value = 0
    await bench.start()
    for address, word in zip(case["addresses"].tolist(), ints_of_beats(case["constants"]), strict=True):
        dut.constants__addr.value, dut.constants__data.value, dut.constants__en.value = address, word, 1
        await RisingEdge(dut.clk)
        dut.constants__en.value = 0
        await ClockCycles(dut.clk, int(case["apart"]) - 1)
    await ClockCycles(dut.clk, int(case["settle"]))

    origin = bench.cycle
    monitors = {name: Monitor.of(bench, name) for name in (*GIVEN, "o")}
    cocotb.start_soon(drive(bench, dut.o__ready, itertools.cycle(case["ready"].tolist())))
    for name in GIVEN:
        cocotb.start_soon(feed(bench, name, ints_of_beats(case[name]), itertools.cycle(case[f"allow {name}"].tolist())))
    await monitors["o"].until(int(case["count"]))
    await ClockCycles(dut.clk, QUIET)
    seen = {}
    for name, monitor in monitors.items():
        cycles, values = zip(*monitor.beats, strict=True)
        seen |= {f"cycle {name}": np.array(cycles) - origin,
                 f"payload {name}": beats_of_ints(values, len(getattr(dut, f"{name}__payload")))}
    np.savez(os.environ[SEEN], **seen)
