"""The command of the convolution engine: one record per unit, as plain numbers with widths and ranges.

A command computes one band of output rows of one convolution for a range of output blocks (PO channels each). The order of
beats is: output block, pass (ky, kx, input block), row, column; each unit gets its own record and counts for itself.

Words: activation addresses count words of PI bytes; weight addresses count words of PI pairs of weights; a vector is PO bytes.
A map lies in a ring of rows: row y of it is at `base + (y mod ring rows) * row_words`, pixel x `x * pixel_words` further on,
block b one word per block further on. `ring_words` is (ring rows) * row_words.
"""
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Self

__all__ = ["AverageConfig", "Command", "Field", "GatherConfig", "LoadConfig", "POOL_AVERAGE", "POOL_MAX", "POOL_NONE",
           "PoolConfig", "Record", "RequantiseConfig", "WindowConfig", "WriterConfig"]

POOL_NONE, POOL_MAX, POOL_AVERAGE = range(3)

ADDRESS = 15            # bits of an activation word address
WEIGHT_ADDRESS = 14     # bits of a weight or parameter word address
SIZE = 10               # bits of a height or width


@dataclass(frozen=True)
class Field:
    """A number in a record: bit width, range low..high (both included), unit. Signed when `low` is negative."""

    name: str
    bits: int
    low: int
    high: int
    unit: str

    @property
    def signed(self) -> bool:
        return self.low < 0


