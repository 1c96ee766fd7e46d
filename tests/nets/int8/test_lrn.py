"""Local response normalisation in integers: at most a step of the output away from the formula, whatever comes."""
from dataclasses import replace

import numpy as np
import pytest

from golden import values
from nets.graph import LRN
from nets.int8.lrn import lrn_table
from nets.int8.network import LRN_BASE_MAX, LRN_DROP_MAX, QLRN, TensorType, lrn_entries

KIND = TensorType(shape=(40, 8, 8), scale=0.05, zero_point=0)
# As AlexNet has it, GoogLeNet, Keras's default, and what bends most.
USUAL = [{"alpha": 1e-4, "beta": 0.75, "bias": 2.0}, {"alpha": 1e-4, "beta": 0.75, "bias": 1.0},
         {"alpha": 1.0, "beta": 0.5, "bias": 1.0}, {"alpha": 10.0, "beta": 2.0, "bias": 0.0}]


def formula(layer: LRN, q: np.ndarray, source: TensorType) -> np.ndarray:
    """The layer's output in float64; what is zero stays zero, whatever it is divided by."""
    x = (q.astype(np.float64) - source.zero_point) * source.scale
    below = (layer.size - 1) // 2
    squares = np.pad(x * x, ((below, layer.size - 1 - below), (0, 0), (0, 0)))
    total = sum(squares[k:k + len(x)] for k in range(layer.size))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x == 0, 0, x / (layer.bias + layer.alpha / layer.size * total) ** layer.beta)


def kind_of(y: np.ndarray, factor: float = 1.0) -> TensorType:
    """A type whose range is that of the values, or wider or narrower by a factor."""
    scale = max((max(y.max(), 0) - min(y.min(), 0)) / 255 * factor, 1e-30)
    return TensorType(shape=y.shape, scale=scale, zero_point=int(np.clip(np.rint(-min(y.min(), 0) / scale), 0, 255)))


def error(layer: LRN, q: np.ndarray, source: TensorType, factor: float = 1.0) -> float:
    """Largest distance from the formula, in steps of the output; what lies beyond its range is its end."""
    y = formula(layer, q, source)
    target = kind_of(y, factor)
    base, drop, shift = lrn_table(layer, source, target)
    assert len(base) == len(drop) == len(shift) == lrn_entries(layer.size)
    assert 0 <= base.min() and base.max() <= LRN_BASE_MAX and 0 <= drop.min() and drop.max() <= LRN_DROP_MAX
    got = values.lrn(q, QLRN(name="y", inputs=("x",), size=layer.size, base=base, drop=drop, shift=shift), source.zero_point,
                     target.zero_point)
    return float(np.abs(got - np.clip(y / target.scale + target.zero_point, 0, 255)).max())


def extremes(zero_point: int) -> np.ndarray:
    """Every value alone, among values alike, and beside the ends of the range, in all places of a window."""
    every = np.arange(256, dtype=np.uint8)
    planes = []
    for around in (zero_point, 0, 255, None):
        for place in range(5):
            plane = np.repeat(every[None], 5, axis=0) if around is None else np.full((5, 256), around, np.uint8)
            plane[place] = every
            planes.append(plane)
    return np.stack(planes, axis=1)


@pytest.mark.parametrize("numbers", USUAL, ids=str)
@pytest.mark.parametrize("zero_point", [0, 37, 128, 255])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 20.0])
def test_extreme_vectors(numbers, zero_point, scale):
    source = replace(KIND, scale=scale, zero_point=zero_point)
    assert error(LRN(name="y", inputs=("x",), size=5, **numbers), extremes(zero_point), source) < 0.7


@pytest.mark.parametrize("seed", range(200))
def test_drawn_vectors_and_parameters(seed):
    rng = np.random.default_rng(seed)
    layer = LRN(name="y", inputs=("x",), size=int(rng.integers(1, 12)), alpha=10.0 ** rng.uniform(-5, 1), beta=rng.uniform(0, 2),
                bias=float(rng.choice([0, 0.01, 1, 2, rng.uniform(0, 10)])))
    source = replace(KIND, scale=10 ** rng.uniform(-3, 1.5), zero_point=int(rng.choice([0, 128, rng.integers(0, 256)])))
    q = {0: rng.integers(0, 256, KIND.shape), 1: source.zero_point + rng.integers(-3, 4, KIND.shape),
         2: rng.choice([0, 255], KIND.shape),
         3: np.where(rng.random(KIND.shape) < 0.8, source.zero_point, rng.integers(0, 256, KIND.shape))}[seed % 4]
    assert error(layer, np.clip(q, 0, 255).astype(np.uint8), source, float(rng.choice([0.3, 1, 3]))) < 0.8


def test_entries_hold_all_sums():
    for size in (1, 5, 8, 9, 100):
        largest = size * 255 ** 2
        octave = max(largest.bit_length() - 5, 0)
        assert 16 * octave + (largest >> octave) < lrn_entries(size)
    assert lrn_entries(5) == lrn_entries(8) == 256
