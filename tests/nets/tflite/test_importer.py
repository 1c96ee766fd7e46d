"""What each TFLite operator becomes, and that it computes what LiteRT does."""
import json
import zipfile

from ai_edge_litert.interpreter import OpResolverType
import numpy as np
import pytest

from nets.graph import GraphError
from nets.load import load_model
from nets.tflite.importer import import_tflite
from nets.tflite.labels import labels_in
from tests.nets.tflite.cases import agree, model, op, save, weights

CONV = weights(w=(6, 3, 3, 4), b=(6,))
DEPTHWISE = weights(w=(1, 3, 3, 8), b=(8,))
MEAN = op("MEAN", "x a", "m", KeepDims=True)

# name, operators, constants, layers
CASES = [
    ("conv, valid", [op("CONV_2D", "x w b")], CONV, "Conv"),
    ("conv, same, stride, relu6", [op("CONV_2D", "x w b", Padding=0, StrideH=2, StrideW=3, FusedActivationFunction=3)], CONV,
     "Conv Clip"),
    ("conv, same, dilated, relu", [op("CONV_2D", "x w b", Padding=0, DilationHFactor=2, DilationWFactor=3,
                                      FusedActivationFunction=1)], CONV, "Conv Relu"),
    ("conv, even kernel", [op("CONV_2D", "x w b", Padding=0, StrideH=2, FusedActivationFunction=2)],
     weights(w=(5, 4, 2, 4), b=(5,)), "Conv Clip"),
    ("conv, groups", [op("CONV_2D", "x w b")], weights(w=(6, 3, 3, 2), b=(6,)), "Conv"),
    ("depthwise, multiplier", [op("DEPTHWISE_CONV_2D", "x w b", DepthMultiplier=2, Padding=0, StrideH=2, StrideW=2)], DEPTHWISE,
     "Conv"),
    ("half weights behind DEQUANTIZE", [op("DEQUANTIZE", "h", "w"), op("CONV_2D", "x w b")],
     {"h": CONV["w"].astype(np.float16), "b": CONV["b"]}, "Conv"),
    ("pools", [op("MAX_POOL_2D", "x", "p", Padding=0, FilterHeight=3, FilterWidth=3, StrideH=2),
               op("AVERAGE_POOL_2D", "p", Padding=0, FilterHeight=3, FilterWidth=3, FusedActivationFunction=1)], {},
     "MaxPool AvgPool Relu"),
    ("average of the whole map", [op("AVERAGE_POOL_2D", "x", FilterHeight=7, FilterWidth=9)], {}, "GlobalAvgPool"),
    ("pad folded into conv", [op("PAD", "x p", "q"), op("CONV_2D", "q w b", StrideH=2)],
     CONV | {"p": [[0, 0], [1, 2], [0, 1], [0, 0]]}, "Conv"),
    ("pad of channels, with a value", [op("PADV2", "x p v")], {"p": [[0, 0], [1, 2], [0, 1], [2, 1]], "v": np.float32(0.5)},
     "Pad"),
    ("lowest pad folded into a maximum behind relu", [op("RELU", "x", "r"), op("PAD", "r p", "q"), op("MAX_POOL_2D", "q")],
     {"p": [[0, 0], [1, 1], [0, 1], [0, 0]]}, "Relu MaxPool"),
    ("zero pad before a maximum", [op("PAD", "x p", "q"), op("MAX_POOL_2D", "q")], {"p": [[0, 0], [1, 1], [0, 1], [0, 0]]},
     "Pad MaxPool"),
    ("mean, dense, softmax", [MEAN, op("FULLY_CONNECTED", "m w b", "f", FusedActivationFunction=1), op("SOFTMAX", "f")],
     {"a": [1, 2]} | weights(w=(5, 4), b=(5,)), "GlobalAvgPool Flatten Linear Relu Softmax"),
    ("mean without axes, log softmax", [op("MEAN", "x a", "m", KeepDims=False), op("LOG_SOFTMAX", "m")], {"a": [1, 2]},
     "GlobalAvgPool LogSoftmax"),
    ("dense of a map, in its order", [op("RESHAPE", "x s", "r"), op("FULLY_CONNECTED", "r w -")],
     {"s": [1, -1]} | weights(w=(5, 252)), "Flatten Linear"),
    ("dense of a map itself", [op("FULLY_CONNECTED", "x w b")], weights(w=(5, 252), b=(5,)), "Flatten Linear"),
    ("dense of each pixel", [op("FULLY_CONNECTED", "x w b", KeepNumDims=True)], weights(w=(5, 4), b=(5,)), "Conv"),
    ("reshape by options", [op("RESHAPE", "x", "r", NewShape=[1, 252]), op("FULLY_CONNECTED", "r w -")], weights(w=(3, 252)),
     "Flatten Linear"),
    ("reshape across pixels", [op("RESHAPE", "x s", "r"), op("CONV_2D", "r w b")],
     {"s": [1, 9, 7, 4]} | CONV, "Rearrange Conv"),
    ("transposes that undo each other", [op("TRANSPOSE", "x t", "n"), op("RELU", "n", "r"), op("TRANSPOSE", "r u", "m"),
                                         op("CONV_2D", "m w b")],
     {"t": [0, 3, 1, 2], "u": [0, 2, 3, 1]} | CONV, "Relu Conv"),
    ("expand, squeeze", [MEAN, op("SQUEEZE", "m", "s", SqueezeDims=[1, 2]), op("EXPAND_DIMS", "s e", "f"), op("RELU", "f")],
     {"a": [1, 2], "e": [1]}, "GlobalAvgPool Relu Flatten"),
    ("add, concat", [op("RELU", "x", "r"), op("ADD", "x r", "s", FusedActivationFunction=1),
                     op("CONCATENATION", "s x r", Axis=3)], {}, "Relu Add Relu Concat"),
    ("concat of features", [MEAN, op("RESHAPE", "m s", "f"), op("CONCATENATION", "f f", Axis=-1)], {"a": [1, 2], "s": [1, 4]},
     "GlobalAvgPool Flatten Concat"),
    ("scale and shift of channels", [op("RELU", "x", "r"), op("MUL", "r k", "m"), op("ADD", "c m", FusedActivationFunction=1)],
     weights(k=(4,), c=(1, 1, 1, 4)), "Relu Affine Relu"),
    ("batch norm behind conv is folded", [op("CONV_2D", "x w b", "c"), op("MUL", "c k", "m"), op("SUB", "m d")],
     CONV | weights(k=(6,), d=(6,)), "Conv"),
    ("subtraction and division", [op("SUB", "h x", "s"), op("DIV", "s d")], {"h": np.float32(0.5)} | weights(d=(4,)), "Affine"),
    ("functions", [op("LOGISTIC", "x", "a"), op("TANH", "a", "b"), op("HARD_SWISH", "b", "c"),
                   op("LEAKY_RELU", "c", "d", Alpha=0.2), op("RELU_N1_TO_1", "d", "e"), op("RELU6", "e")], {},
     "Sigmoid Tanh HardSwish LeakyRelu Clip Clip"),
    ("dead operators do not matter", [op("RELU", "x"), op("FLOOR", "x", "dead")], {}, "Relu"),
]