def number(low: int, high: int, unit: str, *, bits: int | None = None, default: int | None = None):
    """A dataclass field for a number low..high; its width is the smallest that holds the range unless given."""
    needed = max(high.bit_length(), 1) if low >= 0 else max((-low - 1).bit_length(), high.bit_length()) + 1
    meta = {"field": (bits or needed, low, high, unit)}
    return field(metadata=meta) if default is None else field(metadata=meta, default=default)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of the records: checks ranges, packs to and unpacks from an integer, first field in the lowest bits.

    Raises TypeError or ValueError for a value outside its field's range.
    """

    def __post_init__(self):
        for entry in self.fields():
            value = getattr(self, entry.name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{type(self).__name__}.{entry.name} must be an integer, not {value!r}")
            if not entry.low <= value <= entry.high:
                what = f"{type(self).__name__}.{entry.name} must be {entry.low}..{entry.high} {entry.unit}"
                raise ValueError(f"{what.rstrip()}, not {value}")

    @classmethod
    @cache          # asked for each record that is made
    def fields(cls) -> tuple[Field, ...]:
        """Fields in packing order."""
        return tuple(Field(entry.name, *entry.metadata["field"]) for entry in fields(cls))

    @classmethod
    def bits(cls) -> int:
        """Width of the packed record."""
        return sum(entry.bits for entry in cls.fields())

    def pack(self) -> int:
        """The record as an unsigned integer of `bits()` bits."""
        word = position = 0
        for entry in self.fields():
            word |= (getattr(self, entry.name) & (1 << entry.bits) - 1) << position
            position += entry.bits
        return word

    @classmethod
    def unpack(cls, word: int) -> Self:
        """The record packed in `word`. Raises ValueError for values outside their ranges."""
        values, position = {}, 0
        for entry in cls.fields():
            value = word >> position & (1 << entry.bits) - 1
            if entry.signed and value >> entry.bits - 1:
                value -= 1 << entry.bits
            values[entry.name] = value
            position += entry.bits
        if word < 0 or word >> position:
            raise ValueError(f"{cls.__name__} must be {position} bits, not {word.bit_length()}")
        return cls(**values)


def address(unit: str = "words"):
    return number(0, (1 << ADDRESS) - 1, unit)


@dataclass(frozen=True, kw_only=True)
class WindowConfig(Record):
    """What the window generator reads. One output row is `columns` beats, a pass `rows` of them.

    The tap (ky, kx) of output (y, x) of the band is at input row first_row + y * stride_y + ky, column
    first_column + x * stride_x + kx; outside height x width it is padding and reads as `zero_point`.
    """

    start: int = address()              # base + first_column * pixel_words modulo 2**15; base: row 0, column 0, first block
    first_row: int = number(-15, (1 << SIZE) - 1, "rows")           # y0 * stride_y - padding at the top
    first_column: int = number(-15, 0, "columns")                   # -padding at the left
    row_start: int = address()          # (first_row mod ring rows) * row_words, also for negative first_row
    row_words: int = address()          # words from a row to the next, 0 for a ring of a single row
    row_step: int = address()           # (stride_y mod ring rows) * row_words
    ring_words: int = number(1, 1 << ADDRESS, "words")
    pixel_words: int = number(1, 4095, "words")                     # words from a pixel to the next
    column_step: int = number(1, 4 * 4095, "words")                 # stride_x * pixel_words
    height: int = number(1, (1 << SIZE) - 1, "rows")
    width: int = number(1, (1 << SIZE) - 1, "columns")
    kernel_y: int = number(1, 11, "taps")
    kernel_x: int = number(1, 11, "taps")
    stride_y: int = number(1, 4, "rows")
    stride_x: int = number(1, 4, "columns")
    blocks: int = number(1, 4095, "input blocks")
    output_blocks: int = number(1, 4095, "output blocks")
    rows: int = number(1, 1023, "output rows")
    columns: int = number(1, 1023, "output columns")                # rows * columns <= geometry.band_pixels
    zero_point: int = number(0, 255, "")

    @property
    def pixels(self) -> int:
        """Beats of a pass, without padding."""
        return self.rows * self.columns

    @property
    def passes(self) -> int:
        """Passes of an output block."""
        return self.kernel_y * self.kernel_x * self.blocks


@dataclass(frozen=True, kw_only=True)
class LoadConfig(Record):
    """Where weights and parameters of the command lie; both are read in ascending order and wrap at the memory's end.

    Weights: a word (PI pairs) per column pair, pass and output block. Parameters: a word per column pair and output block; it
    holds two biases, two multipliers and two shifts. Within a pass or block, the last column pair comes first.
    """

    weights: int = number(0, (1 << WEIGHT_ADDRESS) - 1, "words")        # first word of the first pass
    parameters: int = number(0, (1 << WEIGHT_ADDRESS) - 1, "words")     # first word of the first output block
    passes: int = number(1, 11 * 11 * 4095, "passes")                   # of one output block, as in the window
    output_blocks: int = number(1, 4095, "output blocks")


@dataclass(frozen=True, kw_only=True)
class RequantiseConfig(Record):
    """q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high), multiplier and shift per channel."""

    zero_point: int = number(0, 255, "")
    low: int = number(0, 255, "")
    high: int = number(0, 255, "")


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Record):
    """A streaming pool over vectors that arrive in the order output block, row, column.

    A band brings `rows` rows of `columns` vectors for each of `output_blocks`; then `overhang_rows` virtual rows follow. Rows
    are numbered r = 0, 1, ... from the band's first; row `lead` + n * stride_y completes pooled row n of the band, for
    n < out_rows. Of the rows before the band the last `history` real ones are kept (0 at the top of the map). Pooled column
    m covers columns m * stride_x - left ... + kernel_x - 1, for m < out_columns. Without pooling (mode POOL_NONE) vectors pass.
    """

    mode: int = number(POOL_NONE, POOL_AVERAGE, "")
    kernel_y: int = number(1, 3, "rows")
    kernel_x: int = number(1, 3, "columns")
    stride_y: int = number(1, 3, "rows")
    stride_x: int = number(1, 3, "columns")
    left: int = number(0, 1, "columns")                 # padding at the left
    rows: int = number(1, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    out_rows: int = number(0, 1023, "rows")
    out_columns: int = number(1, 1023, "columns")
    output_blocks: int = number(1, 4095, "output blocks")   # base + output_blocks * out_columns <= geometry.pool_words
    history: int = number(0, 2, "rows")
    lead: int = number(0, 1023, "rows")
    overhang_rows: int = number(0, 2, "rows")
    # Average only: which positions count. Padding that counts holds zero_point; the overhang of ceil mode never counts.
    include_padding: int = number(0, 1, "")
    top: int = number(0, 1, "rows")                     # padding rows above the map
    padded_right: int = number(0, 1, "columns")         # of the columns beyond the last one, those that are padding
    padded_bottom: int = number(0, 1, "rows")           # of the virtual rows, those that are padding
    zero_point: int = number(0, 255, "")
    base: int = number(0, 2047, "places", default=0)    # first place of the line memory, so that interleaved maps do not meet


@dataclass(frozen=True, kw_only=True)
class AverageConfig(Record):
    """Global average: sums every vector of an output block; `start` is -pixels * zero point, of all commands together.

    With `enable` 0 vectors pass. A map of several bands uses one output block per command: `first` loads `start`, `last` emits.
    q = clamp(zero_point + ((sum * multiplier + 2**(shift - 1)) >> shift), low, high).
    """

    enable: int = number(0, 1, "")
    first: int = number(0, 1, "")
    last: int = number(0, 1, "")
    pixels: int = number(0, 1023, "vectors")            # of an output block in this command, after pooling; 0: none at all
    output_blocks: int = number(1, 4095, "output blocks")
    start: int = number(-(1 << 31), (1 << 31) - 1, "")
    multiplier: int = number(0, 255, "")
    shift: int = number(1, 39, "bits")
    zero_point: int = number(0, 255, "")
    low: int = number(0, 255, "")
    high: int = number(0, 255, "")


@dataclass(frozen=True, kw_only=True)
class WriterConfig(Record):
    """Where vectors go: for each output block `rows` rows of `columns`, ring-addressed as in the module's docstring.

    Vectors of PI / PO consecutive output blocks share a word: block n goes to lane group (lane + n) mod (PI / PO) of word
    base + (lane + n) // (PI / PO). `rows` 0: this command writes nothing.
    """

    base: int = address()               # word of row 0 of the ring, column 0, the first output block's word
    lane: int = number(0, 15, "vectors")
    row_start: int = address()          # (first row mod ring rows) * row_words
    row_words: int = address()
    ring_words: int = number(1, 1 << ADDRESS, "words")
    pixel_words: int = number(1, 4095, "words")
    rows: int = number(0, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    output_blocks: int = number(1, 4095, "output blocks")


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
    tap_bytes: int = number(1, 44, "bytes")                     # kernel * channels
    step_bytes: int = number(1, 16, "bytes")                    # stride * channels
    left: int = number(0, 15, "pixels")
    width: int = number(1, (1 << SIZE) - 1, "pixels")
    right: int = number(0, 31, "pixels")
    height: int = number(1, (1 << SIZE) - 1, "rows")
    first_row: int = number(-15, (1 << SIZE) - 1, "rows")       # image row of the first output row's first tap
    next_row: int = number(0, (1 << SIZE) - 1, "rows")          # rows of the image that came before
    image_rows: int = number(0, (1 << SIZE) - 1, "rows")        # rows of the image that come now
    rows: int = number(1, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    zero_point: int = number(0, 255, "")
    lines: int = number(1, 1023, "lines")                       # at least kernel; kernel + stride let rows arrive meanwhile
    line_words: int = number(1, 8191, "words")
    line_ring: int = number(1, 8191, "words")                   # lines * line_words
    line_step: int = number(0, 8191, "words")                   # (stride mod lines) * line_words
    read_start: int = number(0, 8191, "words")                  # (first_row mod lines) * line_words
    write_start: int = number(0, 8191, "words")                 # (next_row mod lines) * line_words
    base: int = address()
    row_start: int = address()
    row_words: int = address()
    ring_words: int = number(1, 1 << ADDRESS, "words")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One compute command: the records of all units but the gather, which has a queue of its own."""

    window: WindowConfig
    load: LoadConfig
    requantise: RequantiseConfig
    pool: PoolConfig
    average: AverageConfig
    writer: WriterConfig

    def pack(self) -> int:
        """All records as one integer, `window` in the lowest bits."""
        word = position = 0
        for entry in fields(self):
            record = getattr(self, entry.name)
            word |= record.pack() << position
            position += record.bits()
        return word

    @classmethod
    def records(cls) -> dict[str, type[Record]]:
        """Record type of each unit, in packing order."""
        return {entry.name: entry.type for entry in fields(cls)}

    @classmethod
    def bits(cls) -> int:
        """Width of a packed command."""
        return sum(record.bits() for record in cls.records().values())
