"""Weights and parameters in the order in which the engine takes them, and as words of storage."""
import numpy as np

from arch.geometry import Geometry
from nets.int8.network import QLRN, SHIFT_MAX, QConv

__all__ = ["filter_words", "lrn_words", "parameter_image", "parameter_words", "table_words", "weight_image", "weight_words"]


def weight_image(geometry: Geometry, weight: np.ndarray) -> np.ndarray:
    """Weights int8 (out, in, ky, kx) in the order of loads: (blocks out, ky, kx, blocks in, pairs from the last, PI, 2)."""
    lanes, columns = geometry.input_lanes, geometry.output_lanes
    out, in_, height, width = weight.shape
    full = np.zeros((-(-out // columns) * columns, -(-in_ // lanes) * lanes, height, width), np.int8)
    full[:out, :in_] = weight
    full = full.reshape(-1, geometry.pairs, 2, full.shape[1] // lanes, lanes, height, width)
    return full.transpose(0, 5, 6, 3, 1, 4, 2)[:, :, :, :, ::-1]


def parameter_image(geometry: Geometry, values: np.ndarray, out: int, fill: int) -> np.ndarray:
    """One parameter of `out` channels in the order of loads: (blocks out, pairs from the last, 2). `fill` for idle columns."""
    full = np.full(-(-out // geometry.output_lanes) * geometry.output_lanes, fill, np.int64)
    full[:out] = np.asarray(values).reshape(-1)
    return full.reshape(-1, geometry.pairs, 2)[:, ::-1]


def weight_words(weights: np.ndarray) -> np.ndarray:
    """Weights int8 (words, PI, 2) as storage holds them: uint16 (words * PI,), the pair's first column in the low byte."""
    return np.ascontiguousarray(weights).view("<u2").reshape(-1)


def parameter_words(biases: np.ndarray, multipliers: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Parameters (words, 2) each as storage holds them: uint16 (words * 6,)."""
    words = np.empty((len(biases), 6), np.uint16)
    words[:, :4] = np.ascontiguousarray(biases.astype("<i4")).view("<u2").reshape(-1, 4)
    for place, values in ((4, multipliers), (5, shifts)):
        words[:, place] = values[:, 0] | values[:, 1] << 8
    return words.reshape(-1)


def table_words(table: np.ndarray) -> np.ndarray:
    """A table uint8 (256,) as storage holds it: uint16 (words of parameters * 6,), eight entries in the biases of each."""
    words = np.zeros((len(table) // 8, 6), np.uint16)
    words[:, :4] = np.ascontiguousarray(table).view("<u2").reshape(-1, 4)
    return words.reshape(-1)


def lrn_words(layer: QLRN) -> np.ndarray:
    """The function of a normalisation as storage holds it: uint16 (entries * 6,), base and drop in the first bias of each word,
    the shift less 1 in the second one."""
    words = np.zeros((len(layer.base), 6), np.uint16)
    words[:, :2] = (layer.base.astype(np.uint32) | layer.drop.astype(np.uint32) << 17).astype("<u4")[:, None].view("<u2")
    words[:, 2] = layer.shift - 1
    return words.reshape(-1)


def filter_words(geometry: Geometry, conv: QConv) -> list[np.ndarray]:
    """The constants of a depthwise convolution in each plane of its unit as storage holds them: uint16 (parameters * 6,).

    In the first those of any convolution, in the others the weights of the first and the second channel of each pair.
    """
    out, how = len(conv.weight), conv.requantise
    planes = [parameter_words(*(parameter_image(geometry, np.broadcast_to(values, out), out, fill).reshape(-1, 2)
                                for values, fill in ((conv.bias, 0), (how.multiplier, 0), (how.shift, SHIFT_MAX))))]
    full = np.zeros((-(-out // geometry.output_lanes) * geometry.output_lanes, 12), np.int8)
    full[:out, :conv.weight[0].size] = conv.weight.reshape(out, -1)
    pairs = full.reshape(-1, geometry.pairs, 2, full.shape[1])[:, ::-1].reshape(-1, 2, full.shape[1])
    return [*planes, *(np.ascontiguousarray(pairs[:, n]).view("<u2").reshape(-1) for n in range(2))]
