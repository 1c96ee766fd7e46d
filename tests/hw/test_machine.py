"""Programs on the whole machine, in front of both storages: golden's storage afterwards, every command in its cycle."""
from dataclasses import replace

import numpy as np
import pytest

from arch import control
from arch.control import Fault
from arch.geometry import Geometry
from arch.instruction import QUEUES, CodedTransfer, Instruction, Opcode, PixelTransfer, Start, Transfer, Waits, encode
from arch.program import Program
from arch.sdram import CHIPS, Timing
from golden.cycles.machine import run, storage_of
from golden.machine import execute, put_tensor
from nets.graph import Window
from nets.int8.network import QAvgPool, QGlobalAvgPool, QMaxPool, Requantise
from sim.cases import Case
from sim.machine import MachineBench, MachineRun
from tests.golden.programs import layer_program
from tests.hw.engine.layers import conv_of

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64, fifo_words=32)
# A small chip with many refreshes, so that every program meets some.
TIMING = Timing(clock_mhz=100, row_bits=6, column_bits=6, cas=3, rcd=3, rp=3, ras=6, rc=9, rfc=9, rrd=2, wr=2, mrd=2,
                interval=700, power_up=80, refreshes=3)
WORDS = 1 << TIMING.address_bits
POOLS = [None,
         QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=True),
         QAvgPool(name="pool", inputs=("conv",), window=Window(kernel=(2, 2), stride=(2, 2)), ceil_mode=False,
                  count_include_pad=True),
         QGlobalAvgPool(name="pool", inputs=("conv",), requantise=Requantise(multiplier=np.array(150), shift=np.array(15),
                                                                             zero_point=0))]


@pytest.fixture(scope="module", params=["ram", "sdram"])
def bench(request) -> MachineBench:
    return MachineBench(GEOMETRY, timing=TIMING if request.param == "sdram" else None, words=WORDS)


def layer(seed: int, geometry: Geometry = GEOMETRY) -> tuple[Case, Program]:
    """A random layer, and a program for it that brings its input in one of three ways."""
    rng = np.random.default_rng(seed)
    through = ["whole", "ring", "gather"][seed % 3]
    kernel = int(rng.choice([1, 3]))
    pad = kernel // 2 if rng.random() < 0.5 else 0
    conv = conv_of(rng, int(rng.integers(1, 4 if through == "gather" else 7)), int(rng.integers(1, 14)),
                   Window(kernel=(kernel, kernel), stride=(int(rng.integers(1, 3)),) * 2, padding=(pad,) * 4))
    shape = conv.weight.shape[1], int(rng.integers(6, 13)), int(rng.integers(6, 13))
    case = Case(name="drawn", x=rng.integers(0, 256, shape, np.uint8), zero_point=3, conv=conv,
                pool=POOLS[int(rng.integers(len(POOLS)))])
    return case, layer_program(geometry, case, through=through, target_ring=int(rng.choice([0, 4])))


def image(case: Case, program: Program, seed: int = 0) -> np.ndarray:
    """All of storage: the program with its input, garbage behind."""
    words = np.random.default_rng(seed).integers(0, 1 << 16, WORDS, dtype=np.uint16)
    words[:len(program.storage)] = program.storage
    put_tensor(program.geometry, words, program.input, case.x)
    return words


def outcome(case: Case, program: Program, before: np.ndarray) -> np.ndarray:
    """Storage afterwards, if it held `before`: a region need not be written as a whole."""
    return execute(replace(program, storage=before), case.x).storage


def check(bench: MachineBench, program: Program, result: MachineRun):
    assert result.finished and not result.error["valid"]
    line = run(program.instructions, program.geometry, storage_of(bench.timing, WORDS), address=program.program,
               start=result.start, contents=program.storage)
    for queue in QUEUES:
        np.testing.assert_array_equal(result.taken[queue], line.taken[queue], f"{queue} taken")
        np.testing.assert_array_equal(result.done[queue], line.done[queue], f"{queue} done")
    np.testing.assert_array_equal(result.beats["written"].cycle, line.written)
    np.testing.assert_array_equal(result.beats["gathered"].cycle, line.gathered)
    requests = result.beats["request"].cycle
    np.testing.assert_array_equal(requests[(requests > line.start) & (requests < line.end)],
                                  line.requests[line.requests[:, 0] < line.end, 0])
    assert (result.end, result.cycles) == (line.end, line.cycles)


