"""Cycles of the array: free running."""
import numpy as np

from arch import pipeline
from arch.geometry import Geometry

__all__ = ["results"]


def results(geometry: Geometry, emitting: np.ndarray) -> np.ndarray:
    """Cycles of column pair 0's results from those in which their beats are issued, int64."""
    return np.asarray(emitting, np.int64) + pipeline.operand(geometry) + pipeline.array(geometry)