@pytest.mark.parametrize("ops, constants, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operator(tmp_path, ops, constants, layers):
    graph = agree(save(tmp_path, model(ops, constants)))
    assert [layer.op for layer in graph.layers[1:]] == layers.split()


def test_elu(tmp_path):
    """The reference kernels have none."""
    agree(save(tmp_path, model([op("ELU", "x")])), kernels=OpResolverType.BUILTIN)


def test_a_bias_may_be_left_out(tmp_path):
    graph = import_tflite(save(tmp_path, model([op("CONV_2D", "x w", "c"), op("DEPTHWISE_CONV_2D", "c d")],
                                               weights(w=(6, 3, 3, 4), d=(1, 3, 3, 6)))))
    assert [layer.bias.any() for layer in graph.layers[1:]] == [False, False]


def test_features_are_an_image_of_one_channel(tmp_path):
    graph = agree(save(tmp_path, model([op("FULLY_CONNECTED", "x w b")], weights(w=(5, 12), b=(5,)), shape=(1, 12))))
    assert graph.input.shape == (1, 1, 12) and [layer.op for layer in graph.layers] == ["Input", "Flatten", "Linear"]


def test_a_computed_shape_is_the_declared_one(tmp_path):
    """Keras takes the batch from the tensor, and makes the shape of it at each run."""
    ops = [op("SHAPE", "x", "s", shape=(4,)), op("RESHAPE", "x s", shape=(1, 252))]
    graph = import_tflite(save(tmp_path, model(ops)))
    assert graph.shapes[graph.output] == (252,)


def test_another_size_moves_the_padding(tmp_path):
    path = save(tmp_path, model([op("CONV_2D", "x w b", Padding=0, StrideH=2, StrideW=2, shape=(1, 4, 5, 6))], CONV))
    assert import_tflite(path).layers[1].window.padding == (1, 1, 1, 1)
    graph = import_tflite(path, size=(8, 10))
    assert graph.shapes[graph.output] == (6, 4, 5) and graph.layers[1].window.padding == (0, 0, 1, 1)


def test_names_are_the_last_of_fused_ones_and_unique(tmp_path):
    graph = import_tflite(save(tmp_path, model([op("RELU", "x", "net/a;net/b"), op("RELU", "net/a;net/b", "c\x1b;net/b"),
                                                op("RELU", "c\x1b;net/b", ";")], output=";")))
    assert [layer.name for layer in graph.layers] == ["x", "net/b", "net/b_2", "?"]


def test_notes_say_what_is_left_out(tmp_path):
    graph = import_tflite(save(tmp_path, model([op("RELU", "x")])))
    assert graph.notes == ("net.tflite: output y is given with the channels first",)


def test_a_model_is_loaded_by_its_suffix_with_its_side_file(tmp_path):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], weights(w=(6, 3, 3, 3), b=(6,)), shape=(1, 7, 9, 3)))
    assert "images are prepared as ImageNet's" in load_model(path).notes[-1]
    path.with_suffix(".json").write_text('{"input": {"size": [7, 9], "scale": 1.0}}')
    loaded = load_model(path)
    assert loaded.spec.scale == 1 and loaded.graph.input.shape == (3, 7, 9) and loaded.name == "net"