def start(bench: MachineBench, words: np.ndarray):
    sim = bench.simulate()
    bench.write(sim, 0, words)
    bench.ready(sim)
    return sim


@pytest.mark.parametrize("seed", range(18))
def test_layers(bench, seed):
    case, program = layer(seed)
    words = image(case, program)
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, words), f"seed {seed}")
    check(bench, program, result)
    assert result.counters["compute"]["busy"] > 0


def test_idle(bench):
    with bench.simulate() as sim:
        sim.step(200)
        assert sim.get("digest") == GEOMETRY.digest and not sim.get("running") and not sim.get("finished")
        assert not sim.get("error")


def test_one_after_the_other(bench):
    """Programs follow each other without a clear, the host's words in between; the model follows from block RAM alone."""
    with bench.simulate() as sim:
        bench.ready(sim)
        for seed in (2, 1, 2):
            case, program = layer(seed)
            words = image(case, program, seed)
            bench.write(sim, 0, words)
            result = bench.run(sim, program.program)
            np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, words), f"seed {seed}")
            if bench.timing is None:
                check(bench, program, result)


def broken(program: Program, change) -> Program:
    """The program with its instructions changed, in the same place."""
    instructions = list(program.instructions)
    change(instructions)
    words = [word for instruction in instructions for word in encode(instruction)]
    storage = np.concatenate([program.storage[:program.program], np.array(words, np.uint16)])
    return replace(program, instructions=tuple(instructions), storage=storage, program_words=len(words))


def find(instructions: list[Instruction], opcode: Opcode) -> int:
    return next(n for n, instruction in enumerate(instructions) if instruction.opcode is opcode)


def change_body(opcode: Opcode, **values: int):
    def change(instructions):
        at = find(instructions, opcode)
        instructions[at] = replace(instructions[at], body=replace(instructions[at].body, **values))
    return change


def change_waits(opcode: Opcode, **values: int):
    def change(instructions):
        at = find(instructions, opcode)
        instructions[at] = replace(instructions[at], waits=Waits(**values))
    return change


def lonely_gather(instructions):
    """The gather's pixels are never loaded."""
    del instructions[find(instructions, Opcode.LOAD_PIXELS)]
    for n, instruction in enumerate(instructions):
        if instruction.waits.load > 2:
            instructions[n] = replace(instruction, waits=replace(instruction.waits, load=2))


def coded_load(instructions):
    """Of an engine without a decoder."""
    at = find(instructions, Opcode.LOAD_WEIGHTS)
    table = CodedTransfer(storage=0, words=9, chip=0, chip_words=0)
    instructions[at] = replace(instructions[at], opcode=Opcode.LOAD_CODED, body=table)


