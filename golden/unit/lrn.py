"""Values of the local response normalisation."""
from collections.abc import Iterator

import numpy as np

from arch.geometry import Geometry
from arch.unit.lrn import ENTRIES, FUNCTIONS, MOST_PIXELS, LrnConfig
from golden import values
from golden.unit.rules import require
from nets.int8.network import QLRN

__all__ = ["UNIT", "LocalResponse"]


class LocalResponse:
    """All functions, kept until others are loaded: `base`, `drop` and `shift` int64 (words of the unit,), as after words of 0 at
    first."""

    def __init__(self, geometry: Geometry):
        self.base, self.drop, self.shift = np.zeros((3, FUNCTIONS * ENTRIES), np.int64)
        self.shift += 1

    @staticmethod
    def rows(config: LrnConfig, rows: int) -> int:
        """Rows that come out of so many."""
        return rows

    @staticmethod
    def problems(config: LrnConfig) -> Iterator[str]:
        """What is wrong with a record by itself."""
        if config.enable and config.pixels > MOST_PIXELS:
            yield f"pixels of a normalisation must be at most {MOST_PIXELS}, not {config.pixels}"

    def write(self, words: np.ndarray, stored: np.ndarray) -> None:
        """Put words of storage, uint16 (n, 6), where they belong; the last two of each are not looked at."""
        wide = stored.astype(np.int64)
        first = wide[:, 0] | wide[:, 1] << 16
        self.base[words], self.drop[words], self.shift[words] = first & 0x1FFFF, first >> 17 & 0x3FFF, (wide[:, 2] & 31) + 1

    def step(self, config: LrnConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out, of the shape of those that go in: uint8 (output blocks, PO, rows, columns)."""
        pixels = q.shape[2] * q.shape[3]
        require(config.pixels == pixels, f"pixels of the normalisation must be {pixels}, not {config.pixels}")
        require(not pixels or config.output_blocks == len(q),
                f"blocks of the normalisation must be {len(q)}, not {config.output_blocks}")
        if not config.enable or not pixels:
            return q
        words = slice(config.constants.start, config.constants.stop)
        layer = QLRN(name="lrn", inputs=("q",), size=config.size, base=self.base[words], drop=self.drop[words],
                     shift=self.shift[words])
        return values.lrn(q.reshape(-1, *q.shape[2:]), layer, config.zero_point, config.zero_point_out).reshape(q.shape)


UNIT = LocalResponse        # as `golden.units` finds it
