"""What the gather is told."""
from dataclasses import dataclass

from arch.record import ADDRESS, SIZE, Record, address, number

__all__ = ["GatherConfig"]


@dataclass(frozen=True, kw_only=True)
class GatherConfig(Record):
    """im2col of a raster image of few channels, for a band of output rows; `arch.gather.bands` makes these.

    Per output pixel ceil(kernel * kernel * channels / PI) words, lanes in (ky, kx, channel) order, zero beyond. The next
    `image_rows` rows of the stream go to the line memory, a ring of `lines` lines, image row y in line y mod `lines`; each line
    holds `left` pixels of padding, the row and `right` more, packed into `line_words` words. Rows outside the image and padding
    hold `zero_point`. The words of an output row lie side by side in the activation memory, rows as everywhere.
    """

    channels: int = number(1, 4, "bytes")
    kernel: int = number(1, 11, "pixels")
    stride: int = number(1, 4, "pixels")
    tap_bytes: int = number(1, 44, "bytes", doc="kernel * channels")
    step_bytes: int = number(1, 16, "bytes", doc="stride * channels")
    left: int = number(0, 15, "pixels")
    width: int = number(1, (1 << SIZE) - 1, "pixels")
    right: int = number(0, 31, "pixels")
    height: int = number(1, (1 << SIZE) - 1, "rows")
    first_row: int = number(-15, (1 << SIZE) - 1, "rows", doc="image row of the first output row's first tap")
    next_row: int = number(0, (1 << SIZE) - 1, "rows", doc="rows of the image that came before")
    image_rows: int = number(0, (1 << SIZE) - 1, "rows", doc="rows of the image that come now")
    rows: int = number(1, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    zero_point: int = number(0, 255, "")
    lines: int = number(1, 1023, "lines", doc="at least kernel; kernel + stride let rows arrive meanwhile")
    line_words: int = number(1, 8191, "words")
    line_ring: int = number(1, 8191, "words", doc="lines * line_words")
    line_step: int = number(0, 8191, "words", doc="(stride mod lines) * line_words")
    read_start: int = number(0, 8191, "words", doc="(first_row mod lines) * line_words")
    write_start: int = number(0, 8191, "words", doc="(next_row mod lines) * line_words")
    base: int = address(memory="activation_words", doc="word of row 0 of the ring, column 0")
    row_start: int = address(memory="activation_words", doc="(first output row mod ring rows) * row_words")
    row_words: int = address(memory="", doc="words from a row to the next, inside the ring")
    ring_words: int = number(1, 1 << ADDRESS, "words", memory="activation_words", doc="words of the ring")
