"""cocotb side of the decoder of compressed weights: blocks are offered with gaps while the taker pauses; what passed each stream,
and when, and faults are written into a file for whoever knows what should have."""
import itertools
import os

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
import numpy as np

from sim.benches.streams import Bench, Monitor, drive, feed
from sim.verilog.native import beats_of_ints

QUIET = 60                  # cycles after the last block, in which other words would be noticed


@cocotb.test(timeout_time=1000, timeout_unit="us")
async def decodes_blocks(dut):
    case = dict(np.load(os.environ["FIRELINE_CASE"]))
    bench = Bench(dut)
    for name in ("command__valid", "i__valid", "o__ready"):
        getattr(dut, name).value = 0
    await bench.start()
    monitors = {name: Monitor.of(bench, name) for name in ("command", "i", "o")}
    cocotb.start_soon(drive(bench, dut.o__ready, itertools.cycle(case["ready"].tolist())))
    cocotb.start_soon(feed(bench, "command", case["commands"].tolist(), itertools.cycle(case["offer"].tolist())))
    cocotb.start_soon(feed(bench, "i", case["words"].tolist(), itertools.cycle(case["allow"].tolist())))
    done, faults = [], []
    for _ in case["commands"]:
        await RisingEdge(dut.done)
        await FallingEdge(dut.clk)
        done.append(bench.cycle)
        faults.append(int(dut.fault.value))
    await ClockCycles(dut.clk, QUIET)
    seen = {"done": done, "faults": faults}
    for name, monitor in monitors.items():
        cycles, values = zip(*monitor.beats, strict=True)
        bits = len(getattr(dut, f"{name}__payload"))
        seen |= {f"cycle {name}": np.array(cycles), f"payload {name}": beats_of_ints(values, bits)}
    np.savez(os.environ["FIRELINE_SEEN"], **seen)
