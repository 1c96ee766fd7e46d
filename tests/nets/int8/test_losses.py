"""What rounding loses: the simulation holds to golden, the table names what loses, commands show it."""
import io
import json

import numpy as np
import pytest
from rich.console import Console

from golden import evaluate, values
from nets import digits, float_run
from nets.int8.fuse import plan
from nets.int8.loss_report import loss_records, loss_table
from nets.int8.losses import measure_losses, warnings, worst
from nets.int8.network import Loss
from nets.load import load_model
from nets.preprocess import find_images, load_image
from nets.quantise import SAMPLE, main, quantise, quantise_with, spread, synthetic_images
from tests.nets.operators import every_operator
from tests.nets.spread import spread_network


def models():
    digits_model, others = load_model("digits"), (every_operator(), spread_network(5, decades=2, scores_at=30))
    yield digits_model, [load_image(path, digits_model.spec) for path in spread(find_images(digits.IMAGES), 24)]
    yield from ((model, synthetic_images(model.spec, seed=2)) for model in others)


def test_losses_are_those_of_the_integers():
    """Measured again on what golden computes, against the float network times the octaves."""
    for model, images in models():
        network = quantise(model, images)
        has_table = any(layer.op in ("LRN", "Softmax") for layer in network.layers)      # which adds noise that is not simulated
        signal, noise = (dict.fromkeys(network.by_name, 0.0) for _ in range(2))
        value_of = {step.name: step.value for step in plan(model.graph).steps}
        for pixels in spread(images, SAMPLE):
            x = model.spec.normalise(pixels)
            floats = float_run.run(model.graph, x, keep=model.graph.by_name)
            for name, q in values.run(network, network.quantise_input(x), keep=network.by_name).items():
                octaves = np.array(network.octaves.get(name, 0.0)).reshape(-1, 1, 1)
                wanted, found = (np.ldexp(value.astype(np.float64).reshape(q.shape), octaves.astype(int))
                                 for value in (floats[value_of[name]], network.dequantise(name, q)))
                if name == network.output:
                    wanted, found = wanted - wanted.mean(), found - found.mean()
                signal[name] += (wanted ** 2).sum()
                noise[name] += ((found - wanted) ** 2).sum()
        for loss in network.losses:
            snr = 10 * np.log10(signal[loss.layer] / noise[loss.layer])
            assert loss.snr == pytest.approx(snr, abs=6 if has_table else 1), (model.name, loss)


def test_a_table_names_what_loses_most():
    losses = [Loss(layer="a", op="Conv", snr=40.0, source=99.0), Loss(layer="[/b]", op="Conv", snr=12.0, source=40.0),
              Loss(layer="pool", op="GlobalAvgPool", snr=20.0, source=12.0), Loss(layer="y", op="Linear", snr=15.0, source=20.0)]
    assert [loss.layer for loss in worst(losses, 3)] == ["[/b]", "y", "a"]
    console = Console(width=80, file=io.StringIO())
    console.print(loss_table(losses))
    text = console.file.getvalue()
    assert "[/b]" in text and "28.0" in text and "pool" not in text and "15.0" in text
    assert loss_records(losses)[1] == {"layer": "[/b]", "op": "Conv", "snr": 12.0, "source": 40.0, "lost": 28.0}
    note, = warnings(losses)
    assert note == ("rounding to 8 bits leaves 15 dB of signal to noise in the scores: classes may change places; most is "
                    "lost in [/b] (28 dB, 4.7 bits), y (5 dB, 0.8 bits), a (59 dB, 9.8 bits)")
    assert warnings(losses[:1]) == ()


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_layer_with_coarse_weights_is_the_worst(scale):
    """Weights rounded to a fifth of their steps, by hand: the layer is named."""
    model = spread_network(8, decades=0)
    network = quantise(model, synthetic_images(model.spec))
    xs = [model.spec.normalise(pixels) for pixels in synthetic_images(model.spec, count=3, seed=3)]
    spoilt = next(layer for layer in network.layers[4:] if layer.op == "Conv")
    before = {loss.layer: loss for loss in measure_losses(model.graph, plan(model.graph), network, xs)}
    spoilt.weight[...] = (np.round(spoilt.weight / scale) * scale).astype(np.int8)
    after = measure_losses(model.graph, plan(model.graph), network, xs)
    if scale == 1:
        assert {loss.layer: loss for loss in after} == before
    else:
        assert worst(after, 1)[0].layer == spoilt.name


def test_commands_show_it(tmp_path, capsys):
    files = {what: tmp_path / f"q.{what}" for what in ("fln", "json", "png")}
    assert main(["--limit", "4", "--out", str(files["fln"]), "--json", str(files["json"]), "--plot", str(files["png"])]) == 0
    assert "layers that lose most" in capsys.readouterr().err
    record = json.loads(files["json"].read_text())
    assert record["losses"][0]["layer"] == "conv1" and files["png"].read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "e.json"
    assert evaluate.main(["--model", str(files["fln"]), "--limit", "5", "--jobs", "1", "--json", str(again),
                          "--plot", str(tmp_path / "e.svg")]) == 0
    assert "layers that lose most" in capsys.readouterr().out
    assert json.loads(again.read_text())["losses"] == record["losses"] and b"<svg" in (tmp_path / "e.svg").read_bytes()
    assert evaluate.main(["--model", str(files["fln"]), "--limit", "5", "--jobs", "1", "--plot", "e.gif"]) == 2
    assert "plot must end in .png, .svg, .pdf, not '.gif'" in capsys.readouterr().err


def test_nothing_is_lost_where_nothing_is_rounded():
    model = load_model("digits")
    network = quantise_with(model, limit=2)
    assert all(loss.lost == 0 for loss in network.losses if loss.op in ("MaxPool", "Concat", "Flatten"))
