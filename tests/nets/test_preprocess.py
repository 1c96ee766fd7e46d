"""Images and side files: exact pixels, every rule, and files that are damaged."""
from contextlib import nullcontext
from dataclasses import replace
import json
from random import Random
import re

import numpy as np
from PIL import Image
import pytest

from nets.preprocess import ImageWarning, InputSpec, PreprocessError, check_image, find_images, load_image, read_side_file

BASE = {"size": [4, 6]}


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_exact_size_is_taken_as_it_is():
    image = picture(6, 6)
    expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(InputSpec(size=(6, 6)).pixels(image), expected)
    np.testing.assert_array_equal(InputSpec(size=(6, 6), crop="none", channels="BGR").pixels(image), expected[::-1])
    np.testing.assert_array_equal(InputSpec(size=(4, 6)).pixels(image), expected[:, 1:5])
    for fields in ({"resize": 9}, {"resize": 0}, {"crop": "none"}):
        np.testing.assert_array_equal(InputSpec(size=(6, 6), **fields).pixels(image), expected)


@pytest.mark.parametrize("height, width", [(49, 10), (10, 49), (1, 7), (3, 3)])
def test_without_resize_the_picture_just_covers_the_input(height, width):
    image, spec = picture(width, height), InputSpec(size=(height, width))
    np.testing.assert_array_equal(spec.pixels(image), np.asarray(image).transpose(2, 0, 1))
    large = picture(2 * width, 3 * height)
    small = np.asarray(large.resize((width, round(1.5 * height)), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    top = (small.shape[1] - height) // 2
    np.testing.assert_array_equal(spec.pixels(large), small[:, top:top + height])


def test_grey():
    image = picture(5, 5)
    spec = InputSpec(size=(5, 5), channels="L", mean=(0.0,), std=(1.0,))
    np.testing.assert_array_equal(spec.pixels(image)[0], np.asarray(image.convert("L")))
    assert spec.shape == (1, 5, 5)


def test_shorter_side_is_resized_then_the_centre_cropped():
    image = picture(40, 20)
    got = InputSpec(size=(8, 8), resize=10).pixels(image)
    small = np.asarray(image.resize((20, 10), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(got, small[:, 1:9, 6:14])


def test_no_crop_resizes_straight():
    image = picture(40, 20)
    got = InputSpec(size=(7, 9), crop="none").pixels(image)
    np.testing.assert_array_equal(got, np.asarray(image.resize((9, 7), Image.Resampling.BILINEAR)).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1", "CMYK", "I;16", "LA"])
def test_other_image_modes(mode, tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    image = Image.fromarray(deep) if mode == "I;16" else picture(8, 8).convert(mode)
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "I;16", "LA") else "image.png")
    image.save(path)
    pixels = load_image(path, InputSpec(size=(8, 8)))
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8


@pytest.mark.parametrize("sides, size, fields, said", [
    ((20, 20), (81, 81), {}, "is small, 20x20 pixels, and enlarged 4 times for an input of 81x81"),
    ((20, 20), (80, 80), {}, None), ((20, 20), (40, 40), {"resize": 81}, "enlarged 4 times"),
    ((20, 99), (20, 20), {}, "has an extreme shape, 20x99 pixels, and is cropped to its centre for an input of 20x20"),
    ((99, 20), (20, 20), {"crop": "none"}, "has an extreme shape, 99x20 pixels, and is squeezed into"),
    ((80, 20), (20, 20), {}, None), ((99, 20), (20, 99), {}, None)])
def test_pictures_that_do_not_fit_well_are_said(tmp_path, sides, size, fields, said):
    picture(*sides).save(tmp_path / "i.png")
    spec = InputSpec(size=size, **fields)
    with pytest.warns(ImageWarning, match=f"^{tmp_path}/i.png: .*{said}") if said else nullcontext():
        assert load_image(tmp_path / "i.png", spec).shape == spec.shape


def test_pictures_too_long_to_be_resized_are_refused(tmp_path):
    picture(1, 40_000).save(tmp_path / "i.png")
    with pytest.raises(PreprocessError, match="i.png: cannot be read: 1x40000 pixels would become 100x4000000 before"):
        load_image(tmp_path / "i.png", InputSpec(size=(100, 100)))


def test_pillow_warnings_stay_inside(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    picture(20, 20).save(tmp_path / "i.png")
    assert load_image(tmp_path / "i.png", InputSpec(size=(20, 20))).shape == (3, 20, 20)


def test_normalise():
    spec = InputSpec(size=(1, 2), scale=0.5, mean=(1, 2, 3), std=(1, 2, 4))
    pixels = np.array([[[0, 10]], [[20, 30]], [[40, 250]]], np.uint8)
    got = spec.normalise(pixels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[[-1, 4]], [[4, 6.5]], [[4.25, 30.5]]])


def test_with_size_keeps_the_ratio():
    assert InputSpec(size=(224, 224), resize=256).with_size((112, 56)) == InputSpec(size=(112, 56), resize=128)
    assert InputSpec(size=(224, 224)).with_size((8, 9)).resize == 0


@pytest.mark.parametrize("fields, message", [
    ({"size": (0, 4)}, "size must be a height and a width of 1..4096 pixels"), ({"size": (4,)}, "size must be"),
    ({"size": (4, 5000)}, "size must be"), ({"size": (4, 4.0)}, "size must be"),
    ({"channels": "CMY"}, "channels must be one of RGB, BGR, L, not 'CMY'"),
    ({"raw_type": "int16"}, "raw_type must be one of uint8, int8, not"),
    ({"raw_order": "NHWC"}, "raw_order must be one of CHW, HWC"),
    ({"crop": "left"}, "crop must be one of center, none"), ({"background": "red"}, "background must be one of black, white"),
    ({"resize": -1}, "resize must be 0..8192"), ({"resize": 3}, "resize must be at least the crop of 4 pixels, not 3"),
    ({"mean": (0.0,)}, "mean must be 3 finite numbers"), ({"std": (1.0, 1.0, float("inf"))}, "std must be 3 finite numbers"),
    ({"std": (1.0, 0.0, 1.0)}, "scale and std must be finite and not 0"), ({"scale": 0.0}, "scale and std must be"),
    ({"scale": float("nan")}, "scale and std must be"), ({"channels": "L"}, "mean must be 1 finite numbers"),
])
def test_spec_rules(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        InputSpec(**{"size": (4, 4)} | fields)


def test_side_file_round_trip(tmp_path):
    spec = InputSpec(size=(4, 6), channels="BGR", scale=1.0, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), resize=9)
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"input": spec.to_json(), "labels": ["cat", "dog"]}))
    assert read_side_file(path) == (spec, ("cat", "dog"), 0)


def test_side_file_labels_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("tench\ngoldfish, Carassius auratus\ncrème\n", encoding="utf-8")
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"labels": "names.txt"}))
    assert read_side_file(path) == (None, ("tench", "goldfish, Carassius auratus", "crème"), 0)
    path.write_text('{"first_class": 1}')
    assert read_side_file(path) == (None, (), 1)


