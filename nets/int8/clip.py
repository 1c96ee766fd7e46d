"""Scales that lose least: clips of activations, and weight scales that an 8-bit multiplier expresses exactly."""
import numpy as np

from nets.int8.calibrate import Histogram
from nets.int8.network import MULTIPLIER_MAX, SHIFT_MAX, WEIGHT_MAX

__all__ = ["RATIOS", "best_clip", "choose_ratios", "scale_and_zero", "split_ratio"]

# Requantisation factors multiplier * 2**-shift, ascending. Multipliers are 3 modulo 4: what is rounded is a tie for one or two
# accumulators only, +-2**(shift - 1) above all, and then multiplier / 2 rounds to the same integer whether halves go up (as
# in nets.int8.network) or to even (as floats do), so that a float run of the same network agrees.
_MULTIPLIERS = np.arange(MULTIPLIER_MAX // 2 + 4, MULTIPLIER_MAX + 1, 4)
RATIOS = (_MULTIPLIERS * 2.0 ** -np.arange(SHIFT_MAX, 0, -1)[:, None]).ravel()

CLIP_STEPS = np.linspace(0.3, 1.0, 71)      # clips that are tried, as a part of the largest value
ROUNDS = 4                                  # of moving one side at a time; two are enough for most tensors
WEIGHTS_TRIED = 1152                        # of a channel, to choose its scale by; more only take time
RATIO_MIN = 2.0 ** -20                      # finer weight scales gain nothing: the bias alone would fill the accumulator


def split_ratio(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(multiplier, shift), int64, of RATIOS[index]."""
    octave, step = np.divmod(np.asarray(index, np.int64), len(_MULTIPLIERS))
    return _MULTIPLIERS[step].astype(np.int64), SHIFT_MAX - octave


def scale_and_zero(low: float, high: float, spare: int = 0) -> tuple[float, int]:
    """Scale, a float32, and zero point of uint8 over low..high, widened to hold zero, which is exact, with `spare` steps left at
    each end. An empty range gets scale 1."""
    low, high, last = min(low, 0.0), max(high, 0.0), 255 - spare
    if high == low:
        return 1.0, spare
    scale = float(np.float32(max((high - low) / (last - spare), 2.0 ** -120)))         # as others write scales down
    return scale, int(np.clip(np.floor(-low / scale + 0.5) + spare, spare, last))


def best_clip(histogram: Histogram) -> tuple[float, float]:
    """(low, high) for uint8 that minimises the mean squared error of the histogram's values."""
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres[used], histogram.counts[used].astype(np.float64)

    def error(low: float, high: float) -> float:
        scale, zero = scale_and_zero(low, high)
        q = np.clip(np.floor(values / scale + 0.5), -zero, 255 - zero)
        return float(counts @ (values - q * scale) ** 2)

    low, high = histogram.low, histogram.high
    for _ in range(ROUNDS):
        before = low, high
        if histogram.high > 0:
            high = min(histogram.high * CLIP_STEPS, key=lambda tried: error(low, tried))
        if histogram.low < 0:
            low = min(histogram.low * CLIP_STEPS, key=lambda tried: error(tried, high))
        if (low, high) == before:
            break
    return float(low), float(high)


def choose_ratios(weight: np.ndarray, bias: np.ndarray, to_scale: float, importance: np.ndarray) -> np.ndarray:
    """Index into RATIOS of each channel's requantisation factor, int64 (groups, out).

    A factor makes the channel's weight scale RATIOS[index] * to_scale, with to_scale = output scale / input scale. Of the
    factors from the one that clips nothing down, the one with the least squared error is taken. `weight` (groups, out, n) and
    `bias` (groups, out), in units of the output scale, are floats; `importance` (groups, n) weighs the squared errors.
    """
    # the bias in units of the accumulator, bias / factor, must leave room in int32 for the products
    floor = np.maximum(np.abs(bias) * 2.0 ** -29, RATIO_MIN)
    clips_nothing = np.searchsorted(RATIOS, np.maximum(np.abs(weight).max(2) / WEIGHT_MAX / to_scale, floor))
    least = np.searchsorted(RATIOS, floor)
    thin = slice(None, None, -(-weight.shape[2] // WEIGHTS_TRIED))
    weight, importance = weight[:, :, thin].astype(np.float32), importance[:, thin, None] / importance.max()
    steps, left = np.empty_like(weight), np.empty_like(weight)
    best_error = np.full(bias.shape, np.inf)
    best = np.zeros(bias.shape, np.int64)
    for back in range(len(_MULTIPLIERS) * 3 // 2):      # one and a half octaves: no smaller scale ever wins
        index = np.clip(clips_nothing - back, least, len(RATIOS) - 1)
        scale = (RATIOS[index] * to_scale)[:, :, None]
        np.divide(weight, scale, out=steps, casting="same_kind")
        np.clip(np.rint(steps, out=left), -WEIGHT_MAX, WEIGHT_MAX, out=left)
        steps -= left
        error = (np.matmul(np.square(steps, out=steps), importance.astype(np.float32)) * scale ** 2)[:, :, 0]
        better = error < best_error
        best_error[better], best[better] = error[better], index[better]
    return best
