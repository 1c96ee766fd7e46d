"""The words that a command is said to read, against its beats one by one."""
import random

from arch.command import Command
from arch.geometry import Geometry
from arch.instruction import Instruction, Opcode
from arch.record import ADDRESS
from arch.unit.average import AverageConfig
from arch.unit.load import LoadConfig
from arch.unit.pool import POOL_MAX, POOL_NONE, PoolConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from arch.unit.writer import WriterConfig
from golden import places
from tests.hw.engine.windows import beats, draw

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=1 << ADDRESS, weight_words=4096, band_pixels=64)


def command(window: WindowConfig, out_rows: int, out_columns: int) -> Command:
    """A command whose 1x1 pool uses that much of the window generator's rows; without rows it keeps all for the next band."""
    blocks = window.output_blocks
    whole = (out_rows, out_columns) == (window.rows, window.columns)
    return Command(
        window=window, load=LoadConfig(weights=0, parameters=0, passes=window.passes, output_blocks=blocks),
        requantise=RequantiseConfig(zero_point=0, low=0, high=255),
        pool=PoolConfig(
            mode=POOL_NONE if whole else POOL_MAX, kernel_y=1, kernel_x=1, stride_y=1, stride_x=1, left=0, rows=window.rows,
            columns=window.columns, out_rows=out_rows, out_columns=out_columns, output_blocks=blocks, history=0, lead=0,
            overhang_rows=0, include_padding=0, top=0, padded_right=0, padded_bottom=0, zero_point=0),
        average=AverageConfig(enable=0, first=1, last=1, pixels=out_rows * out_columns, output_blocks=blocks, start=0,
                              multiplier=0, shift=1, zero_point=0, low=0, high=255),
        writer=WriterConfig(base=0, lane=0, row_start=0, row_words=out_columns, ring_words=max(out_rows, 1) * out_columns,
                            pixel_words=blocks, rows=out_rows, columns=out_columns, output_blocks=blocks))


def test_words_read_are_those_of_the_beats():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, several = random.Random(seed), 0
    for _ in range(150):
        window = draw(rng)
        rows, columns = rng.randint(0, window.rows), rng.randint(1, window.columns)
        read = list(beats(window))
        whole = {beat.address for beat in read} - {None}
        # What comes behind the beat that completes the last vector written.
        last = (rows - 1) * window.columns + columns - 1
        trailing = {beat.address for beat in read[len(read) - window.pixels:] if beat.pixel > last} - {None}
        found = places.accesses(GEOMETRY, Instruction(opcode=Opcode.COMPUTE, body=command(window, rows, columns)))
        reads = {access.late: set(access.words.tolist()) for access in found
                 if access.memory == places.ACTIVATIONS and not access.writes}
        assert reads == ({False: whole, True: trailing} if rows else {True: whole}), f"{window}, seed {seed}"
        several += rows > 0 and bool(trailing) and window.block_step > 0 and window.output_blocks > window.block_repeat
    assert several
