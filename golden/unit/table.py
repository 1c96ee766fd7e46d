"""Values of the table."""
from collections.abc import Iterator
import math

import numpy as np

from arch.geometry import Geometry
from arch.unit.table import ENTRIES_OF_A_WORD, TABLE_WORDS, TABLES, TableConfig
from golden.unit.rules import require

__all__ = ["UNIT", "Table"]


class Table:
    """All tables, kept until others are loaded: `words` uint8 (words of the unit, entries of a word), 0 at first."""

    def __init__(self, geometry: Geometry):
        self.words = np.zeros((TABLES * TABLE_WORDS, ENTRIES_OF_A_WORD), np.uint8)

    @staticmethod
    def rows(config: TableConfig, rows: int) -> int:
        """Rows that come out of so many."""
        return rows

    @staticmethod
    def problems(config: TableConfig) -> Iterator[str]:
        """What is wrong with a record by itself: nothing."""
        yield from ()

    def write(self, words: np.ndarray, stored: np.ndarray) -> None:
        """Put words of storage, uint16 (n, 6), where they belong; the last two of each are not looked at."""
        self.words[words] = np.ascontiguousarray(stored[:, :ENTRIES_OF_A_WORD // 2], "<u2").view("<u1")

    def step(self, config: TableConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out, of the shape of those that go in: uint8 (output blocks, PO, rows, columns)."""
        vectors = len(q) * math.prod(q.shape[2:])
        require(config.vectors == vectors, f"vectors of the table must be {vectors}, not {config.vectors}")
        constants = config.constants
        return self.words[constants.start:constants.stop].reshape(-1)[q] if config.enable else q


UNIT = Table        # as `golden.units` finds it