def test_side_file_of_grey_images(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"input": BASE | {"channels": "L"}}))
    assert read_side_file(path)[0] == InputSpec(size=(4, 6), channels="L", mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize("content, message", [
    ("", "is not JSON: Expecting value"), ("{", "is not JSON: "), (b"\xff\xfe", "is not JSON: .*utf-8"),
    ("[" * 100_000, "is not JSON: .*recursion"), ("9" * 5000, "is not JSON: Exceeds the limit"),
    ("[]", "must be an object with 'input' and 'labels', not list"),
    ({"input": 3}, "input must be an object, not 3"), ({"input": {}}, "input must give a size"),
    ({"input": BASE | {"colour": 1}}, "input has unknown fields: colour"),
    ({"input": {"size": 224}}, "size must be a list, not 224"),
    ({"input": {"size": [1, None]}}, "size must be a height and a width"),
    ({"input": BASE | {"mean": "abc"}}, "mean must be a list, not 'abc'"),
    ({"input": BASE | {"mean": [1, "2", 3]}}, "mean must be numbers"),
    ({"input": BASE | {"scale": "1/255"}}, "scale must be a number"),
    ({"input": BASE | {"scale": None}}, "scale must be a number, not None"),
    ({"input": BASE | {"mean": [10 ** 400, 0, 0]}}, "int too large to convert to float"),
    ({"input": BASE | {"channels": ["R"]}}, ""), ({"input": BASE | {"resize": 1.5}}, "resize must be 0..8192 pixels, not 1.5"),
    ({"labels": 5}, "labels must be a file name or a list of strings"), ({"labels": [1, 2]}, "labels must be a file name"),
    ({"labels": "gone.txt"}, "labels 'gone.txt' cannot be read: No such file"), ({"labels": "."}, "labels '.' must be a file"),
    ({"first_class": -1}, r"first_class must be a whole number of 0\.\.999, not -1"),
    ({"first_class": True}, "first_class must be"),
    ({"labels": "/dev/zero"}, "labels '/dev/zero' must be a file"), ({"labels": "a\0b"}, ".*null"),
])
def test_side_files_that_are_refused(tmp_path, content, message):
    path = tmp_path / "net.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PreprocessError, match=f"^{re.escape(str(path))}: {message}"):
        read_side_file(path)


def test_missing_side_file(tmp_path):
    with pytest.raises(PreprocessError, match="gone.json: cannot be read: No such file"):
        read_side_file(tmp_path / "gone.json")


def test_images_are_found_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.PNG", "b/a.jpg", "a.bmp"):
        picture(4, 4).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)] == ["a.bmp", "b/a.jpg", "z.PNG"]


