"""The quantised network: what the chip must compute, as integers.

Every tensor is uint8 of shape (channels, height, width); value q stands for scale * (q - zero_point). A flattened tensor is
(features, 1, 1), and a fully connected layer is a 1x1 convolution on it. Scores, which nobody reads but the host, may be uint16:
256 sub-steps for each step (`Requantise.fraction`). `golden.values` defines each operator exactly.
"""
from dataclasses import dataclass, field
from functools import cached_property
import math

import numpy as np

from nets.graph import Window
from nets.preprocess import InputSpec

__all__ = ["FRACTION_BITS", "LRN_BASE_MAX", "LRN_DROP_MAX", "LRN_EXACT", "LRN_PARTS", "LRN_REST_BITS", "LRN_SHIFT_MAX",
           "LRN_SUM_BITS", "Loss", "MULTIPLIER_MAX", "OCTAVES_MAX", "QAdd", "QAvgPool", "QChannelShuffle", "QClamp", "QConcat",
           "QConv", "QFlatten", "QGlobalAvgPool", "QInput", "QLRN", "QLayer", "QMaxPool", "QNetwork", "QPad", "QRearrange",
           "QSelect", "QSoftmax", "QTable", "Requantise", "SHIFT_MAX", "TensorType", "WEIGHT_MAX", "lrn_entries",
           "softmax_table", "step_scale"]

WEIGHT_MAX = 127            # weights are -127..127: the packed multiplier has no room for -128
MULTIPLIER_MAX = 255        # requantisation multipliers have 8 bits
CONV_KERNEL_MAX, CONV_STRIDE_MAX = 11, 4             # of windows that are computed as they are: larger pools are split
POOL_KERNEL_MAX, POOL_STRIDE_MAX, POOL_PADDING_MAX = 3, 3, 1         # (nets.int8.pools)
OCTAVES_MAX = 20            # channels are equalised by factors of 2**-20..2**20
SHIFT_MAX = 39              # and shifts 1..39, so that acc * multiplier + rounding stays in 41 bits
FRACTION_BITS = 8           # of a step, that scores keep
LRN_PARTS, LRN_EXACT = 16, 32       # entries of an octave of sums of squares; sums below have entries of their own
LRN_SUM_BITS = 19                   # of the sums of 8 squares
LRN_REST_BITS = 14                  # of a sum, between two entries
LRN_BASE_MAX, LRN_DROP_MAX, LRN_SHIFT_MAX = (1 << 17) - 1, (1 << 14) - 1, 31        # together 36 bits, a row of a block RAM


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """Shape (channels, height, width) and meaning of a tensor of uint8, or uint16 where `bits` is 16: value = scale *
    (q - zero_point)."""

    shape: tuple[int, int, int]
    scale: float
    zero_point: int
    bits: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise:
    """int32 accumulator to uint8: q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high).

    `multiplier` 0..255 and `shift` 1..39, int64 arrays with one value per channel or a single one; the product is exact and
    the shift arithmetic, so halves round up. 0 <= low <= high <= 255.

    With a `fraction` to uint16, in sub-steps: q = clamp(256 * zero_point + (acc * multiplier >> (shift - 8)), 256 * low,
    256 * high). What is less than a sub-step is cut off, so that q, rounded to whole steps, is what it would be without
    fraction. `shift` is 9..39 then, and 1 <= low, high <= 254: a step beyond each limit tells the chip's clamped values from
    those at the limit (`arch.scores`).
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    low: int = 0
    high: int = 255
    fraction: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class QLayer:
    """A named integer operator; `inputs` are the names of the layers that it reads, `origin` is what the user's file calls it."""

    name: str
    inputs: tuple[str, ...]
    origin: str = ""

    @property
    def op(self) -> str:
        return type(self).__name__[1:]

    @property
    def called(self) -> str:
        """The operator as its user knows it."""
        return self.origin or self.op

    @property
    def parameters(self) -> int:
        """Trained values held by the layer."""
        return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class QInput(QLayer):
    """The prepared image, quantised by the host: q = clamp(round_half_up(x / scale) + zero_point, 0, 255)."""

    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class QConv(QLayer):
    """acc = bias + sum of weight * q over the window, padding holding the input's zero point; then `requantise`.

    `weight` int8 (out, in / groups, kernel height, kernel width), -127..127. `bias` int32 (out,), which already holds
    - zero_point * sum of the channel's weights. The accumulator never leaves int32 (checked when the network is made).
    """

    weight: np.ndarray
    bias: np.ndarray
    window: Window
    groups: int
    requantise: Requantise

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size


