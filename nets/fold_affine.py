"""Folds what scales and shifts channels into the convolution or linear layer before it."""
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nets.graph import Affine, Conv, Layer, Linear

__all__ = ["fold_affines"]


def fold_affines(layers: Sequence[Layer], output: str) -> tuple[list[Layer], str]:
    """The same network without the `Affine` layers that are the only reader of a `Conv`, `Linear` or `Affine`.

    scale * (W x + b) + offset = (scale * W) x + (scale * b + offset), computed in float64. The merged layer keeps the name
    of the first; hence the second value, the layer that is the output now. A fold that would leave float32 is not done.
    """
    readers = Counter(name for layer in layers for name in layer.inputs)
    readers[output] += 1
    kept: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    for layer in layers:
        layer = replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs))
        before = kept[layer.inputs[0]] if isinstance(layer, Affine) else None
        alone = isinstance(before, Conv | Linear | Affine) and readers[before.name] == 1
        merged = _merged(before, layer) if alone else None
        if merged is None:
            kept[layer.name] = layer
        else:
            kept[merged.name] = merged
            renamed[layer.name] = merged.name
            readers[merged.name] = readers[layer.name]
    return list(kept.values()), renamed.get(output, output)


def _merged(before: Conv | Linear | Affine, affine: Affine) -> Conv | Linear | Affine | None:
    slope, constant = ("scale", "offset") if isinstance(before, Affine) else ("weight", "bias")
    values = {slope: _scaled(getattr(before, slope), affine), constant: _scaled(getattr(before, constant), affine, affine.offset)}
    return replace(before, **values) if all(np.isfinite(array).all() for array in values.values()) else None


def _scaled(array: np.ndarray, affine: Affine, offset: np.ndarray | float = 0.0) -> np.ndarray:
    scale = affine.scale.astype(np.float64).reshape(-1, *(1,) * (array.ndim - 1))
    with np.errstate(over="ignore"):
        return (array * scale + offset).astype(np.float32)
