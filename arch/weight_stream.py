"""The format of compressed weights; docs/weight_stream.md has it in full.

Asymmetric numeral systems with tables (J. Duda, arXiv:1311.2540). A table says of each of `SLOTS` states which symbol it stands
for; a *symbol* is a value, or 2, 4 or 8 neighbouring ones of which further bits choose. Symbols take turns with `STATES` states,
`LANES` of them a round.
"""
from binascii import crc_hqx
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

__all__ = ["CHECKED", "EIGHTS", "FINAL", "GROUP", "HEADER", "LANES", "LOOKED_UP", "MASKED", "MASKS", "MASKS_APART", "MASKS_READ",
           "MOST_BITS", "MOST_PARTS", "MOST_SLOTS", "ROWS", "SLOTS", "STATES", "STATE_BITS", "STATE_WORDS", "UNIT", "VALUES",
           "VALUES_THERE", "Entry", "Fault", "Kind", "check_word", "first_word", "slot_order"]

SLOTS, STATE_BITS = 512, 9      # of a table; of a state, which is a slot of it
MOST_SLOTS = SLOTS - 1          # of one symbol
ROWS = 8                        # of slots: symbols are given slots of one row after the other
LANES, STATES = 4, 32           # symbols of a round, which are decoded together; states of a block
FINAL = STATES // LANES         # rounds at the end after which no state is needed any more
UNIT, GROUP = 4, 16             # weights that come or are all 0; those that share a mask, a bit for each unit
VALUES, MASKS = 256, 16         # bytes of weights, and masks: symbols of both parts of a table stand for these

HEADER, CHECKED = 2, 1          # words in front of a block's contents, and behind them
STATE_WORDS = STATES * STATE_BITS // 16
EIGHTS = (1 << 12) - 1          # weights of a block at most, in eights
MASKED = 1 << 15                # in a block's first word: of weights with masks; a table for those

# Cycles of the decoder (hw.dma.decoder): from a round's bits to its next states' slots, and to its values; from the last round of
# masks to the first 64 weights' masks, and from there to the next ones'.
LOOKED_UP, VALUES_THERE, MASKS_READ, MASKS_APART = 5, 4, 7, 4
MOST_BITS, MOST_PARTS = 512, 16         # that wait: for their round, and in front of words


class Kind(IntEnum):
    """What a block holds."""

    WEIGHTS = 1
    TABLE = 2


class Fault(IntEnum):
    """What is wrong with a block."""

    LENGTH = 1          # not as many words as it says
    KIND = 2            # neither weights nor a table, or not the one that was to come
    COUNT = 3           # no weights, or not as many as were to come
    TABLE = 4           # a table that does not fill its slots and values, or none that the block needs
    OVERRUN = 5         # more bits are needed than there are
    MASK = 6            # a unit behind the last one
    REST = 7            # bits are left over
    CHECK = 8           # the check word is another one


def first_word(kind: Kind, count: int, masked: bool) -> int:
    """A block's first word. `count`: of weights in eights; a table has 0."""
    return count | kind << 12 | masked * MASKED


def check_word(words: np.ndarray) -> int:
    """The last word of a block whose other words are given: CRC-16/IBM-3740, the high byte of each word first."""
    return crc_hqx(np.ascontiguousarray(words, ">u2").tobytes(), 0xffff)


@dataclass(frozen=True)
class Entry:
    """A run of a table's symbols: `symbols` (1..32) of 2 ** `raw_bits` (0..3) values each, each with so many `slots` (0..511)."""

    slots: int
    symbols: int
    raw_bits: int

    @property
    def values(self) -> int:
        return self.symbols << self.raw_bits

    @property
    def word(self) -> int:
        return self.slots | self.symbols - 1 << 9 | self.raw_bits << 14

    @classmethod
    def of(cls, word: int) -> "Entry":
        return cls(word & 0x1ff, (word >> 9 & 0x1f) + 1, word >> 14)


def slot_order(slots: np.ndarray) -> np.ndarray:
    """The slots that symbols get, one symbol after the other, those of each in ascending order: int64, for so many of each.

    Slots are `ROWS` rows. What comes is put into one row after the other, in the order 0, 4, 2, 6, 1, 5, 3, 7 of reversed bits,
    so that the slots of a symbol are far apart.
    """
    number = np.arange(np.sum(slots))
    reversed_ = sum((number >> bit & 1) * (ROWS >> bit + 1) for bit in range(ROWS.bit_length() - 1))
    places = reversed_ * (SLOTS // ROWS) + number // ROWS
    return places[np.lexsort((places, np.repeat(np.arange(len(slots)), slots)))]
