"""Tables of functions: 256 bytes that say, for each value of a tensor, what becomes of it."""
import numpy as np

from nets.functions import Function
from nets.int8.network import TensorType

__all__ = ["function_table", "reach"]

SAMPLES = 4096          # of a function, where its range is looked for


def function_table(function: Function, source: TensorType, target: TensorType, low: float = -np.inf,
                   high: float = np.inf) -> np.ndarray:
    """uint8 (256,): entry q is f(source.scale * (q - source.zero_point)), clamped to low..high, as the target's nearest value.

    So it is at most half a step of the target away from the function, or the end of the target's range where that is beyond.
    """
    x = source.scale * (np.arange(256, dtype=np.float64) - source.zero_point)
    with np.errstate(over="ignore"):
        y = np.clip(function.of(x), low, high)
    return np.clip(np.floor(y / target.scale + 0.5) + target.zero_point, 0, 255).astype(np.uint8)


def reach(function: Function, low: float, high: float) -> tuple[float, float]:
    """The part of the range low..high outside of which the function changes by less than half a step of its output: what is
    clipped to it is not missed, and what is left has finer steps."""
    x = np.linspace(low, high, SAMPLES + 1)
    with np.errstate(over="ignore"):
        y = function.of(x)
    half = (max(y.max(), 0.0) - min(y.min(), 0.0)) / 255 / 2
    first, last = np.abs(y - y[0]) > half, np.abs(y - y[-1]) > half
    if not first.any() or not last.any():
        return low, high
    return float(x[max(int(first.argmax()) - 1, 0)]), float(x[SAMPLES - max(int(last[::-1].argmax()) - 1, 0)])
