"""Cycles of the output queue, between what cannot wait and what can."""
import numpy as np

from arch import pipeline

__all__ = ["offered"]


def offered(given: np.ndarray) -> np.ndarray:
    """Cycles from which on vectors are offered, each when those before it were taken, from those in which they come.

    The place of vector i can be reserved again `pipeline.OUTPUT_FIFO_BACK` cycles after it is taken.
    """
    return np.asarray(given, np.int64) + pipeline.OUTPUT_FIFO
