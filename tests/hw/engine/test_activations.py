import random

from amaranth.sim import Simulator

from arch import pipeline
from arch.geometry import Geometry
from hw.engine.activations import Activations

GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512)


def test_operands_with_padding_and_lane_groups():
    """Words written by groups of lanes come back as operands, with the zero point where the tap is outside the map."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    dut = Activations(GEOMETRY)
    latency = pipeline.ACTIVATION_READ + pipeline.PAD
    memory = {address: [0] * 8 for address in (0, 1, 255, 256, 511)}
    want = []

    async def bench(ctx):
        for cycle in range(800):
            read, written, enable = rng.choice([*memory]), rng.choice([*memory]), rng.randrange(4)
            data = [rng.randrange(256) for _ in range(8)]
            if written == read:
                enable = 0
            ctx.set(dut.w_addr, written)
            ctx.set(dut.w_data, int.from_bytes(data, "little"))
            ctx.set(dut.w_en, enable)
            issue = {"valid": rng.randrange(2), "first": rng.randrange(2), "last": rng.randrange(2), "addr": rng.randrange(512),
                     "row": rng.randrange(4) > 0, "column": rng.randrange(4) > 0, "zero_point": rng.randrange(256)}
            issue["swap"] = issue["valid"] and rng.randrange(2)
            ctx.set(dut.address, read)
            ctx.set(dut.issue, issue)
            x = list(memory[read]) if issue["row"] and issue["column"] else [issue["zero_point"]] * 8
            want.append({name: issue[name] for name in ("valid", "swap", "first", "last", "addr")} | {"x": x})
            for group in range(2):
                if enable >> group & 1:
                    memory[written][4 * group:4 * group + 4] = data[4 * group:4 * group + 4]
            await ctx.tick()
            if cycle + 1 >= latency:
                beat, expected = ctx.get(dut.beat), want[cycle + 1 - latency]
                for name in ("valid", "swap", "first", "last", "addr"):
                    assert beat[name] == expected[name], (name, cycle)
                assert [beat.x[lane] for lane in range(8)] == expected["x"], cycle

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
