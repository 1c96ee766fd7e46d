"""Values of the global average."""
from collections.abc import Iterator

import numpy as np

from arch.geometry import Geometry
from arch.unit.average import AverageConfig
from golden import values
from golden.unit.rules import fraction, require
from nets.int8.network import FRACTION_BITS, Requantise

__all__ = ["UNIT", "GlobalAverage"]


class GlobalAverage:
    """The sums of a map, kept from band to band."""

    def __init__(self, geometry: Geometry):
        self.sums = np.zeros(geometry.output_lanes, np.int64)

    @staticmethod
    def rows(config: AverageConfig, rows: int) -> int:
        """Rows that come out of so many."""
        return config.last if config.enable else rows

    @staticmethod
    def problems(config: AverageConfig) -> Iterator[str]:
        """What is wrong with a record by itself."""
        if config.fraction and config.shift <= FRACTION_BITS:
            yield f"shift of an average must be 9..39 with a fraction, not {config.shift}"

    def step(self, config: AverageConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out: (output blocks, PO, rows, columns) as they came, or (results, PO, 1, 1), with a fraction
        (results, PO, 1, 2)."""
        pixels = q.shape[2] * q.shape[3]
        require(config.pixels == pixels, f"pixels of the average must be {pixels}, not {config.pixels}")
        require(not pixels or config.output_blocks == len(q),
                 f"blocks of the average must be {len(q)}, not {config.output_blocks}")
        if not config.enable or not pixels:
            return q[:0] if config.enable else q
        results = []
        for block in q:
            total = block.sum((1, 2), dtype=np.int64)
            self.sums = total if config.first else self.sums + total
            if config.last:
                how = Requantise(multiplier=np.array([config.multiplier]), shift=np.array([config.shift]),
                                 zero_point=config.zero_point, low=config.low, high=config.high)
                acc = self.sums + config.start
                results.append([values.requantise(acc, how)] + [fraction(acc, how)] * config.fraction)
        return np.array(results, np.uint8).reshape(-1, 1, 1 + config.fraction, q.shape[1]).transpose(0, 3, 1, 2)


UNIT = GlobalAverage
