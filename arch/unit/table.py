"""What the table is told, how its entries are loaded, and its latencies."""
from dataclasses import dataclass

from arch.geometry import OPTION_WORDS
from arch.record import Record, number

__all__ = ["BACK", "ENTRIES_OF_A_WORD", "LATENCY", "TABLES", "TABLE_WORDS", "TableConfig"]

# A parameter word of the unit holds so many entries, the first in the lowest byte of the first bias.
ENTRIES_OF_A_WORD = 8
TABLE_WORDS = 256 // ENTRIES_OF_A_WORD
# Tables that the unit holds.
TABLES = OPTION_WORDS["table"] // TABLE_WORDS

# Vector taken -> offered: vector, address, block RAM (2), choice of a byte, queue.
LATENCY = 6
# Vector taken by the next unit -> the earliest cycle in which its credit may be taken again.
BACK = 2


@dataclass(frozen=True, kw_only=True)
class TableConfig(Record):
    """A function of each byte: with `enable` the bytes of `vectors` vectors become entries of a table, otherwise they pass.

    Entry q of table n is byte n * 256 + q of what was loaded into the unit's words behind the parameter memory, 8 bytes a word.
    """

    enable: int = number(0, 1, "")
    table: int = number(0, TABLES - 1, "tables")
    vectors: int = number(1, (1 << 21) - 1, "vectors", doc="of all output blocks")

    @property
    def constants(self) -> range:
        """Words that it reads of those of the unit."""
        return range(self.table * TABLE_WORDS, (self.table + self.enable) * TABLE_WORDS)
