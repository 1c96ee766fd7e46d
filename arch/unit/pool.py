"""What the pool is told, and its latency."""
from dataclasses import dataclass

from arch.record import Record, number

__all__ = ["LATENCY", "POOL_AVERAGE", "POOL_MAX", "POOL_NONE", "PoolConfig"]

POOL_NONE, POOL_MAX, POOL_AVERAGE = range(3)

# Step that completes a window -> result offered: byte, four combinations of two adders, mean (5), queue.
LATENCY = 15


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Record):
    """A streaming pool over vectors that arrive in the order output block, row, column.

    A band brings `rows` rows of `columns` vectors for each of `output_blocks`; then `overhang_rows` virtual rows follow. Rows
    are numbered r = 0, 1, ... from the band's first; row `lead` + n * stride_y completes pooled row n of the band, for
    n < out_rows. Of the rows before the band the last `history` real ones are kept (0 at the top of the map). Pooled column
    m covers columns m * stride_x - left ... + kernel_x - 1, for m < out_columns. Without pooling (mode POOL_NONE) vectors pass.
    """

    mode: int = number(POOL_NONE, POOL_AVERAGE, "", doc="`POOL_NONE` 0, `POOL_MAX` 1, `POOL_AVERAGE` 2")
    kernel_y: int = number(1, 3, "rows")
    kernel_x: int = number(1, 3, "columns")
    stride_y: int = number(1, 3, "rows")
    stride_x: int = number(1, 3, "columns")
    left: int = number(0, 1, "columns", doc="padding at the left")
    rows: int = number(1, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    out_rows: int = number(0, 1023, "rows")
    out_columns: int = number(1, 1023, "columns")
    output_blocks: int = number(1, 4095, "output blocks", doc="base + output_blocks * out_columns <= geometry.pool_words")
    history: int = number(0, 2, "rows")
    lead: int = number(0, 1023, "rows")
    overhang_rows: int = number(0, 2, "rows")
    # Average only: which positions count. Padding that counts holds zero_point; the overhang of ceil mode never counts.
    include_padding: int = number(0, 1, "", doc="of an average, whether padding counts, as zero_point")
    top: int = number(0, 1, "rows", doc="padding rows above the map")
    padded_right: int = number(0, 1, "columns", doc="of the columns beyond the last one, those that are padding")
    padded_bottom: int = number(0, 1, "rows", doc="of the virtual rows, those that are padding")
    zero_point: int = number(0, 255, "")
    base: int = number(0, 2047, "places", default=0,
                       doc="first place of the line memory, so that interleaved maps do not meet")

    @property
    def completing(self) -> tuple[int, int]:
        """The row whose vectors complete the band's last pooled row, and how many of its columns do: what follows makes nothing
        in this command."""
        if self.mode == POOL_NONE:
            return self.rows, self.columns
        return (self.lead + (self.out_rows - 1) * self.stride_y,
                (self.out_columns - 1) * self.stride_x - self.left + self.kernel_x)
