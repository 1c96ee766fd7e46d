"""cocotb side of test_bench.py: the queue between a source with gaps and a sink that pauses."""
import os
import random

import cocotb

from sim.benches.streams import Bench, Monitor, drive, feed


@cocotb.test(timeout_time=100, timeout_unit="us")
async def passes_every_beat(dut):
    seed = int(os.environ["FIRELINE_SEED"])
    rng = random.Random(seed)
    bench = Bench(dut)
    dut.i__valid.value = 0
    dut.pause.value = 0
    dut.o__ready.value = 1
    await bench.start()
    inside, out = Monitor.of(bench, "probe_inside"), Monitor.of(bench, "o")
    values = [rng.getrandbits(80) << 3 | rng.randrange(7) for _ in range(200)]
    cocotb.start_soon(drive(bench, dut.o__ready, iter(lambda: rng.random() < .6, None)))
    cocotb.start_soon(feed(bench, "i", values, iter(lambda: rng.random() < .6, None)))
    beats = await out.until(len(values))
    assert [value for _, value in beats] == values, f"seed {seed}"
    assert [value for _, value in inside.beats] == [value & 0xff for value in values]
    assert all(b - a >= 2 for (a, _), (b, _) in zip(inside.beats, beats, strict=True))


@cocotb.test(timeout_time=100, timeout_unit="us")
async def cycles_are_counted_from_reset(dut):
    bench = Bench(dut)
    dut.i__valid.value = 0
    dut.pause.value = 0
    dut.o__ready.value = 1
    await bench.start()
    i, o = Monitor.of(bench, "i"), Monitor.of(bench, "o")
    await bench.wait_until(5)
    await feed(bench, "i", [8, 16, 24])
    assert [cycle for cycle, _ in i.beats] == [5, 6, 7]
    assert await o.until(3) == [(7, 8), (8, 16), (9, 24)]
