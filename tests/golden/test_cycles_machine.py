"""The parts of the machine's model that take one command at a time, against those that know all of them; and programs."""
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from arch.gather import bands as gather_bands
from arch.geometry import Geometry
from arch.instruction import QUEUES, Instruction, Opcode, Waits
from arch.sdram import CHIPS
from compiler.bands import bands
from compiler.layer import plan_layer
from compiler.maps import Map
from golden.cycles.engine import EngineCycles, timeline
from golden.cycles.gather_port import UNKNOWN, GatherCycles, gather_timeline
from golden.cycles.machine import _Run, run, storage_of
from golden.cycles.sdram import Request
from golden.cycles.streams import Denials, Readiness
from nets.graph import Window
from nets.int8.network import QGlobalAvgPool, QMaxPool, Requantise
from sim.cases import Case
from tests.golden.programs import layer_program
from tests.hw.engine.layers import conv_of

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=512, band_pixels=64, fifo_words=32)
POOLS = [None, QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=True),
         QGlobalAvgPool(name="pool", inputs=("conv",), requantise=Requantise(multiplier=np.array(150), shift=np.array(16),
                                                                             zero_point=0))]


def layer(seed: int, pool=None) -> Case:
    rng = np.random.default_rng(seed)
    conv = conv_of(rng, 6, 9, Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    return Case(name="drawn", x=rng.integers(0, 256, (6, 20, 19), np.uint8), zero_point=3, conv=conv, pool=pool)


def commands_of(case: Case):
    source = Map.whole(GEOMETRY, case.x.shape, 5)
    target = Map.whole(GEOMETRY, case.shape, 5 + source.words)
    return plan_layer(GEOMETRY, case.conv, source=source, target=target, zero_point=3, pool=case.pool).commands


def test_denials():
    rng = np.random.default_rng(0)
    denied = np.flatnonzero(rng.random(500) < 0.7)
    pattern = np.ones(10_000, bool)
    pattern[denied] = False
    one, other, cycles = Denials(denied), Readiness(pattern), np.arange(1000)
    np.testing.assert_array_equal(one.index(cycles), other.index(cycles))
    np.testing.assert_array_equal(one.cycle(cycles), other.cycle(cycles))
    assert Denials(np.zeros(0, np.int64)).always and not one.always


@pytest.mark.parametrize("seed", range(9))
def test_engine_in_steps(seed):
    """Grants that become known bit by bit lead to the same as all of them at once."""
    rng, commands = np.random.default_rng(seed), []
    for n in range(2):
        commands += commands_of(layer(seed + 100 * n, POOLS[seed % 3]))
    offered = np.sort(rng.integers(0, [1, 20_000][seed % 2], len(commands)))
    read, write = (np.flatnonzero(rng.random(60_000) < rng.choice([0, 0.05, 0.6])) for _ in range(2))
    patterns = []
    for denied in (read, write):
        patterns.append(np.ones(1_000_000, bool))
        patterns[-1][denied] = False
    line = timeline(GEOMETRY, commands, offered, read_grant=Readiness(patterns[0]), write_grant=Readiness(patterns[1]))
    engine = EngineCycles(GEOMETRY)
    for command, cycle in zip(commands, offered.tolist(), strict=True):
        engine.give(command, cycle)
    for after, until in pairwise((0, 500, 20_000, 60_000)):
        engine.lend(*(lent[(after <= lent) & (lent < until)].tolist() for lent in (read, write)))
        engine.follow()
    assert [command.taken for command in engine.commands] == line.taken.tolist()
    assert [command.done for command in engine.commands] == line.done.tolist()
    np.testing.assert_array_equal(np.concatenate([command.written for command in engine.commands]), line.written)


@pytest.mark.parametrize("seed", range(9))
def test_gather_in_steps(seed):
    """Pixels that become known bit by bit lead to the same as all of them at once."""
    rng = np.random.default_rng(seed)
    channels, height, width, kernel, stride = (int(rng.integers(a, b)) for a, b in ((1, 5), (9, 16), (9, 16), (1, 4), (1, 3)))
    rows = (height - kernel) // stride + 1
    commands = gather_bands(GEOMETRY, shape=(channels, height, width), kernel=kernel, stride=stride, padding=(0, 0),
                            rows=[len(band) for band in bands(rows, 1, 4)], columns=(width - kernel) // stride + 1, zero_point=0,
                            base=0, ring_rows=rows)
    offered = np.sort(rng.integers(0, 3000, len(commands)))
    pixels = np.sort(rng.integers(0, 4000, height * width))
    others = np.flatnonzero(rng.random(8000) < rng.choice([0, 0.3, 0.95]))
    line = gather_timeline(GEOMETRY, commands, offered, pixels, others)
    gather = GatherCycles(GEOMETRY)
    for config, cycle in zip(commands, offered.tolist(), strict=True):
        gather.give(config, cycle)
    known = 0
    for until in (*range(0, 9000, 700), 100_000):
        gather.pixels(pixels[known:np.searchsorted(pixels, until)])
        known = int(np.searchsorted(pixels, until))
        gather.follow(others[others >= gather.since], until)
        assert gather.short <= height * width - known
        assert all(cycle in line.done or cycle >= UNKNOWN for cycle in gather.done)
    assert gather.taken == line.taken.tolist() and gather.done == line.done.tolist()
    np.testing.assert_array_equal(gather.pixels_taken, line.pixels)
    np.testing.assert_array_equal(gather.written, line.written)


def small(through: str = "whole"):
    rng = np.random.default_rng(4)
    conv = conv_of(rng, 3, 9, Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    case = Case(name="small", x=rng.integers(0, 256, (3, 12, 10), np.uint8), zero_point=3, conv=conv)
    return layer_program(GEOMETRY, case, through=through)


@pytest.mark.parametrize("through", ["whole", "ring", "gather"])
def test_every_command_is_in_the_timeline(through):
    """Each is offered, taken and done, in this order; all before the end; block RAM has no time of its own."""
    program = small(through)
    lines = [run(program.instructions, GEOMETRY, storage_of(None, 16384), address=program.program, start=start)
             for start in (0, 1234)]
    assert lines[0].cycles == lines[1].cycles
    for queue, taken in lines[0].taken.items():
        count = len([i for i in program.instructions if i.queue == queue])
        assert len(taken) == len(lines[0].done[queue]) == len(lines[0].offered[queue]) == count
        assert np.all(lines[0].offered[queue] <= taken) and np.all(taken < lines[0].done[queue])
        assert np.all(lines[0].done[queue] < lines[0].end)
    assert lines[0].requests[:, 3].sum() >= program.program_words


def test_refreshes_and_open_rows_matter():
    """An SDRAM's refresh falls on other words of a program that starts at another time."""
    program, timing = small(), CHIPS["as4c32m16sb-7"].timing(142)
    cycles = set()
    for start in range(timing.ready, timing.ready + 2000, 250):
        storage = storage_of(timing, 0)
        storage.request(Request(write=False, address=5, length=3))
        cycles.add(run(program.instructions, GEOMETRY, storage, address=program.program, start=start).cycles)
    assert len(cycles) > 1


def test_a_program_that_waits_for_ever():
    program = small()
    instructions = list(program.instructions)
    at = next(n for n, i in enumerate(instructions) if i.opcode is Opcode.COMPUTE)
    instructions[at] = Instruction(opcode=Opcode.COMPUTE, body=instructions[at].body, waits=Waits(load=99))
    with pytest.raises(ValueError, match="must not wait for ever"):
        run(instructions, GEOMETRY, storage_of(None, 16384), address=program.program, start=0)
    with pytest.raises(ValueError, match="must end with END"):
        run(instructions[:-1], replace(GEOMETRY), storage_of(None, 16384), address=program.program, start=0)


class Asked(_Run):
    """Two cycles at a time, and every part is asked every time."""

    def _tell(self) -> None:
        self.due, self.denied, self.stale = self.now, True, True
        super()._tell()

    def _next(self, queue: str) -> int:
        return self.now if queue == "compute" else super()._next(queue)

    def _until(self) -> int:
        return min(super()._until(), self.now + 2)


@pytest.mark.parametrize("seed", range(150))
def test_nobody_has_news_before_he_is_asked(seed):
    rng, channels = np.random.default_rng(seed), 1 + seed % 4
    stride, kernel = int(rng.choice([1, 2, 4, 4])), int(rng.choice([1, 1, 3]))
    conv = conv_of(rng, channels, int(rng.integers(1, 9)), Window(kernel=(kernel, kernel), stride=(stride, stride)))
    height = kernel + stride * int(rng.integers(0, 3)) + int(rng.integers(0, stride))       # rows that no window uses, often
    size = channels, height, int(rng.integers(kernel, 64 * stride))
    case = Case(name="drawn", x=rng.integers(0, 256, size, np.uint8), zero_point=3, conv=conv)
    program = layer_program(GEOMETRY, case, through="ring" if seed % 6 == 5 else "gather")
    timing = CHIPS["as4c32m16sb-7"].timing(125) if seed % 2 else None
    start = int(rng.integers(0, 3000)) + (timing.ready if timing else 0)
    lines = [one(program.instructions, GEOMETRY, storage_of(timing, 1 << 16), program.program, start).follow()
             for one in (_Run, Asked)]
    assert lines[0].end == lines[1].end, f"seed {seed}"
    for queue in QUEUES:
        for what in ("offered", "taken", "done"):
            np.testing.assert_array_equal(*(getattr(line, what)[queue] for line in lines), f"{what} {queue}, seed {seed}")
    for name in ("written", "gathered", "requests"):
        np.testing.assert_array_equal(*(getattr(line, name) for line in lines), f"{name}, seed {seed}")
