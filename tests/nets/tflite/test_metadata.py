"""What the metadata of a file says of its images is how they are prepared, unless a side file or the user says otherwise."""
import json

import numpy as np
import pytest

from nets.load import load_model
from nets.quantise import quantise_with
from nets.tflite.metadata import Normalisation, normalisation_in
from tests.nets.tflite.cases import model, normalised, op, save

MEAN, STD = [10., 20.5, 30.], [2., 4., 8.]


def saved(folder, metadata: bytes, channels: int = 3):
    return save(folder, model([op("MEAN", "x a")], {"a": [1, 2]}, shape=(1, 7, 9, channels), metadata=metadata))


def test_images_are_prepared_as_it_says(tmp_path):
    path = saved(tmp_path, normalised(MEAN, STD))
    assert normalisation_in(path) == Normalisation(tuple(MEAN), tuple(STD))
    loaded = load_model(path)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 7, 9), np.uint8)
    np.testing.assert_array_equal(loaded.spec.normalise(pixels), (pixels - np.float32(MEAN)[:, None, None])
                                  / np.float32(STD)[:, None, None])
    assert loaded.notes[-1].endswith(
        "images are prepared as its metadata says: pixels in 0..255, less 10, 20.5, 30, divided by 2, 4, 8 (RGB)")
    assert load_model(path, mean=(0.5,) * 3, std=(1.,) * 3).spec.mean == (0.5,) * 3
    path.with_suffix(".json").write_text(json.dumps({"input": {"size": [7, 9], "mean": [1, 2, 3]}}))
    assert load_model(path).spec.mean == (1, 2, 3)


def test_a_number_alone_is_for_all_channels(tmp_path):
    spec = load_model(saved(tmp_path, normalised([127.5], [127.5]))).spec
    assert (spec.scale, spec.mean, spec.std) == (1, (127.5,) * 3, (127.5,) * 3)


def test_steps_of_a_quantised_input(tmp_path):
    """Pixels that are normalised to -1..1, whose steps are then the pixels again."""
    types = dict.fromkeys("xy", (1 / 127.5, 0, 0))
    path = save(tmp_path, model([op("MAX_POOL_2D", "x")], types=types, shape=(1, 6, 7, 3), dtype="i1",
                                metadata=normalised([127.5], [127.5])))
    loaded = load_model(path)
    pixels = np.arange(126, dtype=np.uint8).reshape(3, 6, 7) * 2
    steps = quantise_with(loaded).quantise_input(loaded.spec.normalise(pixels))
    assert np.abs(steps.astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("metadata", [b"", b"no metadata at all", normalised(MEAN, STD, kind=2),
                                      normalised(MEAN, STD).replace(b"M001", b"M002")])
def test_what_says_nothing(tmp_path, metadata):
    path = saved(tmp_path, metadata)
    assert normalisation_in(path) is None and "ImageNet" in load_model(path).notes[-1]


@pytest.mark.parametrize(("mean", "std", "why"), [
    (MEAN[:2], STD, "mean must be 3 finite numbers"), (MEAN, [1., 0., 1.], "scale and std must be finite and not 0"),
    (MEAN, [1., float("nan"), 1.], "std must be 3 finite numbers"), ([], [], "mean must be 3 finite numbers")])
def test_what_cannot_be_taken_is_told(tmp_path, mean, std, why):
    loaded = load_model(saved(tmp_path, normalised(mean, std)))
    assert "what its metadata says is not taken: " + why in loaded.notes[-1] and loaded.spec.scale == 1 / 255


def test_damage_ends_well(tmp_path):
    rng, whole = np.random.default_rng(1), normalised(MEAN, STD)
    for _ in range(300):
        damaged = bytearray(whole[:rng.integers(8, len(whole) + 1)])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        found = normalisation_in(saved(tmp_path, bytes(damaged)))
        assert found is None or len(found.mean) + len(found.std) < 8192