def test_tensors_are_found_where_there_is_no_image(tmp_path):
    for name in ("b.npy", "a.BIN", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_images(tmp_path)] == ["a.BIN", "b.npy"]
    picture(4, 4).save(tmp_path / "z.png")
    assert [path.name for path in find_images(tmp_path)] == ["z.png"]


def test_folders_without_images(tmp_path):
    with pytest.raises(PreprocessError, match=r"holds no image \(\.bmp, .*and no tensor \(\.bin, \.npy\)"):
        find_images(tmp_path)
    with pytest.raises(PreprocessError, match="gone: is not a folder of images"):
        find_images(tmp_path / "gone")


def test_files_that_are_no_images(tmp_path):
    spec = InputSpec(size=(4, 4))
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(PreprocessError, match="text.png: is not an image that Pillow can read"):
        load_image(tmp_path / "text.png", spec)
    with pytest.raises(PreprocessError, match="gone.png: cannot be read: No such file"):
        load_image(tmp_path / "gone.png", spec)


@pytest.mark.filterwarnings("ignore::nets.preprocess.ImageWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_damaged_images_are_read_or_refused(tmp_path, suffix):
    """Seeded bit flips and truncations; nothing but a PreprocessError may come out."""
    spec, path = InputSpec(size=(8, 8)), tmp_path / f"image.{suffix}"
    picture(16, 12).save(path)
    content = path.read_bytes()
    for seed in range(60):
        rng = Random(seed)
        changed = bytearray(content[:rng.choice((len(content), rng.randrange(len(content))))])
        for _ in range(rng.randrange(4) if changed else 0):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            assert load_image(path, spec).shape == (3, 8, 8), seed
        except PreprocessError as error:
            assert str(path) in str(error) and "\n" not in str(error), seed


def test_tensors_are_pixels_steps_or_values(tmp_path):
    """uint8 as they are, int8 from -128, floats to the nearest pixel, with the channels first or last."""
    spec = InputSpec(size=(2, 3), scale=0.5, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))
    pixels = np.random.default_rng(0).integers(0, 256, spec.shape, np.uint8)
    signed = (pixels.astype(np.int16) - 128).astype(np.int8)
    for array in (pixels, pixels.transpose(1, 2, 0), pixels[None], signed, signed.transpose(1, 2, 0)[None],
                  spec.normalise(pixels), spec.normalise(pixels).astype(np.float64)):
        np.save(tmp_path / "x.npy", array)
        found = load_image(tmp_path / "x.npy", spec)
        assert found.dtype == np.uint8 and np.array_equal(found, pixels)


