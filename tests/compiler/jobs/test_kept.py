"""Frames behind the first one: without loads of constants where the chip holds all of them, and the same otherwise."""
from arch.geometry import Geometry
from arch.instruction import Opcode
from compiler.build import compile_network
from golden.consistency import check_program
from nets.graph import Window
from tests.sim.networks import single_conv

SMALL = Geometry(input_lanes=8, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=256)


def opcodes(program) -> list[Opcode]:
    return [instruction.opcode for instruction in program.instructions]


def test_constants_that_have_room_are_loaded_once():
    program = compile_network(single_conv(16, 32, (9, 9)), SMALL).program
    constants = {Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS}
    assert constants < set(opcodes(program)) and not constants & set(opcodes(program.again))
    assert sorted(opcodes(program.again)) == sorted(one for one in opcodes(program) if one not in constants)
    assert program.again.parts == program.parts and program.next is program.again and program.again.next is program.again
    check_program(program)


def test_weights_that_have_no_room_together_are_loaded_for_each_frame():
    # 64 output blocks of a 3x3 convolution of two words are 2,304 words for a memory of 512.
    program = compile_network(single_conv(16, 256, (9, 9), Window(kernel=(3, 3))), SMALL).program
    assert program.again is None and program.next is program


def test_storage_that_has_no_room_for_both_programs_gets_the_first():
    network = single_conv(16, 32, (60, 60))        # of more than 512 words each
    words = compile_network(network, SMALL).program.storage_words
    program = compile_network(network, SMALL, storage_words=words - 1).program
    assert program.again is None and program.storage_words < words
