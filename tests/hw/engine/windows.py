"""Random records for the window generator, and what they mean, beat by beat."""
from collections.abc import Iterator
import random
from typing import NamedTuple

from arch.record import ADDRESS
from arch.unit.window import CarryConfig, WindowConfig

__all__ = ["Beat", "beats", "draw"]


class Beat(NamedTuple):
    """A beat of the array: `address` is None for padding; `first` and `last` say which pass of its output block it belongs to."""

    address: int | None
    swap: bool
    emit_start: bool
    first: bool
    last: bool
    pixel: int
    zero_point: int


def draw(rng: random.Random, carry: bool = True) -> WindowConfig:
    """A convolution's band anywhere in a ring of rows; its output blocks read the same words, their own, or any; the sums of a
    single one may go on from those of the command before, unless the engine has no `carry`."""
    kernel_y, kernel_x = rng.choice([(1, 1), (3, 3), (rng.randint(1, 11), rng.randint(1, 5))])
    stride_y, stride_x = rng.randint(1, 4), rng.randint(1, 4)
    rows, columns = rng.choice([(1, 1), (rng.randint(1, 4), rng.randint(1, 6))])
    blocks, output_blocks = rng.randint(1, 3), rng.randint(1, 6)
    pixel_words, width = blocks + rng.randint(0, 1), rng.randint(1, 20)
    ring_rows, row_words = rng.randint(1, 8), pixel_words * width
    base = rng.choice([rng.randint(0, 100), rng.randrange(1 << ADDRESS)])
    first_row, left = rng.randint(-10, 30), rng.randint(0, 10)
    more = {"goes_on": rng.randint(0, output_blocks == 1)} if carry else {}
    return (CarryConfig if carry else WindowConfig)(
        start=(base - left * pixel_words) % (1 << ADDRESS), first_row=first_row, first_column=-left,
        row_start=first_row % ring_rows * row_words, row_words=row_words if ring_rows > 1 else 0,
        row_step=stride_y % ring_rows * row_words, ring_words=ring_rows * row_words, pixel_words=pixel_words,
        column_step=stride_x * pixel_words, height=rng.randint(1, 40), width=width, kernel_y=kernel_y, kernel_x=kernel_x,
        stride_y=stride_y, stride_x=stride_x, blocks=blocks, output_blocks=output_blocks,
        block_step=rng.choice([0, blocks, rng.randint(1, 4095), 4095]),
        block_repeat=rng.choice([1, 1, rng.randint(1, output_blocks + 1), 4095]), rows=rows, columns=columns,
        zero_point=rng.randint(0, 255), **more)


def beats(c: WindowConfig) -> Iterator[Beat]:
    """The beats of a command in order, addresses modulo 2**15."""
    base = c.start - c.first_column * c.pixel_words
    ring_rows = c.ring_words // c.row_words if c.row_words else 1
    for output in range(c.output_blocks):
        own = base + output // c.block_repeat * c.block_step
        for n in range(c.passes):
            ky, kx, block = n // c.blocks // c.kernel_x, n // c.blocks % c.kernel_x, n % c.blocks
            for pixel in range(c.pixels):
                y = c.first_row + pixel // c.columns * c.stride_y + ky
                x = c.first_column + pixel % c.columns * c.stride_x + kx
                inside = 0 <= y < c.height and 0 <= x < c.width
                address = (own + y % ring_rows * c.row_words + x * c.pixel_words + block) % (1 << ADDRESS)
                first, last = n == 0 and not c.goes_on, n == c.passes - 1
                yield Beat(address if inside else None, pixel == 0, pixel == 0 and last, first, last, pixel, c.zero_point)
