"""Random layers for the engine's tests."""
import numpy as np

from nets.graph import Window
from nets.quantised import QConv, Requantise

__all__ = ["draw_conv", "draw_input"]

EXTREMES = (-127, 127)


def draw_input(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 values of a tensor: random, or all extreme."""
    kind = rng.integers(5)
    return {0: np.full(shape, 255, np.uint8), 1: np.zeros(shape, np.uint8)}.get(kind, rng.integers(0, 256, shape, np.uint8))


def draw_conv(rng: np.random.Generator, shape: tuple[int, int, int], out: int, window: Window) -> QConv:
    """A convolution whose results spread over 0..255, with some extreme weights."""
    weight = rng.integers(-127, 128, (out, shape[0], *window.kernel)).astype(np.int8)
    if rng.integers(4) == 0:
        weight[:] = rng.choice(EXTREMES)
    bias = rng.integers(-1 << 16, 1 << 16, out).astype(np.int32)
    spread = 127 * 255 * np.sqrt(weight[0].size) / 2
    shift = int(np.clip(np.log2(spread * 160 / 256), 1, 39))
    low, high = sorted(rng.integers(0, 256, 2)) if rng.integers(4) == 0 else (0, 255)
    how = Requantise(multiplier=rng.integers(0, 256, out), shift=np.clip(shift + rng.integers(-2, 3, out), 1, 39),
                     zero_point=int(rng.choice([0, 128, 255])), low=int(low), high=int(high))
    return QConv(name="conv", inputs=("x",), weight=weight, bias=bias, window=window, groups=1, requantise=how)
