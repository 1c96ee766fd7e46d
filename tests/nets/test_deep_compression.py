"""The Deep Compression reader against an encoder written from the format's description."""
import re
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import onnx
from onnx import numpy_helper
import pytest

from nets import deep_compression
from nets.deep_compression import decode
from nets.model import ModelError
from nets.zoo.squeezenet import SqueezeNetConfig, squeezenet
from nets.zoo.weights import convolutions

GRAPH = squeezenet(SqueezeNetConfig(base_e=4, modules=1, pools=(1,), conv1_channels=5,
                                    conv1_kernel=3, classes=3, input_shape=(2, 12, 12)))
CONVS = convolutions(GRAPH)
FILE = "models/deep-compression/compressed_SqueezeNet.net"


def encode(layers):
    """A file from [(codebook, index of each weight, bias)], one entry at a time."""
    counts, bodies = [], []
    for codebook, indices, bias in layers:
        entries, gap = [], 0
        for index in indices:
            if index == 0:
                gap += 1
                continue
            while gap >= 16:
                entries.append((15, 0))
                gap -= 16
            entries.append((gap, int(index)))
            gap = 0
        runs = [run for run, _ in entries] + [0] * (len(entries) % 2)
        counts.append(len(entries))
        bodies.append(struct.pack("<256f", *codebook) + struct.pack(f"<{len(bias)}f", *bias)
                      + bytes(index for _, index in entries)
                      + bytes(low | high << 4 for low, high in zip(runs[::2], runs[1::2], strict=True)))
    return struct.pack(f"<{len(counts)}I", *counts) + b"".join(bodies)


def random_layers(seed, density):
    random = np.random.default_rng(seed)
    layers = []
    for conv in CONVS:
        codebook = random.standard_normal(256).astype(np.float32)
        codebook[0] = 0
        indices = random.integers(1, 256, conv.weight.size)
        indices[random.random(conv.weight.size) >= density] = 0
        layers.append((codebook, indices, random.standard_normal(conv.bias.size).astype(np.float32)))
    return layers


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from((0.0, 0.01, 0.05, 0.3, 1.0)))
@settings(max_examples=60, deadline=None)
def test_what_was_encoded_is_read_value_for_value(seed, density):
    layers = random_layers(seed, density)
    graph = decode(encode(layers), GRAPH)
    for conv, (codebook, indices, bias) in zip(convolutions(graph), layers, strict=True):
        assert np.array_equal(conv.weight.reshape(-1), codebook[indices])
        assert np.array_equal(conv.bias, bias)


CONTENT = encode(random_layers(seed=1, density=0.3))
COUNTS = struct.unpack_from(f"<{len(CONVS)}I", CONTENT)
BODY = 4 * len(CONVS)                                   # where the first layer begins
RUNS = BODY + 1024 + 4 * CONVS[0].bias.size + COUNTS[0]     # its run lengths


def test_every_truncation_is_refused_at_a_byte_inside_the_file():
    for size in range(len(CONTENT)):
        with pytest.raises(ModelError, match=r"byte \d+: .*truncated at") as caught:
            decode(CONTENT[:size], GRAPH)
        assert int(re.search(r"byte (\d+)", str(caught.value))[1]) <= size


def test_bytes_left_over_are_refused():
    with pytest.raises(ModelError, match=rf"byte {len(CONTENT)}: the file must end here, "
                                         rf"not at {len(CONTENT) + 1}"):
        decode(CONTENT + b"\0", GRAPH)


@pytest.mark.parametrize("offset, patch, message", [
    (0, struct.pack("<I", 2**32 - 1),
     rf"byte 0: conv1 must store at most {CONVS[0].weight.size} entries, not 4294967295"),
    (BODY, struct.pack("<f", 0.5), rf"byte {BODY}: codebook of conv1 must begin with 0, not 0.5"),
    (BODY + 40, struct.pack("<f", np.nan), rf"byte {BODY + 40}: codebook of conv1 must be finite"),
    (BODY + 1028, struct.pack("<f", np.inf), rf"byte {BODY + 1028}: bias of conv1 must be finite"),
])
def test_damaged_values_are_refused_by_offset(offset, patch, message):
    content = CONTENT[:offset] + patch + CONTENT[offset + len(patch):]
    with pytest.raises(ModelError, match=message):
        decode(content, GRAPH)


def test_entry_beyond_its_layer_is_refused_at_its_run_length():
    size, runs = CONVS[0].weight.size, -(-COUNTS[0] // 2)
    content = CONTENT[:RUNS] + b"\xff" * runs + CONTENT[RUNS + runs:]
    entry = size // 16                                  # entry k lies at 16 k + 15
    with pytest.raises(ModelError, match=rf"file: byte {RUNS + entry // 2}: entry {entry} of conv1 "
                                         rf"must lie inside its {size} weights, "
                                         rf"not at {16 * entry + 15}"):
        decode(content, GRAPH)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_random_damage_is_refused_or_read(seed):
    random = np.random.default_rng(seed)
    content = bytearray(CONTENT)
    for place in random.integers(len(content), size=random.integers(1, 9)):
        content[place] = random.integers(256)
    try:
        decode(bytes(content), GRAPH)
    except ModelError as error:
        assert str(error).startswith("file: byte ")


@pytest.mark.parametrize("make, message", [
    (lambda path: None, "is not a file"),
    (lambda path: path.mkdir(), "is not a file"),
    (lambda path: path.write_bytes(b""), "byte 0: the table of entry counts must end at byte 104"),
    (lambda path: path.write_bytes(bytes((16 << 20) + 1)), "is no Deep Compression file"),
])
def test_files_that_are_none_are_refused(tmp_path, make, message):
    make(tmp_path / "bad.net")
    with pytest.raises(ModelError, match=rf"bad.net: {message}"):
        deep_compression.load(tmp_path / "bad.net")


@pytest.fixture(scope="module")
def model(data):
    return deep_compression.load(data / FILE)


def test_authors_file_equals_the_onnx_file_value_for_value(data, model):
    graph = onnx.load(data / "models/squeezenet1_0_deepcomp.onnx").graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    for node, conv in zip(nodes, convolutions(model.graph), strict=True):
        weight, bias = (arrays[name] for name in node.input[1:])
        assert np.array_equal(weight, conv.weight) and np.array_equal(bias, conv.bias), node.name
        attributes = {item.name: list(item.ints) for item in node.attribute}
        assert attributes["pads"] == list(conv.window.padding)
        assert attributes["strides"] == list(conv.window.stride)


def test_authors_file_has_the_known_counts(model):
    kept = sum(np.count_nonzero(conv.weight) for conv in convolutions(model.graph))
    assert kept == 415_921 and model.graph.parameters == 1_248_424
    assert model.notes == ("Deep Compression: 415,921 of 1,244,448 weights are not 0 (33.4%)",)
    assert (model.spec, model.labels) == (deep_compression.SPEC, ())


def test_side_file_gives_size_and_labels(tmp_path, data, model):
    (tmp_path / "small.net").write_bytes((data / FILE).read_bytes())
    (tmp_path / "small.json").write_text(
        '{"input": {"size": [96, 128], "channels": "BGR", "scale": 1}, "labels": ["a", "b"]}')
    small = deep_compression.load(tmp_path / "small.net")
    assert small.graph.input.shape == (3, 96, 128) and small.labels == ("a", "b")
    assert np.array_equal(convolutions(small.graph)[5].weight, convolutions(model.graph)[5].weight)
