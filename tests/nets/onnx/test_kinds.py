"""Kinds of ONNX graphs, made at random, against ONNX Runtime: padding before pools, layouts, constants, selections, joins."""
import numpy as np
from onnx import helper, numpy_helper
import pytest

from nets.float_run import run
from nets.graph import GraphError
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import agree, model, node, runtime, save, weights

SEEDS = range(40)
CONV = weights(w=(6, 4, 3, 3), b=(6,))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pads_before_pools(tmp_path, op, seed):
    """One Pad or two, of zeros or of the lowest value, behind a ReLU or not, before a pool of any window in both modes."""
    rng = np.random.default_rng(seed)
    kernel, stride = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    nodes, last, constants = [node("Relu", "x", "r")] if rng.random() < 0.6 else [node("Identity", "x", "r")], "r", {}
    for k in range(rng.integers(1, 3)):
        constants[f"p{k}"] = [0, 0, *rng.integers(0, 3, 2).tolist(), 0, 0, *rng.integers(0, 3, 2).tolist()]
        value = ""
        if op == "MaxPool" and rng.random() < 0.4:
            constants[f"v{k}"], value = np.float32(np.finfo(np.float32).min), f" v{k}"
        nodes.append(node("Pad", f"{last} p{k}{value}", f"q{k}"))
        last = f"q{k}"
    extra = {"pads": [int(rng.integers(0, k)) for k in (*kernel, *kernel)]} if rng.random() < 0.4 else {}
    ceil = int(rng.random() < 0.6)
    if op == "AveragePool":
        extra["count_include_pad"] = int(rng.random() < 0.5 and not ceil)       # together they went wrong in older Runtimes
    nodes.append(node(op, last, kernel_shape=kernel.tolist(), strides=stride.tolist(), ceil_mode=ceil, **extra))
    agree(save(tmp_path, model(nodes, constants, opset=22)))


