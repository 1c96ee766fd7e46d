"""What ends a network is left to the host: the same scores and classes from the reference and from a program."""
import math

import numpy as np
import pytest

from arch.geometry import PRESETS
from compiler.build import compile_network
from golden import values
from host import tensors
from nets.endings import ArgMax, LogSoftmax, finish, scores_of
from nets.float_run import run
from nets.functions import Sigmoid
from nets.graph import Conv, Flatten, GlobalAvgPool, Graph, GraphError, Input, Linear, Softmax, Window
from nets.int8.file import load, save
from nets.model import Model
from nets.moves import Rearrange
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from nets.scores import probabilities, score_table, top

ENDS = {
    "nothing": [], "softmax": [Softmax], "logarithms": [LogSoftmax], "sigmoid": [Sigmoid], "best": [ArgMax],
    "best of the softmax": [Softmax, ArgMax],
}


def network(ends, classes: int, *, flatten_last: bool = False) -> Model:
    rng = np.random.default_rng(2)
    layers = [Input(name="x", shape=(3, 8, 8)),
              Conv(name="c", inputs=("x",), weight=rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
                   bias=np.zeros(8, np.float32), window=Window(kernel=(3, 3))), GlobalAvgPool(name="p", inputs=("c",))]
    if flatten_last:
        layers.append(Softmax(name="s", inputs=("p",)))
    layers.append(Flatten(name="f", inputs=(layers[-1].name,)))
    if not flatten_last:
        layers.append(Linear(name="l", inputs=("f",), weight=rng.normal(size=(classes, 8)).astype(np.float32),
                             bias=rng.normal(size=classes).astype(np.float32)))
    for k, kind in enumerate(ends):
        layers.append(kind(name=f"e{k}", inputs=(layers[-1].name,)))
    return Model(graph=Graph(name="net", layers=tuple(layers), output=layers[-1].name), spec=InputSpec(size=(8, 8), crop="none"))


def quantised(model: Model):
    images = synthetic_images(model.spec)
    return quantise(model, images), model.spec.normalise(images[3])


@pytest.mark.parametrize("classes", [1, 6])
@pytest.mark.parametrize("ends", ENDS)
def test_reference_and_host_show_what_the_network_means(tmp_path, ends, classes):
    model = network(ENDS[ends], classes)
    found, x = quantised(model)
    save(found, tmp_path / "net.fln")
    found = load(tmp_path / "net.fln")
    assert found.endings == tuple(kind.__name__ for kind in ENDS[ends]) and found.output == "l"
    q = values.run(found, found.quantise_input(x))["l"]
    exact = run(model.graph, x, keep=("l",))
    shown = top(found, q)
    program = compile_network(found, PRESETS["25f"]).program
    assert tensors.top(program, q) == shown and len(shown) == min(5, classes)
    logits = exact["l"].astype(np.float64)
    wanted = {"sigmoid": 1 / (1 + np.exp(-logits))}.get(ends, np.exp(logits) / np.exp(logits).sum())
    if classes == 1:
        wanted = {"nothing": logits, "sigmoid": wanted, "best": logits}.get(ends, [1.0])
    np.testing.assert_allclose(probabilities(found, q), wanted, atol=0.1)
    if classes > 1:
        assert shown[0]["class"] == int(np.argmax(logits))
        if ENDS[ends][-1:] == [ArgMax]:
            assert exact[model.graph.output].tolist() == [shown[0]["class"]]


def test_a_single_output_is_shown_as_its_value():
    found, x = quantised(network([], 1))
    table = score_table(top(found, values.run(found, found.quantise_input(x))["l"]))
    cells = [list(column.cells)[0] for column in table.columns]
    assert str(cells[1]) == "value" and math.isfinite(float(str(cells[2]))) and "%" not in str(cells[2])


def test_a_softmax_that_is_reshaped():
    model = network([], 0, flatten_last=True)
    found, x = quantised(model)
    assert scores_of(model.graph)[0].name == "p" and found.endings == ("Softmax",)
    exact = run(model.graph, x)["f"]
    np.testing.assert_allclose(probabilities(found, values.run(found, found.quantise_input(x))["p"]), exact, atol=0.1)


def test_classes_that_change_places_stay_in_the_network():
    layers = (Input(name="x", shape=(4, 2, 2)), Softmax(name="s", inputs=("x",)),
              Rearrange(name="r", inputs=("s",), sizes=(4, 4), order=(1, 0), shape=(16,)))
    last, endings = scores_of(Graph(name="net", layers=layers, output="r"))
    assert (last.name, endings) == ("r", ())


def test_logarithms_in_the_middle_are_refused():
    model = network([LogSoftmax], 6)
    layers = (*model.graph.layers, Linear(name="more", inputs=("e0",), weight=np.ones((2, 6), np.float32),
                                          bias=np.zeros(2, np.float32)))
    with pytest.raises(GraphError, match=r"e0 \(LogSoftmax\): is not computed in integers: it may only end a network"):
        quantised(Model(graph=Graph(name="net", layers=layers, output="more"), spec=model.spec))


def test_large_scores_do_not_overflow():
    scores = np.array([-1e4, 0, 1e4])
    assert finish(scores, ["Sigmoid"]).tolist() == [0, 0.5, 1] and finish(scores, ["LogSoftmax"]).tolist() == [0, 0, 1]
