"""Large layers some rows at a time: the same integers as at once."""
import numpy as np
import pytest

from golden import values
from nets.graph import Flatten, Graph, Input, Linear, Relu
from nets.int8 import blocks
from nets.int8.network import QConv
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images

INPUTS = 3 * 22 * 20            # more than those of which the quantiser keeps a covariance


@pytest.mark.parametrize("rows, columns, sizes", [(7, 3, [3, 3, 1]), (4, 100, [1, 1, 1, 1]), (2, 5, [2]), (0, 5, [])])
def test_blocks_are_of_few_elements_or_single_rows(monkeypatch, rows, columns, sizes):
    monkeypatch.setattr(blocks, "MOST_ELEMENTS", 10)
    found = list(blocks.row_blocks(rows, columns))
    assert [part.stop - part.start for part in found] == sizes
    assert [row for part in found for row in range(part.start, part.stop)] == list(range(rows))


def connected() -> Model:
    rng = np.random.default_rng(1)
    layers = [Input(name="x", shape=(3, 22, 20)), Flatten(name="flat", inputs=("x",)),
              Linear(name="a", inputs=("flat",), weight=rng.normal(0, 0.03, (19, INPUTS)).astype(np.float32),
                     bias=rng.normal(size=19).astype(np.float32)), Relu(name="relu", inputs=("a",)),
              Linear(name="y", inputs=("relu",), weight=rng.normal(size=(5, 19)).astype(np.float32),
                     bias=np.zeros(5, np.float32))]
    return Model(graph=Graph(name="connected", layers=tuple(layers), output="y"), spec=InputSpec(size=(22, 20), crop="none"))


def test_integers_are_the_same_whatever_the_blocks(monkeypatch):
    model = connected()
    images = synthetic_images(model.spec, count=4)
    whole = quantise(model, images)
    q = whole.quantise_input(model.spec.normalise(images[0]))
    wanted = values.run(whole, q, keep=whole.by_name)
    monkeypatch.setattr(blocks, "MOST_ELEMENTS", 4 * INPUTS)
    parts = quantise(model, images)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        if isinstance(one, QConv):
            for name in ("weight", "bias"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            for name in ("multiplier", "shift"):
                np.testing.assert_array_equal(getattr(one.requantise, name), getattr(other.requantise, name))
    for name, tensor in values.run(parts, q, keep=parts.by_name).items():
        np.testing.assert_array_equal(tensor, wanted[name])
