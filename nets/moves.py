"""Layers that move values and compute nothing: `nets.graph` has those of the classic networks, here are the rest."""
from dataclasses import dataclass
import math

import numpy as np

from nets.graph import Layer, Shape, image_shape

__all__ = ["Pad", "Rearrange", "Select"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Layer):
    """The tensor with `value` around it: `before` and `after` each (channels, height, width) >= 0."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]
    value: float = 0.0

    def infer(self, *shapes: Shape) -> Shape:
        for what, edge in (("before", self.before), ("after", self.after)):
            if len(edge) != 3 or not all(isinstance(size, int) and size >= 0 for size in edge):
                raise ValueError(f"{what} must be 3 integers of at least 0, not {edge!r}")
        return tuple(map(sum, zip(image_shape(shapes[0]), self.before, self.after, strict=True)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rearrange(Layer):
    """The elements in another order: x.reshape(sizes).transpose(order).reshape(shape)."""

    sizes: tuple[int, ...]
    order: tuple[int, ...]
    shape: Shape

    def infer(self, *shapes: Shape) -> Shape:
        if sorted(self.order) != list(range(len(self.sizes))):
            raise ValueError(f"order must hold each of the {len(self.sizes)} axes once, not {self.order}")
        if not math.prod(shapes[0]) == math.prod(self.sizes) == math.prod(self.shape) or len(self.shape) not in (1, 3):
            raise ValueError(f"cannot rearrange {shapes[0]} by way of {self.sizes} to {self.shape}")
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Select(Layer):
    """Some channels (or features), each as often and in the order in which `channels`, int64 (n,), names it."""

    channels: np.ndarray

    def infer(self, *shapes: Shape) -> Shape:
        if self.channels.ndim != 1 or not self.channels.size:
            raise ValueError("must select at least one channel")
        if self.channels.min() < 0 or self.channels.max() >= shapes[0][0]:
            raise ValueError(f"channels must be 0..{shapes[0][0] - 1}, not {self.channels.min()}..{self.channels.max()}")
        return (len(self.channels), *shapes[0][1:])
