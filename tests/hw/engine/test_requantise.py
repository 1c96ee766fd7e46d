# amaranth: UnusedElaboratable=no
"""Requantisation against its formula: every value bit for bit, every vector in its cycle."""
import hashlib

from amaranth.sim import Simulator
import numpy as np
import pytest

from arch.unit.requantise import latency
from hw.engine.requantise import Requantise
from hw.engine.requantise_lane import RequantiseLane


def formula(acc, multiplier, shift, zero_point, low, high, fraction=0):
    """arch.unit.requantise, in Python's integers."""
    if fraction:
        return (zero_point + (acc * multiplier >> shift - 8)) % 256
    return min(max(zero_point + ((acc * multiplier + (1 << shift - 1)) >> shift), low), high)


def corners() -> list[tuple[int, ...]]:
    """Extremes of every operand, and sums just beside a tie or a clamp."""
    cases = []
    for shift in range(1, 40):
        for multiplier in (0, 1, 2, 127, 128, 170, 255):
            accs = {-2**31, 2**31 - 1, -1, 0, 1, 2**14 - 1, -2**14, 2**17, -2**17 - 1}
            if multiplier:
                for t in (-256, -255, -1, 0, 1, 100, 255, 256, 511, 512):
                    tie = ((2 * t + 1) << shift - 1) // multiplier
                    accs |= {tie, tie + 1}
            cases += [(acc, multiplier, shift) for acc in accs if -2**31 <= acc < 2**31]
    rules = [(0, 0, 255), (255, 0, 255), (128, 128, 255), (7, 20, 20), (255, 255, 255), (0, 0, 0), (90, 3, 200)]
    return [(*case, *rules[n % len(rules)], int(case[2] > 8 and n % 2)) for n, case in enumerate(cases)]


def random_cases(rng, count: int) -> list[tuple[int, ...]]:
    cases = []
    for _ in range(count):
        multiplier, shift, zero_point = (int(rng.integers(low, high)) for low, high in ((0, 256), (1, 40), (0, 256)))
        low, high = sorted(int(value) for value in rng.integers(0, 256, 2))
        # Most accumulators such that the result is near the range of a byte.
        near = int(rng.integers(-300, 300)) << shift
        acc = near // max(multiplier, 1) + int(rng.integers(-2**min(shift, 24), 2**min(shift, 24)))
        cases.append((min(max(acc, -2**31), 2**31 - 1), multiplier, shift, zero_point, low, high,
                      int(shift > 8 and rng.random() < 0.5)))
    return cases


@pytest.mark.parametrize("multiplier", [True, False])
def test_lane_is_exact(multiplier):
    dut = RequantiseLane(multiplier=multiplier)
    cases = corners() + random_cases(np.random.default_rng(20), 4000)
    values = {"factor": 1, "right3": 2, "right2": 2, "right0": 2, "zero_point": 3, "low": 4, "high": 5, "fraction": 6}

    def constants(cycle):
        """Each constant of the case whose turn it is to use it."""
        now = {}
        for name, index in values.items():
            case = cases[min(max(cycle - dut.LEAD[name], 0), len(cases) - 1)]
            now[name] = case[index]
        right = ((now["right3"] - 1) & 0x38) | ((now["right2"] - 1) & 4) | ((now["right0"] - 1) & 3)
        return now | {"right": right}

    async def bench(ctx):
        for cycle in range(len(cases) + dut.LATENCY):
            ctx.set(dut.acc, cases[min(cycle, len(cases) - 1)][0])
            for name, value in constants(cycle).items():
                if not name.startswith("right") or name == "right":
                    ctx.set(getattr(dut, name), value)
            if cycle >= dut.LATENCY:
                case = cases[cycle - dut.LATENCY]
                assert ctx.get(dut.q) == formula(*case), case
            await ctx.tick()
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


class Blocks:
    """Output blocks with their parameters, as the array and the loader bring them; `tight`: as close as the rules allow."""

    def __init__(self, dut: Requantise, rng, count: int, tight: bool):
        self.loads, self.swaps, self.results, self.expected = {}, {}, {}, []
        pairs = dut.lanes // 2
        load_at, swap_at, rule = 0, 0, None
        for block in range(count):
            def gap():
                return 0 if tight else int(rng.integers(0, 9))
            lanes = [case[:3] for case in random_cases(rng, dut.lanes)]
            if block % 2 == 0:
                rule = (*random_cases(rng, 1)[0][3:6], int(rng.random() < 0.5))
            if rule[-1]:
                lanes = [(acc, multiplier, max(shift, 9)) for acc, multiplier, shift in lanes]
            cycle = load_at
            for j in reversed(range(pairs)):
                self.loads[cycle] = lanes[2 * j:2 * j + 2]
                last, cycle = cycle, cycle + 1 + gap()
            swap_at = max(last + dut.SWAP_AFTER_LOAD, swap_at + dut.swap_after_swap if block else 0) + gap()
            load_at = swap_at + dut.load_after_swap + gap()
            self.swaps[swap_at] = rule
            beats = dut.swap_after_swap if tight else int(rng.integers(1, dut.swap_after_swap + 1))
            for n in range(beats):
                accs = [case[0] for case in random_cases(rng, dut.lanes)]
                for lane, acc in enumerate(accs):
                    self.results[swap_at + 1 + n + lane // 2, lane] = acc
                values = [formula(acc, *lanes[lane][1:], *rule[:3], rule[3] * (n % 2)) for lane, acc in enumerate(accs)]
                self.expected.append((swap_at + 1 + n, values))


@pytest.mark.parametrize("lanes", [2, 4, 16])
@pytest.mark.parametrize("tight", [True, False])
def test_vectors_and_their_cycles(lanes, tight):
    dut = Requantise(lanes=lanes)
    seed = int.from_bytes(hashlib.sha256(f"{lanes} {tight}".encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    script = Blocks(dut, rng, 12 if lanes < 16 else 5, tight)
    seen = []

    async def bench(ctx):
        for cycle in range(max(script.swaps) + 60 + lanes):
            load, swap = script.loads.get(cycle), script.swaps.get(cycle)
            ctx.set(dut.load.valid, load is not None)
            for n, (_, multiplier, shift) in enumerate(load or [(0, int(rng.integers(256)), 1)] * 2):
                ctx.set(dut.load.multiplier[n], multiplier)
                ctx.set(dut.load.shift[n], shift)
            ctx.set(dut.swap, swap is not None)
            noise = [*rng.integers(0, 256, 3).tolist(), int(rng.integers(2))]
            for name, value in zip(("zero_point", "low", "high", "fraction"), swap or noise, strict=True):
                ctx.set(dut.rule[name], value)
            for lane in range(lanes):
                acc = script.results.get((cycle, lane))
                ctx.set(dut.results[lane].valid, acc is not None)
                ctx.set(dut.results[lane].acc, 0 if acc is None else acc)
            *_, valid, vector = await ctx.tick().sample(dut.o.valid, dut.o.vector)
            if valid:
                seen.append((cycle, list(vector)))
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert [cycle for cycle, _ in seen] == [cycle + latency(lanes) for cycle, _ in script.expected], seed
    assert [values for _, values in seen] == [values for _, values in script.expected], seed


def test_refuses_odd_lanes():
    with pytest.raises(ValueError, match="Lanes of a requantiser must be even and at least 2, not 3"):
        Requantise(lanes=3)
