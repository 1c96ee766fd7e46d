"""Ways in which a file gets damaged. Each is `mutate(data, rng, other) -> bytes`: `other` is another real file to splice from.

The first ones know nothing of the format; the others take an ONNX file apart and put it together again wrongly, so that it
is still well-formed protobuf; the last ones do so with the JSON of a side file, and with quantised files, whose checksum
they put right again, as only malice would. Those of TFLite files are in `bench.damage.flatbuffers`.
"""
from collections.abc import Callable, Sequence
import hashlib
import json
from random import Random
import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["BYTE_MUTATIONS", "FLN_MUTATIONS", "HUGE", "JSON_MUTATIONS", "Mutation", "ONNX_MUTATIONS"]

Mutation = Callable[[bytes, Random, bytes], bytes]

DIGEST = b'\\"digest\\":\\"'       # what stands before the checksum of a quantised file

QUANTISATIONS = ("QuantizeLinear", "DequantizeLinear")
HUGE = (-1, 0, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))


def flip_bits(data: bytes, rng: Random, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_head(data: bytes, rng: Random, other: bytes) -> bytes:
    """Bits of the first 4 kB, where the structure is in files that are mostly weights."""
    head = data[:4096]
    return flip_bits(head, rng, other) + data[len(head):]


def truncate(data: bytes, rng: Random, other: bytes) -> bytes:
    return data[:rng.choice((0, 1, rng.randrange(len(data)), rng.randrange(len(data)), len(data) - 1))]


def insert(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 16, 1000))) + data[place:]


def delete(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice((1, 2, 16, 1000)):]


def overwrite(data: bytes, rng: Random, other: bytes) -> bytes:
    place, count = rng.randrange(len(data)), rng.choice((1, 4, 64, 4096))
    return data[:place] + (rng.choice((b"\0", b"\xff", b"\x80")) * count)[:len(data) - place] + data[place + count:]


def repeat(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place:place + rng.choice((1, 16, 4096))] + data[place:]


def splice(data: bytes, rng: Random, other: bytes) -> bytes:
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]


def noise(data: bytes, rng: Random, other: bytes) -> bytes:
    return rng.randbytes(rng.randrange(1, 5000))


def _edit(change: Callable[[onnx.GraphProto, Random], None]) -> Mutation:
    def mutate(data: bytes, rng: Random, other: bytes) -> bytes:
        model = onnx.load_model_from_string(data)
        change(model.graph, rng)
        return model.SerializeToString()
    mutate.__name__ = change.__name__.strip("_")
    return mutate


def _tensor(graph: onnx.GraphProto, rng: Random) -> TensorProto:
    return rng.choice(graph.initializer)


def swap_dims(graph: onnx.GraphProto, rng: Random) -> None:
    tensor = rng.choice([one for one in graph.initializer if len(set(one.dims)) > 1] or list(graph.initializer))
    dims = list(tensor.dims)
    rng.shuffle(dims)
    del tensor.dims[:]
    tensor.dims.extend(dims)


def change_dim(graph: onnx.GraphProto, rng: Random) -> None:
    tensor = _tensor(graph, rng)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((*HUGE, 1, 2, 3))


def poison_weight(graph: onnx.GraphProto, rng: Random) -> None:
    """NaN, infinity or the like in a float tensor."""
    floats = [one for one in graph.initializer if one.data_type == TensorProto.FLOAT and any(one.dims)]
    if floats:
        tensor = rng.choice(floats)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.randrange(array.size)] = rng.choice((float("nan"), float("inf"), float("-inf"), 3e38))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def shapes_in_constants(graph: onnx.GraphProto, rng: Random) -> None:
    """Other values in an integer constant: shapes of reshapes and of computed weights."""
    shapes = [one for one in graph.initializer if one.data_type == TensorProto.INT64 and any(one.dims)]
    if shapes:
        tensor = rng.choice(shapes)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.randrange(array.size)] = rng.choice((*HUGE, 1, 2, 7))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_scale(graph: onnx.GraphProto, rng: Random) -> None:
    """Of a quantisation: none, zero, negative, huge, tiny, of other channels, or of another type."""
    _change_parameter(graph, rng, 1, lambda array: (
        array * 0, -array, array * 1e30, array * 1e-30, array.astype("f8"), array.astype("i4"),
        array.reshape(-1)[:rng.randrange(2)], array.repeat(2)))


