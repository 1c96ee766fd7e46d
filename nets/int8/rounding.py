"""Rounding of weights that lets errors cancel in what a layer computes, rather than in each weight.

One weight after the other is rounded, and its error is made up for by the weights still to come, as
the covariance of the layer's inputs says (Frantar and others, "GPTQ", arXiv:2210.17323). The bias
takes up what is left of the mean.
"""
from collections.abc import Callable

import numpy as np

from nets.graph import Conv
from nets.int8.network import WEIGHT_MAX

__all__ = ["ALL_LEVELS", "DAMPING", "InputMoments", "Palette", "nearest_levels", "round_weights", "sampled"]

LARGEST = 1152              # inputs of a channel up to which the covariance is kept: 10 MB, a second of work
PIXELS = 512                # at most about so many output pixels of an image are sampled, on a grid
FLOAT32_SAFE = 1e15         # inputs below: sums of their squares do not overflow
DAMPING = 0.01              # of the mean variance, added to every variance: calibration has seen few images
Palette = Callable[[np.ndarray], np.ndarray]        # what each of -127..127 is worth to a layer -> levels, one of them 0
ALL_LEVELS = np.arange(-WEIGHT_MAX, WEIGHT_MAX + 1, dtype=np.int8)


class InputMoments:
    """Mean and covariance of what each output pixel of a convolution reads, per group: `mean` (groups, n), `variance` (groups,
    n) and `covariance` (groups, n, n), or None where n is above `LARGEST`; n = in channels / groups * kernel."""

    def __init__(self):
        self._count = 0
        self._origin: np.ndarray | None = None
        self._total = self._products = 0.0

    def add(self, conv: Conv, x: np.ndarray) -> None:
        """Samples one image's input tensor (channels, height, width) of the convolution."""
        columns = sampled(conv, x)
        if self._origin is None:        # moments about a point near the mean, or float32 would lose a small variance
            self._origin = columns.mean(2, keepdims=True)
        columns -= self._origin
        if np.abs(columns).max() > FLOAT32_SAFE:
            columns = columns.astype(np.float64)
        self._count += columns.shape[2]
        self._total = self._total + columns.sum(2, dtype=np.float64)
        if columns.shape[1] <= LARGEST:
            self._products = self._products + np.matmul(columns, columns.swapaxes(1, 2)).astype(np.float64)
        else:
            self._products = self._products + np.einsum("gkn,gkn->gk", columns, columns, dtype=np.float64)

    @property
    def empty(self) -> bool:
        """Whether nothing was sampled."""
        return not self._count

    @property
    def mean(self) -> np.ndarray:
        return self._total / self._count + self._origin[:, :, 0]

    @property
    def covariance(self) -> np.ndarray | None:
        if self._products.ndim == 2:
            return None
        mean = self._total / self._count
        return self._products / self._count - mean[:, :, None] * mean[:, None, :]

    @property
    def variance(self) -> np.ndarray:
        squares = self._products / self._count
        if squares.ndim == 3:
            squares = np.diagonal(squares, axis1=1, axis2=2)
        return np.maximum(squares - (self._total / self._count) ** 2, 0)


def sampled(conv: Conv, x: np.ndarray) -> np.ndarray:
    """float32 (groups, in / groups * kernel, pixels): the windows of a regular grid of output pixels, zeros as padding."""
    window = conv.window
    size = window.output_size(*x.shape[1:])
    every = max(1, round((size[0] * size[1] / PIXELS) ** 0.5))
    top, left, bottom, right = window.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    taps = [padded[:, y * window.dilation[0]:, z * window.dilation[1]:]
            [:, :(size[0] - 1) * window.stride[0] + 1:window.stride[0] * every,
             :(size[1] - 1) * window.stride[1] + 1:window.stride[1] * every]
            for y in range(window.kernel[0]) for z in range(window.kernel[1])]
    columns = np.stack(taps, 1).astype(np.float32)
    return columns.reshape(conv.groups, len(x) // conv.groups * len(taps), -1)


def round_weights(weight: np.ndarray, scale: np.ndarray, covariance: np.ndarray | None,
                  levels: np.ndarray | None = None) -> np.ndarray:
    """int8 (groups, out / groups, n), -127..127, so that q * scale approximates `weight` of that shape.

    `scale` (groups, out / groups, 1); without a covariance (groups, n, n) each weight goes to the nearest. With `levels`,
    integers of which one is 0, there are no others, and weights that are 0 stay so.
    """
    table = ALL_LEVELS if levels is None else nearest_levels(levels)

    def nearest(steps: np.ndarray) -> np.ndarray:
        return table[np.clip(np.rint(steps), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int64) + WEIGHT_MAX]
    if covariance is None:
        return nearest(weight / scale)
    groups, _, n = weight.shape
    diagonal = np.diagonal(covariance, axis1=1, axis2=2)
    damping = DAMPING * np.maximum(diagonal.mean(1), 0) + np.finfo(np.float32).tiny
    order = np.argsort(-diagonal, axis=1, kind="stable")        # what matters most is rounded while most can make up for it
    group = np.arange(groups)[:, None]
    upper = _inverse_factor(covariance[group[:, :, None], order[:, :, None], order[:, None, :]], damping)
    left = np.take_along_axis(weight.astype(np.float64), order[:, None, :], 2)
    rounded = np.empty_like(left)
    kept = np.ones(left.shape, bool) if levels is None else left != 0
    for k in range(n):
        rounded[:, :, k] = np.where(kept[:, :, k], nearest(left[:, :, k] / scale[:, :, 0]), 0)
        error = (left[:, :, k] - rounded[:, :, k] * scale[:, :, 0]) / upper[:, k, k, None]
        left[:, :, k + 1:] -= error[:, :, None] * upper[:, k, None, k + 1:]
    q = np.empty(weight.shape, np.int8)
    np.put_along_axis(q, np.broadcast_to(order[:, None, :], q.shape), rounded.astype(np.int8), 2)
    return q


def nearest_levels(levels: np.ndarray) -> np.ndarray:
    """int8 (255,): for each of -127..127 the nearest level, the lower one of two."""
    levels = np.unique(levels).astype(np.int64)
    return levels[np.abs(levels - ALL_LEVELS[:, None]).argmin(1)].astype(np.int8)


def _inverse_factor(covariance: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Upper triangular U with U.T @ U the inverse of covariance + damping * 1, per group.

    By way of the eigenvalues: a covariance of few images is singular, and rounding may have left it slightly negative.
    """
    power, axes = np.linalg.eigh(covariance)
    root = axes.swapaxes(1, 2) / np.sqrt(np.maximum(power, 0) + damping[:, None])[:, :, None]
    return np.linalg.qr(root, mode="r")         # signs of rows do not matter: each is used with its own diagonal
