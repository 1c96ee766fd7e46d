"""Every ONNX operator and variant that is read, against ONNX Runtime on the same file."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

from nets.float_run import run
from nets.graph import Conv
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import agree, model, node, runtime, save, weights

CONV = weights(w=(6, 4, 3, 3), b=(6,))
BN = weights(s=(4,), o=(4,), m=(4,)) | {"v": np.array([0.5, 1, 2, 3], np.float32)}
BN6 = weights(s=(6,), o=(6,), m=(6,)) | {"v": np.array([0.5, 1, 2, 3, 4, 5], np.float32)}
FLAT = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f")]

# name, operator set, nodes, constants, operators that the graph has after its input
CASES = [
    ("conv", 7, [node("Conv", "x w b", kernel_shape=[3, 3])], CONV, "Conv"),
    ("conv without bias or kernel_shape", 13, [node("Conv", "x w")], CONV, "Conv"),
    ("conv with stride, pads, dilation", 11, [node("Conv", "x w b", strides=[2, 1], pads=[1, 0, 2, 3], dilations=[1, 2])], CONV,
     "Conv"),
    ("conv same upper", 11, [node("Conv", "x w b", strides=[2, 2], auto_pad="SAME_UPPER")], CONV, "Conv"),
    ("conv same lower, even kernel", 11, [node("Conv", "x w", strides=[1, 3], auto_pad="SAME_LOWER")],
     weights(w=(5, 4, 2, 4)), "Conv"),
    ("conv valid", 11, [node("Conv", "x w", auto_pad="VALID")], CONV, "Conv"),
    ("conv in groups", 13, [node("Conv", "x w", group=2)], weights(w=(6, 2, 3, 3)), "Conv"),
    ("conv depthwise", 13, [node("Conv", "x w", group=4, pads=[1, 1, 1, 1], strides=[2, 2])], weights(w=(8, 1, 3, 3)), "Conv"),
    ("max pool", 8, [node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])], {}, "MaxPool"),
    ("max pool ceil", 10, [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1)], {}, "MaxPool"),
    ("max pool dilated", 12, [node("MaxPool", "x", kernel_shape=[2, 3], dilations=[3, 2])], {}, "MaxPool"),
    ("max pool same upper", 12, [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")],
     {}, "MaxPool"),
    ("max pool with indices nobody reads", 12, [node("MaxPool", "x", "y i", kernel_shape=[2, 2])], {}, "MaxPool"),
    ("average pool", 7, [node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])], {}, "AvgPool"),
    ("average pool counts padding", 11, [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 2, 0, 1], count_include_pad=1)],
     {}, "AvgPool"),
    ("average pool ceil", 19, [node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 4], ceil_mode=1)], {}, "AvgPool"),
    ("average pool ceil counts padding", 19,
     [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 3], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)], {},
     "AvgPool"),
    ("average pool same lower", 11, [node("AveragePool", "x", kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_LOWER")], {},
     "AvgPool"),
    ("global pools", 13, [node("GlobalAveragePool", "x", "a"), node("GlobalMaxPool", "x", "b"), node("Concat", "a b", axis=1)],
     {}, "GlobalAvgPool MaxPool Concat"),
    ("reduce mean, axes attribute", 13, [node("ReduceMean", "x", axes=[2, 3])], {}, "GlobalAvgPool"),
    ("reduce mean, axes input", 18, [node("ReduceMean", "x a", keepdims=0)], {"a": [-1, -2]}, "GlobalAvgPool Flatten"),
    ("batch norm folds", 9, [node("Conv", "x w b", "c"), node("BatchNormalization", "c s o m v", epsilon=1e-3)],
     CONV | BN6, "Conv"),
    ("batch norm folds, operator set 7", 7, [node("Conv", "x w", "c"), node("BatchNormalization", "c s o m v")],
     CONV | BN6, "Conv"),
    ("batch norm alone", 15, [node("BatchNormalization", "x s o m v", "n"), node("Relu", "n")], BN, "Affine Relu"),
    ("batch norm after a shared conv", 13,
     [node("Conv", "x w", "c"), node("BatchNormalization", "c s o m v", "n"), node("Add", "c n")], CONV | BN6, "Conv Affine Add"),
    ("batch norm, then mul and add", 9,
     [node("BatchNormalization", "x s o m v", "n"), node("Unsqueeze", "k", "k1", axes=[1, 2]), node("Mul", "n k1", "p"),
      node("Add", "q p")], BN | weights(k=(4,), q=(1, 4, 1, 1)), "Affine"),
    ("affine by constants", 13,
     [node("Sub", "x a", "p"), node("Div", "p b", "q"), node("Sub", "a q", "r"), node("Mul", "c r", "s"), node("Sum", "s a")],
     {"a": np.float32(0.3), "b": np.full((4, 1, 1), 2.0, np.float32), "c": np.full((1, 1, 1, 1), 3.0, np.float32)}, "Affine"),
    ("relu and clip attributes", 6 + 1, [node("Relu", "x", "r"), node("Clip", "r", min=0.1, max=0.7)], {}, "Relu Clip"),
    ("clip inputs", 11, [node("Clip", "x a b")], {"a": np.float32(-0.5), "b": np.float32(0.5)}, "Clip"),
    ("clip above only", 13, [node("Clip", "x - b")], {"b": np.float32(0.5)}, "Clip"),
    ("clip from zero is relu", 13, [node("Clip", "x a")], {"a": np.float32(0)}, "Relu"),
    ("add, sum, concat", 13,
     [node("Relu", "x", "r"), node("Add", "x r", "a"), node("Sum", "a x r a", "s"), node("Sum", "s", "t"),
      node("Concat", "s t x", axis=-3)], {}, "Relu Add Add Add Add Concat"),
    ("gemm", 7, [*FLAT, node("Gemm", "f w b", transB=1)], weights(w=(5, 4), b=(5,)), "GlobalAvgPool Flatten Linear"),
    ("gemm, alpha, beta, no transpose", 11, [*FLAT, node("Gemm", "f w b", alpha=0.5, beta=2.0)], weights(w=(4, 5), b=(1, 5)),
     "GlobalAvgPool Flatten Linear"),
    ("gemm without bias, of an image", 13, [node("Flatten", "x", "f"), node("Gemm", "f w")], weights(w=(4 * 63, 3)),
     "Flatten Linear"),
    ("matmul and add, batch norm of features", 13,
     [*FLAT, node("MatMul", "f w", "l"), node("Add", "l b", "q"), node("BatchNormalization", "q s o m v")],
     weights(w=(4, 6), b=(6,)) | BN6, "GlobalAvgPool Flatten Linear"),
    ("batch norm of features", 13, [*FLAT, node("BatchNormalization", "f s o m v")], BN, "GlobalAvgPool Flatten Affine"),
    ("lrn", 13, [node("LRN", "x", size=3, alpha=0.5, beta=0.6, bias=1.5)], {}, "LRN"),
    ("softmax of an image, old axis", 9, [node("GlobalAveragePool", "x", "p"), node("Softmax", "p")],
     {}, "GlobalAvgPool Softmax"),
    ("softmax of features", 13, [*FLAT, node("Softmax", "f")], {}, "GlobalAvgPool Flatten Softmax"),
    ("softmax over channels", 13, [node("Softmax", "x", axis=1)], {}, "Softmax"),
    ("dropout and identity", 10, [node("Identity", "x", "i"), node("Dropout", "i", "y m", ratio=0.4)], {}, "Dropout"),
    ("dropout with inputs", 13, [node("Dropout", "x r t")], {"r": np.float32(0.5), "t": np.array(False)}, "Dropout"),
    ("pad folded into conv", 11, [node("Pad", "x p", "q"), node("Conv", "q w", pads=[0, 0, 1, 0])],
     CONV | {"p": [0, 0, 1, 2, 0, 0, 0, 1]}, "Conv"),
    ("pad attribute folded into conv", 7, [node("Pad", "x", "q", pads=[0, 0, 1, 2, 0, 0, 0, 1]), node("Conv", "q w")],
     CONV, "Conv"),
    ("pad with axes, same conv", 18, [node("Pad", "x p - a", "q"), node("Conv", "q w", strides=[2, 2], auto_pad="SAME_UPPER")],
     CONV | {"p": [1, 2], "a": [-1]}, "Conv"),
    ("pad folded into average pool", 11, [node("Pad", "x p", "q"), node("AveragePool", "q", kernel_shape=[3, 3])],
     {"p": [0, 0, 1, 1, 0, 0, 1, 1]}, "AvgPool"),
    ("pad folded into max pool after relu", 11,
     [node("Relu", "x", "r"), node("Pad", "r p", "q"), node("MaxPool", "q", kernel_shape=[3, 3], strides=[2, 2])],
     {"p": [0, 0, 1, 1, 0, 0, 1, 1]}, "Relu MaxPool"),
    ("lowest pad folded into max pool", 11, [node("Pad", "x p v", "q"), node("MaxPool", "q", kernel_shape=[3, 3])],
     {"p": [0, 0, 1, 1, 0, 0, 1, 1], "v": np.float32(-np.inf)}, "MaxPool"),
    ("pad by nothing", 11, [node("Pad", "x p", "q"), node("Relu", "q")], {"p": [0] * 8}, "Relu"),
    ("channel shuffle", 13,
     [node("Reshape", "x a", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t b")],
     {"a": [1, 2, 2, 7, 9], "b": [0, -1, 7, 9]}, "ChannelShuffle"),
    ("channel shuffle, three groups, merged image", 13,
     [node("Conv", "x w", "c"), node("Reshape", "c a", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3]),
      node("Reshape", "t b")], CONV | {"a": [1, 3, 2, 35], "b": [1, 6, 5, 7]}, "Conv ChannelShuffle"),
    ("flatten by reshape, then back", 13,
     [node("GlobalAveragePool", "x", "p"), node("Squeeze", "p s", "q"), node("Unsqueeze", "q s", "u"), node("Relu", "u", "r"),
      node("Reshape", "r t")], {"s": [2, 3], "t": [1, -1]}, "GlobalAvgPool Relu Flatten"),
    ("squeeze attribute", 11, [node("GlobalAveragePool", "x", "p"), node("Squeeze", "p", axes=[-1, -2])],
     {}, "GlobalAvgPool Flatten"),
    ("transpose of single elements", 13, [node("GlobalAveragePool", "x", "p"), node("Transpose", "p", "t", perm=[0, 2, 3, 1]),
                                          node("Flatten", "t")], {}, "GlobalAvgPool Flatten"),
    ("shape arithmetic, as torch exports view", 11,
     [node("Shape", "x", "s"), node("Constant", "", "zero", value=helper.make_tensor("", TensorProto.INT64, [], [0])),
      node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n", "n1", axes=[0]),
      node("Constant", "", "minus", value=helper.make_tensor("", TensorProto.INT64, [1], [-1])),
      node("Concat", "n1 minus", "t", axis=0), node("Reshape", "x t")], {}, "Flatten"),
    ("shape arithmetic, slice and cast", 13,
     [node("Shape", "x", "s"), node("Slice", "s a b", "c"), node("Cast", "c", "f", to=TensorProto.FLOAT),
      node("Mul", "f two", "g"),
      node("Div", "g two", "h"), node("Cast", "h", "i", to=TensorProto.INT64), node("ReduceProd", "i", "j", keepdims=1),
      node("Concat", "one j", "t", axis=0), node("Reshape", "x t")],
     {"a": [1], "b": [4], "two": np.float32(2), "one": [1]}, "Flatten"),
    ("shape with start and end", 15, [node("Shape", "x", "s", start=0, end=1), node("Concat", "s m", "t", axis=0),
                                      node("Reshape", "x t")], {"m": [-1]}, "Flatten"),
    ("weights of ConstantOfShape", 9,
     [node("ConstantOfShape", "n", "w", value=helper.make_tensor("", TensorProto.FLOAT, [1], [0.25])), node("Conv", "x w")],
     {"n": [3, 4, 3, 3]}, "Conv"),
    ("constant weights computed and cast", 13,
     [node("Cast", "w", "f", to=TensorProto.FLOAT), node("Transpose", "f", "t", perm=[1, 0, 2, 3]), node("Conv", "x t")],
     {"w": np.arange(4 * 6 * 9).reshape(4, 6, 3, 3).astype(np.float16)}, "Conv"),
    ("cast of an activation", 13, [node("Cast", "x", "c", to=TensorProto.FLOAT), node("Relu", "c")], {}, "Relu"),
    ("Constant as numbers", 13, [node("Constant", "", "a", value_float=0.5), node("Constant", "", "b", value_floats=[1.0]),
                                 node("Constant", "", "c", value_int=1), node("Constant", "", "d", value_ints=[-1]),
                                 node("Mul", "x a", "p"), node("Mul", "p b", "q"), node("Unsqueeze", "c d", "e"),
                                 node("Concat", "e d", "t", axis=0), node("Reshape", "q t")], {}, "Affine Flatten"),
    ("dead nodes do not matter", 13, [node("Relu", "x"), node("Erf", "x", "dead")], {}, "Relu"),
]


@pytest.mark.parametrize("opset, nodes, constants, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operator(tmp_path, opset, nodes, constants, layers):
    graph = agree(save(tmp_path, model(nodes, constants, opset=opset)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22])
def test_one_network_in_every_operator_set(tmp_path, opset):
    axes, constants = ({"axes": [2, 3]}, {}) if opset < 13 else ({}, {"axes": [2, 3]})
    clip, bounds = ({"min": 0.0, "max": 6.0}, {}) if opset < 11 else ({}, {"lo": np.float32(0), "hi": np.float32(6)})
    graph = agree(save(tmp_path, model([
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("BatchNormalization", "c s o m v", "n"),
        node("Clip", "n lo hi" if bounds else "n", "r", **clip),
        node("AveragePool", "r", "a", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", "a", "p", kernel_shape=[2, 2]), node("GlobalAveragePool", "p", "g"),
        node("Squeeze", "g axes" if constants else "g", "q", **axes), node("Gemm", "q k b", "l"), node("Dropout", "l", "d"),
        node("Softmax", "d", axis=1)], CONV | BN6 | constants | bounds | weights(k=(6, 6)), opset=opset)))
    assert [layer.op for layer in graph.layers] == \
        "Input Conv Clip AvgPool MaxPool GlobalAvgPool Flatten Linear Dropout Softmax".split()


def test_names_come_from_nodes_or_else_from_tensors(tmp_path):
    nodes = [node("Relu", "x", "a", name="same"), node("Relu", "a", "b", name="same"), node("Relu", "b", "c"),
             node("Relu", "c", "d", name="own"), node("Relu", "d", "e", name="x"), node("Relu", "e", "own")]
    graph = import_onnx(save(tmp_path, model(nodes, output="own")))
    assert [layer.name for layer in graph.layers] == ["x", "a", "b", "c", "own", "e", "own_2"]
    assert graph.name == "net" and graph.output == "own_2"


def test_control_characters_in_names_do_not_break_lines(tmp_path):
    graph = import_onnx(save(tmp_path, model([node("Relu", "x", "y", name="a\nb\x1b[31m")])))
    assert graph.output == "a?b?[31m"


def test_names_survive_folding(tmp_path):
    nodes = [node("Conv", "x w", "c", name="conv"), node("BatchNormalization", "c s o m v", "n", name="bn"),
             node("Relu", "n", name="relu")]
    graph = import_onnx(save(tmp_path, model(nodes, CONV | BN6)))
    assert [(layer.name, layer.inputs) for layer in graph.layers] == [("x", ()), ("conv", ("x",)), ("relu", ("conv",))]


def test_a_fold_that_leaves_float32_is_not_done(tmp_path):
    constants = {"w": np.full((6, 4, 3, 3), 1e30, np.float32), "k": np.full((6, 1, 1), 1e-30, np.float32)}
    nodes = [node("Conv", "x w", "c"), node("Mul", "c k", "d"), node("Mul", "d j")]
    graph = import_onnx(save(tmp_path, model(nodes, constants | {"j": np.float32(1e30)})))
    assert [layer.op for layer in graph.layers] == ["Input", "Conv"]
    nodes = [node("Conv", "x w", "c"), node("Mul", "c j")]
    graph = import_onnx(save(tmp_path, model(nodes, constants | {"j": np.float32(1e30)})))
    assert [layer.op for layer in graph.layers] == ["Input", "Conv", "Affine"]


def test_initializers_may_be_inputs_too(tmp_path):
    agree(save(tmp_path, model([node("Conv", "x w b")], CONV, inputs_too=True)))


@pytest.mark.parametrize("batch", [None, "N", "batch_size"])
def test_open_batch(tmp_path, batch):
    assert agree(save(tmp_path, model([node("Flatten", "x")], shape=(batch, 4, 7, 9)))).input.shape == (4, 7, 9)


def test_batch_of_zero_is_open(tmp_path):
    """So some exporters write it."""
    assert import_onnx(save(tmp_path, model([node("Flatten", "x")], shape=(0, 4, 7, 9)))).input.shape == (4, 7, 9)


def test_fixed_batch_is_one_image_all_the_same(tmp_path):
    """The reshape target holds the batch of the export."""
    proto = model([node("GlobalAveragePool", "x", "p"), node("Reshape", "p t", "f"), node("Gemm", "f w")],
                  weights(w=(4, 3)) | {"t": [8, 4]}, shape=(8, 4, 7, 9))
    graph = import_onnx(save(tmp_path, proto))
    assert graph.shapes[graph.output] == (3,)


def test_open_height_and_width_take_the_size_given(tmp_path):
    path = save(tmp_path, model([node("Conv", "x w")], CONV, shape=("n", 4, "h", "w")))
    assert agree(path, size=(5, 6)).shapes["x"] == (4, 5, 6)
    assert import_onnx(path, open_shape=(4, 9, 8)).shapes["x"] == (4, 9, 8)


def test_size_replaces_that_of_the_file(tmp_path):
    path = save(tmp_path, model([node("Conv", "x w")], CONV))
    assert import_onnx(path, size=(12, 13)).shapes["y"] == (6, 10, 11)
    assert import_onnx(path, open_shape=(4, 12, 13)).shapes["y"] == (6, 5, 7)


def test_channels_last_input_as_tensorflow_exports(tmp_path):
    """The transpose disappears: we feed channels first."""
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2], name="first"),
             node("Conv", "t w", strides=[2, 2], auto_pad="SAME_UPPER")]
    path = save(tmp_path, model(nodes, CONV, shape=("n", 7, 9, 4)))
    graph = import_onnx(path)
    assert [layer.name for layer in graph.layers] == ["x", "y"] and graph.input.shape == (4, 7, 9)
    x = np.random.default_rng(0).normal(size=(4, 7, 9)).astype(np.float32)
    np.testing.assert_allclose(run(graph, x)["y"], runtime(path, x.transpose(1, 2, 0))[0], atol=1e-5)


def test_double_and_half_models_become_float(tmp_path):
    for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16)):
        graph = import_onnx(save(tmp_path, model([node("Conv", "x w")], {"w": CONV["w"].astype(dtype)}, kind=kind)))
        assert graph.by_name["y"].weight.dtype == np.float32


def test_external_data(tmp_path):
    proto = model([node("Conv", "x w b")], CONV)
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size >= 4 * CONV["w"].size
    agree(tmp_path / "net.onnx")


def test_typed_and_raw_storage_agree(tmp_path):
    proto = model([node("Conv", "x w")], CONV)
    typed = helper.make_tensor("w", TensorProto.FLOAT, CONV["w"].shape, CONV["w"].ravel())
    assert typed.float_data
    proto.graph.initializer[0].CopyFrom(typed)
    np.testing.assert_array_equal(import_onnx(save(tmp_path, proto)).by_name["y"].weight, CONV["w"])
    half = helper.make_tensor("w", TensorProto.FLOAT16, CONV["w"].shape, CONV["w"].astype(np.float16).ravel())
    proto.graph.initializer[0].CopyFrom(half)
    np.testing.assert_array_equal(import_onnx(save(tmp_path, proto)).by_name["y"].weight, CONV["w"].astype(np.float16))


def test_second_output_is_told(tmp_path):
    proto = model([node("Relu", "x"), node("Relu", "y", "z")])
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    graph = import_onnx(save(tmp_path, proto))
    assert graph.output == "y" and graph.notes == ("net.onnx: output y is used, not z",)


def test_large_constants_take_no_memory(tmp_path):
    """2**28 weights, a gibibyte, of one stored element."""
    nodes = [node("ConstantOfShape", "n", "w"), node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"),
             node("Gemm", "f w", transB=1)]
    graph = import_onnx(save(tmp_path, model(nodes, {"n": [1 << 26, 4]})))
    assert graph.parameters == (1 << 28) + (1 << 26) and graph.by_name["y"].weight.strides == (0, 0)


def test_shared_models_hold_what_the_file_holds(data):
    for name, parameters in (("squeezenet1_1", 1_235_496), ("squeezenet1_0_deepcomp", 1_248_424)):
        path = data / "models" / f"{name}.onnx"
        graph, proto = import_onnx(path), onnx.load(path)
        assert graph.parameters == parameters == sum(numpy_helper.to_array(tensor).size for tensor in proto.graph.initializer)
        assert [layer.name for layer in graph.layers[1:]] == [one.name for one in proto.graph.node]
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        for layer, one in zip(graph.layers[1:], proto.graph.node, strict=True):
            if isinstance(layer, Conv):
                np.testing.assert_array_equal(layer.weight, held[one.input[1]])
                np.testing.assert_array_equal(layer.bias, held[one.input[2]])
