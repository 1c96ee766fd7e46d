"""Cycles of the requantiser: free running."""
import numpy as np

from arch.unit import requantise

__all__ = ["vectors"]


def vectors(results: np.ndarray, lanes: int) -> np.ndarray:
    """Cycles of the vectors of `lanes` bytes from those of column pair 0's results, int64."""
    return np.asarray(results, np.int64) + requantise.latency(lanes)
