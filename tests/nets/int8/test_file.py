"""Quantised files: what is written comes back, and nothing else is accepted."""
from dataclasses import replace
import hashlib
import json
import random
import re

import numpy as np
import pytest
import safetensors.numpy

from nets.graph import GraphError
from nets.int8.file import load, save
from nets.load import load_model
from nets.model import ModelError
from nets.quantise import main, quantise_with
from nets.sealed import ZEROS

SEED = 7


@pytest.fixture(scope="module")
def network():
    return quantise_with(load_model("digits"), limit=8)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("quantised") / "digits.fln"
    save(network, path)
    return path


def test_what_is_written_comes_back(network, file, tmp_path):
    again = load(file)
    assert (again.name, again.output, again.spec, again.labels, again.notes, again.provenance, again.tensors, again.losses) == (
        network.name, network.output, network.spec, network.labels, network.notes, network.provenance, network.tensors,
        network.losses)
    assert len(network.losses) == len(network.layers) - 1
    for ours, theirs in zip(network.layers, again.layers, strict=True):
        assert type(ours) is type(theirs) and (ours.name, ours.inputs) == (theirs.name, theirs.inputs)
        if hasattr(ours, "weight"):
            np.testing.assert_array_equal(ours.weight, theirs.weight)
            np.testing.assert_array_equal(ours.bias, theirs.bias)
            np.testing.assert_array_equal(ours.requantise.shift, theirs.requantise.shift)
            assert theirs.requantise.shift.dtype == np.int64
    assert again.first_class == 0
    save(replace(network, first_class=1), tmp_path / "behind.fln")
    assert load(tmp_path / "behind.fln").first_class == 1
    with pytest.raises(GraphError, match="first class must be an output, not 10"):
        save(replace(network, first_class=10), tmp_path / "wrong.fln")
    save(again, tmp_path / "again.fln")
    assert (tmp_path / "again.fln").read_bytes() == file.read_bytes()


def test_any_damage_is_refused(file, tmp_path):
    content = file.read_bytes()
    draw = random.Random(SEED)
    header = int.from_bytes(content[:8], "little") + 8
    damaged = [content[:draw.randrange(len(content))] for _ in range(20)] + [b"", content[:7], content + b"\0", content * 2]
    places = [draw.randrange(end) for end in (90, header, len(content)) for _ in range(60)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        damaged.append(bytes(flipped))
    for number, bad in enumerate(damaged):
        path = tmp_path / "bad.fln"
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=r"^[^\n]*bad\.fln: [^\n]+$"):
            load(path)
            pytest.fail(f"seed {SEED}: file {number} was accepted")


def forged(content, change, arrays=lambda arrays: None):
    """The file with its record and arrays changed, and a digest that fits."""
    record = json.loads(safetensors_header(content)["__metadata__"]["fireline"])
    held = dict(safetensors.numpy.load(content))
    change(record)
    arrays(held)
    content = safetensors.numpy.save(held, {"fireline": json.dumps(record | {"digest": ZEROS.decode()}, separators=(",", ":"))})
    return content.replace(ZEROS, hashlib.sha256(content).hexdigest().encode(), 1)


def safetensors_header(content):
    return json.loads(content[8:8 + int.from_bytes(content[:8], "little")])


def layer(record, name):
    return next(entry for entry in record["layers"] if entry["name"] == name)


def put(key, value, name=None):
    def change(record):
        (layer(record, name) if name else record)[key] = value
    return change


def put_array(name, make):
    def change(arrays):
        arrays[name] = make(arrays[name])
    return change


