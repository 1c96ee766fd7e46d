"""Files that cannot be read each say why, in one line that names the file and the node."""
import os
import re

import numpy as np
from onnx import TensorProto, helper
import pytest

from nets.graph import GraphError
from nets.model import ModelError
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import model, node, save, weights

CONV = weights(w=(6, 4, 3, 3), b=(6,))
NAN = {"w": np.full((6, 4, 3, 3), np.nan, np.float32)}
RELU = [node("Relu", "x", name="r")]


def refusal(path, **options) -> str:
    """The message, without the path before it."""
    with pytest.raises((GraphError, ModelError)) as caught:
        import_onnx(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and all(c.isprintable() or c == "\n" for c in text)
    return text.removeprefix(f"{path}: ")




# name, nodes, constants, options of the model, message
NODES = [
    ("unknown operator", [node("Softplus", "x", name="soft")], {}, {}, r"soft \(Softplus\): operator is not supported"),
    ("unknown domain", [node("Magic", "x", domain="com.example")], {}, {},
     r"y \(Magic\): operator of domain 'com.example' is not supported"),
    ("standard operator of another domain", [node("Relu", "x", domain="com.example")], {}, {},
     r"y \(Relu\): operator of domain 'com.example' is not supported"),
    ("quantised for each image", [node("DynamicQuantizeLinear", "x", "y s z")], {}, {},
     r"y \(DynamicQuantizeLinear\): scales are found anew for each image: quantise statically, or give the float model"),
    ("unknown attribute", [node("Relu", "x", slope=1.0)], {}, {}, r"y \(Relu\): Unrecognized attribute: slope for operator Relu"),
    ("missing input", [node("Conv", "x", name="c")], {}, {}, r"c \(Conv\): .*input size 1 not in range"),
    ("slice of an axis twice", [node("Slice", "x s e a")], {"s": [0, 1], "e": [3, 3], "a": [1, -3]}, {},
     r"y \(Slice\): axes must be named once each, not \[1, -3\]"),
    ("padding of an axis twice", [node("Pad", "x p - a")], {"p": [1, 1, 1, 1], "a": [2, 2]}, {"opset": 18},
     r"y \(Pad\): axes must be named once each, not \[2, 2\]"),
    ("an axis put in twice", [node("Unsqueeze", "x a")], {"a": [0, 0]}, {}, r"y \(Unsqueeze\): axes must be named once each"),
    ("bias of two rows", [node("Flatten", "x", "f"), node("Gemm", "f w b")], weights(w=(252, 3), b=(3, 1)), {},
     r"y \(Gemm\): bias must have 1 or 3 values, not shape \(3, 1\)"),
    ("whole numbers", [node("ArgMax", "x", "m", axis=1), node("Div", "m k", "d"), node("Cast", "d", to=1)], {"k": [2]}, {},
     r"d \(Div\): arithmetic on whole numbers, as an ArgMax has them, is not supported"),
    ("kernel beyond the image, a slice behind", [node("Conv", "x w", "c", name="c"), node("Slice", "c s e a")],
     weights(w=(4, 4, 3, 20)) | {"s": [0], "e": [2], "a": [3]}, {}, r"c \(Conv\): kernel \(3, 20\) .*does not fit 7x9"),
    ("NaN weight", [node("Conv", "x w", name="c")], NAN, {}, r"c \(Conv\): w must be finite, but holds NaN or infinity"),
    ("infinite bias", [node("Conv", "x w b")], CONV | {"b": np.full(6, np.inf, np.float32)}, {},
     r"y \(Conv\): b must be finite, but holds NaN or infinity"),
    ("double beyond float32", [node("Conv", "x w")], {"w": np.full((6, 4, 3, 3), 1e300)}, {}, r"w must be finite"),
    ("computed weight", [node("Relu", "x", "r"), node("Conv", "x r")], {}, {},
     r"y \(Conv\): input r must be a constant, not computed from the image"),
    ("constant image", [node("Relu", "x", "r"), node("Conv", "k w", "c"), node("Add", "r c")],
     weights(k=(1, 4, 7, 9), w=(4, 4, 1, 1)), {}, r"c \(Conv\): input k must be computed from the image, not a constant"),
    ("weight for other channels", [node("Conv", "x w")], weights(w=(6, 3, 3, 3)), {},
     r"y \(Conv\): weight \(6, 3, 3, 3\) in 1 groups does not fit 4 input channels"),
    ("weight of rank 3", [node("Conv", "x w")], weights(w=(6, 4, 3)), {},
     r"y \(Conv\): weight must be out x in x height x width"),
    ("bias of other size", [node("Conv", "x w b")], CONV | weights(b=(5,)), {}, r"bias must have 6 values, not shape \(5,\)"),
    ("kernel_shape of other size", [node("Conv", "x w", kernel_shape=[2, 2])], CONV, {}, r"weight must be out x in x 2 x 2"),
    ("three strides", [node("Conv", "x w", strides=[1, 1, 1])], CONV, {}, r"stride must be 2 integers of at least 1"),
    ("stride of zero", [node("MaxPool", "x", kernel_shape=[2, 2], strides=[0, 1])], {}, {}, r"stride must be 2 integers of at"),
    ("negative padding", [node("Conv", "x w", pads=[0, -1, 0, 0])], CONV, {}, r"padding must be 4 integers of at least 0"),
    ("unknown auto_pad", [node("Conv", "x w", auto_pad="SOME")], CONV, {}, r"auto_pad must be NOTSET, VALID, SAME_UPPER or"),
    ("huge kernel", [node("MaxPool", "x", kernel_shape=[1 << 40, 2])], {}, {}, r"must be at most 4096"),
    ("kernel beyond the image", [node("MaxPool", "x", kernel_shape=[8, 2])], {}, {}, r"kernel \(8, 2\) .*does not fit 7x9"),
    ("padding beyond the kernel", [node("MaxPool", "x", kernel_shape=[2, 2], pads=[2, 0, 0, 0])], {}, {},
     r"padding \(2, 0, 0, 0\) must be smaller than the kernel"),
    ("dilated average", [node("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2])], {}, {"opset": 19},
     r"dilation of an average pool must be 1"),
    ("indices read", [node("MaxPool", "x", "p i", kernel_shape=[1, 1],
     name="m"), node("Cast", "i", "j", to=1), node("Add", "p j")],
     {}, {}, r"m \(MaxPool\): only the first output can be used, not i"),
    ("product of activations", [node("Sigmoid", "x", "s"), node("Mul", "x x")], {}, {}, r"Mul of two computed tensors"),
    ("division by activation", [node("Div", "k x")], {"k": np.float32(1)}, {}, r"division by a computed tensor"),
    ("division by zero", [node("Div", "x k")], {"k": np.float32(0)}, {}, r"scale and offset must be finite"),
    ("constant image added", [node("Add", "x k")], weights(k=(4, 7, 9)), {},
     r"constant k must be one value or one for each of the 4"),
    ("constant along the width, of as many values as channels", [node("Conv", "x w", "c"), node("Add", "c k")],
     weights(w=(9, 4, 1, 1), k=(9,)), {}, r"channels, not \(9,\), which varies along axis 3: make its shape \(9, 1, 1\)"),
    ("no output channels", [node("Conv", "x w", "c", name="c"), node("Concat", "x c", axis=1)], weights(w=(0, 4, 1, 1)), {},
     r"c \(Conv\): output must have positive sizes, not \(0, 7, 9\)"),
    ("sum of other shapes", [node("GlobalAveragePool", "x", "g"), node("Add", "x g")], {}, {}, r"inputs must have one shape"),
    ("concat over height", [node("Concat", "x x", axis=2)], {}, {}, r"axis must be 1, the channels, not 2"),
    ("mean over channels", [node("ReduceMean", "x", axes=[1])], {}, {}, r"mean must be over height and width"),
    ("mean over everything", [node("ReduceMean", "x")], {}, {}, r"mean must be over height and width .* not all axes"),
    ("training batch norm", [node("BatchNormalization", "x s s s s", training_mode=1)], {"s": np.ones(4, np.float32)},
     {"opset": 15}, r"is in training mode: export the model in evaluation mode"),
    ("negative variance", [node("BatchNormalization", "x s s s v")],
     {"s": np.ones(4, np.float32), "v": np.full(4, -1, np.float32)}, {}, r"variance must be positive"),
    ("batch norm of other shapes", [node("BatchNormalization", "x s s s v")],
     {"s": np.ones(4, np.float32), "v": np.ones(5, np.float32)}, {}, r"must have one shape"),
    ("training dropout", [node("Dropout", "x - t")], {"t": np.array(True)}, {}, r"is in training mode"),
    ("linear of an image", [node("Gemm", "x w")], weights(w=(4, 5)), {}, r"must be batch x features, not \(1, 4, 7, 9\)"),
    ("linear of other size", [node("Flatten", "x", "f"), node("Gemm", "f w")], weights(w=(4, 5)), {},
     r"does not fit input \(252,\)"),
    ("transposed input", [node("Flatten", "x", "f"), node("Gemm", "f w", transA=1)], weights(w=(252, 5)), {},
     r"transA must be 0"),
    ("softmax over width", [node("Softmax", "x")], {}, {}, r"softmax must be over the channels, not over axis 3"),
    ("softmax over all", [node("Softmax", "x")], {}, {"opset": 11}, r"softmax must be over the channels, not over axis 1"),
    ("clip upside down", [node("Clip", "x a b")], {"a": np.float32(1), "b": np.float32(0)}, {}, r"low must not exceed high"),
    ("clip by two numbers", [node("Clip", "x a")], weights(a=(2,)), {}, r"input a must be one constant number"),
    ("reflected padding", [node("Pad", "x p", "q", mode="reflect"), node("Conv", "q w")], CONV | {"p": [0, 0, 1, 1, 0, 0, 1, 1]},
     {}, r"q \(Pad\): padding must be constant, not 'reflect'"),
    ("negative padding of an image", [node("Pad", "x p", "q"), node("Conv", "q w")], CONV | {"p": [0, 0, -1, 1, 0, 0, 1, 1]}, {},
     r"q \(Pad\): pads must add to channels, height and width"),
    ("padding of the batch", [node("Pad", "x p", "q"), node("Conv", "q w")], CONV | {"p": [0, 0, 0, 0, 1, 0, 0, 0]}, {},
     r"q \(Pad\): pads must add to channels, height and width"),
    ("reshape to other size", [node("Reshape", "x t")], {"t": [1, 5]}, {}, r"cannot reshape \(1, 4, 7, 9\) to \(1, 5\)"),
    ("reshape with two open axes", [node("Reshape", "x t")], {"t": [-1, -1]}, {}, r"cannot reshape"),
    ("computed reshape", [node("Flatten", "x", "f"), node("Cast", "f", "t", to=7), node("Reshape", "x t")], {}, {},
     r"t \(Cast\): a computed tensor can be cast to a float type only"),
    ("perm not a permutation", [node("Transpose", "x", perm=[0, 1, 1, 3])], {}, {}, r"perm must hold each of the 4 axes once"),
    ("squeeze of a long axis", [node("Squeeze", "x a")], {"a": [2]}, {}, r"cannot squeeze axes \[2\]"),
    ("axis beyond the rank", [node("Concat", "x x", axis=7)], {}, {}, r"axis must be -4..3, not 7"),
    ("unfoldable constants", [node("Gather", "t i", "s"), node("Reshape", "x s")], {"t": [1, 2], "i": [9]}, {},
     r"s \(Gather\): cannot be computed from its constants"),
    ("huge computed constant", [node("Expand", "k n", "w"), node("Conv", "x w")],
     {"k": np.float32(1), "n": [1 << 20, 1 << 20]},
     {}, r"w \(Expand\): would compute a constant of more than 268435456 elements"),
    ("huge ConstantOfShape", [node("ConstantOfShape", "n", "w"), node("Conv", "x w")], {"n": [1 << 40, 4, 3, 3]}, {},
     r"w \(ConstantOfShape\): shape .* has more than 268435456 elements"),
    ("endless range", [node("Range", "a b a", "w"), node("Reshape", "x w")], {"a": np.float32(0), "b": np.float32(9)}, {},
     r"w \(Range\): range must be finite with a step"),
    ("broadcast blow-up", [node("Mul", "a b", "w"), node("Conv", "x w")],
     {"a": np.ones((1 << 15, 1), np.float32), "b": np.ones((1, 1 << 15), np.float32)},
     {}, r"w \(Mul\): would compute a constant"),
    ("huge activation", [node("Conv", "x w", pads=[4000] * 4)], weights(w=(6, 4, 1, 1)), {}, r"has more than 268435456 elements"),
    ("cycle", [node("Add", "x b", "a", name="one"), node("Relu", "a", "b", name="two"), node("Relu", "b")], {}, {},
     r"one \(Add\): is part of a cycle of 2 nodes: (one -> two|two -> one)"),
    ("reads itself", [node("Add", "x y", name="self")], {}, {}, r"self \(Add\): is part of a cycle of 1 nodes: self"),
    ("reads nothing", [node("Add", "x ghost", name="a")], {}, {}, r"a \(Add\): reads ghost, which nothing produces"),
    ("produced twice", [node("Relu", "x", name="a"), node("Relu", "x", name="b")], {}, {},
     r"b \(Relu\): produces y, which exists"),
    ("output from nowhere", [node("Relu", "x", "z")], {}, {}, r"y \(output\): is produced by no node"),
    ("constant output", [node("Relu", "x", "r"), node("Shape", "r")], {}, {}, r"y \(output\): does not depend on the image"),
    ("empty Constant", [node("Constant", "", "k"), node("Mul", "x k")], {}, {}, r"k \(Constant\): must have one value, not 0"),
    ("text Constant", [node("Constant", "", "k", value_string="a"), node("Mul", "x k")], {}, {}, r"value 'value_string' is not"),
]


@pytest.mark.parametrize("nodes, constants, options, message", [case[1:] for case in NODES], ids=[case[0] for case in NODES])
def test_node_that_cannot_be_mapped(tmp_path, nodes, constants, options, message):
    assert re.match(f"[^\n]*{message}[^\n]*$", refusal(save(tmp_path, model(nodes, constants, **options))))


def test_all_problems_are_listed_and_successors_are_not_blamed(tmp_path):
    nodes = [node("Erf", "x", "a", name="one"), node("Relu", "a", "b"), node("Celu", "b", "c", name="two"),
             node("Conv", "x w", "d", name="three", pads=[1, 1, 1, 1]), node("Add", "c d")]
    assert refusal(save(tmp_path, model(nodes, {"w": np.full((4, 4, 3, 3), np.nan, np.float32)}))) == (
        "3 problems\n  one (Erf): operator is not supported\n  two (Celu): operator is not supported\n"
        "  three (Conv): w must be finite, but holds NaN or infinity")


def test_files_that_are_no_files(tmp_path):
    assert refusal(tmp_path / "none.onnx") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "is a folder, not an ONNX file"
    os.mkfifo(tmp_path / "pipe.onnx")
    assert refusal(tmp_path / "pipe.onnx") == "is not a file"
    with pytest.raises(ModelError, match="cannot be read: .*null"):
        import_onnx("a\0b.onnx")


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "is (not an ONNX file|damaged .*|truncated .*)"),
    (b'{"a": 1}', "is not an ONNX file"),
    (b"PK\x03\x04" + bytes(60), "is not an ONNX file|is damaged .*"),
    (b"\x08\x07", "is not an ONNX file: it holds no graph"),
    (b"\x3a\x00", "its graph has no nodes"),
])
def test_content_that_is_not_onnx(tmp_path, content, message):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert re.fullmatch(message, refusal(path))


