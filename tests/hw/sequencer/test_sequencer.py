"""The sequencer against its model: every command with its record, in its cycle; and every way to stop."""
from functools import partial

import numpy as np
import pytest

from arch import control
from arch.control import Fault
from arch.instruction import END, QUEUES, Instruction, Opcode, Start, Waits, word_ranges
from arch.transfer import TransferFault
from golden.cycles.sequencer import SequencerCycles
from golden.cycles.streams import Readiness
from hw.sequencer.sequencer import fault_layout
from sim.sequencer import SequencerBench, SequencerRun
from sim.verilog.native import ints_of_beats
from tests.hw import instructions as random_programs
from tests.hw.instructions import COMMANDS, GEOMETRY, program_words

ALWAYS = np.ones(1, bool)
SILENCE = 20_000
BITS = 26               # of a storage address: fewer than a program's fields have


body, payload, program = (partial(make, storage_bits=BITS) for make in (
    random_programs.body, random_programs.payload, random_programs.program))


@pytest.fixture(scope="module")
def bench() -> SequencerBench:
    return SequencerBench(GEOMETRY, storage_bits=BITS, silence=SILENCE)


def split(instructions: list[Instruction]) -> dict[str, list[Instruction]]:
    return {queue: [i for i in instructions if i.queue == queue] for queue in QUEUES}


def predict(instructions: list[Instruction], times, go: np.ndarray, allow: np.ndarray, start: int):
    """Cycles of a run on `SequencerBench`: fetches taken, words, and for each queue offered, taken, done; and the end."""
    model = SequencerCycles(instructions, start)
    go, allow = Readiness(go), Readiness(allow)
    asked, words = [], []
    taken, done = {queue: [] for queue in QUEUES}, {queue: [] for queue in QUEUES}
    offered_word = 0                                    # from this cycle on the next word may be newly offered
    while True:
        due = [(int(go.following(at)), "fetch") for at in model.fetches[len(asked):]]
        for queue in QUEUES:
            n = len(taken[queue])
            due += [(max(at, done[queue][-1] + 1) if n else at, queue) for at in model.offered[queue][n:n + 1]]
        if not due:
            return model, asked, words, taken, done
        at, what = min(due)
        if what == "fetch":
            asked.append(at)
            model.asked()
            came, free = [], at + 1
            for _ in range(control.BURST):
                came.append(max(int(allow.following(offered_word)), free))
                offered_word = free = came[-1] + 1
            words += came
            model.arrive(came)
        else:
            taken[what].append(at)
            done[what].append(at + 1 + times[what][len(done[what])])
            model.taken(what, at)
            model.done(what, done[what][-1])


def run(bench: SequencerBench, sim, instructions, *, words=None, times=None, go=ALWAYS, allow=ALWAYS, base=0) -> SequencerRun:
    words = program_words(instructions) if words is None else words
    times = times or {queue: [0] * len(part) for queue, part in split(instructions).items()}
    return bench.execute(sim, words, times, go=go, allow=allow, program=base)


def check(run: SequencerRun, instructions, times, go, allow, start=0):
    model, asked, words, taken, done = predict(instructions, times, go, allow, start)
    assert run.finished and not run.error["valid"]
    for queue, part in split(instructions).items():
        assert ints_of_beats(run.beats[queue].payload) == [payload(instruction) for instruction in part], queue
        np.testing.assert_array_equal(run.beats[queue].cycle, taken[queue], queue)
        np.testing.assert_array_equal(run.beats[f"{queue}_done"].cycle, done[queue], queue)
        shown = run.beats[f"{queue}_offered"].cycle
        first = np.flatnonzero(np.diff(shown, prepend=-2) > 1) if len(shown) else shown
        # A command may be offered in the cycle after the one before was taken only if it is another one: never here.
        np.testing.assert_array_equal(shown[first], model.offered[queue], queue)
    np.testing.assert_array_equal(run.beats["fetch"].cycle, [at for at in asked if at < run.end])
    np.testing.assert_array_equal(run.beats["fetched"].cycle, words[:len(run.beats["fetched"])])
    assert run.end == model.finished
    assert run.cycles == model.finished - start - 1


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(bench, seed):
    rng = np.random.default_rng(seed)
    opcodes = [[Opcode.COMPUTE], [Opcode.STORE, Opcode.LOAD_PIXELS], COMMANDS, COMMANDS][seed % 4]
    instructions = program(rng, GEOMETRY, int(rng.integers(1, 120)), opcodes=opcodes, waits=float(rng.choice([0, 0.3, 0.9])))
    most = int(rng.choice([1, 20, 256]))
    times = {queue: rng.integers(0, most, len(part)).tolist() for queue, part in split(instructions).items()}
    go, allow = (np.append(rng.random(int(rng.integers(1, 100))) < rng.choice([0.02, 0.3, 1]), True) for _ in range(2))
    with bench.design.simulate() as sim:
        base = int(rng.integers(1 << BITS))
        result = run(bench, sim, instructions, times=times, go=go, allow=allow, base=base)
    check(result, instructions, times, go, allow)
    start = instructions[0].body
    assert result.region == {"base": start.store_base, "words": start.store_words}
    requests = ints_of_beats(result.beats["fetch"].payload)
    assert requests == [(base + n * control.BURST) % (1 << BITS) | control.BURST << BITS for n in range(len(requests))]


