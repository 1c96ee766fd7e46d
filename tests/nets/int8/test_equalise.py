"""Equalisation: the float network does not change, the integers come close to it, and who cannot be helped is told."""
import numpy as np
import pytest

from golden import values
from nets import float_run
from nets.graph import LRN, Concat, Conv, Flatten, Graph, Input, Linear, Relu, Window
from nets.int8.equalise import equalise, measure_ranges
from nets.int8.fuse import plan
from nets.load import load_model
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from tests.nets.operators import every_operator
from tests.nets.spread import spread_network

SEEDS = range(24)
DECADES = 3             # channels are up to 1000 times apart
LEAST_DB = 28           # of signal to noise at the scores


def scores_of(network, model, images):
    """Scores of both, float and int8, as (images, classes)."""
    xs = [model.spec.normalise(pixels) for pixels in images]
    floats = np.stack([float_run.run(model.graph, x)[model.graph.output].ravel() for x in xs])
    ours = np.stack([network.dequantise(network.output, values.run(network, network.quantise_input(x))[network.output]).ravel()
                     for x in xs])
    return floats.astype(np.float64), ours.astype(np.float64)


def signal_to_noise(floats, ours):
    """dB of the differences between classes."""
    floats, ours = (scores - scores.mean(1, keepdims=True) for scores in (floats, ours))
    return 10 * np.log10((floats ** 2).sum() / ((ours - floats) ** 2).sum())


