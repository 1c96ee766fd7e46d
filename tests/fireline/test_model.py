"""Networks from Python: what they say is what the modules behind them compute, and errors are theirs."""
from pathlib import Path
import re

import numpy as np
from PIL import Image
import pytest

import fireline
from golden import values
from nets import digits
from nets.load import load_model
from nets.preprocess import find_images, load_image
from nets.quantise import quantise_with
from tests.nets.onnx.cases import model as file_model
from tests.nets.onnx.cases import node, runtime, save, weights

IMAGE = find_images(digits.IMAGES)[-1]


def test_a_float_network_tells_what_it_is(model):
    graph = load_model("digits").graph
    assert (model.name, model.input_shape) == ("digits", (1, 32, 32))
    assert (model.parameters, model.macs) == (graph.parameters, graph.total_macs)
    assert [layer.name for layer in model.layers] == [layer.name for layer in graph.layers]
    assert sum(layer.macs for layer in model.layers) == model.macs
    assert f"{model.parameters:,} parameters" in repr(model)


def test_notes_of_a_network_are_seen():
    model = fireline.load("squeezenet:size=32,modules=1,pools=1")
    assert model.notes and model.notes[0] in repr(model)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def array(path: Path) -> np.ndarray:
    return np.asarray(opened(path))


@pytest.mark.parametrize("make", [str, Path, opened, array])
def test_an_image_may_be_a_file_a_picture_or_an_array(make, net):
    found = net.classify(make(IMAGE))
    wanted = net.classify(IMAGE)
    assert np.array_equal(found.probabilities, wanted.probabilities)
    assert found.top5 == wanted.top5
    assert found.image == ("image" if make is array else IMAGE.name)


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros((8, 8, 4), np.uint8), np.zeros(8, np.uint8),
                                   np.zeros((0, 3), np.uint8), 7, "no_such_file.png"])
def test_what_is_no_image_is_refused_in_one_line(image, model, net):
    for one in (model, net):
        with pytest.raises(fireline.PreprocessError) as refused:
            one.classify(image)
        assert "\n" not in str(refused.value)


def test_classification_is_the_right_one_and_sorted(model, net):
    for one in (model, net):
        found = one.classify(IMAGE)
        assert found.top5[0].label == IMAGE.name[0]
        assert [best.probability for best in found.top5] == sorted(found.probabilities, reverse=True)[:5]
        assert all(found.probabilities[best.index] == best.probability for best in found.top5)
        assert found.probabilities.sum() == pytest.approx(1, abs=0.05)
        assert repr(found).startswith(f"Classification({IMAGE.name}: <{IMAGE.name[0]} ")


def test_a_network_that_classifies_nothing_gives_its_numbers(tmp_path):
    """As the file does, in floats; in integers within two steps."""
    nodes, rng = [node("Conv", "x w", "y", pads=[1, 1, 1, 1])], np.random.default_rng(3)
    side = tmp_path / "net.json"
    side.write_text('{"input": {"size": [8, 8], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}')
    path = save(tmp_path, file_model(nodes, weights(w=(2, 3, 3, 3)), shape=(1, 3, 8, 8)))
    model = fireline.load(path, side_file=side)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    net = model.quantise([image])
    x = model.model.spec.normalise(image.transpose(2, 0, 1))
    for one, steps in ((model, 0), (net, 2)):
        found = one.classify(image)
        assert found.top5 == () and not found.probabilities.size and found.values.shape == (2, 8, 8)
        step = net.network.tensors[net.network.output].scale
        np.testing.assert_allclose(found.values, runtime(path, x)[0], atol=max(steps * step, 1e-5))
        assert repr(found).startswith("Classification(image: 2x8x8 numbers, -") and "3x8x8 to 2x8x8 numbers, " in repr(one)


def test_tensors_are_those_of_the_reference(model, net):
    network = net.network
    q = network.quantise_input(network.spec.normalise(load_image(IMAGE, network.spec)))
    wanted = values.run(network, q, keep=network.by_name)
    found = net.tensors(IMAGE)
    assert list(found) == list(wanted)
    assert all(found[name].dtype == wanted[name].dtype and np.array_equal(found[name], wanted[name]) for name in wanted)
    assert {name for name in wanted if wanted[name].dtype == np.uint16} == {"pool6", "logits"}
    assert {name: tensor.shape for name, tensor in model.tensors(IMAGE).items()} == model.model.graph.shapes


def test_quantised_as_the_command_does(net):
    wanted = quantise_with(load_model("digits"))
    assert net.network.provenance == wanted.provenance
    assert np.array_equal(values.run(wanted, wanted.quantise_input(np.zeros((1, 32, 32), np.float32)))[wanted.output],
                          values.run(net.network, net.network.quantise_input(np.zeros((1, 32, 32), np.float32)))[wanted.output])


def test_quantised_on_a_list_of_images_is_the_same_as_on_their_folder(model):
    paths = find_images(digits.CALIBRATION)[:4]
    listed = model.quantise(paths)
    assert listed.network.provenance["calibration_images"] == 4
    assert listed.network.provenance == model.quantise([array(path) for path in paths]).network.provenance


def test_losses_name_every_layer_but_the_input(net):
    assert [loss.layer for loss in net.losses] == [layer.name for layer in net.network.layers[1:]]
    assert all(loss.snr > 20 for loss in net.losses if loss.op == "Conv")


def test_saved_and_loaded(net, tmp_path):
    path = tmp_path / "digits.fln"
    net.save(path)
    again = fireline.load(path)
    assert np.array_equal(again.classify(IMAGE).probabilities, net.classify(IMAGE).probabilities)
    assert again.quantise() is again
    with pytest.raises(fireline.ModelError, match="digits.fln: is quantised already: size cannot change it"):
        fireline.load(path, size=(16, 16))


def test_exported(net, tmp_path):
    path = tmp_path / "digits_int8.onnx"
    net.export_onnx(path, integers=True)
    assert path.stat().st_size > 10_000


def test_accuracy(net, tmp_path):
    found = net.evaluate(limit=10)
    assert found.images == 10 and found.int8.top1 == found.float.top5 == 1.0
    assert repr(found) == "Accuracy(10 images: int8 top-1 100.00%, top-5 100.00%; float top-1 100.00%, top-5 100.00%)"
    (tmp_path / "9_wrong.png").write_bytes(IMAGE.read_bytes())
    net.save(tmp_path / "net.fln")
    found = fireline.load(tmp_path / "net.fln").evaluate(tmp_path)
    assert (found.images, found.int8.top1, found.float) == (1, float(IMAGE.name[0] == "9"), None)


@pytest.mark.parametrize(("call", "error", "what"), [
    (lambda: fireline.load("squeezenet1_2"), fireline.ModelError, "squeezenet1_2: is no model; did you mean squeezenet1_1"),
    (lambda: fireline.load("missing.onnx"), ValueError, "missing.onnx"),
    (lambda: fireline.load("digits", channels="RGBA"), fireline.ModelError, "digits: channels must be"),
    (lambda: fireline.load("digits").quantise("missing"), fireline.PreprocessError, "missing: is not a folder of images"),
    (lambda: fireline.load("squeezenet:size=32,modules=1,pools=1").quantise().evaluate(), fireline.PreprocessError,
     "only digits"),
])
def test_errors_are_those_of_the_commands_in_one_line(call, error, what):
    with pytest.raises(error) as refused:
        call()
    assert re.search(re.escape(what), str(refused.value)) and "\n" not in str(refused.value)
