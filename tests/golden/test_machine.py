"""The functional machine against golden.values, on programs made by hand."""
from dataclasses import replace

from hypothesis import given, note, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Instruction, Opcode, Start, Transfer, Waits
from arch.instruction import encode as words_of
from compiler.coding.blocks import encode
from golden.consistency import ProgramError, check_program
from golden.hazards import check_hazards, known_through
from golden.machine import MachineError, execute, get_tensor, put_tensor
from nets.graph import Window
from nets.int8.network import QAvgPool, QGlobalAvgPool, QMaxPool, Requantise
from sim.cases import Case
from tests.golden.programs import golden_output, layer_program, with_base
from tests.hw.engine.layers import conv_of, layers

SMALL = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=1024, band_pixels=64)
HALF = Geometry(input_lanes=8, output_lanes=4, activation_words=4096, weight_words=1024, band_pixels=64)
GEOMETRIES = (SMALL, HALF)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def first_layer(seed: int, *, pool=None, size: int = 19, out: int = 6) -> Case:
    rng = np.random.default_rng(seed)
    window = Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    return Case(name="conv1", x=rng.integers(0, 256, (3, size, size), np.uint8), zero_point=128, pool=pool,
                conv=conv_of(rng, 3, out, window))


def check(geometry: Geometry, case: Case, offset: int = 0, pool_base: int = 0, **how):
    program = layer_program(geometry, case, offset=offset, **how)
    if pool_base:
        program = with_base(program, pool_base)
    result = execute(program, case.x)
    expected = golden_output(case)
    np.testing.assert_array_equal(result.output[offset:], expected)
    assert not result.output[:offset].any()
    for part, vectors in zip(program.parts, result.written, strict=True):
        if vectors.shape[1]:
            np.testing.assert_array_equal(vectors[:len(part.channels)],
                                          expected[part.channels.start:part.channels.stop, part.pooled.start:part.pooled.stop])
    # Of words that the offset leaves free, the store reads what happens to lie there.
    hazards = [hazard for hazard in check_hazards(program) if not offset or hazard.reason != "which nothing has written"]
    assert not hazards, str(hazards[0])
    if not offset:
        check_program(program)
    return program


@quick
@given(st.data())
def test_random_layers_equal_golden(data):
    geometry = data.draw(st.sampled_from(GEOMETRIES))
    case = data.draw(layers(words=1500, lanes=geometry.input_lanes, width=64, macs=2_000_000))
    note(repr(case))
    pools = geometry.pool_words // 2 if -(-case.shape[0] // 4) * case.shape[2] <= geometry.pool_words // 2 else 0
    check(geometry, case, through=data.draw(st.sampled_from(["whole", "ring"])), ring=data.draw(st.integers(0, 12)),
          target_ring=data.draw(st.integers(0, 6)), offset=data.draw(st.integers(0, 2)) * geometry.output_lanes,
          pool_base=data.draw(st.sampled_from([0, pools])), base=data.draw(st.sampled_from([0, 37])))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("pool", [None, QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)),
                                                 ceil_mode=True),
                                  QAvgPool(name="pool", inputs=("conv",), ceil_mode=True, count_include_pad=True,
                                           window=Window(kernel=(3, 2), stride=(2, 1), padding=(1, 1, 1, 0)))])
@pytest.mark.parametrize("ring", [0, 7])
def test_gather_feeds_the_first_layer(geometry, pool, ring):
    program = check(geometry, first_layer(1, pool=pool, size=33), through="gather", ring=ring)
    assert sum(instruction.opcode is Opcode.GATHER for instruction in program.instructions) >= 4


@pytest.mark.parametrize("size", [5, 17])
def test_global_average_of_one_and_several_bands(size):
    rng = np.random.default_rng(size)
    how = Requantise(multiplier=np.array(200), shift=np.array(16), zero_point=3)
    case = Case(name="last", x=rng.integers(0, 256, (9, size, size), np.uint8), zero_point=7, conv=conv_of(
        rng, 9, 10, Window(kernel=(1, 1))), pool=QGlobalAvgPool(name="pool", inputs=("conv",), requantise=how))
    program = check(SMALL, case)
    assert (len(program.parts) > 3) == (size > 8)


@quick
@given(st.data())
def test_every_wait_is_needed_and_its_loss_found(data):
    case = data.draw(layers(words=700, lanes=4, width=64, macs=200_000))
    program = layer_program(SMALL, case, through=data.draw(st.sampled_from(["whole", "ring"])), ring=3, target_ring=2)
    whole = known_through(program)
    for index, instruction in enumerate(program.instructions):
        for queue in ("load", "store", "gather", "compute"):
            tokens = getattr(instruction.waits, queue)
            if tokens:
                less = replace(instruction, waits=replace(instruction.waits, **{queue: tokens - 1}))
                changed = replace(program, instructions=(*program.instructions[:index], less, *program.instructions[index + 1:]))
                redundant = all((a == b).all() for a, b in zip(known_through(changed), whole, strict=True))
                found = check_hazards(changed)
                assert redundant or any(h.index >= index for h in found), (index, queue)


