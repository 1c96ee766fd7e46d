"""The ONNX export, run by ONNX Runtime: the same integers as golden, but for roundings of floats."""

import numpy as np
import onnx
import pytest

from bench.qdq import compare, session
from golden import values
from nets import digits
from nets.export_qdq import main, network_model
from nets.int8.file import load, save
from nets.load import load_model
from nets.preprocess import find_images, load_image
from nets.quantise import quantise, quantise_with, spread, synthetic_images
from tests.nets.operators import every_operator
from tests.nets.spread import spread_network


@pytest.mark.parametrize("fused", [False, True])
def test_every_operator_agrees(fused):
    """Layer by layer: ties of negative values go to even in floats, and the many layers behind amplify them."""
    model = every_operator()
    network = quantise(model, synthetic_images(model.spec, count=32, seed=1))
    images = [model.spec.normalise(pixels) for pixels in synthetic_images(model.spec, count=12, seed=2)]
    record = compare(network, images, fused=fused)
    assert record["layer_by_layer"]["equal"] >= 0.9998 and record["layer_by_layer"]["steps"] <= 1, record["layer_by_layer"]
    assert record["same_top1"] == len(images)


def digit_images(network, count):
    return [network.spec.normalise(load_image(path, network.spec)) for path in spread(find_images(digits.IMAGES), count)]


def test_digits_agrees():
    network = quantise_with(load_model("digits"))
    for fused in (False, True):
        record = compare(network, digit_images(network, 30), fused=fused)
        for how in ("end_to_end", "layer_by_layer"):
            assert record[how]["equal"] >= 0.998, (how, record[how])
        assert record["layer_by_layer"]["steps"] <= 1 and record["same_top1"] == 30


def test_integers_are_the_same_bit_for_bit():
    model = every_operator()
    network = quantise(model, synthetic_images(model.spec, count=8))
    small = quantise_with(load_model("digits"), limit=8)
    for one, images in ((network, [model.spec.normalise(x) for x in synthetic_images(model.spec, count=12, seed=2)]),
                        (small, digit_images(small, 12))):
        record = compare(one, images, fused=False, integers=True)
        assert record["end_to_end"]["equal"] == 1 and record["end_to_end"]["steps"] == 0, record["end_to_end"]
        assert record["layer_by_layer"]["equal"] == 1


def test_squeezenet_agrees_layer_by_layer(data):
    model = load_model(data / "models" / "squeezenet1_1.onnx")
    folder = data / "images" / "imagenet-sample"
    network = quantise_with(model, folder, limit=8)
    images = [model.spec.normalise(load_image(path, model.spec)) for path in spread(find_images(folder), 4)]
    record = compare(network, images, fused=False)
    assert record["layer_by_layer"]["equal"] >= 0.99999 and record["layer_by_layer"]["steps"] <= 1
    assert record["same_top1"] == len(images)


def test_command_writes_a_valid_file(tmp_path):
    path = tmp_path / "digits.onnx"
    assert main(["--calibration-limit", "8", "--out", str(path)]) == 0
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"] and [value.name for value in model.graph.output] == ["scores"]
    network = quantise_with(load_model("digits"), limit=8)
    x = network.spec.normalise(load_image(find_images(digits.IMAGES)[5], network.spec))
    ours = network.dequantise(network.output, values.run(network, network.quantise_input(x))[network.output]).ravel()
    theirs = session(path.read_bytes(), fused=False).run(["scores"], {"image": x[None]})[0][0]
    assert theirs.shape == ours.shape == (10,)
    assert np.abs(ours - theirs).max() <= network.tensors[network.output].scale * 1.01
    again = tmp_path / "again.onnx"
    save(network, tmp_path / "digits.fln")
    assert main(["--model", str(tmp_path / "digits.fln"), "--out", str(again)]) == 0
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("integers", [False, True])
def test_scores_have_the_offset(integers):
    model = spread_network(3, decades=0, scores_at=-70)
    network = quantise(model, synthetic_images(model.spec))
    x = model.spec.normalise(synthetic_images(model.spec, count=1, seed=6)[0])
    ours = network.dequantise(network.output, values.run(network, network.quantise_input(x))[network.output]).ravel()
    content = network_model(network, integers=integers).SerializeToString()
    theirs = session(content, fused=False).run(["scores"], {"image": x[None]})[0][0]
    assert -80 < ours.max() < -60 and np.abs(ours - theirs).max() <= network.tensors[network.output].scale * 1.01


def test_names_that_the_export_uses_may_be_taken():
    model = every_operator()        # whose input is called image
    graph = network_model(quantise(model, synthetic_images(model.spec, count=1))).graph
    assert [value.name for value in graph.input] == ["image_"] and [value.name for value in graph.output] == ["scores"]


def test_files_come_back_with_every_operator(tmp_path):
    model = every_operator()
    network = quantise(model, synthetic_images(model.spec, count=2))
    save(network, tmp_path / "all.fln")
    again = load(tmp_path / "all.fln")
    q = network.quantise_input(model.spec.normalise(synthetic_images(model.spec, count=1, seed=4)[0]))
    ours, theirs = (values.run(one, q, keep=one.by_name) for one in (network, again))
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name])
