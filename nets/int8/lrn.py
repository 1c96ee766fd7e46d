"""The table of a local response normalisation: what a value is multiplied by, for each sum of squares around it."""
import numpy as np

from nets.graph import LRN
from nets.int8.network import LRN_BASE_MAX, LRN_DROP_MAX, LRN_EXACT, LRN_PARTS, LRN_SHIFT_MAX, TensorType, lrn_entries

__all__ = ["lrn_table"]

SAMPLES = 33            # of an entry, where the middle between a curve and its chord is looked for


def lrn_table(layer: LRN, source: TensorType, target: TensorType) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base, drop and shift of each entry (`nets.int8.network.QLRN`): of (bias + alpha / size * s) ** -beta, in steps of the
    target for one of the source.

    The function is convex, so each line lies half of the time above it and half of the time below: a chord, moved down by half
    of the largest distance.
    """
    index = np.arange(lrn_entries(layer.size))
    octave = np.maximum(index // LRN_PARTS - 1, 0)
    first, width = (index - LRN_PARTS * octave) * 2.0 ** octave, np.where(index < LRN_EXACT, 0.0, 2.0 ** octave)
    part = np.linspace(0, 1, SAMPLES)

    def factor(squares: np.ndarray) -> np.ndarray:
        squares = np.maximum(squares, 1.0)          # of zeros nothing is left, whatever they are multiplied by
        with np.errstate(divide="ignore", over="ignore"):
            result = (layer.bias + layer.alpha / layer.size * source.scale ** 2 * squares) ** -layer.beta
            return np.minimum(result * source.scale / target.scale, LRN_BASE_MAX / 2)
    curve = factor(first[:, None] + width[:, None] * part)
    chord = curve[:, :1] + (curve[:, -1:] - curve[:, :1]) * part
    base, drop = curve[:, 0] - (chord - curve).max(1) / 2, curve[:, 0] - curve[:, -1]
    with np.errstate(divide="ignore"):
        shift = np.minimum(np.floor(np.log2(LRN_BASE_MAX / base)), np.floor(np.log2(LRN_DROP_MAX / drop)))
    shift = np.clip(shift, 1, LRN_SHIFT_MAX)
    base, drop = (np.floor(values * 2.0 ** shift + 0.5).astype(np.int32) for values in (base, drop))
    return base, drop, shift.astype(np.uint8)
