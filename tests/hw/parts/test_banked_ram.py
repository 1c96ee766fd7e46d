# amaranth: UnusedElaboratable=no
import random

from amaranth.sim import Simulator
import pytest

from hw.parts.banked_ram import BankedRam


@pytest.mark.parametrize("depth, banks", [(512, [512]), (3072, [2048, 1024]), (2560, [2048, 512]), (16384, [8192, 8192]),
                                          (3584, [2048, 1024, 512])])
def test_banks_waste_nothing(depth, banks):
    assert BankedRam.banks(depth) == banks


@pytest.mark.parametrize("depth, lanes, lane_bits", [(512, 1, 64), (1536, 2, 8), (1024, 4, 40)])
def test_words_come_back_latency_later(depth, lanes, lane_bits):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    dut = BankedRam(depth=depth, lanes=lanes, lane_bits=lane_bits)
    used = [0, depth - 1, *rng.sample(range(depth), 14)]
    model, mask = dict.fromkeys(used, 0), (1 << lane_bits) - 1
    due = []                    # what each cycle's read must show, LATENCY later

    async def bench(ctx):
        written = None
        for cycle in range(600):
            read = rng.choice([a for a in used if a != written])        # of the very cycle of a write: undefined
            write, data, enable = rng.choice(used), rng.getrandbits(lanes * lane_bits), rng.getrandbits(lanes)
            if read == write:
                enable = 0
            ctx.set(dut.r_addr, read)
            ctx.set(dut.w_addr, write)
            ctx.set(dut.w_data, data)
            ctx.set(dut.w_en, enable)
            due.append(model[read])
            for lane in range(lanes):
                if enable >> lane & 1:
                    shift = lane * lane_bits
                    model[write] = model[write] & ~(mask << shift) | data & mask << shift
            await ctx.tick()
            if cycle + 1 >= dut.LATENCY:
                assert ctx.get(dut.r_data) == due[cycle + 1 - dut.LATENCY]

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