def change_zero_point(graph: onnx.GraphProto, rng: Random) -> None:
    """Of a quantisation: none, another one, of other channels, or of another type."""
    _change_parameter(graph, rng, 2, lambda array: (
        array + 1, array.astype("i1"), array.astype("u1"), array.astype("i2"), array.astype("f4"), array.repeat(2),
        array.reshape(-1)[:0]))


def _change_parameter(graph: onnx.GraphProto, rng: Random, index: int,
                      changes: Callable[[np.ndarray], Sequence[np.ndarray]]) -> None:
    """One of `changes` of a constant that is this input of a quantisation."""
    names = {node.input[index] for node in graph.node if node.op_type in QUANTISATIONS for _ in node.input[index:index + 1]}
    found = [one for one in graph.initializer if one.name in names]
    if found:
        tensor = rng.choice(found)
        changed = rng.choice(changes(numpy_helper.to_array(tensor)))
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))


def change_type(graph: onnx.GraphProto, rng: Random) -> None:
    _tensor(graph, rng).data_type = rng.randrange(-1, 30)


def make_external(graph: onnx.GraphProto, rng: Random) -> None:
    tensor = _tensor(graph, rng)
    tensor.data_location = TensorProto.EXTERNAL
    where = ("missing.bin", "/dev/zero", "../../../dev/zero", "", ".", "model.onnx", "a\0b")
    entries = {"location": rng.choice(where), "offset": str(rng.choice((0, *HUGE))), "length": str(rng.choice(HUGE))}
    for key, value in entries.items():
        if key == "location" or rng.random() < 0.3:
            tensor.external_data.add(key=key, value=value)


def rename_tensor(graph: onnx.GraphProto, rng: Random) -> None:
    node = rng.choice(graph.node)
    names = rng.choice((node.input, node.output))
    if names:
        names[rng.randrange(len(names))] = rng.choice(("", "nowhere", "a\nb", rng.choice(graph.node).output[0]))


def remove_node(graph: onnx.GraphProto, rng: Random) -> None:
    del graph.node[rng.randrange(len(graph.node))]


def repeat_node(graph: onnx.GraphProto, rng: Random) -> None:
    graph.node.append(rng.choice(graph.node))


def reorder_nodes(graph: onnx.GraphProto, rng: Random) -> None:
    nodes = list(graph.node)
    first, second = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    nodes[first], nodes[second] = nodes[second], nodes[first]
    del graph.node[:]
    graph.node.extend(nodes)


def close_cycle(graph: onnx.GraphProto, rng: Random) -> None:
    """An early node reads what a later one produces."""
    early, late = sorted(rng.sample(range(len(graph.node)), 2))
    if graph.node[early].input:
        graph.node[early].input[0] = graph.node[late].output[0]


def change_operator(graph: onnx.GraphProto, rng: Random) -> None:
    node = rng.choice(graph.node)
    node.op_type = rng.choice(("", "Erf", "LeakyRelu", "Loop", "QLinearConv", "Sum", "Flatten", "Softmax", "MaxPool", "Transpose",
                               rng.choice(graph.node).op_type))
    if rng.random() < 0.2:
        node.domain = "com.example"


def change_attribute(graph: onnx.GraphProto, rng: Random) -> None:
    having = [node for node in graph.node if node.attribute]
    if not having:
        return
    attribute = rng.choice(rng.choice(having).attribute)
    if attribute.ints and rng.random() < 0.7:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice((*HUGE, 1, 2, 3, 5))
    elif attribute.ints:
        attribute.ints.append(1)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice((*HUGE, 1, 2, 3))
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice((float("nan"), float("inf"), -1.0, 1e30))
    else:
        attribute.type = rng.randrange(0, 12)


def drop_attribute(graph: onnx.GraphProto, rng: Random) -> None:
    having = [node for node in graph.node if node.attribute]
    if having:
        attributes = rng.choice(having).attribute
        del attributes[rng.randrange(len(attributes))]


