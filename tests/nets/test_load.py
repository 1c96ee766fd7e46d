"""Models by name and by file: side files, flags that override them, and what is said when there is none."""
import argparse
import json
import re
import shutil

import numpy as np
import pytest

from nets import digits
from nets.graph import GraphError
from nets.load import add_model_arguments, load_model, model_from_arguments
from nets.model import ModelError
from nets.preprocess import InputSpec, PreprocessError
from tests.nets.onnx.cases import model, node, save, weights

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture
def rgb(tmp_path):
    """An ONNX file for 3x8x12 images with 5 outputs, without a side file."""
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "p"), node("Flatten", "p")]
    return save(tmp_path, model(nodes, weights(w=(5, 3, 3, 3)), shape=(1, 3, 8, 12)), "rgb.onnx")


@pytest.fixture
def grey(tmp_path):
    return save(tmp_path, model([node("Relu", "x")], shape=(1, 1, 8, 8)), "grey.onnx")


def with_side(path, **record):
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def test_without_a_side_file_imagenet_is_assumed_and_said(rgb):
    loaded = load_model(rgb)
    assert loaded.spec == InputSpec(size=(8, 12), resize=14, **IMAGENET)
    assert loaded.labels == () and loaded.name == "rgb"
    assert re.fullmatch(r"rgb.onnx: no side file rgb.json: images are prepared as ImageNet's .*", loaded.notes[0])


def test_one_channel_is_grey(grey):
    loaded = load_model(str(grey))
    assert loaded.spec == InputSpec(size=(8, 8), channels="L", mean=(0.0,), std=(1.0,))
    assert re.fullmatch(r"grey.onnx: no side file grey.json: images are prepared as grey in 0..1", loaded.notes[0])


def test_other_channels_need_another_network(tmp_path):
    with pytest.raises(ModelError, match=r"net.onnx: images have 1 or 3 channels, but the network reads 2"):
        load_model(save(tmp_path, model([node("Relu", "x")], shape=(1, 2, 8, 8))))


def test_side_file_beside_the_model(rgb):
    with_side(rgb, input={"size": [8, 12], "channels": "BGR", "scale": 1, "mean": [1, 2, 3]}, labels=list("abcde"))
    loaded = load_model(rgb)
    assert loaded.spec == InputSpec(size=(8, 12), channels="BGR", scale=1, mean=(1, 2, 3))
    assert loaded.labels == tuple("abcde") and not loaded.notes


def test_side_file_says_where_classes_begin(rgb):
    assert load_model(with_side(rgb, first_class=4)).first_class == 4 and load_model(with_side(rgb)).first_class == 0
    with pytest.raises(ModelError, match="rgb.json: first_class must be one of 5 outputs, not 5"):
        load_model(with_side(rgb, first_class=5))


def test_side_file_of_other_name(rgb, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"input": {"size": [8, 12], "scale": 2.0}}))
    assert load_model(rgb, side_file=other).spec.scale == 2.0
    with pytest.raises(PreprocessError, match=r"gone.json: cannot be read"):
        load_model(rgb, side_file=tmp_path / "gone.json")


def test_side_file_without_input_keeps_the_usual(rgb):
    with_side(rgb, labels=list("abcde"))
    loaded = load_model(rgb)
    assert loaded.spec.mean == IMAGENET["mean"] and loaded.labels == tuple("abcde")


def test_flags_override_the_side_file(rgb, tmp_path):
    with_side(rgb, input={"size": [8, 12], "resize": 24}, labels=list("abcde"))
    names = tmp_path / "names.txt"
    names.write_text("v\nw\nx\ny\nz\n")
    loaded = load_model(rgb, size=(16, 24), channels="BGR", mean=(1, 2, 3), std=[4, 5, 6], scale=0.5, resize=30, labels=names)
    assert loaded.spec == InputSpec(size=(16, 24), channels="BGR", scale=0.5, mean=(1, 2, 3), std=(4, 5, 6), resize=30)
    assert loaded.graph.input.shape == (3, 16, 24) and loaded.labels == tuple("vwxyz")
    assert load_model(rgb, size=(16, 24)).spec.resize == 48


def test_flags_for_the_mean_need_no_note(rgb):
    assert load_model(rgb, mean=(0, 0, 0), std=(1, 1, 1)).notes == ()


def test_open_size_comes_from_the_side_file_or_the_flag(tmp_path):
    path = save(tmp_path, model([node("Relu", "x")], shape=("n", "c", "h", "w")))
    with pytest.raises(ModelError, match="open number of channels: give --channels"):
        load_model(path)
    with pytest.raises(ModelError, match="open height or width: give --size"):
        load_model(path, channels="L")
    assert load_model(path, channels="L", size=(5, 6)).graph.input.shape == (1, 5, 6)
    with_side(path, input={"size": [9, 7]})
    assert load_model(path).graph.input.shape == (3, 9, 7)


