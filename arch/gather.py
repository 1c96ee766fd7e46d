"""Commands for the gather from a layer's parameters."""
from collections.abc import Sequence

from arch.geometry import Geometry
from arch.unit.gather import GatherConfig

__all__ = ["bands", "line_bytes", "line_memory", "words_per_pixel"]


def line_bytes(geometry: Geometry) -> int:
    """Bytes of a word of the line memory, which is read a word a cycle: 8, or 4 where PI is no multiple of 8.

    Raises ValueError where PI is no multiple of 4: such an engine has no gather.
    """
    if geometry.input_lanes % 4:
        raise ValueError(f"input_lanes of a gather must be a multiple of 4, not {geometry.input_lanes}")
    return 4 if geometry.input_lanes % 8 else 8


def line_memory(geometry: Geometry) -> int:
    """Words of the line memory."""
    return 2 * geometry.line_pixels


def words_per_pixel(geometry: Geometry, *, channels: int, kernel: int) -> int:
    """Activation words that an output pixel takes."""
    return -(-kernel * kernel * channels // geometry.input_lanes)


def bands(geometry: Geometry, *, shape: tuple[int, int, int], kernel: int, stride: int, padding: tuple[int, int],
          rows: Sequence[int], columns: int, zero_point: int, base: int, ring_rows: int) -> list[GatherConfig]:
    """The commands that gather an image of `shape` (channels, height, width), a band of so many output `rows` each.

    `padding` is that at the top and on the left; what lies beyond the image below and on the right follows from the number of
    rows and `columns`. The words go to a ring of `ring_rows` rows of `columns` pixels at `base`. The last band takes the rest of
    the image. Raises ValueError when the line memory cannot hold `kernel` lines.
    """
    channels, height, width = shape
    top, left = padding
    right = max((columns - 1) * stride + kernel - left - width, 0)
    line_words = -(-(left + width + right) * channels // line_bytes(geometry))
    lines = min(line_memory(geometry) // line_words, 1023)
    if lines < kernel:
        raise ValueError(f"line memory must hold {kernel} lines of {line_words} words, not {lines}")
    row_words = columns * words_per_pixel(geometry, channels=channels, kernel=kernel)
    configs, done, taken = [], 0, 0
    for number, count in enumerate(rows):
        first_row = done * stride - top
        last = number == len(rows) - 1
        end = height if last else min(max((done + count - 1) * stride - top + kernel, taken), height)
        configs.append(GatherConfig(
            channels=channels, kernel=kernel, stride=stride, tap_bytes=kernel * channels, step_bytes=stride * channels, left=left,
            width=width, right=right, height=height, first_row=first_row, next_row=taken, image_rows=end - taken, rows=count,
            columns=columns, zero_point=zero_point, lines=lines, line_words=line_words, line_ring=lines * line_words,
            line_step=stride % lines * line_words, read_start=first_row % lines * line_words,
            write_start=taken % lines * line_words, base=base, row_start=done % ring_rows * row_words, row_words=row_words,
            ring_words=ring_rows * row_words))
        done, taken = done + count, end
    return configs