def test_features_are_tensors_of_one_channel(tmp_path):
    spec = InputSpec(size=(1, 6), channels="L", scale=0.25, mean=(3.0,), std=(1.0,))
    for values in (np.linspace(-3, 4, 6, dtype=np.float32), np.linspace(-3, 4, 6)[None]):
        np.save(tmp_path / "x.npy", values)
        assert np.abs(spec.normalise(load_image(tmp_path / "x.npy", spec)).ravel() - np.ravel(values)).max() <= 0.125
    np.save(tmp_path / "x.npy", np.array([-1e30, 1e30, 0, 0, 0, 0]))
    assert load_image(tmp_path / "x.npy", spec).ravel().tolist() == [0, 255, 12, 12, 12, 12]


@pytest.mark.parametrize("array, message", [
    (np.zeros((3, 2, 4), np.uint8), r"must be of shape \(3, 2, 3\), or with the channels last, not \(3, 2, 4\)"),
    (np.zeros((3, 2, 3), np.int64), "must hold floats, int8 or uint8, not int64"),
    (np.full((3, 2, 3), np.nan), "18 of 18 values of float64 are not finite numbers"),
    (np.full((3, 2, 3), None), "cannot be read as a NumPy file: .*Python objects")])
def test_tensors_that_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(PreprocessError, match=rf"x\.npy: {message}"):
        load_image(tmp_path / "x.npy", InputSpec(size=(2, 3)))


@pytest.mark.parametrize("order", ["CHW", "HWC"])
def test_raw_tensors_are_of_the_input(tmp_path, order):
    spec = InputSpec(size=(2, 3), scale=0.5, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0), raw_order=order)
    pixels = np.random.default_rng(0).integers(0, 256, spec.shape, np.uint8)
    signed, path = replace(spec, raw_type="int8"), tmp_path / "x.bin"
    for kind, array in ((spec, pixels), (signed, pixels ^ 128), (signed, spec.normalise(pixels).astype("<f4"))):
        path.write_bytes((array if order == "CHW" else array.transpose(1, 2, 0)).tobytes())
        check_image(path)
        assert np.array_equal(load_image(path, kind), pixels)
    assert InputSpec.from_json(signed.to_json()) == signed and ("raw_order" in spec.to_json()) is (order == "HWC")


@pytest.mark.parametrize("size", [0, 17, 19, 71, 73])
def test_raw_tensors_of_other_sizes_are_refused(tmp_path, size):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(size))
    message = f"x.bin: must have 18 bytes, 3x2x3 of int8, or 72, of float32, not {size}$"
    with pytest.raises(PreprocessError, match=message):
        load_image(path, InputSpec(size=(2, 3), raw_type="int8"))
    path.unlink()
    for read in (check_image, lambda path: load_image(path, InputSpec(size=(2, 3)))):
        with pytest.raises(PreprocessError, match="x.bin: (is no file|cannot be read: No such file)"):
            read(path)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, "
                                  b"'shape': (1099511627776, 3, 3), }" + b" " * 40 + b"\n", b"no array"])
def test_damaged_tensors_are_one_line(tmp_path, data):
    path = tmp_path / "x.npy"
    path.write_bytes(data)
    for read in (check_image, lambda path: load_image(path, InputSpec(size=(2, 3)))):
        with pytest.raises(PreprocessError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: cannot be read as a NumPy file: ") and "\n" not in str(caught.value)