def test_side_file_that_contradicts_the_model(rgb):
    with_side(rgb, input={"size": [9, 12]})
    with pytest.raises(ModelError, match=r"rgb: reads \(3, 8, 12\), but its images are prepared as \(3, 9, 12\)"):
        load_model(rgb)
    with pytest.raises(ModelError, match=r"rgb: reads \(3, 8, 12\), but its images are prepared as \(1, 8, 12\)"):
        load_model(rgb, size=(8, 12), channels="L")


@pytest.mark.parametrize("fields, message", [
    ({"mean": (1, 2)}, "mean must be 3 finite numbers"), ({"std": (0, 1, 1)}, "scale and std must be finite and not 0"),
    ({"scale": float("nan")}, "scale and std must be finite"), ({"channels": "CMY"}, "channels must be one of RGB, BGR, L"),
    ({"resize": 3}, "resize must be at least the crop of 12 pixels"), ({"resize": -1}, "resize must be 0..8192 pixels"),
])
def test_flags_out_of_range(rgb, fields, message):
    with pytest.raises(ModelError, match=f"^{re.escape(str(rgb))}: {message}"):
        load_model(rgb, **fields)


def test_labels_of_other_number_are_told(rgb):
    with_side(rgb, input={"size": [8, 12]}, labels=["a", "b"])
    assert load_model(rgb).notes == ("rgb.onnx: 2 labels for 5 outputs",)


def test_labels_that_cannot_be_read(rgb, tmp_path):
    with pytest.raises(ModelError, match="gone.txt: labels cannot be read: No such file"):
        load_model(rgb, labels=tmp_path / "gone.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ModelError, match="bad.txt: labels cannot be read: .*utf-8"):
        load_model(rgb, labels=tmp_path / "bad.txt")


@pytest.mark.parametrize("name, message", [
    ("digit", "digit: is no model; did you mean digits[?] The zoo has digits, .*; a file must end in .onnx, .tflite, .net or"),
    ("zzz", "zzz: is no model; The zoo has digits"),
    ("weights.pt", "weights.pt: a model file must end in .onnx, .tflite or .net"),
    ("some/where", "some/where: a model file must end in .onnx, .tflite or .net"),
    ("net.fln", "net.fln: no such file"),
    ("gone.onnx", "gone.onnx: cannot be read: No such file or directory"),
    ("", ": is no model"),
])
def test_unknown_models(name, message):
    with pytest.raises(ModelError, match=f"^{message}"):
        load_model(name)


def test_zoo_by_name_and_with_flags():
    assert load_model("digits").name == "digits"
    changed = load_model("digits", size=(40, 48), scale=1.0)
    assert changed.graph.input.shape[1:] == changed.spec.size == (40, 48) and changed.spec.scale == 1.0
    with pytest.raises(GraphError, match="does not fit"):
        load_model("digits", size=(2, 2))


def test_digits_file_loads_as_the_name_does(tmp_path):
    named, file = load_model("digits"), load_model(digits.MODEL)
    assert (named.spec, named.labels) == (file.spec, file.labels)
    shutil.copy(digits.MODEL, tmp_path / "COPY.ONNX")
    assert load_model(tmp_path / "COPY.ONNX").graph.parameters == named.graph.parameters


def test_shared_models(data):
    loaded = load_model(data / "models" / "squeezenet1_1.onnx")
    assert loaded.spec == InputSpec(size=(224, 224), resize=256, **IMAGENET)
    assert len(loaded.labels) == 1000 and loaded.notes == ()
    packed = load_model(data / "models" / "deep-compression" / "compressed_SqueezeNet.net")
    unpacked = load_model(data / "models" / "squeezenet1_0_deepcomp.onnx")
    assert packed.graph.parameters == unpacked.graph.parameters == 1_248_424
    sizes = load_model(data / "models" / "squeezenet1_1.onnx", size=(128, 160))
    assert sizes.spec.resize == 183 and sizes.graph.shapes[sizes.graph.output] == (1000,)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return parser.parse_args(words)


def test_arguments(rgb, tmp_path):
    assert model_from_arguments(arguments()).name == "digits"
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne")
    args = arguments("--model", str(rgb), "--size", "16x20", "--channels", "BGR", "--mean=-1,0.5,1/4", "--std", "1,2,3",
                     "--scale", "1/255", "--resize", "0", "--labels", str(names))
    loaded = model_from_arguments(args)
    assert loaded.spec == InputSpec(size=(16, 20), channels="BGR", mean=(-1, 0.5, 0.25), std=(1, 2, 3), scale=1 / 255)
    assert loaded.labels == tuple("abcde")
    assert arguments("--size", "32").size == (32, 32)


@pytest.mark.parametrize("words", [("--size", "3x4x5"), ("--size", "-3"), ("--size", "1e3"), ("--size", "x"), ("--mean", "a"),
                                   ("--scale", "1/0"), ("--scale", ""), ("--channels", "RGBA"), ("--resize", "1.5")])
def test_arguments_that_are_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        arguments(*words)
    assert caught.value.code == 2 and words[0] in capsys.readouterr().err


def test_a_loaded_model_runs(rgb):
    from nets.float_run import run
    loaded = load_model(rgb)
    assert run(loaded.graph, np.zeros(loaded.spec.shape, np.float32))[loaded.graph.output].shape == (5,)
