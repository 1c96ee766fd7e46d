"""TFLite files that cannot be read each say why, in one line that names the file and the operator, tensor or byte."""
from random import Random
import struct

import numpy as np
import pytest
import tflite

from bench.damage.flatbuffers import TFLITE_MUTATIONS
from bench.damage.mutations import BYTE_MUTATIONS
from nets.float_run import run
from nets.graph import GraphError
from nets.model import ModelError
from nets.tflite import file
from nets.tflite.importer import import_tflite
from tests.nets.tflite.cases import model, op, save, weights

CONV = weights(w=(6, 3, 3, 4), b=(6,))
NAN = {"w": np.full((6, 3, 3, 4), np.nan, np.float32)}


def refusal(path, **options) -> str:
    """The message, without the path before it."""
    with pytest.raises((GraphError, ModelError)) as caught:
        import_tflite(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and all(c.isprintable() or c == "\n" for c in text)
    return text.removeprefix(f"{path}: ")


# name, operators, constants, options of the model, message
OPERATORS = [
    ("unknown", [op("FLOOR", "x")], {}, {}, "y (FLOOR): operator is not supported"),
    ("of one's own", [op("CUSTOM", "x")], {}, {}, "y (CUSTOM Own): operators of one's own are not supported"),
    ("no options", [op("CONV_2D", "x w b", kind="")], CONV, {}, "y (CONV_2D): has no options"),
    ("options of another", [op("CONV_2D", "x w b", kind="AddOptions")], CONV, {}, "y (CONV_2D): has no options"),
    ("NaN", [op("CONV_2D", "x w")], NAN, {}, "y (CONV_2D): w must be finite, but holds NaN or infinity"),
    ("weight left out", [op("CONV_2D", "x - b")], CONV, {}, "y (CONV_2D): input none must be a constant, not left out"),
    ("computed weight", [op("RELU", "x", "r"), op("CONV_2D", "x r")], {}, {},
     "y (CONV_2D): input r must be a constant, not computed from the image"),
    ("constant image", [op("RELU", "x", "r"), op("CONV_2D", "k w", "c"), op("CONCATENATION", "r c", Axis=3)],
     CONV | weights(k=(1, 7, 9, 4)), {}, "c (CONV_2D): input k must be computed from the image, not a constant"),
    ("channels", [op("CONV_2D", "x w")], weights(w=(6, 3, 3, 3)), {},
     "y (CONV_2D): weight of 3 input channels does not fit an image of 4"),
    ("weight of three axes", [op("CONV_2D", "x w")], weights(w=(6, 3, 3)), {},
     "y (CONV_2D): weight must have four axes, not shape (6, 3, 3)"),
    ("bias", [op("CONV_2D", "x w b")], weights(w=(6, 3, 3, 4), b=(5,)), {},
     "y (CONV_2D): bias must have 6 values, not shape (5,)"),
    ("depthwise weight", [op("DEPTHWISE_CONV_2D", "x w")], weights(w=(1, 3, 3, 6)), {},
     "y (DEPTHWISE_CONV_2D): weight must be 1 x height x width x a multiple of 4 channels, not (1, 3, 3, 6)"),
    ("stride 0", [op("MAX_POOL_2D", "x", StrideH=0)], {}, {},
     "y (MAX_POOL_2D): stride must be 2 integers of at least 1, not (0, 1)"),
    ("huge kernel", [op("MAX_POOL_2D", "x", FilterHeight=1 << 30)], {}, {},
     f"y (MAX_POOL_2D): kernel, stride and dilation must be at most 4096, not ({1 << 30}, 2), (1, 1) and (1, 1)"),
    ("padding", [op("MAX_POOL_2D", "x", Padding=2)], {}, {}, "y (MAX_POOL_2D): padding must be SAME or VALID, not 2"),
    ("activation", [op("MAX_POOL_2D", "x", FusedActivationFunction=4)], {}, {},
     "y (MAX_POOL_2D): fused activation 4 is not supported"),
    ("declared otherwise", [op("MAX_POOL_2D", "x", shape=(1, 6, 9, 4))], {}, {},
     "y (MAX_POOL_2D): output is declared as (1, 6, 9, 4), but is (1, 6, 8, 4)"),
    ("mean over channels", [op("MEAN", "x a", KeepDims=True)], {"a": [3]}, {},
     "y (MEAN): mean must be over height and width (axes 1 and 2), not [3] of (1, 7, 9, 4)"),
    ("axis", [op("MEAN", "x a", KeepDims=True)], {"a": [4]}, {}, "y (MEAN): axis must be -4..3, not 4"),
    ("reshape", [op("RESHAPE", "x s")], {"s": [1, 7]}, {}, "y (RESHAPE): cannot reshape (1, 7, 9, 4) to (1, 7)"),
    ("reshape to nothing", [op("RESHAPE", "x s")], {"s": [0, -1]}, {}, "y (RESHAPE): cannot reshape (1, 7, 9, 4) to (0, -1)"),
    ("squeeze", [op("SQUEEZE", "x", SqueezeDims=[1])], {}, {}, "y (SQUEEZE): cannot squeeze axes [1] of (1, 7, 9, 4)"),
    ("order", [op("TRANSPOSE", "x t")], {"t": [0, 1, 1, 3]}, {},
     "y (TRANSPOSE): order must hold each of the 4 axes once, not [0, 1, 1, 3]"),
    ("paddings", [op("PAD", "x p")], {"p": [[0, 0], [-1, 0], [0, 0], [0, 0]]}, {},
     "y (PAD): paddings must be 4 pairs of at least 0, none of the batch, not [0, 0, -1, 0, 0, 0, 0, 0]"),
    ("concatenation of rows", [op("RELU", "x", "r"), op("CONCATENATION", "x r", Axis=1)], {}, {},
     "y (CONCATENATION): axis must be the channels, 3, not 1"),
    ("dense", [op("FULLY_CONNECTED", "x w")], weights(w=(5, 4)), {},
     "y (FULLY_CONNECTED): weight (5, 4) does not fit input (1, 7, 9, 4)"),
    ("shuffled weights", [op("FULLY_CONNECTED", "x w", WeightsFormat=1)], weights(w=(5, 252)), {},
     "y (FULLY_CONNECTED): shuffled weights are not supported"),
    ("product of maps", [op("RELU", "x", "r"), op("MUL", "x r")], {}, {},
     "y (MUL): MUL of two computed tensors is not supported"),
    ("sum of unlike maps", [op("MAX_POOL_2D", "x", "r"), op("ADD", "x r")], {}, {},
     "y (ADD): inputs must have one shape, not (1, 7, 9, 4) and (1, 6, 8, 4)"),
    ("division by a map", [op("DIV", "k x")], {"k": np.float32(1)}, {},
     "y (DIV): division by a computed tensor is not supported"),
    ("division by 0", [op("DIV", "x k")], {"k": np.float32(0)}, {},
     "y (DIV): scale and offset must be finite: the constants overflow or divide by zero"),
    ("constant of rows", [op("MUL", "x k")], weights(k=(7, 1, 1)), {},
     "y (MUL): constant k must be one value or one for each of the 4 channels, not (7, 1, 1)"),
    ("beta", [op("SOFTMAX", "x", Beta=2.0)], {}, {}, "y (SOFTMAX): beta must be 1, not 2.0"),
    ("alpha", [op("LEAKY_RELU", "x", Alpha=float("nan"))], {}, {}, "y (LEAKY_RELU): alpha must be finite, not nan"),
    ("operators of a cycle", [op("ADD", "x b", "a"), op("RELU", "a", "b"), op("RELU", "b")], {}, {},
     "a (ADD): reads b, which no earlier operator produces"),
    ("a constant is produced", [op("RELU", "x", "k"), op("RELU", "k")], weights(k=(1, 7, 9, 4)), {},
     "k (RELU): produces k, which exists already"),
    ("nothing but constants", [op("DEQUANTIZE", "k")], weights(k=(1, 4)), {}, "must have one input, the image, not none"),
    ("integer image", [op("RELU", "x")], {}, {"dtype": "i4"},
     "input 'x' x must be of floats or of 8 bits, not INT32"),
    ("image of 5 axes", [op("RELU", "x")], {}, {"shape": (1, 2, 3, 4, 5)},
     "input 'x' must be batch x height x width x channels, or batch x features, not 5 axes"),
    ("empty image", [op("RELU", "x")], {}, {"shape": (1, 0, 3, 4)}, "input 'x' must have positive sizes, not 1x0x3x4"),
    ("large image", [op("RELU", "x")], {}, {"shape": (1, 5000, 3, 4)},
     "input 'x' must be at most 4096 channels, height and width, not (4, 5000, 3)"),
    ("9 axes", [op("RELU", "x")], {}, {"shape": (1,) * 9}, "tensor 0 has 9 axes"),
]


@pytest.mark.parametrize("ops, constants, options, message", [case[1:] for case in OPERATORS],
                         ids=[case[0] for case in OPERATORS])
def test_operators(tmp_path, ops, constants, options, message):
    assert refusal(save(tmp_path, model(ops, constants, **options))) == message


def test_another_size_of_features(tmp_path):
    path = save(tmp_path, model([op("RELU", "x")], shape=(1, 12)))
    assert refusal(path, size=(4, 4)) == "input 'x' is no image: it has no other size than 12"


def sound() -> bytes:
    return model([op("CONV_2D", "x w b", "c", Padding=0, FusedActivationFunction=1, shape=(1, 7, 9, 6)),
                  op("AVERAGE_POOL_2D", "c", "p", FilterHeight=7, FilterWidth=9, shape=(1, 1, 1, 6)),
                  op("RESHAPE", "p s", "r", shape=(1, 6)), op("SOFTMAX", "r", shape=(1, 6))], CONV | {"s": [1, 6]})


def test_what_is_no_tflite_file(tmp_path):
    assert refusal(tmp_path / "none.tflite") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "is a folder, not a TFLite file"
    assert refusal(save(tmp_path, b"")) == "is empty"
    assert refusal(save(tmp_path, b"12345678")) == "is not a TFLite file: bytes 4 to 7 are not TFL3"
    assert "bytes 4 to 7" in refusal(save(tmp_path, b"1"))


def test_versions_and_empty_graphs(tmp_path):
    root = tflite.Model.GetRootAs(sound())._tab
    data = bytearray(sound())
    struct.pack_into("<I", data, root.Pos + root.Offset(4), 2)
    assert refusal(save(tmp_path, bytes(data))) == "schema must be version 3, not 2"
    data = bytearray(sound())
    struct.pack_into("<I", data, root.Vector(root.Offset(8)) - 4, 0)
    assert refusal(save(tmp_path, bytes(data))) == "holds no graph"
    assert refusal(save(tmp_path, model([], {}, output="x"))) == "its graph has no operators"


def test_truncation_names_the_byte(tmp_path):
    data = sound()
    start = data.index(CONV["w"].tobytes())
    size = CONV["w"].nbytes
    place = next(k for k in range(len(data)) if data[k:k + 4] == struct.pack("<I", size) and k + 4 == start)
    longer = data[:place] + struct.pack("<I", 1 << 30) + data[place + 4:]
    assert refusal(save(tmp_path, longer)) == (f"is damaged or truncated: buffer 1 reaches from byte {start} to "
                                               f"{start + (1 << 30)}, the file ends at byte {len(data)}")
    assert refusal(save(tmp_path, data[:200])).startswith("is damaged or truncated")


def test_shared_vectors_do_not_take_time(tmp_path):
    """A few bytes that all tensors call their name and their shape would be read thousands of times."""
    data = model([op("RELU", "x", f"t{'n' * 400}")], output=f"t{'n' * 400}")
    reader = file._Reader(data)
    reader.left = 100
    with pytest.raises(file._Damage, match="more vectors and names are announced than there are bytes"):
        reader.file()


def test_counts_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "MAX_ENTRIES", 3)
    assert refusal(save(tmp_path, sound())) == "is damaged: it would have 4 buffers, more than 3"


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_load_or_are_refused(tmp_path, seed):
    """Sound pieces of two files, put together wrongly, in all the ways that the bench of damaged files has."""
    data, other = sound(), model([op("FULLY_CONNECTED", "x w b")], weights(w=(5, 12), b=(5,)), shape=(1, 12))
    outcomes = []
    for number, mutate in enumerate((*BYTE_MUTATIONS, *TFLITE_MUTATIONS) * 4):
        rng = Random(f"{seed}-{number}")
        path = save(tmp_path, mutate(data, rng, other))
        try:
            graph = import_tflite(path)
            run(graph, np.zeros(graph.input.shape, np.float32))
            outcomes.append("loaded")
        except (GraphError, ModelError) as error:
            text, more = str(error), len(getattr(error, "problems", ()))
            assert text.startswith(f"{path}: "), f"seed {seed}, {number}: {text}"
            assert text.count("\n") == (more if more > 1 else 0), f"seed {seed}, {number}: {text}"
            assert all(c.isprintable() or c == "\n" for c in text), f"seed {seed}, {number}: {text!r}"
            outcomes.append("refused")
    assert outcomes.count("loaded") > 10 and outcomes.count("refused") > 50