def test_truncated_file_says_where(tmp_path):
    content = model([node("Conv", "x w b")], CONV).SerializeToString()
    path = tmp_path / "net.onnx"
    for length in (1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert re.match(r"is truncated at byte \d+, in ModelProto\.|is not an ONNX file: it holds no graph", refusal(path))
    path.write_bytes(content[:len(content) // 2])
    assert re.search(r"ModelProto\.graph: \d+ bytes are announced, \d+ are left", refusal(path))


def test_damaged_message_says_where(tmp_path):
    content = bytearray(model(RELU).SerializeToString())
    place = content.index(b"\x0a\x01x\x12")        # input of the node: length 1
    content[place + 1] = 100
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert re.match(rf"is damaged at byte {place}, in NodeProto\.input: 100 bytes are announced, \d+ are left", refusal(path))


def test_names_that_are_no_text(tmp_path):
    content = model([node("Relu", "x", name="q7q")]).SerializeToString().replace(b"q7q", b"q\xffq")
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert refusal(path) == "is damaged: node 0 has a name that is not text"


def test_model_without_outputs(tmp_path):
    proto = model(RELU)
    del proto.graph.output[:]
    assert refusal(save(tmp_path, proto)) == "its graph has no outputs"


def test_control_characters_in_reasons(tmp_path):
    """ONNX's checker quotes names from the file."""
    proto = model([node("Relu", "x", slope=1.0)])
    proto.graph.node[0].attribute[0].name = "a\x0eb\nc"
    assert refusal(save(tmp_path, proto)).isprintable()


@pytest.mark.parametrize("versions, message", [
    ([6], r"operator set must be version 7 to \d+, not 6"), ([9999], r"operator set must be version 7 to \d+, not 9999"),
    ([], "must import one version of the standard operators, not none"), ([9, 13], r"must import one version .*, not \[9, 13\]")])
def test_operator_sets(tmp_path, versions, message):
    proto = model(RELU)
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid("", version) for version in versions)
    assert re.fullmatch(message, refusal(save(tmp_path, proto)))


@pytest.mark.parametrize("shape, kind, message", [
    ((1, 3, 8), TensorProto.FLOAT, "input 'x' must be batch x channels x height x width, not 3 axes"),
    ((1, 4, 7, 9), TensorProto.INT64, "input 'x' must be a float tensor, not INT64"),
    ((1, 4, 7, 9), TensorProto.UINT8, "input 'x' must be a float tensor, not UINT8"),
    ((1, "c", 7, 9), TensorProto.FLOAT, "input 'x' has an open number of channels: give --channels"),
    ((1, 4, "h", 9), TensorProto.FLOAT, "input 'x' has an open height or width: give --size"),
    ((1, 4, 7, None), TensorProto.FLOAT, "input 'x' has an open height or width: give --size"),
    ((1, 4, 0, 9), TensorProto.FLOAT, "input 'x' must have positive sizes, not 1x4x0x9"),
    ((1, 4, -3, 9), TensorProto.FLOAT, "input 'x' must have positive sizes, not 1x4x-3x9"),
    ((1, 4, 1 << 20, 9), TensorProto.FLOAT, r"input 'x' must be at most 4096 channels, height and width, not .*"),
])
def test_inputs(tmp_path, shape, kind, message):
    assert re.fullmatch(message, refusal(save(tmp_path, model(RELU, shape=shape, kind=kind))))


def test_several_inputs(tmp_path):
    proto = model([node("Add", "x z")])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4, 7, 9]))
    assert refusal(save(tmp_path, proto)) == "must have one input, the image, not 2: x, z"
    proto = model([node("Relu", "k")], weights(k=(1, 4, 7, 9)))
    assert refusal(save(tmp_path, proto)) == "must have one input, the image, not none"