def test_a_lost_wait_is_reported_with_its_word_and_tokens():
    program = layer_program(SMALL, first_layer(2), through="gather")
    index = next(n for n, i in enumerate(program.instructions) if i.opcode is Opcode.COMPUTE)
    compute = program.instructions[index]
    bare = replace(compute, waits=replace(compute.waits, gather=0))
    hazard = check_hazards(replace(program, instructions=(*program.instructions[:index], bare,
                                                          *program.instructions[index + 1:])))[0]
    assert (hazard.index, hazard.memory, hazard.queue, hazard.tokens, hazard.writes) == (index, "activations", "gather", 1, False)
    assert str(hazard).endswith("which is written by gather command 1: must wait for 1 gather tokens")


def test_a_token_does_not_end_the_reads_behind_the_last_vector():
    """The band's last row is kept for the next band's pool: a command that reads it gives its token before."""
    pool = QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=False)
    program = layer_program(SMALL, first_layer(1, pool=pool, size=63), through="gather", ring=0)
    hazards = []
    for index, instruction in enumerate(program.instructions):
        if instruction.opcode is Opcode.GATHER and instruction.waits.compute > 1:
            early = replace(instruction, waits=replace(instruction.waits, compute=instruction.waits.compute - 1))
            hazards += check_hazards(replace(program, instructions=(*program.instructions[:index], early,
                                                                    *program.instructions[index + 1:])))
    assert any(hazard.memory == "activations" and "read by compute" in hazard.reason for hazard in hazards)


def changed(program, opcode, **fields):
    """The program with fields of its first instruction of a kind changed."""
    index = next(n for n, i in enumerate(program.instructions) if i.opcode is opcode)
    instruction = program.instructions[index]
    new = replace(instruction, body=replace(instruction.body, **fields))
    return replace(program, instructions=(*program.instructions[:index], new, *program.instructions[index + 1:]))


@pytest.mark.parametrize(("opcode", "fields", "message"), [
    (Opcode.STORE, {"storage": 0}, "words stored must be in"),
    (Opcode.STORE, {"chip": 4095}, "words of activations must be below 4096"),
    (Opcode.LOAD_WEIGHTS, {"chip": 1020}, "words of weights must be below 1024"),
    (Opcode.LOAD_WEIGHTS, {"storage": 1 << 23}, "words of storage must be below"),
    (Opcode.LOAD_PIXELS, {"width": 9}, "rows of pixels must be 19 pixels of 3 bytes"),
    (Opcode.LOAD_PIXELS, {"rows": 2}, "rows of pixels must be at least"),
    (Opcode.GATHER, {"line_words": 5}, "line_words must be"),
    (Opcode.START, {"digest0": 1, "digest1": 1}, "compiled for another geometry"),
])
def test_what_the_machine_refuses(opcode, fields, message):
    program = layer_program(SMALL, first_layer(3), through="gather")
    with pytest.raises(MachineError, match=message):
        execute(changed(program, opcode, **fields), first_layer(3).x)


@pytest.mark.parametrize(("opcode", "fields", "message"), [
    (Opcode.STORE, {"storage": 0}, "outside the region"),
    (Opcode.STORE, {"chip": 4090, "words": 9}, "which has 4096 words"),
    (Opcode.STORE, {"chip": 3000}, "which nothing has written"),
    (Opcode.LOAD_WEIGHTS, {"words": 1}, "which nothing has written"),
])
def test_words_that_are_out_of_bounds_or_undefined_are_hazards(opcode, fields, message):
    program = layer_program(SMALL, first_layer(3), through="gather")
    assert any(message in str(hazard) for hazard in check_hazards(changed(program, opcode, **fields)))


