"""Networks no one here wrote: the light models inside the onnx package, whose weights are constants made by ConstantOfShape."""
from math import prod

import onnx
from onnx import shape_inference
import pytest

from bench import light
from nets.graph import LRN, Conv
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import agree, save

# Parameters once batch normalisation is folded, and multiply-accumulates; both also follow from the file, below.
MODELS = {
    "bvlc_alexnet": (60_965_224, 654_560_384), "densenet121": (7_974_120, 2_834_161_664),
    "inception_v1": (6_998_552, 1_431_556_352), "inception_v2": (11_185_032, 2_018_851_840),
    "resnet50": (25_530_472, 4_089_184_256), "shufflenet": (1_379_880, 124_664_528), "squeezenet": (1_235_496, 349_151_936),
    "vgg19": (143_667_240, 19_632_062_464), "zfnet512": (87_250_536, 1_481_727_008),
}
WEIGHTS_LEFT = 1 << 22      # larger tensors stay the constants that they are: only the first linear layers are as large


def load(name: str) -> onnx.ModelProto:
    return onnx.load(light.FOLDER / f"light_{name}.onnx")


def test_all_of_the_package_are_here():
    assert {path.stem.removeprefix("light_") for path in light.FOLDER.glob("*.onnx")} == set(MODELS)
    assert [f"light_{name}" for name in MODELS] == [*light.NAMES]


@pytest.mark.parametrize("name, size, alpha, beta, bias", [
    ("bvlc_alexnet", 5, 1e-4, 0.75, 1.0), ("inception_v1", 5, 1e-4, 0.75, 1.0), ("zfnet512", 5, 5e-4, 0.75, 2.0)])
def test_those_of_before_batch_normalisation_normalise_neighbours(name, size, alpha, beta, bias):
    found = [layer for layer in import_onnx(light.FOLDER / f"light_{name}.onnx").layers if isinstance(layer, LRN)]
    assert [layer.size for layer in found] == [size, size]
    for layer in found:
        assert (layer.alpha, layer.beta, layer.bias) == pytest.approx((alpha, beta, bias))


@pytest.mark.parametrize("name", MODELS)
def test_imports_with_the_parameters_of_the_file(name):
    proto, graph = load(name), import_onnx(light.FOLDER / f"light_{name}.onnx")
    shapes = light.constant_shapes(proto)
    producers = {tensor: node.op_type for node in proto.graph.node for tensor in node.output}
    readers = [tensor for node in proto.graph.node for tensor in node.input]
    expected = macs = 0
    inferred = inferred_shapes(proto)
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = shapes[node.input[1]]
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            outputs = weight[1] if node.op_type == "Gemm" and not transposed else weight[0]
            expected += prod(weight) + outputs
            macs += prod(weight) * prod(inferred[node.output[0]][2:])
        elif node.op_type == "BatchNormalization" and (producers[node.input[0]] != "Conv" or readers.count(node.input[0]) > 1):
            expected += 2 * prod(shapes[node.input[1]])
    assert (graph.parameters, graph.total_macs) == (expected, macs) == MODELS[name]
    assert not graph.notes


def inferred_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """What onnx itself says of every tensor."""
    graph = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.output)}


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_those_of_the_file(name):
    proto, graph = load(name), import_onnx(light.FOLDER / f"light_{name}.onnx")
    inferred = inferred_shapes(proto)
    nodes = {node.name or node.output[0]: node for node in proto.graph.node}
    compared = 0
    for layer in graph.layers[1:]:
        node = nodes.get(layer.name)        # a Sum of three makes one layer that has no node
        if node and layer.op != "ChannelShuffle":
            assert (1, *graph.shapes[layer.name]) == inferred[node.output[0]], layer.name
            compared += 1
    assert compared > 0.8 * len(graph.layers)
    assert [layer.op for layer in graph.layers].count("Conv") == [node.op_type for node in proto.graph.node].count("Conv")


def end_before(proto: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Makes what the first of the nodes reads, if there is one, the output."""
    if nodes:
        proto.graph.output[0].name = nodes[0].input[0]
        proto.graph.output[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_onnx_runtime(tmp_path, name):
    # Constant weights give values so large and so alike that rounding alone decides a softmax: compare what it reads.
    proto = load(name)
    end_before(proto, *(node for node in proto.graph.node if node.op_type == "Softmax"))
    agree(save(tmp_path, proto), tolerance=1e-4)
    proto = light.filled(f"light_{name}", len(name), most=WEIGHTS_LEFT)
    large = {node.output[0] for node in proto.graph.node if node.op_type == "ConstantOfShape"}
    end_before(proto, *(node for node in proto.graph.node if large.intersection(node.input) or node.op_type == "Softmax"))
    graph = agree(save(tmp_path, proto), tolerance=1e-4)
    assert sum(isinstance(layer, Conv) for layer in graph.layers) >= 5