FAULTS = {
    "no decoder": (0, coded_load, Fault.OPCODE, control.NO_QUEUE, 1),
    "wrong engine": (0, change_body(Opcode.START, digest2=0), Fault.GEOMETRY, control.NO_QUEUE, 0),
    "load beyond memory": (0, change_body(Opcode.LOAD_ACTIVATIONS, chip=GEOMETRY.activation_words - 1), Fault.LOAD_CHIP, 0, 2),
    "load from no address of storage": (0, change_body(Opcode.LOAD_WEIGHTS, storage=1 << 24), Fault.RANGE, control.NO_QUEUE, 1),
    "load beyond storage": (0, change_body(Opcode.LOAD_WEIGHTS, storage=WORDS - 4), Fault.LOAD_STORAGE, 0, 0),
    "store beyond memory": (0, change_body(Opcode.STORE, chip=GEOMETRY.activation_words - 1), Fault.STORE_CHIP, 1, 0),
    "store before its region": (0, change_body(Opcode.STORE, storage=0), Fault.STORE_STORAGE, 1, 0),
    "store behind its region": (0, change_body(Opcode.STORE, storage_step=5000, runs=2), Fault.STORE_STORAGE, 1, 0),
    "no region": (0, change_body(Opcode.START, store_words=0), Fault.STORE_STORAGE, 1, 0),
    "deadlock": (0, change_waits(Opcode.COMPUTE, store=1), Fault.DEADLOCK, 1, 0),
    "no pixels": (2, lonely_gather, Fault.STALLED, 2, 0)}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(bench, name):
    """It says which command and why; a start and a clear make it go away, and the next program is as good as the first."""
    seed, change, code, queue, index = FAULTS[name]
    case, good = layer(seed)
    program = broken(good, change)
    words = image(case, program)
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        assert not result.finished
        error = {key: result.error[key] for key in ("valid", "code", "queue", "index")}
        assert error == {"valid": 1, "code": code, "queue": queue, "index": index}, f"{name}: {result.error}"
        after = bench.read(sim, 0, WORDS)
        changed = np.flatnonzero(after != words)
        region = program.instructions[0].body
        assert np.all((changed >= region.store_base) & (changed < region.store_base + region.store_words))
        if len(name) % 2:
            sim.set("clear", 1)
            sim.step()
            sim.set("clear", 0)
            sim.run_until(high="idle", deadline=1000)
            sim.step(200)
            assert not sim.get("error")
        words = image(case, good)
        bench.write(sim, 0, words)
        result = bench.run(sim, good.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, good, words))
        if bench.timing is None:
            check(bench, good, result)


def test_illegal_words(bench):
    case, program = layer(4)
    index = find(list(program.instructions), Opcode.COMPUTE)
    at = sum(len(encode(instruction)) for instruction in program.instructions[:index])
    words = image(case, program)
    words[program.program + at] ^= 0x4000
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        assert result.error == {"valid": 1, "code": Fault.SYNC, "queue": control.NO_QUEUE, "opcode": Opcode.COMPUTE,
                                "index": index, "word": at}
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), words)


@pytest.mark.parametrize("seed", range(10))
def test_clear_at_any_time(bench, seed):
    """A clear in the middle of anything leaves a machine that runs the next program as ever."""
    rng = np.random.default_rng(seed)
    case, program = layer(seed)
    words = image(case, program)
    with start(bench, words) as sim:
        bench.begin(sim, program.program)
        sim.step(int(rng.choice([rng.integers(1, 300), rng.integers(1, 3000)])))
        sim.set("clear", 1)
        sim.step(int(rng.integers(1, 4)))
        sim.set("clear", 0)
        if seed % 2:            # a start may follow at once
            bench.begin(sim, program.program)
            sim.run_until(high="stopped", deadline=100_000)
            result = bench.result(sim)
        else:
            sim.step(300)
            assert not sim.get("running") and not sim.get("finished") and not sim.get("error")
            after = bench.read(sim, 0, WORDS)
            changed = np.flatnonzero(after != words)
            assert np.all((changed >= program.store_base) & (changed < program.store_base + program.store_words))
            result = bench.run(sim, program.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, words), f"seed {seed}")
        if bench.timing is None:
            check(bench, program, result)


def test_the_host_waits_while_a_program_runs(bench):
    case, program = layer(1)
    words = image(case, program)
    with start(bench, words) as sim:
        bench.begin(sim, program.program)
        sim.step(100)
        sim.feed("host_request", [program.program << 1 | 4 << 1 + bench.address_bits])
        sim.step(500)
        assert sim.get("running") and not len(sim.beats("host_word"))        # the request waits in its register
        sim.run_until(high="stopped", deadline=100_000)
        result = bench.result(sim)
        check(bench, program, result)
        sim.step(100)
        seen = sim.beats("host_word").payload.copy().view("<u2")[:, 0]
        np.testing.assert_array_equal(seen, words[program.program:program.program + 4])


