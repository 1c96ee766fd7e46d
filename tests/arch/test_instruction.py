"""Instructions to words and back; what is illegal is refused at its word, with its name and its reason."""
from dataclasses import replace
from itertools import product
import re

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from arch.command import Command
from arch.geometry import PRESETS, Geometry
from arch.instruction import (
    CONTROL,
    END,
    QUEUE_OF,
    QUEUES,
    SYNC,
    CodedTransfer,
    Instruction,
    InstructionError,
    Opcode,
    Start,
    Transfer,
    Waits,
    decode,
    encode,
    opcodes,
    records,
    storage_words,
    word_ranges,
)
from arch.record import STORAGE

GEOMETRIES = (PRESETS["85f"], PRESETS["12f"])
LARGEST = Geometry(input_lanes=16, output_lanes=16, activation_words=32768, weight_words=16384, parameter_words=8192)
CODED = PRESETS["12f"].with_options(["decoder"])
COMMANDS = [opcode for opcode in opcodes(GEOMETRIES[0]) if QUEUE_OF[opcode] != CONTROL]
CLOSING = encode(Instruction(opcode=Opcode.END, body=END))


def start_words(geometry: Geometry) -> list[int]:
    return encode(Instruction(opcode=Opcode.START, body=Start.of(geometry, 0, 0)))


@st.composite
def bodies(draw, geometry: Geometry, opcode: Opcode):
    """A body whose fields are legal for a geometry, at their limits often."""
    limits = {entry.name: entry for entry in word_ranges(geometry, opcode)}
    parts = {}
    for name, record in records(geometry, opcode).items():
        prefix = f"{name}." if name else ""
        values = {}
        for entry in record.fields():
            high = min(entry.high, limits[prefix + entry.name].high) if entry.bits <= 16 else entry.high
            values[entry.name] = draw(st.one_of(st.sampled_from([entry.low, high]), st.integers(entry.low, high)))
        parts[name] = record(**values)
    return Command(**parts) if opcode is Opcode.COMPUTE else parts[""]


@st.composite
def instructions(draw, geometry: Geometry):
    opcode = draw(st.sampled_from(opcodes(geometry)[2:]))
    waits = Waits(**{queue: draw(st.one_of(st.just(0), st.sampled_from([1, 0xFFFF]), st.integers(0, 0xFFFF)))
                     for queue in QUEUES})
    return Instruction(opcode=opcode, body=draw(bodies(geometry, opcode)), waits=waits)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_every_instruction_survives_its_words(data):
    geometry = data.draw(st.sampled_from([*GEOMETRIES, LARGEST, CODED]))
    # Every opcode in every example, and more of any.
    program = [Instruction(opcode=opcode, body=data.draw(bodies(geometry, opcode))) for opcode in opcodes(geometry)[2:]]
    program += data.draw(st.lists(instructions(geometry), max_size=4))
    start = data.draw(bodies(geometry, Opcode.START))
    whole = [Instruction(opcode=Opcode.START, body=Start.of(geometry, start.store_base, start.store_words)), *program,
             Instruction(opcode=Opcode.END, body=END)]
    words = [word for instruction in whole for word in encode(instruction)]
    assert all(0 <= word <= 0xFFFF for word in words)
    assert list(decode([*words, 1, 2, 3], geometry)) == whole


def lowest(opcode: Opcode):
    """The body whose fields are the lowest possible, but for the digest that START needs."""
    parts = {name: record(**{entry.name: entry.low for entry in record.fields()})
             for name, record in records(PRESETS["85f"], opcode).items()}
    return Command(**parts) if opcode is Opcode.COMPUTE else parts[""]


@pytest.mark.parametrize(("geometry", "opcode"), [*product(GEOMETRIES, COMMANDS), (CODED, Opcode.LOAD_CODED)])
@pytest.mark.parametrize("bits", [24, 25, STORAGE])
def test_each_word_is_checked_at_and_beyond_its_limits(geometry, opcode, bits):
    before = start_words(geometry)
    good = encode(Instruction(opcode=opcode, body=lowest(opcode)))
    ranges = word_ranges(geometry, opcode, bits)
    assert len(good) == 1 + len(ranges)
    for place, entry in enumerate(ranges, 1):
        for value in (entry.low, entry.high):
            words = [*before, *good[:place], value & 0xFFFF, *good[place + 1:], *CLOSING]
            if entry.name == "load.passes" and not value:       # a half: both together are not
                continue
            assert encode(list(decode(words, geometry, bits))[1])[place] == value & 0xFFFF
        span = (-(1 << 15), (1 << 15) - 1) if entry.low < 0 else (0, 0xFFFF)
        for value in (entry.low - 1, entry.high + 1):
            if span[0] <= value <= span[1]:
                words = [*before, *good[:place], value & 0xFFFF, *good[place + 1:], *CLOSING]
                message = (f"word {len(before) + place}: {opcode.name} {entry.name} must be {entry.low}..{entry.high}, "
                           f"not {value}")
                with pytest.raises(InstructionError, match=f"^{re.escape(message)}$") as caught:
                    list(decode(words, geometry, bits))
                assert caught.value.word == len(before) + place


@pytest.mark.parametrize(("opcode", "name", "value", "high"), [
    (Opcode.COMPUTE, "load.passes", 0, 495495), (Opcode.COMPUTE, "load.passes", 495496, 495495),
    (Opcode.START, "store_words", (1 << STORAGE) + 1, 1 << STORAGE)])