def test_an_empty_program(bench):
    instructions = program(np.random.default_rng(0), GEOMETRY, 0)
    with bench.design.simulate() as sim:
        check(run(bench, sim, instructions), instructions, dict.fromkeys(QUEUES, []), ALWAYS, ALWAYS)


def faulty(seed: int, change) -> tuple[list[Instruction], list[int]]:
    rng = np.random.default_rng(seed)
    instructions = program(rng, GEOMETRY, 12, waits=0)
    words = program_words(instructions)
    change(words)
    return instructions, words


def place(instructions: list[Instruction], index: int) -> int:
    """First word of an instruction."""
    return len(program_words(instructions[:index]))


@pytest.mark.parametrize("index, word, value, code", [
    (0, 0, 0x0000, Fault.SYNC), (0, 0, 0xFFFF, Fault.SYNC), (3, 0, 0xA403, Fault.SYNC), (3, 0, 0xA50B, Fault.OPCODE),
    (3, 0, 0xA500, Fault.OPCODE), (3, 0, 0xA501, Fault.ORDER), (0, 0, 0xA507, Fault.ORDER), (0, 0, 0xA511, Fault.CONTROL_WAITS),
    (13, 0, 0xA522, Fault.CONTROL_WAITS), (0, 1, None, Fault.GEOMETRY), (0, 4, None, Fault.GEOMETRY),
    (0, 8, (1 << BITS - 16) + 1, Fault.RANGE)])
def test_illegal_words(bench, index, word, value, code):
    """The error says which word of which instruction; commands before it may have run, none behind it does."""
    instructions = program(np.random.default_rng(5), GEOMETRY, 12, waits=0)
    words, at = program_words(instructions), place(instructions, index) + word
    words[at] = words[at] ^ 1 if value is None else value
    with bench.design.simulate() as sim:
        result = run(bench, sim, instructions, words=words)
        opcode = words[place(instructions, index)] & 15
        assert result.error == {"valid": 1, "code": code, "queue": control.NO_QUEUE, "opcode": opcode, "index": index, "word": at}
        assert not result.finished
        for queue, part in split(instructions[:index]).items():
            seen = ints_of_beats(result.beats[queue].payload)
            assert seen == [payload(instruction) for instruction in part][:len(seen)]
        sim.step(200)
        assert sim.get("error") and not sim.get("running") and len(sim.beats("fetch")) <= 1
        again(bench, sim)


def again(bench: SequencerBench, sim):
    """After a reset a program runs as if nothing had been."""
    bench.reset(sim)
    assert not sim.get("error") and not sim.get("cycles") and not sim.get("finished")
    instructions = program(np.random.default_rng(77), GEOMETRY, 20)
    times = {queue: [3] * len(part) for queue, part in split(instructions).items()}
    check(run(bench, sim, instructions, times=times), instructions, times, ALWAYS, ALWAYS)


@pytest.mark.parametrize("opcode", COMMANDS)
def test_every_field_is_held_to_its_range(bench, opcode):
    """One below and one above the range of each word, wherever that is a word at all."""
    rng = np.random.default_rng(int(opcode))
    start = Instruction(opcode=Opcode.START, body=Start.of(GEOMETRY, 0, 0))
    command = Instruction(opcode=opcode, body=body(rng, GEOMETRY, opcode))
    good = program_words([start, command, Instruction(opcode=Opcode.END, body=END)])
    first = place([start, command], 1) + 1
    for n, entry in enumerate(word_ranges(GEOMETRY, opcode, BITS)):
        least, most = (-1 << 15, 1 << 15) if entry.low < 0 else (0, 1 << 16)
        for value in (entry.low - 1, entry.high + 1):
            if not least <= value < most:
                continue
            words = list(good)
            words[first + n] = value & 0xFFFF
            with bench.design.simulate() as sim:
                result = run(bench, sim, [start, command], words=words)
            assert result.error == {"valid": 1, "code": Fault.RANGE, "queue": control.NO_QUEUE, "opcode": opcode, "index": 1,
                                    "word": first + n}, entry


