"""What the window generator is told."""
from dataclasses import dataclass
from typing import ClassVar

from arch.record import ADDRESS, SIZE, Record, address, number

__all__ = ["CarryConfig", "WindowConfig"]


@dataclass(frozen=True, kw_only=True)
class WindowConfig(Record):
    """What the window generator reads. One output row is `columns` beats, a pass `rows` of them.

    The tap (ky, kx) of output (y, x) of the band is at input row first_row + y * stride_y + ky, column
    first_column + x * stride_x + kx; outside height x width it is padding and reads as `zero_point`. Strides only tell what is
    padding: where nothing is, rows and columns may be any number of words apart. Output block n reads `blocks` words of a tap
    from (n // block_repeat) * block_step words further on than `start` says, modulo 2**15: with a step of 0 all of them read the
    same words, with another one those of their own input channels.
    """

    start: int = address(memory="", doc="base + first_column * pixel_words modulo 2**15; base: row 0, column 0, first block")
    first_row: int = number(-15, (1 << SIZE) - 1, "rows", doc="y0 * stride_y - padding at the top")
    first_column: int = number(-15, 0, "columns", doc="-padding at the left")
    row_start: int = address(memory="activation_words", doc="(first_row mod ring rows) * row_words, also for negative first_row")
    row_words: int = address(memory="activation_words", doc="words from a row to the next, 0 for a ring of a single row")
    row_step: int = address(memory="", doc="(stride_y mod ring rows) * row_words")
    ring_words: int = number(1, 1 << ADDRESS, "words", memory="activation_words", doc="words of the ring")
    pixel_words: int = number(1, 4095, "words", doc="words from a pixel to the next")
    column_step: int = number(0, 4 * 4095, "words", doc="stride_x * pixel_words")
    height: int = number(1, (1 << SIZE) - 1, "rows")
    width: int = number(1, (1 << SIZE) - 1, "columns")
    kernel_y: int = number(1, 11, "taps")
    kernel_x: int = number(1, 11, "taps")
    stride_y: int = number(1, 4, "rows")
    stride_x: int = number(0, 4, "columns", doc="0, as column_step: all columns of the output read the same")
    blocks: int = number(1, 4095, "input blocks")
    output_blocks: int = number(1, 4095, "output blocks")
    block_step: int = number(0, 4095, "words", default=0, doc="further on in the pixel after every block_repeat output blocks")
    block_repeat: int = number(1, 4095, "output blocks", default=1, doc="that read the same words")
    rows: int = number(1, 1023, "output rows")
    columns: int = number(1, 1023, "output columns", doc="rows * columns <= geometry.band_pixels")
    zero_point: int = number(0, 255, "")
    goes_on: ClassVar[int] = 0

    @property
    def pixels(self) -> int:
        """Beats of a pass, without padding."""
        return self.rows * self.columns

    @property
    def passes(self) -> int:
        """Passes of an output block."""
        return self.kernel_y * self.kernel_x * self.blocks


@dataclass(frozen=True, kw_only=True)
class CarryConfig(WindowConfig):
    """The same, of engines with the option `carry`: the sums of a command may go on from where those of the command before ended.

    So a sum may have more products than there is room for weights: each command writes what its sums are so far, and the last
    one's is what stays. Such a command has one output block, and as many pixels as the one before.
    """

    goes_on: int = number(0, 1, "", default=0, doc="1: sums start from those of the command before instead of from the biases")
