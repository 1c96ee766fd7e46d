"""What the depthwise convolution is told, how its constants are loaded, and its latencies."""
from dataclasses import dataclass

import numpy as np

from arch.geometry import Geometry
from arch.record import Record, number

__all__ = ["BACK", "DRAIN", "DepthwiseConfig", "KERNEL", "LATENCY", "LEAST_COLUMNS", "PAIR_WORDS", "PASS", "PLANES", "WINDOW",
           "load_cycles"]

KERNEL = 3              # rows and columns

# Constants of a column pair are a word in each of three planes of so many words: what a parameter word holds, then the weights of
# each of the two channels, row by row, eight as biases and the ninth as the first multiplier.
PLANES, PAIR_WORDS = 3, 512

# Cycles of a step that completes a window: a column of the kernel in each.
WINDOW = KERNEL
# Step that completes a window -> result offered: byte, line memory (2), operands, product (3), sum (2), its columns (3),
# the third of the channels that is requantised first, requantiser (11), its thirds side by side (2), choice, queue.
LATENCY = 28
# Vector taken -> offered, when it passes.
PASS = 5
# Step that completes a window -> the earliest one in which a vector passes: it must not come out before.
DRAIN = LATENCY - PASS + 1
# Result taken -> the earliest cycle in which its credit may be taken again.
BACK = 2
# Of a row that is convolved: the line memory is read so many steps after it was written.
LEAST_COLUMNS = 3


def load_cycles(geometry: Geometry) -> int:
    """Cycles in which a block's first step waits for its constants: weights of a pair and a column of the kernel in each."""
    return KERNEL * geometry.pairs


@dataclass(frozen=True, kw_only=True)
class DepthwiseConfig(Record):
    """A 3x3 convolution of each channel alone, over vectors that arrive in the order output block, row, column.

    q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high) with acc = bias + sum of weight * x over the
    window, x = `padding` outside the map; bias, weights, multiplier and shift per channel. Without `enable` vectors pass.

    A band brings `rows` rows of `columns` vectors for each of `output_blocks`; then `overhang_rows` virtual rows follow. Rows
    are numbered r = 0, 1, ... from the band's first; row `lead` + n * stride_y completes row n of the results, for
    n < out_rows. Of the rows before the band the last `history` are those of the map (0 at its top). Column m of the results
    covers columns m * stride_x - left ... + 2, for m < out_columns.
    """

    enable: int = number(0, 1, "")
    stride_y: int = number(1, 2, "rows")
    stride_x: int = number(1, 2, "columns")
    left: int = number(0, 2, "columns", doc="padding at the left")
    rows: int = number(1, 1023, "rows")
    columns: int = number(1, 1023, "columns", doc="with `enable` at least 3")
    out_rows: int = number(0, 1023, "rows")
    out_columns: int = number(1, 1023, "columns")
    output_blocks: int = number(1, 4095, "output blocks", doc="base + output_blocks * columns <= geometry.depthwise_words")
    history: int = number(0, 2, "rows")
    lead: int = number(0, 1023, "rows")
    overhang_rows: int = number(0, 2, "rows")
    padding: int = number(0, 255, "", doc="value of what lies outside the map")
    zero_point: int = number(0, 255, "", doc="of the results")
    low: int = number(0, 255, "")
    high: int = number(0, 255, "")
    base: int = number(0, 2047, "places", doc="first place of the line memory, so that interleaved maps do not meet")
    words: int = number(0, PAIR_WORDS - 1, "words", doc="first constants in each plane; they go around its end")

    @property
    def completing(self) -> tuple[int, int] | None:
        """As of a pool: the row whose vectors complete the band's last one, and how many of its columns do; None if they pass."""
        if not self.enable:
            return None
        return (self.lead + (self.out_rows - 1) * self.stride_y, (self.out_columns - 1) * self.stride_x - self.left + KERNEL)

    def pair_words(self, geometry: Geometry) -> np.ndarray:
        """Words that it reads in each plane, in order."""
        return (self.words + np.arange(self.enable * self.output_blocks * geometry.pairs)) % PAIR_WORDS

    def constants(self, geometry: Geometry) -> np.ndarray:
        """Words that it reads of those of the unit."""
        return (np.arange(PLANES)[:, None] * PAIR_WORDS + self.pair_words(geometry)).ravel()
