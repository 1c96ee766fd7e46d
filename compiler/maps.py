"""Where a tensor lies in activation memory."""
from dataclasses import dataclass

import numpy as np

from arch.geometry import Geometry

__all__ = ["Map"]


@dataclass(frozen=True, kw_only=True)
class Map:
    """Where a tensor (channels, height, width) lies in activation memory: a ring of `ring_rows` rows from word `base` on.

    Channel c of pixel (y, x) is byte (offset + c) % PI of word
    base + (y % ring_rows) * row_words + x * pixel_words + (offset + c) // PI.
    `offset` makes several maps share their pixels (concatenation) and is a multiple of PO; a map that is read has offset
    0 modulo PI.
    """

    base: int
    channels: int
    height: int
    width: int
    pixel_words: int
    ring_rows: int
    offset: int = 0

    @classmethod
    def whole(cls, geometry: Geometry, shape: tuple[int, int, int], base: int) -> "Map":
        """A map that holds a tensor of this shape completely, alone, from `base` on."""
        channels, height, width = shape
        return cls(base=base, channels=channels, height=height, width=width, ring_rows=height,
                   pixel_words=-(-channels // geometry.input_lanes))

    @property
    def row_words(self) -> int:
        return self.width * self.pixel_words

    @property
    def words(self) -> int:
        """Words of activation memory, from `base` on."""
        return self.ring_rows * self.row_words

    def bytes_of(self, geometry: Geometry, rows: range | None = None) -> np.ndarray:
        """Byte address in activation memory, (PI * word + lane), of each element: (channels, rows, width)."""
        y = np.arange(self.height) if rows is None else np.asarray(rows)
        c = self.offset + np.arange(self.channels)[:, None, None]
        word = (self.base + (y % self.ring_rows * self.row_words)[None, :, None]
                + np.arange(self.width)[None, None, :] * self.pixel_words + c // geometry.input_lanes)
        return word * geometry.input_lanes + c % geometry.input_lanes

    def store(self, geometry: Geometry, memory: np.ndarray, q: np.ndarray):
        """Put tensor `q` into `memory` (uint8, words x PI)."""
        memory.reshape(-1)[self.bytes_of(geometry)] = q

    def fetch(self, geometry: Geometry, memory: np.ndarray) -> np.ndarray:
        """The tensor in `memory`: uint8 (channels, height, width)."""
        return memory.reshape(-1)[self.bytes_of(geometry)]