@pytest.mark.parametrize("name", ["ic_fp32", "vww_float", "ad_fp32"])
def test_reference_files_of_mlperf_tiny(data, name):
    agree(data / "models" / "tflite" / f"mlperf_tiny_{name}.tflite", tolerance=1e-5)


def test_all_problems_at_once(tmp_path):
    ops = [op("FLOOR", "x", "f", shape=(1, 7, 9, 4)), op("CONV_2D", "f w", "c"), op("CUSTOM", "c", shape=(1, 2))]
    with pytest.raises(GraphError) as caught:
        import_tflite(save(tmp_path, model(ops, weights(w=(6, 3, 3, 3)))))
    assert [str(problem) for problem in caught.value.problems] == [
        "f (FLOOR): operator is not supported",
        "c (CONV_2D): weight of 3 input channels does not fit an image of 4",
        "y (CUSTOM Own): operators of one's own are not supported"]


@pytest.mark.parametrize(("dtype", "kind"), [("f4", "uint8"), ("u1", "uint8"), ("i1", "int8")])
def test_raw_inputs_are_as_the_file_has_them(tmp_path, dtype, kind):
    types = {} if dtype == "f4" else {"x": (0.05, 0, 0), "y": (0.05, 0, 0)}
    spec = load_model(save(tmp_path, model([op("MAX_POOL_2D", "x")], {}, shape=(1, 7, 9, 3), dtype=dtype, types=types))).spec
    assert (spec.raw_type, spec.raw_order) == (kind, "HWC")


def test_labels_come_with_the_file(tmp_path):
    """A text file with a line for each output, in an archive behind the network; a side file's and the user's own go before."""
    path = save(tmp_path, model([op("MEAN", "x a")], {"a": [1, 2]}, shape=(1, 7, 9, 3)))
    network = path.read_bytes()
    assert load_model(path).labels == ()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("read_me.txt", "one line")
        archive.writestr("labels.txt", "cat\ndog\ncrème\n")
    whole = path.read_bytes()
    assert whole.startswith(network) and load_model(path).labels == ("cat", "dog", "crème") and labels_in(path, 4) == ()
    names = tmp_path / "own.txt"
    names.write_text("a\nb\nc\n")
    assert load_model(path, labels=names).labels == ("a", "b", "c")
    path.with_suffix(".json").write_text(json.dumps({"labels": ["x", "y", "z"]}))
    assert load_model(path).labels == ("x", "y", "z")
    path.with_suffix(".json").unlink()
    rng = np.random.default_rng(1)
    for _ in range(60):                 # damage behind the network: labels or none, and no other end
        damaged = bytearray(whole[:rng.integers(len(network), len(whole) + 1)])
        for place in rng.integers(len(network), len(whole), 3):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        assert len(labels_in(path, 3)) in (0, 3)
