"""What several units do alike, and what a record must keep to, for whoever carries it out."""
import numpy as np

from nets.int8.network import FRACTION_BITS, Requantise

__all__ = ["UnitError", "fraction", "require"]


class UnitError(ValueError):
    """A record that a unit cannot carry out, or that disagrees with another unit's."""


def require(condition, message: str) -> None:
    """Raises UnitError with the message unless the condition holds."""
    if not condition:
        raise UnitError(message)


def fraction(acc: np.ndarray, how: Requantise) -> np.ndarray:
    """The second byte of scores (`arch.scores`), uint8, from accumulators int64 (channels, ...) and a multiplier and a shift for
    each channel, or for all."""
    multiplier, shift = (values.reshape(-1, *[1] * (acc.ndim - 1)) for values in (how.multiplier, how.shift))
    return (how.zero_point + (acc * multiplier >> shift - FRACTION_BITS) & 255).astype(np.uint8)