@pytest.mark.parametrize("change, message", [
    ({"dims": (6, 4, 3, 4)}, "w (initializer): shape (6, 4, 3, 4) needs 1152 bytes, but 864 are stored"),
    ({"dims": (6, 4, 3, -3)}, "w (initializer): shape must not be negative, not (6, 4, 3, -3)"),
    ({"dims": (1 << 62, 1 << 62)}, f"w (initializer): shape ({1 << 62}, {1 << 62}) has more than 268435456 elements"),
    ({"data_type": TensorProto.STRING}, "w (initializer): element type STRING is not supported"),
    ({"data_type": 99}, "w (initializer): element type 99 is not supported"),
    ({"data_type": TensorProto.BOOL}, "w (initializer): shape (6, 4, 3, 3) needs 216 bytes, but 864 are stored"),
])
def test_stored_tensors(tmp_path, change, message):
    proto = model([node("Conv", "x w")], {"w": CONV["w"]})
    tensor = proto.graph.initializer[0]
    if "dims" in change:
        del tensor.dims[:]
        tensor.dims.extend(change["dims"])
    else:
        tensor.data_type = change["data_type"]
    assert refusal(save(tmp_path, proto)) == message


def test_two_initializers_of_one_name(tmp_path):
    proto = model([node("Conv", "x w")], {"w": CONV["w"]})
    proto.graph.initializer.append(proto.graph.initializer[0])
    assert refusal(save(tmp_path, proto)) == "two initializers have one name"


@pytest.mark.parametrize("entries, message", [
    ({"location": "gone.bin"}, "external data 'gone.bin' is missing"),
    ({"location": "."}, "external data '.' is missing"),
    ({}, "external data must lie beside the model, not in ''"),
    ({"location": "/dev/zero"}, "external data must lie beside the model, not in '/dev/zero'"),
    ({"location": "../weights.bin"}, "external data must lie beside the model, not in '../weights.bin'"),
    ({"location": "weights.bin", "offset": "-1"}, "offset of external data must be a number of bytes, not '-1'"),
    ({"location": "weights.bin", "length": "many"}, "length of external data must be a number of bytes, not 'many'"),
    ({"location": "weights.bin", "length": "8"}, "shape (6, 4, 3, 3) needs 864 bytes of external data, not 8"),
    ({"location": "weights.bin", "offset": "800"}, "external data 'weights.bin' ends at byte 1000, before byte 1664"),
])
def test_external_data(tmp_path, entries, message):
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    proto = model([node("Conv", "x w", name="c")], {"w": CONV["w"]})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    assert refusal(save(tmp_path, proto)) == f"w (initializer): {message}"
