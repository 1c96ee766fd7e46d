"""How many bytes the weights of a quantised network take."""
import numpy as np

from nets.int8.network import WEIGHT_MAX, QConv, QNetwork

__all__ = ["entropy_bytes", "weight_bytes"]


def weight_bytes(network: QNetwork) -> float:
    """The bytes of all weights, biases apart, when each is written in as many bits as its value is rare in its layer: their
    order-0 entropy, which coders of single weights come near."""
    return sum(entropy_bytes(layer.weight) for layer in network.layers if isinstance(layer, QConv))


def entropy_bytes(weight: np.ndarray) -> float:
    """Order-0 entropy of integers -127..127, times how many there are, in bytes."""
    counts = np.bincount(weight.ravel().astype(np.int64) + WEIGHT_MAX)
    counts = counts[counts > 0]
    return float(counts @ np.log2(weight.size / counts)) / 8
