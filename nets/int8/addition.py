"""Multipliers of an addition that the engine expresses: an int8 weight for each input, times one multiplier of 8 bits."""
import numpy as np

from nets.int8.network import MULTIPLIER_MAX, SHIFT_MAX, WEIGHT_MAX

__all__ = ["factored", "multipliers_of"]


def multipliers_of(factors: tuple[float, float]) -> tuple[tuple[int, int], int]:
    """(multiplier of each input, shift) whose quotients come nearest to `factors` (over 0), by the larger of the errors of both
    products over the output's range. Each multiplier is a weight of 1..127 times a common factor of 128..255."""
    common = np.arange(MULTIPLIER_MAX // 2 + 1, MULTIPLIER_MAX + 1)
    best = None
    for shift in range(1, SHIFT_MAX + 1):
        ideal = np.array(factors)[:, None] * 2.0 ** shift / common
        weights = np.clip(np.rint(ideal), 1, WEIGHT_MAX)
        error = np.abs(weights - ideal).max(axis=0) * common / 2.0 ** shift
        at = int(error.argmin())
        if best is None or error[at] < best[0]:
            best = error[at], tuple(int(weight * common[at]) for weight in weights[:, at]), shift
    return best[1], best[2]


def factored(multipliers: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """The weights of an addition's inputs and the multiplier behind their sum; None where there are none within their ranges."""
    for common in range(MULTIPLIER_MAX, 0, -1):
        weights = tuple(value // common for value in multipliers)
        if all(value % common == 0 for value in multipliers) and max(weights) <= WEIGHT_MAX:
            return weights, common
    return None
