"""What PyTorch's exporters write for networks of the zoo, in small: each file imports as these layers and computes what ONNX
Runtime does. The files themselves come from `python -m bench.exports`, which needs PyTorch."""
import numpy as np
import pytest

from nets.graph import GraphError
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import agree, model, node, save, weights

CONV = weights(w=(6, 4, 3, 3), b=(6,), v=(6, 4, 1, 1))
# name, nodes, constants, layers behind the input
CASES = [
    ("x[:, :, ::2, ::2] and padded channels, older exporter",
     [node("Slice", "x a b c s", "t"), node("Pad", "t p", "q"), node("Relu", "q")],
     {"a": [0, 0], "b": [2**63 - 1] * 2, "c": [2, 3], "s": [2, 2], "p": [0, 0, 0, 0, 0, 4, 0, 0]}, "Conv Relu"),
    ("the same, a slice for each axis, newer exporter",
     [node("Slice", "x a b c s", "t"), node("Slice", "t a b d s", "u"), node("Pad", "u p", "q"), node("Relu", "q")],
     {"a": [0], "b": [2**63 - 1], "c": [2], "d": [3], "s": [2], "p": [0, 2, 0, 0, 0, 2, 0, 0]}, "Conv Relu"),
    ("channels and pixels in one slice", [node("Slice", "x a b c s", "t"), node("Relu", "t")],
     {"a": [1, 0], "b": [3, 2**63 - 1], "c": [1, 3], "s": [1, 3]}, "Select Conv Relu"),
    ("a slice that others read too",
     [node("Slice", "x a e c s", "t"), node("Pad", "t p", "q"), node("Conv", "t v", "r"), node("Add", "q r")],
     {"a": [0], "e": [99], "c": [2], "s": [2], "p": [0, 0, 0, 0, 0, 2, 0, 0]} | CONV, "Conv Conv Conv Add"),
    ("survival probability before an addition", [node("Conv", "x v b", "c"), node("Mul", "h c", "m"), node("Conv", "x v", "d"),
                                                 node("Add", "d m", "s"), node("Relu", "s")],
     CONV | {"h": np.float32(0.75)}, "Conv Conv Add Relu"),
    ("a scaled tanh and a pool",
     [node("Conv", "x w b", "c"), node("Mul", "c k", "m"), node("Tanh", "m", "t"), node("Mul", "t a", "n"),
      node("AveragePool", "n", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Conv", "p u")],
     CONV | weights(u=(3, 6, 1, 1)) | {"k": np.float32(2 / 3), "a": np.float32(1.7159)}, "Conv Tanh AvgPool Conv"),
    ("stack and mean",
     [node("Conv", "x v b", "c"), node("Relu", "c", "r"), node("Unsqueeze", "r z", "e"), node("Conv", "x v", "d"),
      node("Unsqueeze", "d z", "f"), node("Concat", "e f", "s", axis=0), node("ReduceMean", "s", axes=[0], keepdims=0)],
     CONV | {"z": [0]}, "Conv Relu Conv Add"),
    ("a sum divided", [node("Conv", "x v b", "c"), node("Conv", "x v", "d"), node("Add", "c d", "s"), node("Div", "s n")],
     CONV | {"n": np.float32(2)}, "Conv Conv Add"),
    ("chunk and shuffle",
     [node("Split", "x n", "t u", axis=1), node("Conv", "u w", "c"), node("Concat", "t c", "q", axis=1),
      node("Reshape", "q a", "r"), node("Transpose", "r", "s", perm=[0, 2, 1, 3, 4]), node("Reshape", "s z")],
     weights(w=(2, 2, 1, 1)) | {"n": [2, 2], "a": [1, 2, 2, 7, 9], "z": [1, -1, 7, 9]},
     "Select Select Conv Concat ChannelShuffle"),
    ("an image normalised anew by channel",
     [part for k in range(4) for part in (node("Gather", f"x k{k}", f"g{k}", axis=1), node("Unsqueeze", f"g{k} one", f"u{k}"),
                                          node("Mul", f"u{k} m{k}", f"p{k}"), node("Add", f"p{k} o{k}", f"q{k}"))]
     + [node("Concat", "q0 q1 q2 q3", "q", axis=1), node("Conv", "q w")],
     CONV | {"one": [1]} | {f"k{k}": np.array(k) for k in range(4)} | {f"m{k}": np.float32(k + 1) for k in range(4)}
     | {f"o{k}": np.float32(k / 2) for k in range(4)}, "Affine Conv"),
    ("mean over height and width, newer exporter",
     [node("ReduceMean", "x a", "m", keepdims=0), node("Gemm", "m w b", transB=1)],
     weights(w=(5, 4), b=(5,)) | {"a": [2, 3]}, "GlobalAvgPool Flatten Linear"),
    ("an average pool as large as its map, squeezed twice",
     [node("AveragePool", "x", "p", kernel_shape=[7, 9], strides=[7, 9]), node("Squeeze", "p c", "s"),
      node("Squeeze", "s d", "t"), node("Gemm", "t w b", transB=1)],
     weights(w=(5, 4), b=(5,)) | {"c": [3], "d": [2]}, "GlobalAvgPool Flatten Linear"),
    ("a view by the shape of the tensor",
     [node("GlobalAveragePool", "x", "p"), node("Shape", "p", "s", end=1, start=0), node("Concat", "s m", "t", axis=0),
      node("Reshape", "p t", "f"), node("Gemm", "f w b", transB=1)],
     weights(w=(5, 4), b=(5,)) | {"m": [-1]}, "GlobalAvgPool Flatten Linear"),
]


@pytest.mark.parametrize("nodes, constants, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_imports_as_what_it_is(tmp_path, nodes, constants, layers):
    opset = 18 if any(each.op_type == "ReduceMean" and len(each.input) > 1 for each in nodes) else 15
    graph = agree(save(tmp_path, model(nodes, constants, opset=opset)))
    assert " ".join(layer.op for layer in graph.layers[1:]) == layers


@pytest.mark.parametrize("constants, reason", [
    ({"a": [1], "b": [99], "c": [2], "s": [2]}, r"not of 1:7:2 of axis 2"),
    ({"a": [0], "b": [5], "c": [2], "s": [1]}, "0:5:1 of axis 2"),
    ({"a": [-1], "b": [-99], "c": [3], "s": [-2]}, "of axis 3")])
def test_other_slices_of_pixels_are_refused_in_a_line(tmp_path, constants, reason):
    with pytest.raises(GraphError, match=f"slice must be of channels, or of every n-th row and column from the first.*{reason}"):
        import_onnx(save(tmp_path, model([node("Slice", "x a b c s", "t"), node("Relu", "t")], constants)))