@dataclass(frozen=True, kw_only=True, eq=False)
class QMaxPool(QLayer):
    """Maximum of a window, padding excluded; input and output share scale and zero point."""

    window: Window
    ceil_mode: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class QAvgPool(QLayer):
    """(2 * sum + count) // (2 * count): the mean, halves rounded up. Input and output share scale and zero point; counted
    padding holds the zero point. Which positions count is as in `nets.graph.AvgPool`."""

    window: Window
    ceil_mode: bool
    count_include_pad: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class QGlobalAvgPool(QLayer):
    """acc = sum over height and width of (q - input zero point); then `requantise` (which divides by the area)."""

    requantise: Requantise


@dataclass(frozen=True, kw_only=True, eq=False)
class QAdd(QLayer):
    """acc = sum of weights[i] * (q_i - zero_point_i); then `requantise`. `weights` -127..127 each.

    So an addition is what a convolution with diagonal weights makes of both inputs, one after the other.
    """

    weights: tuple[int, int]
    requantise: Requantise


@dataclass(frozen=True, kw_only=True, eq=False)
class QConcat(QLayer):
    """Concatenation along the channels; all inputs and the output share scale and zero point."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QChannelShuffle(QLayer):
    """As `nets.graph.ChannelShuffle`."""

    groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class QClamp(QLayer):
    """min(max(q, low), high): a ReLU or clip that could not be fused."""

    low: int
    high: int


@dataclass(frozen=True, kw_only=True, eq=False)
class QFlatten(QLayer):
    """(C, H, W) -> (C * H * W, 1, 1), in C order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QPad(QLayer):
    """The tensor with `value` (0..255) around it: `before` and `after` each (channels, height, width)."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]
    value: int


@dataclass(frozen=True, kw_only=True, eq=False)
class QRearrange(QLayer):
    """q.reshape(sizes).transpose(order), in the output's shape."""

    sizes: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class QSelect(QLayer):
    """Channels `channels`, int64 (n,), in that order."""

    channels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class QLRN(QLayer):
    """Local response normalisation by a table whose entries are parts of octaves, and lines in them.

    s = sum over `size` channels of (q - zero_point)**2, (size - 1) // 2 of them below and size // 2 above; octave =
    max(0, bits of s - 5); entry = 16 * octave + (s >> octave); rest = the bits of s that this leaves, in 2**-14 of 2**octave;
    factor = base[entry] - ((drop[entry] * rest + 2**13) >> 14);
    q = clamp(zero_point_out + (((q - zero_point) * factor + 2**(shift[entry] - 1)) >> shift[entry]), 0, 255).

    `base` (at most 17 bits) and `drop` (14 bits) are int32, `shift` (1..31) is uint8; sums below 32 have entries of their own.
    """

    size: int
    base: np.ndarray
    drop: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class QTable(QLayer):
    """table[q] (uint8, 256 entries): a function of each value, as `nets.functions` has them; the scales of input and output are
    in the table."""

    table: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class QSoftmax(QLayer):
    """e = table[max(q) - q] (uint16, 256 entries); q = min((512 * e + total) // (2 * total), 255) with total = sum of e over
    the channels: scale 1/256, zero point 0."""

    table: np.ndarray


