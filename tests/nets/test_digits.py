"""The embedded default: what is in the folder fits together, is small, and recognises digits."""
import json
import re

import numpy as np
import onnxruntime
import pytest

from nets import digits
from nets.graph import Conv, Input, MaxPool
from nets.preprocess import find_images, load_image
from nets.zoo import catalogue as zoo
from nets.zoo.squeezenet import squeezenet


@pytest.fixture(scope="module")
def model():
    return zoo.load("digits")


def labelled(folder):
    """{index in the data set: class} from the names of the images."""
    names = [re.fullmatch(r"(\d)_(\d{4})\.png", path.name) for path in find_images(folder)]
    return {int(name[2]): int(name[1]) for name in names}


def test_file_holds_the_network_of_the_configuration(model):
    expected = squeezenet(digits.CONFIG, name="digits")
    assert [(layer.name, layer.op, layer.inputs) for layer in model.graph.layers] == [
        (layer.name, layer.op, layer.inputs) for layer in expected.layers]
    assert model.graph.shapes == expected.shapes and model.graph.parameters == 40_346
    assert model.labels == tuple("0123456789") and model.notes == ()


def test_file_is_under_300_kb():
    assert digits.MODEL.stat().st_size < 300_000


def test_weights_and_all_activations_fit_the_smallest_ecp5(model):
    """56 blocks of 2 KiB, of which 126 KB may be used: int8 weights, int32 biases, uint8 tensors
    that convolutions and pools write, and the image."""
    graph = model.graph
    weights = sum(layer.weight.size + 4 * layer.bias.size for layer in graph.layers
                  if isinstance(layer, Conv))
    tensors = sum(int(np.prod(graph.shapes[layer.name])) for layer in graph.layers
                  if isinstance(layer, Conv | Input | MaxPool))
    assert weights + tensors <= 0.6 * 56 * 2048         # the rest is program and queues


def test_images_are_held_out():
    held_out, calibration = labelled(digits.IMAGES), labelled(digits.CALIBRATION)
    assert (len(held_out), len(calibration)) == (360, 64)
    assert not held_out.keys() & calibration.keys()
    assert np.bincount(list(held_out.values())).min() >= 34      # every class in its share
    training = json.loads(digits.MODEL.with_suffix(".json").read_text())["training"]
    assert (training["held_out"], training["trained_on"], training["seed"]) == (360, 1437, 0)


def test_held_out_images_are_recognised(model):
    session = onnxruntime.InferenceSession(digits.MODEL, providers=["CPUExecutionProvider"])
    right = 0
    for path in find_images(digits.IMAGES):
        image = model.spec.normalise(load_image(path, model.spec))
        logits, = session.run(None, {"input": image[None]})
        right += int(logits.argmax()) == int(path.name[0])
    training = json.loads(digits.MODEL.with_suffix(".json").read_text())["training"]
    assert right == training["held_out_right"] and right >= 0.985 * 360