def deadlocked(kind: str) -> tuple[list[Instruction], str, int]:
    """A program that stops, the queue that is named, and the number of its command."""
    rng = np.random.default_rng(9)
    start, *commands, end = program(rng, GEOMETRY, 9, opcodes=[Opcode.STORE, Opcode.COMPUTE], waits=0)
    stuck = Instruction(opcode=Opcode.GATHER, body=body(rng, GEOMETRY, Opcode.GATHER), waits=Waits(load=1))
    match kind:
        case "never given":
            return [start, *commands, stuck, end], "gather", 0
        case "itself":
            index = len([c for c in commands if c.queue == "compute"])
            stuck = Instruction(opcode=Opcode.COMPUTE, body=body(rng, GEOMETRY, Opcode.COMPUTE), waits=Waits(compute=index + 1))
            return [start, *commands, stuck, end], "compute", index
        case "circle":
            load = Instruction(opcode=Opcode.LOAD_PIXELS, body=body(rng, GEOMETRY, Opcode.LOAD_PIXELS), waits=Waits(gather=1))
            return [start, *commands, load, stuck, end], "load", 0
    # What gives the token lies behind more commands than the queue holds.
    full = [stuck] + [Instruction(opcode=Opcode.GATHER, body=stuck.body)] * 60
    load = Instruction(opcode=Opcode.LOAD_WEIGHTS, body=body(rng, GEOMETRY, Opcode.LOAD_WEIGHTS))
    return [start, *commands, *full, load, end], "gather", 0


@pytest.mark.parametrize("kind", ["never given", "itself", "circle", "full"])
def test_deadlock(bench, kind):
    instructions, queue, index = deadlocked(kind)
    with bench.design.simulate() as sim:
        result = run(bench, sim, instructions)
        again(bench, sim)
    assert result.error == {"valid": 1, "code": Fault.DEADLOCK, "queue": QUEUES.index(queue), "opcode": 0, "index": index,
                            "word": 0}


def test_slow_words_are_no_deadlock(bench):
    """A token that comes late, and words that come late, while all else waits."""
    rng = np.random.default_rng(3)
    instructions = program(rng, GEOMETRY, 20, waits=1)
    times = {queue: rng.integers(200, 256, len(part)).tolist() for queue, part in split(instructions).items()}
    allow = np.zeros(100, bool)
    allow[17] = True
    with bench.design.simulate() as sim:
        check(run(bench, sim, instructions, times=times, allow=allow), instructions, times, ALWAYS, allow)


def test_silence(bench):
    """Words that never come, and a unit that never ends, are found out."""
    instructions = program(np.random.default_rng(1), GEOMETRY, 3, opcodes=[Opcode.STORE])
    with bench.design.simulate() as sim:
        result = run(bench, sim, instructions, allow=np.append(np.zeros(2 * SILENCE, bool), True))
    assert result.error["code"] == Fault.STALLED and SILENCE < result.end < SILENCE + 20


@pytest.mark.parametrize("code", TransferFault)
def test_faults_of_units(bench, code):
    instructions = program(np.random.default_rng(1), GEOMETRY, 30, opcodes=[Opcode.STORE, Opcode.LOAD_WEIGHTS], waits=0)
    times = {queue: [200] * len(part) for queue, part in split(instructions).items()}
    with bench.design.simulate() as sim:
        for name in QUEUES:
            sim.feed(f"{name}_time", times[name])
        sim.set("go", 1)
        sim.feed("words", [*program_words(instructions), *[0] * 1024])
        sim.set("start", 1)
        sim.step()
        sim.set("start", 0)
        sim.step(700)
        queue = "store" if code in (TransferFault.STORE_CHIP, TransferFault.STORE_STORAGE) else "load"
        through = len(sim.beats(f"{queue}_done"))
        what = 6 if code is TransferFault.LOAD_CODED else 0
        sim.set("fault", fault_layout(GEOMETRY).const({"valid": 1, "code": code, "what": what}).as_bits())
        sim.step(3)
        assert not sim.get("running") and through >= 2
        error = sim.get("error")
        parts = [error & 1, error >> 1 & 31, error >> 6 & 7, error >> 9 & 15, error >> 13 & 0xFFFFFF]
        assert parts == [1, control.TRANSFER + code, QUEUES.index(queue), 0, through]
        assert not what or error >> 37 == what
        sim.beats(queue)
        sim.step(600)
        assert len(sim.beats(queue)) <= 1          # if it was on offer


@pytest.mark.parametrize("seed", range(8))
def test_reset_at_any_time(bench, seed):
    rng = np.random.default_rng(seed)
    instructions = program(rng, GEOMETRY, 30)
    words, parts = program_words(instructions), split(instructions)
    times = {queue: rng.integers(0, 30, len(part)).tolist() for queue, part in parts.items()}
    with bench.design.simulate() as sim:
        sim.set("go", 1)
        for name in QUEUES:
            sim.feed(f"{name}_time", times[name])
        sim.feed("words", words)
        sim.set("start", 1)
        sim.step()
        sim.set("start", 0)
        sim.step(int(rng.integers(3, 1500)))
        again(bench, sim)
