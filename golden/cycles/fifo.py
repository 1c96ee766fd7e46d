"""Cycles of the output queue."""
import numpy as np

from arch import pipeline
from golden.cycles.streams import Readiness, depart

__all__ = ["taken"]


def taken(given: np.ndarray, ready: Readiness) -> np.ndarray:
    """Cycles in which vectors leave, from those in which they come and those in which the taker is ready.

    The place of vector i can be reserved again `pipeline.OUTPUT_FIFO_BACK` cycles after it is taken.
    """
    return depart(np.asarray(given, np.int64) + pipeline.OUTPUT_FIFO, ready)