def change_input(graph: onnx.GraphProto, rng: Random) -> None:
    known = {tensor.name for tensor in graph.initializer}
    image = next(value for value in graph.input if value.name not in known)
    tensor = image.type.tensor_type
    match rng.randrange(5):
        case 0:
            tensor.elem_type = rng.randrange(0, 20)
        case 1:
            del tensor.shape.dim[rng.randrange(len(tensor.shape.dim))]
        case 2:
            tensor.shape.dim[rng.randrange(4)].dim_value = rng.choice((*HUGE, 5, 4096))
        case 3:
            tensor.shape.dim[rng.randrange(1, 4)].dim_param = "open"
        case 4:
            graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3, 8, 8]))
            rng.choice(graph.node).input.append("second")


def _random_json(rng: Random) -> object:
    return rng.choice((None, True, -1, 0, 1e308, 10 ** 400, "", "x", "/dev/zero", [], {}, [1], [[0.5] * 3], [None] * 3,
                       [10 ** 400] * 3, float("nan"), [224, 1 << 40]))


def change_field(data: bytes, rng: Random, other: bytes) -> bytes:
    record = json.loads(data)
    where = rng.choice((record, record.get("input", record)))
    where[rng.choice((*where, "unknown"))] = _random_json(rng)
    return json.dumps(record).encode()


def other_json(data: bytes, rng: Random, other: bytes) -> bytes:
    return rng.choice((json.dumps(_random_json(rng)).encode(), b"[" * 200_000, b"9" * 5000, b"\xff\xfe", b"{}", b""))


def _sealed(header: bytes, rest: bytes) -> bytes:
    """A quantised file of a changed header and tensors, with the length and the digest that belong to them."""
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + rest
    start = content.index(DIGEST) + len(DIGEST)
    content = content[:start] + b"0" * 64 + content[start + 64:]
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + 64:]


def _parts(data: bytes) -> tuple[bytes, int, bytes]:
    """Header, where in it the record begins after the digest, and the tensors."""
    length = int.from_bytes(data[:8], "little")
    return data[8:8 + length], data.index(DIGEST) - 8 + len(DIGEST) + 64, data[8 + length:]


def sealed_bits(data: bytes, rng: Random, other: bytes) -> bytes:
    header, start, rest = _parts(data)
    where = rng.randrange(3)
    if where:
        return _sealed(header, flip_bits(rest, rng, other))
    return _sealed(header[:start] + flip_bits(header[start:], rng, other), rest)


def sealed_number(data: bytes, rng: Random, other: bytes) -> bytes:
    header, start, rest = _parts(data)
    number = rng.choice(list(re.finditer(rb"(?<![\w.])-?[\d.]+(?:e-?\d+)?(?!\w)", header[start:])))
    value = rng.choice((b"-1", b"0", b"1", b"3", b"255", b"256", b"65536", b"1099511627776", b"1e308", b"0.5", b"null", b"[]",
                        b"9" * 30))
    return _sealed(header[:start + number.start()] + value + header[start + number.end():], rest)


def sealed_word(data: bytes, rng: Random, other: bytes) -> bytes:
    """One quoted word of the record in the place of another."""
    header, start, rest = _parts(data)
    words = list(re.finditer(rb'\\"([^"\\]+)\\"', header[start:]))
    old, new = rng.choice(words), rng.choice(words)
    return _sealed(header[:start + old.start(1)] + new[1] + header[start + old.end(1):], rest)


def sealed_cut(data: bytes, rng: Random, other: bytes) -> bytes:
    header, _, rest = _parts(data)
    return _sealed(header, truncate(rest, rng, other))


BYTE_MUTATIONS: tuple[Mutation, ...] = (flip_bits, flip_head, truncate, insert, delete, overwrite, repeat, splice, noise)
ONNX_MUTATIONS: tuple[Mutation, ...] = tuple(_edit(change) for change in (
    swap_dims, change_dim, poison_weight, shapes_in_constants, change_scale, change_zero_point, change_type, make_external,
    rename_tensor, remove_node, repeat_node,
    reorder_nodes, close_cycle, change_operator, change_attribute, drop_attribute, change_input))
JSON_MUTATIONS: tuple[Mutation, ...] = (flip_bits, truncate, insert, change_field, other_json)
FLN_MUTATIONS: tuple[Mutation, ...] = (sealed_bits, sealed_number, sealed_word, sealed_cut)
