"""Programs with compressed weights on the whole machine: golden's storage afterwards, every command in its cycle; damage."""
from dataclasses import replace

import numpy as np
import pytest

from arch.control import Fault
from arch.instruction import QUEUES, Opcode
from arch.program import Program
from arch.weight_stream import Fault as StreamFault
from golden.cycles.machine import run, storage_of
from golden.machine import MachineError
from sim.cases import Case
from sim.machine import MachineBench
from tests.golden.programs import coded_program
from tests.hw.test_machine import GEOMETRY, TIMING, WORDS, check, image, layer, outcome, start

CODED = replace(GEOMETRY, options=("decoder",))


@pytest.fixture(scope="module", params=["sdram"])
def bench(request) -> MachineBench:
    return MachineBench(CODED, timing=TIMING if request.param == "sdram" else None, words=WORDS)


def drawn(seed: int) -> tuple[Case, Program]:
    case, plain = layer(seed, CODED)
    return case, coded_program(plain, np.random.default_rng([seed, 1]))


@pytest.mark.parametrize("seed", range(9))
def test_layers(bench, seed):
    case, program = drawn(seed)
    words = image(case, program)
    assert any(instruction.opcode is Opcode.LOAD_CODED for instruction in program.instructions)
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, words), f"seed {seed}")
    check(bench, program, result)


@pytest.mark.parametrize("word, what", [(0, StreamFault.COUNT), (1, StreamFault.LENGTH), (-1, StreamFault.CHECK)])
@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_block(bench, word, what, seed):
    """The machine stops, says which load it was and what is wrong, has stored only where it may, and runs the next program."""
    case, program = drawn(seed)
    good = image(case, program)
    loads = [instruction for instruction in program.instructions if instruction.queue == "load"]
    coded = [n for n, load in enumerate(loads) if load.opcode is Opcode.LOAD_CODED and load.body.chip_words]
    number = coded[len(coded) // 2]
    body, words = loads[number].body, good.copy()
    words[body.storage + word % body.words] ^= 1
    with pytest.raises(MachineError, match="of the weight stream"):
        outcome(case, program, words)
    with start(bench, words) as sim:
        result = bench.run(sim, program.program)
        assert result.error["valid"] and not result.finished
        assert {name: result.error[name] for name in ("code", "queue", "index", "word")} == {
            "code": Fault.LOAD_CODED, "queue": QUEUES.index("load"), "index": number, "word": what}
        changed = np.flatnonzero(bench.read(sim, 0, WORDS) != words)
        assert np.all((changed >= program.store_base) & (changed < program.store_base + program.store_words))
        bench.write(sim, 0, good)
        bench.run(sim, program.program)
        np.testing.assert_array_equal(bench.read(sim, 0, WORDS), outcome(case, program, good))


def test_cycles_need_the_contents():
    _, program = drawn(0)
    with pytest.raises(ValueError, match="cycles of coded loads follow from the contents of storage"):
        run(program.instructions, CODED, storage_of(None, WORDS), address=program.program, start=0)
    load = next(n for n, one in enumerate(program.instructions) if one.opcode is Opcode.LOAD_CODED)
    instructions = [*program.instructions[:load], *program.instructions[load + 1:]]
    with pytest.raises(ValueError, match="a coded load needs a table before it"):
        run(instructions, CODED, storage_of(None, WORDS), address=program.program, start=0, contents=program.storage)