@pytest.mark.parametrize(("change", "message"), [
    (put("version", 3), "has version 3, but only version 4 can be read"),
    (put("offset", 1), "offset must be float, not 1"),
    (put("offset", 1e999), "offset of the output must be a number, not inf"),
    (put("losses", [3]), "loss must be dict, not 3"),
    (put("losses", [{"layer": "conv1", "op": "Conv", "snr": 1}]), "snr must be float, not 1"),
    (put("losses", [{"layer": "conv1", "op": "Conv", "snr": 1.0}]), "source is missing"),
    (lambda record: record["layers"].pop(0), "must have exactly one input layer"),
    (put("layers", 3), "layers must be list, not 3"),
    (put("output", "nothing"), "nothing .*: output is produced by no layer"),
    (put("labels", "abc"), "labels must be list"),
    (put("input", {}), "input must give a size"),
    (lambda record: record.pop("name"), "name is missing"),
    (put("op", "Magic", "conv1"), "conv1: operator 'Magic' is unknown"),
    (put("inputs", ["later"], "conv1"), "conv1 .*: reads later, which no earlier layer produces"),
    (put("inputs", [], "conv1"), "conv1 .*: must have 1 inputs, not 0"),
    (put("groups", 0, "conv1"), "conv1 .*: groups must be 1.."),
    (put("groups", True, "conv1"), "conv1: groups must be int, not True"),
    (put("strange", 0, "conv1"), "conv1: unknown fields strange"),
    (put("window", {"kernel": [3, 3]}, "conv1"), "conv1: stride is missing"),
    (put("weight", "int16", "conv1"), "conv1: array weight must be 'int16', not int8"),
    (put("requantise", {"zero_point": 0, "low": 9, "high": 3, "fraction": False}, "conv1"),
     "low must not exceed high, not 9 and 3"),
    (put("requantise", {"zero_point": 3, "low": 0, "high": 3, "fraction": False}, "conv1"),
     "zero point must be the tensor's 0, not 3"),
    (put("requantise", {"zero_point": 0, "low": 1, "high": 3, "fraction": True}, "conv1"), "bits must be 16 where"),
    (put("requantise", {"zero_point": 1, "low": 0, "high": 255, "fraction": True}, "pool6"), "low and high must be 1..254"),
    (put("tensor", {"shape": [32, 15, 15], "scale": 0.0, "zero_point": 0, "bits": 8}, "conv1"),
     "scale must be a positive number, not 0.0"),
    (put("tensor", {"shape": [32, 15, 14], "scale": 1.0, "zero_point": 0, "bits": 8}, "conv1"),
     r"shape must be \(32, 15, 15\), not"),
    (put("tensor", {"shape": [32, 15, 15], "scale": 1.0, "zero_point": 256, "bits": 8}, "conv1"),
     "zero point must be 0..255, not 256"),
    (put("tensor", {"shape": [32, 7, 7], "scale": 1.0, "zero_point": 0, "bits": 8}, "pool1"),
     "must share scale, zero point and bits"),
    (put("tensor", {"shape": [32, 7, 7], "scale": 1.0, "zero_point": 0, "bits": 12}, "pool1"), "bits must be 8 or 16, not 12"),
    (put("tensor", {"shape": [32, 15, 15], "scale": 1.0, "zero_point": 0, "bits": 16}, "conv1"), "bits must be 16 where"),
    (put("output", "conv1"), "a tensor of 16 bits must be the output"),
    (put("name", "conv2", "conv1"), "conv2: array weight is missing"),
])
def test_a_record_that_breaks_a_rule_is_refused(file, tmp_path, change, message):
    path = tmp_path / "forged.fln"
    path.write_bytes(forged(file.read_bytes(), change))
    with pytest.raises(ModelError, match=rf"^[^\n]*forged\.fln: [^\n]*{message}[^\n]*$"):
        load(path)


@pytest.mark.parametrize(("arrays", "message"), [
    (put_array("conv1.weight", lambda w: np.full_like(w, -128)), "weight must be -127..127, not -128..-128"),
    (put_array("conv1.weight", lambda w: w[:, :, :1]), "weight must be out x in x 3 x 3"),
    (put_array("conv1.bias", lambda b: b[1:]), r"bias must have shape \(32,\), not \(31,\)"),
    (put_array("conv1.bias", lambda b: np.full_like(b, 2**31 - 1)), "accumulator may reach .*, beyond int32"),
    (put_array("conv1.shift", lambda s: s + np.uint8(100)), "shift must be 1..39"),
    (put_array("conv1.shift", lambda s: s.astype(np.int64)), "array shift must be 'uint8', not int64"),
    (lambda arrays: arrays.update(stray=np.zeros(3)), "array stray belongs to no layer"),
    (lambda arrays: arrays.pop("conv1.bias"), "conv1: array bias is missing"),
])
def test_arrays_that_break_a_rule_are_refused(file, tmp_path, arrays, message):
    path = tmp_path / "forged.fln"
    path.write_bytes(forged(file.read_bytes(), lambda record: None, arrays))
    with pytest.raises(ModelError, match=rf"^[^\n]*forged\.fln: [^\n]*{message}[^\n]*$"):
        load(path)


def test_forging_alone_is_not_refused(file, tmp_path):
    path = tmp_path / "forged.fln"
    path.write_bytes(forged(file.read_bytes(), lambda record: None))
    assert load(path).name == "digits"


def test_a_wrong_suffix_is_refused(network, tmp_path):
    with pytest.raises(ModelError, match=re.escape("digits.onnx: a quantised file must end in .fln")):
        save(network, tmp_path / "digits.onnx")


def test_names_may_hold_anything(network, tmp_path):
    odd = replace(network, name='a"\\\n{}', labels=('{"fireline":"{\\"digest\\":', *network.labels[1:]))
    save(odd, tmp_path / "odd.fln")
    assert load(tmp_path / "odd.fln").labels == odd.labels


def test_command(tmp_path, capsys):
    assert main(["--limit", "4", "--out", str(tmp_path / "d.fln")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'd.fln'}\n"
    assert load(tmp_path / "d.fln").provenance["calibration_images"] == 4
    assert main(["--limit", "4", "--out", str(tmp_path / "no" / "d.fln")]) == 2
    assert "cannot be written" in capsys.readouterr().err