def lrn_entries(size: int) -> int:
    """Entries of a `QLRN`: of all sums of so many squares, and never less than those of 19 bits."""
    return LRN_PARTS * (max((size * 255 ** 2).bit_length(), LRN_SUM_BITS) + 2 - LRN_EXACT.bit_length() + 1)


def softmax_table(scale: float) -> np.ndarray:
    """The table of a `QSoftmax` whose input has this scale: exponentials from 65535 down, uint16 (256,)."""
    return np.floor(np.exp(-scale * np.arange(256)) * 65535 + 0.5).astype(np.uint16)


def step_scale(layer: QConv | QGlobalAvgPool | QAdd, network: "QNetwork") -> float:
    """What a whole step of the layer's tensor stands for."""
    return network.tensors[layer.name].scale * (1 << FRACTION_BITS if layer.requantise.fraction else 1)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What rounding did to a layer, measured on calibration images: signal to noise, in dB, of its output (`snr`) and of the
    worst tensor that it reads (`source`), against the float network."""

    layer: str
    op: str
    snr: float
    source: float

    @property
    def lost(self) -> float:
        """dB from the inputs to the output; below 0 where noise is averaged out."""
        return self.source - self.snr

    @property
    def noise(self) -> float:
        """The noise that the layer adds, as a part of its signal's power."""
        return max(10 ** (-self.snr / 10) - 10 ** (-self.source / 10), 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class QNetwork:
    """A quantised network, complete: integer layers in execution order, tensor types, image preparation and labels.

    A tensor of 16 bits is the output, or what is flattened to be it.
    """

    name: str
    layers: tuple[QLayer, ...]
    tensors: dict[str, TensorType]
    output: str
    spec: InputSpec
    labels: tuple[str, ...] = ()
    first_class: int = 0            # the output of class 0 (`nets.model.Model`)
    endings: tuple[str, ...] = ()       # what the host computes of the output (`nets.endings`)
    notes: tuple[str, ...] = ()
    provenance: dict = field(default_factory=dict)      # how it was made: calibration images, options, versions
    offset: float = 0.0             # of the output: its values are `offset` more than scale * (q - zero_point)
    octaves: dict[str, tuple[int, ...]] = field(default_factory=dict)   # of a tensor whose channels were equalised: channel c
                                    # holds 2**octaves[c] times the float network's values
    losses: tuple[Loss, ...] = ()   # of every layer but the input, in execution order; empty where they were not measured

    @cached_property
    def by_name(self) -> dict[str, QLayer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def input(self) -> QInput:
        return next(layer for layer in self.layers if isinstance(layer, QInput))

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        return {name: kind.shape for name, kind in self.tensors.items()}

    def score_rule(self, name: str) -> Requantise:
        """How a tensor of 16 bits came about."""
        layer = self.by_name[name]
        while isinstance(layer, QFlatten):
            layer = self.by_name[layer.inputs[0]]
        return layer.requantise

    def macs(self, layer: QLayer) -> int:
        """Multiply-accumulates of one layer for one image."""
        return math.prod(self.tensors[layer.name].shape) * math.prod(layer.weight.shape[1:]) if isinstance(layer, QConv) else 0

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def total_macs(self) -> int:
        return sum(self.macs(layer) for layer in self.layers)

    def quantise_input(self, x: np.ndarray) -> np.ndarray:
        """uint8 input tensor from the prepared float image of the same shape."""
        kind = self.tensors[self.input.name]
        return np.clip(np.floor(x / np.float32(kind.scale) + np.float32(0.5)) + kind.zero_point, 0, 255).astype(np.uint8)

    def dequantise(self, name: str, q: np.ndarray) -> np.ndarray:
        """float32 values of a tensor, those of the float network: what equalised channels is taken back, and scores have the
        network's offset."""
        kind = self.tensors[name]
        value = (q.astype(np.int32) - kind.zero_point) * kind.scale + (self.offset if name == self.output else 0.0)
        if name in self.octaves:
            value = np.ldexp(value, -np.array(self.octaves[name]).reshape(-1, 1, 1))
        return value.astype(np.float32)