def test_transfers_of_any_shape(bench):
    """Rows of several runs, steps in storage and on the chip, stores of single words."""
    rng = np.random.default_rng(8)
    case, program = layer(0)
    copies = [Instruction(opcode=Opcode.LOAD_ACTIVATIONS, body=Transfer(
        storage=int(rng.integers(0, 400)), storage_step=int(rng.integers(0, 50)), chip=int(rng.integers(0, 500)),
        chip_step=int(rng.integers(0, 40)), words=int(rng.integers(1, 30)), runs=int(rng.integers(1, 6)))) for _ in range(12)]
    start_, *_, end = program.instructions
    region = replace(start_.body, store_base=9000, store_words=3000)
    start_ = replace(start_, body=region)
    stores = [Instruction(opcode=Opcode.STORE, waits=Waits(load=len(copies)), body=Transfer(
        storage=region.store_base + int(rng.integers(0, 60)), storage_step=int(rng.integers(0, 30)),
        chip=int(rng.integers(0, 500)), chip_step=int(rng.integers(0, 40)), words=int(rng.integers(1, 20)),
        runs=int(rng.integers(1, 4)))) for _ in range(12)]
    program = broken(program, lambda instructions: instructions.__setitem__(slice(None), [start_, *copies, *stores, end]))
    program = replace(program, store_base=region.store_base, store_words=region.store_words)
    words = image(case, program)
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, words))
    check(bench, program, result)


FAR = 1 << 24               # words: the end of 32 MB


@pytest.fixture(scope="module")
def large() -> MachineBench:
    """In front of 64 MB, all of which the simulation holds."""
    return MachineBench(GEOMETRY, timing=CHIPS["as4c32m16sb-7"].timing(100))


def moved(program: Program, by: int, **changes: int) -> Program:
    """The program and all that it names, so many words further on in storage; with other fields of its first load."""
    instructions = []
    for instruction in program.instructions:
        body = instruction.body
        if isinstance(body, Start):
            body = replace(body, store_base=body.store_base + by)
        elif isinstance(body, Transfer | PixelTransfer):
            body = replace(body, storage=body.storage + by)
        instructions.append(replace(instruction, body=body))
    if changes:
        change_body(Opcode.LOAD_WEIGHTS, **changes)(instructions)
    code = np.array([word for instruction in instructions for word in encode(instruction)], np.uint16)
    storage = np.zeros(by + len(program.storage), np.uint16)
    storage[by:] = program.storage
    storage[by + program.program:][:len(code)] = code
    return replace(program, instructions=tuple(instructions), storage=storage, program=program.program + by,
                   store_base=program.store_base + by, input=replace(program.input, address=program.input.address + by),
                   output=replace(program.output, address=program.output.address + by))


@pytest.mark.parametrize("seed", range(3))
def test_storage_beyond_32_mb(large, seed):
    """Programs that lie across and behind that end; what lies at the same places with 24 bits stays as it was."""
    case, near = layer(seed)
    by = FAR - 320 * (seed % 2)
    program = moved(near, by)
    before = np.zeros(large.words, np.uint16)
    span = slice(by, by + -(-program.storage_words // 32) * 32 - by)
    low = slice(max(by - FAR, 0), max(by - FAR, 0) + 64)
    before[low] = np.random.default_rng(seed).integers(0, 1 << 16, 64)
    before[:len(program.storage)] |= program.storage
    put_tensor(GEOMETRY, before, program.input, case.x)
    with large.simulate() as sim:
        for part in (low, span):
            large.write(sim, part.start, before[part])
        large.ready(sim)
        result = large.run(sim, program.program)
        after = outcome(case, program, before)
        for part in (low, span):
            np.testing.assert_array_equal(large.read(sim, part.start, part.stop - part.start), after[part], f"seed {seed}")
    assert (after != before).any()
    check(large, program, result)


@pytest.mark.parametrize("storage, code, queue, index", [
    ((2 * FAR) - 4, Fault.LOAD_STORAGE, 0, 0), (2 * FAR, Fault.RANGE, control.NO_QUEUE, 1)])
def test_storage_beyond_64_mb_is_refused(large, storage, code, queue, index):
    program = moved(layer(0)[1], FAR, storage=storage)
    with large.simulate() as sim:
        large.write(sim, FAR, program.storage[FAR:])
        large.ready(sim)
        error = large.run(sim, program.program).error
    assert (error["valid"], error["code"], error["queue"], error["index"]) == (1, code, queue, index)