def equalised(model):
    images = [model.spec.normalise(pixels) for pixels in synthetic_images(model.spec, count=4)]
    return equalise(model.graph, plan(model.graph), measure_ranges(model.graph, images))[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_float_network_stays_the_same_to_the_last_bit(seed):
    model = spread_network(seed, decades=DECADES)
    graph = equalised(model)
    assert graph is not model.graph and [(type(a), a.name, a.inputs) for a in graph.layers] == [
        (type(b), b.name, b.inputs) for b in model.graph.layers]
    for pixels in synthetic_images(model.spec, count=3, seed=seed + 100):       # others than those that were measured
        x = model.spec.normalise(pixels)
        found, wanted = (float_run.run(one, x)["classes"] for one in (graph, model.graph))
        np.testing.assert_array_equal(found, wanted, f"seed {seed}")


def test_every_operator_stays_the_same():
    model = every_operator()
    graph = equalised(model)
    x = model.spec.normalise(synthetic_images(model.spec, seed=3)[0])
    np.testing.assert_array_equal(float_run.run(graph, x)[graph.output], float_run.run(model.graph, x)[graph.output])


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_far_apart_lose_little(seed):
    model = spread_network(seed, decades=DECADES)
    network = quantise(model, synthetic_images(model.spec))
    found = signal_to_noise(*scores_of(network, model, synthetic_images(model.spec, count=20, seed=seed + 1000)))
    assert found > LEAST_DB or network.notes, f"seed {seed}: {found:.1f} dB, and no word"
    assert found > LEAST_DB - 6, f"seed {seed}: {found:.1f} dB"


def test_without_it_they_lose_much(monkeypatch):
    """The bound above is one that fails without equalisation, and then there is a warning."""
    monkeypatch.setattr("nets.quantise.equalise", lambda graph, plan, ranges: (graph, {}))
    models = [spread_network(seed, decades=DECADES) for seed in SEEDS[:8]]
    poor = [quantise(model, synthetic_images(model.spec)) for model in models]
    assert sum(network.losses[-1].snr < LEAST_DB for network in poor) >= 6
    for network in poor:
        assert (network.losses[-1].snr < 20) == any("classes may change places; most" in note for note in network.notes)


@pytest.mark.parametrize("name", ["q_channel_ranges_100", "q_concat_ranges_1000", "q_logits_far_from_zero"])
def test_cases(data, name):
    file = data / "cases" / f"{name}.onnx"
    if not file.exists():
        pytest.skip(f"needs {file}")
    model = load_model(file)
    network = quantise(model, synthetic_images(model.spec))
    floats, ours = scores_of(network, model, synthetic_images(model.spec, count=50, seed=5))
    assert signal_to_noise(floats, ours) > LEAST_DB
    margin = np.sort(floats, 1)[:, -1] - np.sort(floats, 1)[:, -2]
    clear = margin > network.tensors[network.output].scale * 2
    assert clear.sum() > 30 and (floats.argmax(1) == ours.argmax(1))[clear].all()


def test_what_cannot_be_scaled_is_named():
    """Nothing moves through a local response normalisation, so the small branch before it stays small."""
    rng = np.random.default_rng(4)

    def conv(name, source, out, per_group, size):
        return Conv(name=name, inputs=(source,), weight=(size * rng.normal(0, 0.5, (out, per_group, 1, 1))).astype(np.float32),
                    bias=np.zeros(out, np.float32), window=Window(kernel=(1, 1)))

    tail = conv("tail", "lrn", 10, 8, 1)
    tail.weight[:, 4:] = 0                          # the large branch is not looked at
    layers = (Input(name="image", shape=(3, 6, 6)), conv("small", "image", 4, 3, 1), conv("large", "image", 4, 3, 1000),
              Concat(name="both", inputs=("small", "large")), Relu(name="relu", inputs=("both",)),
              LRN(name="lrn", inputs=("relu",), size=1, alpha=1e-9), tail)
    model = Model(graph=Graph(name="stuck", layers=layers, output="tail"),
                  spec=InputSpec(size=(6, 6), mean=(0.5,) * 3, std=(0.25,) * 3, crop="none"))
    network = quantise(model, synthetic_images(model.spec))
    note, = network.notes
    assert note.startswith("rounding to 8 bits leaves ") and "tail (40 dB, 6.6 bits)" in note


def test_a_last_layer_is_left_alone():
    """Scores are not scaled: a class is a channel, and its score what the float network says."""
    weight = np.diag(10.0 ** np.arange(4))[:, :3].astype(np.float32)
    layers = (Input(name="image", shape=(3, 1, 1)), Conv(name="c", inputs=("image",), weight=weight[:, :, None, None],
                                                        bias=np.zeros(4, np.float32), window=Window(kernel=(1, 1))))
    spec = InputSpec(size=(1, 1), crop="none")
    graph = equalised(Model(graph=Graph(name="one", layers=layers, output="c"), spec=spec))
    np.testing.assert_array_equal(graph.by_name["c"].weight[..., 0, 0], weight)


def test_linear_layers_absorb_what_a_flattened_map_was_scaled_by():
    rng = np.random.default_rng(5)
    weight = rng.normal(0, 1, (4, 3, 1, 1)) * 10.0 ** np.arange(-2, 2)[:, None, None, None]
    layers = (Input(name="image", shape=(3, 2, 2)),
              Conv(name="c", inputs=("image",), weight=weight.astype(np.float32), bias=np.zeros(4, np.float32),
                   window=Window(kernel=(1, 1))),
              Relu(name="r", inputs=("c",)), Flatten(name="f", inputs=("r",)),
              Linear(name="y", inputs=("f",), bias=np.zeros(5, np.float32),
                     weight=(rng.normal(0, 1, (5, 16)) / np.repeat(10.0 ** np.arange(-2, 2), 4)).astype(np.float32)))
    model = Model(graph=Graph(name="flat", layers=layers, output="y"), spec=InputSpec(size=(2, 2), crop="none"))
    graph = equalised(model)
    before, after = (np.abs(g.by_name["c"].weight).max((1, 2, 3)) for g in (model.graph, graph))
    assert before.max() / before.min() > 1000 and after.max() / after.min() < 30
    x = model.spec.normalise(synthetic_images(model.spec, seed=8)[0])
    np.testing.assert_array_equal(float_run.run(graph, x)["y"], float_run.run(model.graph, x)["y"])

