"""How scores leave the chip: two bytes each, side by side as two pixels of a map.

A score x, in steps of its scale, is the first byte rounded, w = zero_point + floor(x + 1/2), and the second byte cut off after 8
bits of fraction, f = (zero_point + floor(256 x)) modulo 256: less than half a step apart, they say what x is in sub-steps. The
units clamp w to low - 1 .. high + 1 of the score's own limits, so that a score beyond a limit, whose f means nothing, is known.
"""
import numpy as np

__all__ = ["SUB_STEPS", "joined"]

SUB_STEPS = 256         # in a step


def joined(pair: np.ndarray, zero_point: int, low: int, high: int) -> np.ndarray:
    """The scores in sub-steps, uint16 (channels, 1, 1), of bytes (channels, 1, 2) as they come from the chip; zero point and
    limits are in steps."""
    whole, fraction = (pair[..., n:n + 1].astype(np.int32) - zero_point for n in range(2))
    beside = (fraction + SUB_STEPS // 2) % SUB_STEPS - SUB_STEPS // 2
    return np.clip((zero_point + whole) * SUB_STEPS + beside, low * SUB_STEPS, high * SUB_STEPS).astype(np.uint16)