@pytest.mark.parametrize("nodes, constants, layers", [
    ([node("Pad", "x p v", "q"), node("Conv", "q w")], CONV | {"v": np.float32(1)}, "Pad Conv"),
    ([node("Pad", "x p", "q"), node("Relu", "q")], {}, "Pad Relu"),
    ([node("Pad", "x p", "q"), node("MaxPool", "q", kernel_shape=[3, 3])], {}, "Pad MaxPool"),
    ([node("Pad", "x p", "q"), node("AveragePool", "q", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}, "Pad AvgPool"),
    ([node("Pad", "x p", "q"), node("Pad", "q p", "r"), node("Conv", "r w")], CONV, "Conv"),
    ([node("Pad", "x p")], {}, "Pad"),
    ([node("Pad", "x c", "q"), node("Relu", "q")], {"c": [0, 1, 0, 0, 0, 2, 0, 0]}, "Conv Relu"),      # the chip pads no channels
    ([node("Pad", "x c v", "q"), node("Relu", "q")], {"c": [0, 1, 0, 0, 0, 2, 0, 0], "v": np.float32(1)}, "Pad Relu"),
    ([node("Pad", "x c", "q"), node("Conv", "q v")], {"c": [0, 1, 1, 0, 0, 2, 0, 0]} | weights(v=(3, 7, 2, 2)), "Pad Conv"),
])
def test_pads_that_nothing_takes_over(tmp_path, nodes, constants, layers):
    graph = agree(save(tmp_path, model(nodes, {"p": [0, 0, 1, 1, 0, 0, 1, 2]} | constants)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


@pytest.mark.parametrize("seed", range(10))
def test_nodes_in_any_order(tmp_path, seed):
    nodes = [node("Conv", "x w b", "c", name="c"), node("Relu", "c", "r"), node("Add", "c r", "a"),
             node("GlobalAveragePool", "a", "p"), node("Flatten", "p", "f"), node("Shape", "f", "s"),
             node("Reshape", "f s", "g"), node("Gemm", "g k")]
    np.random.default_rng(seed).shuffle(nodes)
    graph = agree(save(tmp_path, model(nodes, CONV | weights(k=(6, 3)))))
    assert {layer.op for layer in graph.layers} == {"Input", "Conv", "Relu", "Add", "GlobalAvgPool", "Flatten", "Linear"}


def sparse(name: str, dense: np.ndarray, linear: bool):
    places = np.argwhere(dense) if not linear else np.flatnonzero(dense)
    return helper.make_sparse_tensor(numpy_helper.from_array(dense[dense != 0], name),
                                     numpy_helper.from_array(places.astype(np.int64), f"{name}.places"), dense.shape)


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_initialisers(tmp_path, linear):
    dense = CONV["w"] * (np.random.default_rng(1).random(CONV["w"].shape) < 0.3)
    proto = model([node("Conv", "x w")])
    proto.graph.sparse_initializer.append(sparse("w", dense, linear))
    np.testing.assert_array_equal(import_onnx(save(tmp_path, proto)).by_name["y"].weight, dense)


def test_sparse_initialisers_beyond_their_shape(tmp_path):
    proto = model([node("Conv", "x w")])
    proto.graph.sparse_initializer.append(sparse("w", CONV["w"], True))
    proto.graph.sparse_initializer[0].dims[0] = 5
    with pytest.raises(GraphError, match=r"w \(initializer\): sparse tensor of shape \(5, 4, 3, 3\) has values beyond it"):
        import_onnx(save(tmp_path, proto))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_weights_quantised_alone(tmp_path, dtype, axis):
    rng = np.random.default_rng(3)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    count = () if axis is None else (6, 4)[axis]
    constants = {"q": rng.integers(low, high, (6, 4, 3, 3), dtype), "s": rng.uniform(0.01, 0.1, count).astype(np.float32),
                 "z": rng.integers(low, high, count, dtype)}
    named = {} if axis is None else {"axis": axis}
    agree(save(tmp_path, model([node("DequantizeLinear", "q s z", "w", **named), node("Conv", "x w")], constants)))


@pytest.mark.parametrize("nodes, constants, layers", [
    ([node("Max", "x a")], {"a": np.float32(0)}, "Relu"),
    ([node("Max", "a x", "m"), node("Min", "m b")], {"a": np.float32(-0.5), "b": np.full((1,), 0.5, np.float32)}, "Clip Clip"),
    ([node("Min", "x b a")], {"a": np.float32(0.3), "b": np.full((1, 1, 1, 1), 0.6, np.float32)}, "Clip"),
    ([node("Min", "x b", "m"), node("Relu", "m", "r"), node("Clip", "r a b")],
     {"a": np.float32(0.1), "b": np.float32(0.6)}, "Clip Relu Clip")])
def test_clamps(tmp_path, nodes, constants, layers):
    graph = agree(save(tmp_path, model(nodes, constants)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


def last(nodes, constants, tmp_path, *, shape=(1, 7, 9, 4)):
    """A network with its channels last, against ONNX Runtime fed so."""
    path = save(tmp_path, model(nodes, constants, shape=shape))
    graph = import_onnx(path)
    x = np.random.default_rng(0).normal(size=graph.input.shape).astype(np.float32)
    got, wanted = run(graph, x)[graph.output], runtime(path, x.transpose(1, 2, 0))
    if any("channels first" in note for note in graph.notes):
        wanted = wanted[0].transpose(2, 0, 1)
    np.testing.assert_allclose(got, wanted.reshape(got.shape), rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
    return graph


FIRST, BACK = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}


@pytest.mark.parametrize("nodes, constants, layers", [
    ([node("Transpose", "x", "t", **FIRST), node("Conv", "t w", "c"), node("Transpose", "c", "u", **BACK),
      node("Reshape", "u s", "f"), node("MatMul", "f k", "m"), node("Add", "m b")],
     CONV | weights(k=(210, 5), b=(5,)) | {"s": [-1, 210]}, "Conv Flatten Linear"),
    ([node("Div", "x d", "n"), node("Sub", "n e", "o"), node("Transpose", "o", "t", **FIRST), node("Conv", "t w")],
     CONV | {"d": np.float32(255), "e": np.arange(4, dtype=np.float32)}, "Affine Conv"),
    ([node("Transpose", "x", "t", **FIRST), node("Conv", "t w", "c"), node("Transpose", "c", "u", **BACK), node("Relu", "u", "r"),
      node("Mul", "r s", "m"), node("Concat", "m r", "k", axis=3), node("Transpose", "k", "v", **FIRST), node("Conv", "v w2")],
     CONV | weights(s=(6,), w2=(3, 12, 1, 1)), "Conv Relu Affine Concat Conv"),
    ([node("Transpose", "x", "t", **FIRST), node("Conv", "t w", "c"), node("Transpose", "c", "u", **BACK),
          node("Add", "u u", "a"),
      node("ReduceMean", "a", "p", axes=[1, 2], keepdims=0), node("MatMul", "p k")], CONV | weights(k=(6, 5)),
     "Conv Add GlobalAvgPool Flatten Linear"),
    ([node("Transpose", "x", "t", **FIRST), node("Conv", "t w", "c"), node("Transpose", "c", "u", **BACK), node("MatMul", "u k")],
     CONV | weights(k=(6, 5)), "Conv Conv"),
    ([node("Relu", "x", "r"), node("Pad", "r p", "q"), node("Transpose", "q", "t", **FIRST), node("Conv", "t w")],
     CONV | {"p": [0, 1, 2, 0, 0, 0, 1, 0]}, "Relu Conv"),
    ([node("Transpose", "x", "t", **FIRST), node("Conv", "t w", "c"), node("Transpose", "c", "u", **BACK),
      node("Softmax", "u", axis=-1)], CONV, "Conv Softmax"),
])
def test_channels_last(tmp_path, nodes, constants, layers):
    assert [layer.op for layer in last(nodes, constants, tmp_path).layers[1:]] == layers.split()


def test_grey_images_with_their_channel_last(tmp_path):
    nodes = [node("Mul", "x h", "m"), node("Reshape", "m s", "t"), node("Conv", "t w")]
    graph = last(nodes, weights(w=(3, 1, 3, 3)) | {"s": [-1, 1, 7, 9], "h": np.float32(0.5)}, tmp_path, shape=("N", 7, 9, 1))
    assert graph.input.shape == (1, 7, 9)


def test_a_map_of_one_column_is_no_grey_image(tmp_path):
    agree(save(tmp_path, model([node("Conv", "x w")], weights(w=(3, 4, 3, 1)), shape=(1, 4, 9, 1))))


@pytest.mark.parametrize("nodes, constants, layers", [
    ([node("AveragePool", "x", kernel_shape=[7, 9])], {}, "GlobalAvgPool"),
    ([node("AveragePool", "x", kernel_shape=[9, 11], pads=[1, 1, 1, 1])], {}, "GlobalAvgPool"),
    ([node("AveragePool", "x", kernel_shape=[9, 11], pads=[1, 1, 1, 1], count_include_pad=1)], {}, "AvgPool"),
    ([node("AveragePool", "x", kernel_shape=[7, 8])], {}, "AvgPool"),
    ([node("GlobalMaxPool", "x")], {}, "MaxPool"), ([node("ReduceMax", "x", axes=[2, 3])], {}, "MaxPool"),
    ([node("MaxPool", "x", kernel_shape=[9, 11], pads=[1, 1, 1, 1])], {}, "MaxPool"),
    ([node("Reshape", "x s", "r"), node("ReduceMean", "r", axes=[-1], keepdims=0)], {"s": [0, 4, -1]}, "GlobalAvgPool Flatten"),
    ([node("ReduceSum", "x a")], {"a": [2, 3]}, "GlobalAvgPool Affine"),
    ([node("MaxPool", "x", kernel_shape=[4, 5], strides=[3, 2])], {}, "MaxPool"),
])
def test_pools_of_whole_maps(tmp_path, nodes, constants, layers):
    graph = agree(save(tmp_path, model(nodes, constants)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


@pytest.mark.parametrize("opset, nodes, constants, layers", [
    (9, [node("Slice", "x", starts=[1], ends=[3], axes=[1])], {}, "Select"),
    (13, [node("Slice", "x a b c s")], {"a": [-1], "b": [-9], "c": [1], "s": [-2]}, "Select"),
    (13, [node("Slice", "x a b c", "s"), node("Relu", "s")], {"a": [0], "b": [99], "c": [2]}, "Relu"),
    (11, [node("Split", "x", "a b", axis=1), node("Concat", "b a", axis=1)], {}, "Select Select Concat"),
    (13, [node("Split", "x s", "a b c", axis=-3),
          node("Concat", "b a c", axis=1)], {"s": [1, 1, 2]}, "Select Select Select Concat"),
    (18, [node("Split", "x", "a b", axis=1, num_outputs=2), node("Add", "a b")], {}, "Select Select Add"),
    (13, [node("Gather", "x i", axis=1)], {"i": [3, 1, -2]}, "Select"),
    (13, [node("Gather", "x i", axis=1)], {"i": [3, 1, -2, 1]}, "Conv"),         # a channel twice
    (13, [node("Gather", "x i", "g", axis=1), node("Unsqueeze", "g a")], {"i": np.array(2), "a": [1]}, "Select"),
    (13, [node("Unsqueeze", "x a", "b"), node("Relu", "x", "r"), node("Unsqueeze", "r a", "c"),
          node("Concat", "b c", "k", axis=1),
          node("ReduceMean", "k", axes=[1], keepdims=0)], {"a": [1]}, "Relu Add Affine"),
    (13, [node("Unsqueeze", "x a", "b"), node("Relu", "x", "r"), node("Unsqueeze", "r a", "c"),
          node("Concat", "b c b", "k", axis=0), node("ReduceSum", "k a", keepdims=0)], {"a": [0]}, "Relu Add Add"),
    (13, [node("Relu", "x", "r"), node("Sum", "x r x", "s"),
          node("Mul", "s k")], {"k": np.float32(1 / 3)}, "Relu Add Add Affine"),
    (13, [node("Relu", "x", "r"), node("Mean", "x r x")], {}, "Relu Add Add Affine"),
])
def test_selections_and_joins(tmp_path, opset, nodes, constants, layers):
    graph = agree(save(tmp_path, model(nodes, constants, opset=opset)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


@pytest.mark.parametrize("nodes, layers", [
    ([node("LogSoftmax", "f")], "LogSoftmax"), ([node("Sigmoid", "f")], "Sigmoid"),
    ([node("Softmax", "f", "s"), node("ArgMax", "s", "a", axis=1, keepdims=0), node("Cast", "a", to=1)],
     "Softmax ArgMax"),
    ([node("ArgMax", "f", "a", axis=-1), node("Cast", "a", to=1)], "ArgMax")])
def test_endings(tmp_path, nodes, layers):
    nodes = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), *nodes]
    graph = agree(save(tmp_path, model(nodes)))
    assert [layer.op for layer in graph.layers[3:]] == layers.split()


def test_refusals_are_complete(tmp_path):
    """What stands behind a refused node is checked as well, by the shape that the node would have."""
    nodes = [node("Erf", "x", "a", name="one"), node("Conv", "a w", "b", name="two"), node("Softplus", "x", "h", name="three"),
             node("Softmax", "h", "s", name="four", axis=3), node("Concat", "s x", "k", axis=1),
             node("Conv", "k w", "c", name="five"),
             node("GlobalAveragePool", "c", "p"), node("GlobalAveragePool", "b", "q"), node("Concat", "p q", axis=1)]
    with pytest.raises(GraphError) as caught:
        import_onnx(save(tmp_path, model(nodes, weights(w=(6, 5, 3, 3)), opset=14)))
    assert [(problem.name, problem.op) for problem in caught.value.problems] == [
        ("one", "Erf"), ("two", "Conv"), ("three", "Softplus"), ("four", "Softmax"), ("five", "Conv")]


@pytest.mark.parametrize("parts", ["t", "t u"])
def test_parts_that_lie_across_are_joined_as_they_lie(tmp_path, parts):
    """Height and width changed places, which a square map does not show in its shape."""
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Transpose", "c", "t", perm=[0, 1, 3, 2]),
             node("Transpose", "r", "u", perm=[0, 1, 3, 2]), node("Concat", parts, axis=1)]
    agree(save(tmp_path, model(nodes, weights(w=(6, 4, 3, 3)), shape=(1, 4, 7, 7))))


@pytest.mark.parametrize("index", [[3, 1, 0, 2], [3, 1], [3]])
@pytest.mark.parametrize("around", [("Squeeze", "Unsqueeze"), ("Transpose", "Transpose")])
def test_channels_gathered_along_the_first_axis(tmp_path, index, around):
    """Axis 0 is the batch only where it is of size 1: behind a Squeeze or a Transpose it is the channels."""
    how = {"perm": [1, 0, 2, 3]} if around[0] == "Transpose" else {}
    axes = "" if how else " a"
    nodes = [node(around[0], "x" + axes, "s", **how), node("Gather", "s i", "g", axis=0), node(around[1], "g" + axes, "u", **how),
             node("Relu", "u")]
    graph = agree(save(tmp_path, model(nodes, {"a": [0], "i": index})))
    assert graph.shapes[graph.output][0] == len(index)


@pytest.mark.parametrize("nodes, constants, opset", [
    ([node("Gather", "x i", "g", axis=0), node("Relu", "g")], {"i": [0, 0]}, 13),
    ([node("GlobalAveragePool", "x", "p"), node("ReduceMean", "p a")], {"a": np.zeros(0, np.int64)}, 18),
    ([node("GlobalAveragePool", "x", "p"), node("ReduceMax", "p a")], {"a": np.zeros(0, np.int64)}, 18),
    ([node("Pad", "x p v", "z"), node("Relu", "z")], {"p": [0, 0, 1, 1, 0, 0, 1, 1], "v": np.array(np.nan, np.float32)}, 13)])
def test_more_than_one_batch_all_axes_and_no_number_are_refused(tmp_path, nodes, constants, opset):
    with pytest.raises(GraphError):
        import_onnx(save(tmp_path, model(nodes, constants, opset=opset)))
