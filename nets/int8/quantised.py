"""What a network brings that is already quantised: meanings of its tensors, and the integers of its weights.

An importer puts a `Quantisation` on the layer whose tensor the file has as integers, and `Integers` on one whose weights are;
`nets.float_run` rounds as they say, and `nets.quantise` takes them instead of calibrating (`nets.int8.given`).
"""
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Integers", "Quantisation", "Weights"]


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """What the steps 0..255 of a tensor mean: value = scale * (q - zero_point). The steps and zero points of signed files are 128
    less. With a `fraction`, which scores may have, there are 256 sub-steps for each step (`nets.int8.network.Requantise`)."""

    scale: float
    zero_point: int
    fraction: bool = False

    def __post_init__(self):
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be a positive number, not {self.scale}")
        if not 0 <= self.zero_point <= 255:
            raise ValueError(f"zero point must be 0..255, not {self.zero_point}")

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value."""
        return self.scale * -self.zero_point, self.scale * (255 - self.zero_point)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """The float32 values that the nearest steps mean, or the sub-steps below."""
        if self.fraction:
            fine = np.float32(self.scale / 256)
            return np.clip(np.floor(x / fine), -256 * self.zero_point, 256 * (255 - self.zero_point)).astype(np.float32) * fine
        q = np.clip(np.floor(x / np.float32(self.scale) + np.float32(0.5)), -self.zero_point, 255 - self.zero_point)
        return q.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Integers:
    """Weights as a file has them: value = scale * weight, with `weight` int16, of the shape of the layer's own, its zero point
    taken off: -255..255. `scale` float64 and `bias` int64, one each for an output channel; `bias` counts in the accumulator's
    steps, scale * that of the input."""

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights while a file is being read: as floats, and where it has integers as these, less their zero point, with a scale for
    each output channel."""

    real: np.ndarray
    steps: np.ndarray | None = None
    scale: np.ndarray | None = None

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> "Weights":
        return replace(self, real=move(self.real), steps=None if self.steps is None else move(self.steps))
