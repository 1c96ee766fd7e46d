"""What the writer is told."""
from dataclasses import dataclass

from arch.record import ADDRESS, Record, address, number

__all__ = ["WriterConfig"]


@dataclass(frozen=True, kw_only=True)
class WriterConfig(Record):
    """Where vectors go: for each output block `rows` rows of `columns`, ring-addressed as in `arch.command`.

    Vectors of PI / PO consecutive output blocks share a word: block n goes to lane group (lane + n) mod (PI / PO) of word
    base + (lane + n) // (PI / PO). `rows` 0: this command writes nothing.
    """

    base: int = address(memory="activation_words", doc="word of row 0 of the ring, column 0, the first output block's word")
    lane: int = number(0, 15, "vectors")
    row_start: int = address(memory="activation_words", doc="(first row mod ring rows) * row_words")
    row_words: int = address(memory="", doc="words from a row to the next, inside the ring")
    ring_words: int = number(1, 1 << ADDRESS, "words", memory="activation_words", doc="words of the ring")
    pixel_words: int = number(1, 4095, "words")
    rows: int = number(0, 1023, "rows")
    columns: int = number(1, 1023, "columns")
    output_blocks: int = number(1, 4095, "output blocks")