@pytest.mark.parametrize(("fields", "message"), [
    (lambda p: {"instructions": p.instructions[1:]}, "must begin with START"),
    (lambda p: {"instructions": p.instructions[:-1]}, "end with END"),
    (lambda p: {"store_words": p.store_words - 1}, "START must give the region"),
    (lambda p: {"program_words": p.program_words - 1}, "program_words must be"),
    (lambda p: {"program": p.program - 1}, "must hold the instructions"),
    (lambda p: {"parts": p.parts[1:]}, "parts must be"),
    (lambda p: {"parts": (replace(p.parts[0], channels=range(1)), *p.parts[1:])}, "channels of part 0 must be 5..8, not 1"),
    (lambda p: {"parts": (replace(p.parts[0], rows=range(1)), *p.parts[1:])}, "rows of part 0 must be"),
    (lambda p: {"parts": (replace(p.parts[0], pooled=range(1)), *p.parts[1:])}, "pooled rows of part 0 must be"),
    (lambda p: {"input": replace(p.input, address=p.store_base)}, "the input must lie outside the region"),
    (lambda p: {"input": replace(p.input, address=p.program)}, "the input must lie outside the program"),
    (lambda p: {"input": replace(p.input, layout="rows")}, "layout of x must be pixels or map, not 'rows'"),
    (lambda p: {"input": replace(p.input, words=19)}, "x must have 19 rows of at least 29 words, not 19 words"),
    (lambda p: {"output": replace(p.output, address=p.store_base + 1)}, "the output must lie inside"),
    (lambda p: {"output": replace(p.output, shape=(99, 10, 10))}, "conv must have at least"),
    (lambda p: {"instructions": tuple(replace(i, waits=Waits()) for i in p.instructions)}, "program_words must be"),
])
def test_inconsistent_programs_are_refused(fields, message):
    program = layer_program(SMALL, first_layer(9), through="gather")
    with pytest.raises(ProgramError, match=message):
        check_program(replace(program, **fields(program)))


def test_a_command_that_writes_where_it_reads_is_a_hazard():
    program = layer_program(SMALL, first_layer(4, size=7), through="gather")
    index = next(n for n, i in enumerate(program.instructions) if i.opcode is Opcode.COMPUTE)
    compute = program.instructions[index]
    body = replace(compute.body, writer=replace(compute.body.writer, base=0))
    hazards = check_hazards(replace(program, instructions=(*program.instructions[:index], replace(compute, body=body),
                                                           *program.instructions[index + 1:])))
    assert "which it reads itself" in str(hazards[0])


def test_a_wait_for_tokens_that_nobody_gives_is_refused():
    program = layer_program(SMALL, first_layer(5), through="gather")
    index = next(n for n, i in enumerate(program.instructions) if i.opcode is Opcode.COMPUTE)
    stuck = replace(program.instructions[index], waits=replace(program.instructions[index].waits, store=1))
    with pytest.raises(ValueError, match=r"COMPUTE\) must wait for at most 0 store tokens.*not 1"):
        check_hazards(replace(program, instructions=(*program.instructions[:index], stuck, *program.instructions[index + 1:])))


def test_writes_are_shown_as_they_come():
    case, seen = first_layer(6), []
    program = layer_program(SMALL, case, through="gather")
    result = execute(program, case.x, on_write=lambda number, instruction, q: seen.append((number, instruction.opcode, q.copy())))
    assert [number for number, _, _ in seen] == list(range(len(program.parts)))
    assert all(opcode is Opcode.COMPUTE for _, opcode, _ in seen)
    for (_, _, q), written in zip(seen, result.written, strict=True):
        np.testing.assert_array_equal(q, written)


@quick
@given(st.data())
def test_tensors_in_storage(data):
    program = layer_program(SMALL, first_layer(7), through="gather")
    for tensor in (program.input, program.output):
        q = np.random.default_rng(data.draw(st.integers(0, 1000))).integers(0, 256, tensor.shape, np.uint8)
        storage = np.zeros(program.storage_words, np.uint16)
        put_tensor(SMALL, storage, tensor, q)
        np.testing.assert_array_equal(get_tensor(SMALL, storage, tensor), q)
    with pytest.raises(ValueError, match="conv must be uint8"):
        put_tensor(SMALL, storage, program.output, q[:1])


def test_start_is_what_the_program_says():
    program = layer_program(SMALL, first_layer(8), through="gather")
    start = Start.of(SMALL, program.store_base, program.store_words)
    assert program.instructions[0] == Instruction(opcode=Opcode.START, body=start)
    assert isinstance(program.instructions[1].body, Transfer)


def coded(program, *, raw=False):
    """The same program, for an engine with the decoder, whose first load of weights is one of a table and one of a block; with a
    plain load of the same words behind them if `raw`."""
    geometry = program.geometry.with_options(["decoder"])
    index, load = next((n, i) for n, i in enumerate(program.instructions) if i.opcode is Opcode.LOAD_WEIGHTS)
    body = load.body
    plain = program.storage[body.storage:body.storage + body.words * geometry.input_lanes]
    found = encode([plain.view(np.int8)])
    block = found.blocks[0]
    at = program.storage_words                  # behind everything: words of the table, and of the block
    table = CodedTransfer(storage=at, words=len(found.table), chip=0, chip_words=0)
    weights = CodedTransfer(storage=at + len(found.table), words=len(block), chip=body.chip, chip_words=body.words)
    loads = [replace(load, opcode=Opcode.LOAD_CODED, body=body) for body in (table, weights)]
    loads += [load] * raw
    start = replace(program.instructions[0], body=Start.of(geometry, program.store_base, program.store_words))
    instructions = [start, *program.instructions[1:index], *loads, *program.instructions[index + 1:]]
    more = len(loads) - 1                       # tokens of the load queue before those of the loads behind
    for n, one in enumerate(instructions[index + len(loads):], index + len(loads)):
        if one.waits.load:
            instructions[n] = replace(one, waits=replace(one.waits, load=one.waits.load + more))
    storage = np.zeros(at + len(found.table) + len(block), np.uint16)
    storage[:len(program.storage)] = program.storage
    storage[at:] = np.concatenate([found.table, block])
    words = sum(len(words_of(one)) for one in instructions)
    return replace(program, geometry=geometry, instructions=tuple(instructions), storage=storage, program_words=words)


