"""Few integers for all weights of a layer: k-means of those that it has.

The integers are chosen where weights are quantised, so that there are as few in the file and in the chip as were asked for. Each
of -127..127 counts with what its weights do to the layer's output: 255 numbers stand for all weights.
"""
import numpy as np

from cli import needs_extra
from nets.int8.network import WEIGHT_MAX
from nets.int8.rounding import ALL_LEVELS, Palette

__all__ = ["LARGEST_CODEBOOK", "all_levels", "codebook"]

LARGEST_CODEBOOK = len(ALL_LEVELS)
TRIES = 10              # random beginnings, of which the best result is taken


def all_levels(worth: np.ndarray) -> np.ndarray:
    """The palette of layers that share nothing: weights that are 0 stay 0, others may be any integer."""
    return ALL_LEVELS


def codebook(size: int) -> Palette:
    """A palette of at most so many integers a layer, 0 among them. Raises WorkError where scikit-learn is not installed."""
    cluster = needs_extra("sklearn.cluster", "compress", "sharing of weights (--codebook)")

    def chosen(worth: np.ndarray) -> np.ndarray:
        used = np.flatnonzero((worth > 0) & (ALL_LEVELS != 0))
        values = used - WEIGHT_MAX
        if len(values) >= size:
            means = cluster.KMeans(size - 1, n_init=TRIES, random_state=0).fit(
                values[:, None].astype(np.float64), sample_weight=worth[used] / worth[used].max()).cluster_centers_
            values = np.rint(means.ravel()).astype(np.int64)
        return np.unique([0, *values.tolist()])
    return chosen