def test_a_wide_field_is_refused_though_its_halves_are_in_range(opcode, name, value, high):
    geometry = GEOMETRIES[0]
    before = [] if opcode is Opcode.START else start_words(geometry)
    words = start_words(geometry) if opcode is Opcode.START else encode(Instruction(opcode=opcode, body=lowest(opcode)))
    place = [entry.name for entry in word_ranges(geometry, opcode)].index(name) + 1
    words[place:place + 2] = value & 0xFFFF, value >> 16
    low = int(name == "load.passes")
    message = f"word {len(before) + place + 1}: {opcode.name} {name} must be {low}..{high}, not {value}"
    with pytest.raises(InstructionError, match=f"^{re.escape(message)}$"):
        list(decode([*before, *words, *CLOSING], geometry))


@pytest.mark.parametrize("opcode", Opcode)
def test_each_field_is_refused_beyond_its_range(opcode):
    for record in records(PRESETS["85f"], opcode).values():
        good = {entry.name: entry.low for entry in record.fields()}
        for entry in record.fields():
            for bad in (entry.low - 1, entry.high + 1):
                with pytest.raises(ValueError, match=rf"^{record.__name__}\.{entry.name} must be {entry.low}\.\.{entry.high}"):
                    record(**good | {entry.name: bad})


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_addresses_end_with_the_geometrys_memories(geometry):
    def high(opcode, name):
        return {entry.name: entry.high for entry in word_ranges(geometry, opcode)}[name]
    assert high(Opcode.LOAD_WEIGHTS, "chip") == geometry.weight_words - 1
    assert high(Opcode.LOAD_PARAMETERS, "words") == geometry.parameter_words
    assert high(Opcode.STORE, "chip_step") == geometry.activation_words - 1
    assert high(Opcode.GATHER, "ring_words") == geometry.activation_words
    assert high(Opcode.COMPUTE, "load.weights") == geometry.weight_words - 1
    assert high(Opcode.COMPUTE, "writer.base") == geometry.activation_words - 1


@pytest.mark.parametrize(("words", "place", "reason"), [
    ([], 0, "the program ends without END"),
    ([0], 0, f"header must begin with 0x{SYNC:02x}, not 0x00"),
    ([0xFFFF], 0, "header must begin with 0xa5, not 0xff"),
    ([SYNC << 8], 0, "opcode must be 1..9, not 0"),
    ([SYNC << 8 | 10], 0, "opcode must be 1..9, not 10"),
    (CLOSING, 0, "START must be the first instruction, and no other"),
    ([SYNC << 8 | 0x11], 0, "START must not wait"),
    ([*start_words(GEOMETRIES[0])[:1], 0, 0, 0, 0, 0, 0, 0, 0], 1, "the program was compiled for another geometry"),
    (start_words(GEOMETRIES[0]), 9, "the program ends without END"),
    (start_words(GEOMETRIES[0])[:4], 4, "the program ends without END"),
    ([*start_words(GEOMETRIES[0]), *start_words(GEOMETRIES[0])], 9, "START must be the first instruction, and no other"),
    ([*start_words(GEOMETRIES[0]), SYNC << 8 | 0x82], 9, "END must not wait"),
    ([*start_words(GEOMETRIES[0]), SYNC << 8 | 0x97, 4, 0], 11, "wait for compute must be 1..65535 tokens, not 0"),
])
def test_what_is_no_program(words, place, reason):
    with pytest.raises(InstructionError, match=f"^word {place}: {re.escape(reason)}$"):
        list(decode(words, GEOMETRIES[0]))


def test_a_wrong_body_or_a_wait_of_a_control_instruction_is_refused():
    with pytest.raises(TypeError, match="^body of STORE must be Transfer, not End"):
        Instruction(opcode=Opcode.STORE, body=END)
    with pytest.raises(ValueError, match="^END must wait for nothing"):
        Instruction(opcode=Opcode.END, body=END, waits=Waits(load=1))


def test_a_word_of_each_memory_in_storage():
    geometry = PRESETS["45f"]
    assert [storage_words(geometry, opcode) for opcode in (
        Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE)] == [16, 6, 8, 8]


def test_erased_and_blank_storage_and_every_sync_are_told_apart():
    legal = {word for word in range(1 << 16) if word >> 8 == SYNC and word & 15 in list(Opcode)}
    assert 0 not in legal and 0xFFFF not in legal
    for word in (0, 0xFFFF, 0x5A5A, SYNC):
        with pytest.raises(InstructionError, match="header must begin"):
            list(decode([*start_words(GEOMETRIES[0]), word], GEOMETRIES[0]))


def test_an_instruction_of_an_option_is_none_without_it():
    body = CodedTransfer(storage=5, words=6, chip=7, chip_words=8)
    load = Instruction(opcode=Opcode.LOAD_CODED, body=body, waits=Waits(compute=3))
    assert encode(load) == [SYNC << 8 | 0x8A, 3, 5, 0, 6, 7, 8] and load.queue == "load"
    plain = replace(CODED, options=())
    assert opcodes(CODED) == (*opcodes(plain), Opcode.LOAD_CODED)
    assert list(decode([*start_words(CODED), *encode(load), *CLOSING], CODED))[1] == load
    with pytest.raises(InstructionError, match="^word 9: opcode must be 1..9, not 10$"):
        list(decode([*start_words(plain), *encode(load), *CLOSING], plain))
    with pytest.raises(InstructionError, match="^word 9: opcode must be 1..10, not 11$"):
        list(decode([*start_words(CODED), encode(load)[0] + 1, *CLOSING], CODED))


def test_waits_come_in_the_order_of_the_queues():
    body = Transfer(storage=1, storage_step=2, chip=3, chip_step=4, words=5, runs=6)
    words = encode(Instruction(opcode=Opcode.STORE, body=body, waits=Waits(load=9, gather=8)))
    assert words[:3] == [SYNC << 8 | 0x57, 9, 8]
    assert words[3:] == [1, 0, 2, 0, 3, 4, 5, 6]