def sparse_layer(seed: int) -> Case:
    case = first_layer(seed, out=40)
    weight = np.where(np.random.default_rng(seed).random(case.conv.weight.shape) < 0.2, case.conv.weight, 0).astype(np.int8)
    return replace(case, conv=replace(case.conv, weight=weight))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_coded_weights_are_the_same_weights(geometry):
    case = sparse_layer(1)
    program = coded(layer_program(geometry, case, through="gather"))
    assert not check_hazards(program)
    result = execute(program, case.x)
    np.testing.assert_array_equal(result.output, golden_output(case))
    block = next(i.body for i in program.instructions if i.opcode is Opcode.LOAD_CODED and i.body.chip_words)
    assert 2 * block.words < block.chip_words * geometry.input_lanes * 2 / 1.5


@pytest.mark.parametrize(("number", "changes", "message"), [
    (1, {"chip": 1020}, "words of weights must be below 1024"),
    (1, {"storage": 1 << 23}, "words of storage must be below"),
    (1, {"chip_words": 200}, "another number of weights"),
    (1, {"chip_words": 0}, "of another kind"),
    (0, {"chip_words": 4}, "of another kind"),
    (1, {"words": 90}, "another number of words")])
def test_damaged_and_wrong_blocks_stop_the_machine(number, changes, message):
    case = sparse_layer(2)
    program = coded(layer_program(SMALL, case, through="gather"))
    index = [n for n, one in enumerate(program.instructions) if one.opcode is Opcode.LOAD_CODED][number]
    instructions = list(program.instructions)
    instructions[index] = replace(instructions[index], body=replace(instructions[index].body, **changes))
    with pytest.raises(MachineError, match=message) as error:
        execute(replace(program, instructions=tuple(instructions)), case.x)
    assert error.value.index == index


def test_a_block_without_its_table_stops_the_machine():
    case = sparse_layer(2)
    program = coded(layer_program(SMALL, case, through="gather"))
    table = next(one for one in program.instructions if one.opcode is Opcode.LOAD_CODED)
    with pytest.raises(MachineError, match="its table is wrong"):
        execute(replace(program, instructions=tuple(one for one in program.instructions if one is not table)), case.x)


def test_a_table_is_forgotten_with_the_end_of_its_program():
    case = sparse_layer(2)
    program = coded(layer_program(SMALL, case, through="gather"))
    first, index = execute(program, case.x), [one.opcode for one in program.instructions].index(Opcode.LOAD_CODED)
    np.testing.assert_array_equal(execute(program, case.x, after=first).output, first.output)
    without = replace(program, instructions=(*program.instructions[:index], *program.instructions[index + 1:]))
    with pytest.raises(MachineError, match="its table is wrong"):
        execute(without, case.x, after=first)


def test_an_engine_without_the_decoder_refuses_its_instruction():
    case = sparse_layer(2)
    program = coded(layer_program(SMALL, case, through="gather"))
    start = replace(program.instructions[0], body=Start.of(SMALL, program.store_base, program.store_words))
    with pytest.raises(MachineError, match="the engine must have the option decoder"):
        execute(replace(program, geometry=SMALL, instructions=(start, *program.instructions[1:])), case.x)


def test_plain_words_may_overtake_those_that_are_decoded():
    """They are written as they come; only a wait keeps them behind."""
    program = coded(layer_program(SMALL, sparse_layer(3), through="gather"), raw=True)
    hazards = check_hazards(program)
    index = max(n for n, one in enumerate(program.instructions) if one.opcode is Opcode.LOAD_WEIGHTS and one.body.chip == 0)
    assert str(hazards[0]).endswith("which is decoded by load command 2: must wait for 2 load tokens")
    assert {hazard.index for hazard in hazards} == {index}
    instructions = list(program.instructions)
    instructions[index] = replace(instructions[index], waits=Waits(load=hazards[0].tokens))
    assert not check_hazards(replace(program, instructions=tuple(instructions)))
