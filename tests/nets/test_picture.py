"""Pictures of every kind that Pillow writes: read as they are meant, or refused with the reason."""
import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
import pytest

from golden import evaluate
from golden import run as golden_run
from nets.picture import plain
from nets.preprocess import ImageWarning, InputSpec, PreprocessError, load_image

GREY = np.random.default_rng(3).integers(0, 256, (6, 9), np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (6, 9, 3), np.uint8)
ALPHA = np.random.default_rng(5).integers(0, 256, (6, 9), np.uint8)


def saved(image: Image.Image, kind: str, **options) -> Image.Image:
    """Written and opened again."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return Image.open(content)


def pixels(image: Image.Image, background: str = "black") -> np.ndarray:
    got, concerns = plain(image, background)
    assert got.mode in ("L", "RGB") and concerns == []
    return np.asarray(got)


def over(values: np.ndarray, alpha: np.ndarray, background: int) -> np.ndarray:
    """The picture over a background, unrounded."""
    alpha = (alpha / 255).reshape(alpha.shape + (1,) * (values.ndim - alpha.ndim))
    return values * alpha + background * (1 - alpha)


@pytest.mark.parametrize("kind, mode", [
    ("PNG", "1"), ("TIFF", "1"), ("PNG", "L"), ("BMP", "L"), ("PPM", "L"), ("TIFF", "L"), ("PNG", "RGB"), ("TIFF", "RGB"),
    ("PPM", "RGB"), ("BMP", "RGB"), ("PNG", "P"), ("GIF", "P"), ("TIFF", "P"), ("TIFF", "CMYK"), ("TIFF", "YCbCr"),
    ("TIFF", "RGBX")])
def test_opaque_modes(kind, mode):
    image = Image.fromarray(GREY if mode in ("1", "L") else COLOUR).convert(mode)
    np.testing.assert_array_equal(pixels(saved(image, kind)), np.asarray(image.convert("L" if mode in ("1", "L") else "RGB")))


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "CMYK"])
def test_modes_of_no_file(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    np.testing.assert_array_equal(pixels(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("background, level", [("black", 0), ("white", 255)])
@pytest.mark.parametrize("kind, mode", [("PNG", "RGBA"), ("TIFF", "RGBA"), ("WEBP", "RGBA"), ("PNG", "LA"), ("TIFF", "LA"),
                                        (None, "RGBA"), (None, "LA"), (None, "RGBa"), (None, "La"), (None, "PA")])
def test_alpha_is_laid_over_the_background(kind, mode, background, level):
    straight = "LA" if mode in ("LA", "La") else "RGBA"
    image = Image.fromarray(np.dstack([GREY if straight == "LA" else COLOUR, ALPHA]))
    assert image.mode == straight
    if mode == "PA":
        image = Image.fromarray(COLOUR).convert("P").convert("PA")
        image.putalpha(Image.fromarray(ALPHA))
    elif mode != straight:
        image = image.convert(mode)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    values = np.asarray(image.convert(straight) if mode != "PA" else image.convert("RGBA"))[..., :-1].squeeze()
    got = pixels(saved(image, kind, **options) if kind else image, background)
    assert np.abs(got - over(values, ALPHA, level)).max() <= 0.51
    assert got.ndim == (2 if straight == "LA" else 3)


@pytest.mark.parametrize("kind, transparency", [("PNG", "one"), ("PNG", "each"), ("GIF", "one")])
def test_palettes_with_transparency(kind, transparency):
    image = Image.fromarray(COLOUR).quantize(8)
    index = np.asarray(image)
    levels = np.arange(8) * 36 if transparency == "each" else np.where(np.arange(8) == index[0, 0], 0, 255)
    image = saved(image, kind, transparency=bytes(levels.tolist()) if transparency == "each" else int(index[0, 0]))
    colours = np.asarray(image.convert("RGBA"))[..., :3]
    got = pixels(image, "white")
    assert np.abs(got - over(colours, np.asarray(image.convert("RGBA"))[..., 3], 255)).max() <= 0.51
    assert (got[0, 0] == 255).all() or transparency == "each"


def png(values: np.ndarray, bits: int, colour: int, key: tuple[int, ...] = ()) -> Image.Image:
    """A PNG of so many bits a sample, colour type 0 (grey) or 2 (RGB), with a transparent colour: Pillow writes few of them."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    rows = values.reshape(len(values), -1)
    if bits == 16:
        packed = [row.astype(">u2").tobytes() for row in rows]
    else:
        packed = [np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes() for row in rows]
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], len(values), bits, colour, 0, 0, 0))
    if key:
        content += chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    content += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed))) + chunk(b"IEND", b"")
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey_png_of_every_depth(bits, transparent):
    most = (1 << bits) - 1
    values = np.random.default_rng(bits).integers(0, most + 1, (6, 9))
    values[0, :2] = most, 0
    key = (int(values[3, 3]),) if transparent else ()
    expected = np.rint(values * (255 / most))
    if transparent:
        expected[values == key[0]] = 255
    got, _ = plain(png(values, bits, 0, key), "white")         # of one bit nothing may be left
    np.testing.assert_array_equal(np.asarray(got), expected)


def test_colour_png_with_a_transparent_colour():
    values = np.random.default_rng(8).integers(0, 256, (6, 9, 3))
    expected = values.copy()
    expected[2, 4] = 255
    np.testing.assert_array_equal(pixels(png(values, 8, 2, tuple(map(int, values[2, 4]))), "white"), expected)


def test_a_transparent_colour_of_16_bits_is_refused():
    """Of 16 bits a colour Pillow keeps 8: neighbours of the transparent one would be as clear."""
    values = np.random.default_rng(16).integers(0, 1 << 16, (6, 9, 3))
    np.testing.assert_array_equal(pixels(png(values, 16, 2, ()), "white"), values >> 8)
    with pytest.raises(ValueError, match="is transparent, which Pillow cannot tell from its neighbours"):
        pixels(png(values, 16, 2, (1, 2, 3)), "white")


def tiff(values: bytes, bits: int, *, photometric: int = 1, sample: int = 1, width: int = 9) -> Image.Image:
    """A TIFF of one channel; `sample`: 1 unsigned, 2 signed, 3 floating point."""
    tags = [(256, width), (257, 6), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 6), (279, len(values)),
            (339, sample)]
    values += bytes(len(values) % 2)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
                                                        for tag, value in tags)
    return Image.open(io.BytesIO(b"II*\0" + struct.pack("<I", 8 + len(values)) + values + directory + bytes(4)))


@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_16_bits(photometric):
    values = np.random.default_rng(7).integers(0, 65536, (6, 9), np.uint16)
    expected = np.rint(values / 257)
    got = pixels(tiff(values.astype("<u2").tobytes(), 16, photometric=photometric))
    np.testing.assert_array_equal(got, expected if photometric else 255 - expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_tiff_of_16_bits_in_either_order(mode):
    values = np.random.default_rng(8).integers(0, 65536, (6, 9), np.uint16)
    image = Image.frombytes(mode, (9, 6), values.astype("<u2" if mode == "I;16" else ">u2").tobytes())
    for picture in (image, saved(image, "TIFF")):
        np.testing.assert_array_equal(pixels(picture), np.rint(values / 257))


def test_tiff_of_12_bits():
    values = np.random.default_rng(9).integers(0, 4096, (6, 10))
    values[0, :2] = 0, 4095
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1).astype(np.uint8)
    np.testing.assert_array_equal(pixels(tiff(packed.tobytes(), 12, width=10)), np.rint(values * (255 / 4095)))


def test_pgm_of_16_bits():
    values = np.random.default_rng(10).integers(0, 65536, (6, 9), np.uint16)
    content = b"P5 9 6 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(Image.open(io.BytesIO(content))), np.rint(values / 257))


def test_jpeg_2000_of_16_bits():
    values = np.random.default_rng(11).integers(0, 65536, (6, 9), np.uint16)
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(values), "JPEG2000", irreversible=False)), np.rint(values / 257))


@pytest.mark.parametrize("photometric", [0, 1])
def test_float_of_0_to_1(photometric):
    values = np.random.default_rng(12).random((6, 9), np.float32)
    expected = np.rint(values.astype(np.float64) * 255)
    got = pixels(tiff(values.astype("<f4").tobytes(), 32, sample=3, photometric=photometric))
    np.testing.assert_array_equal(got, expected if photometric else 255 - expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_8_bits_in_32(dtype):
    values = GREY.astype(dtype)
    for image in (Image.fromarray(values), saved(Image.fromarray(values), "TIFF")):
        np.testing.assert_array_equal(pixels(image), GREY)


@pytest.mark.parametrize("values, reason", [
    (np.array([[0, 1.5]], np.float32), "pixels of 0..1.5 in 32 bits have no certain white"),
    (np.array([[-1, 1]], np.float32), r"pixels of -1..1 in"), (np.array([[0, 65535]], np.float32), "pixels of 0..65535 in"),
    (np.array([[0, 256]], np.int32), "pixels of 0..256 in"), (np.array([[-1, 255]], np.int32), "pixels of -1..255 in"),
    (np.array([[0, np.nan]], np.float32), "some of its pixels are not numbers"),
    (np.array([[0, np.inf]], np.float32), "some of its pixels are not numbers")])
def test_numbers_without_a_certain_white_are_refused(values, reason, tmp_path):
    with pytest.raises(ValueError, match=f"^{reason}"):
        plain(Image.fromarray(values))
    Image.fromarray(values).save(tmp_path / "i.tif")
    with pytest.raises(PreprocessError, match=f"i.tif: cannot be read: {reason}"):
        load_image(tmp_path / "i.tif", InputSpec(size=(1, 2)))


def test_lab_is_refused():
    with pytest.raises(ValueError, match="its colours are Lab: save it as RGB"):
        plain(saved(Image.frombytes("LAB", (9, 6), COLOUR.tobytes()), "TIFF"))


def test_more_than_8_bits_of_a_format_without_rules_are_refused():
    image = Image.fromarray(GREY.astype(np.float32))
    image.format = "SPIDER"
    with pytest.raises(ValueError, match="more than 8 bits in SPIDER have no certain meaning"):
        plain(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "LA"),
                                        ("TIFF", "L"), ("TIFF", "I;16"), ("TIFF", "F"), ("WEBP", "RGB")])
def test_orientation(kind, mode, orientation):
    match mode:
        case "I;16":
            image = Image.fromarray(GREY * np.uint16(257))
        case "F":
            image = Image.fromarray(GREY / np.float32(255))
        case "LA":
            image = Image.fromarray(np.dstack([GREY, ALPHA]))
        case _:
            image = Image.fromarray(COLOUR).convert(mode)
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = pixels(saved(image, kind, **options))
    marked = Image.fromarray(stored)
    marked.getexif()[0x112] = orientation
    got = pixels(saved(image, kind, exif=exif, **options))
    np.testing.assert_array_equal(got, np.asarray(ImageOps.exif_transpose(marked)))
    assert np.array_equal(got, stored) == (orientation == 1)


def test_a_picture_is_turned_once(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(COLOUR).save(tmp_path / "i.png", exif=exif)
    got = load_image(tmp_path / "i.png", InputSpec(size=(9, 6)))
    np.testing.assert_array_equal(got, np.rot90(COLOUR, -1).transpose(2, 0, 1))


def test_first_of_several_pictures():
    first = Image.fromarray(COLOUR)
    image = saved(first, "PNG", save_all=True, append_images=[Image.fromarray(255 - COLOUR)])
    np.testing.assert_array_equal(pixels(image), COLOUR)


@pytest.mark.parametrize("background, other", [("black", "white"), ("white", "black")])
def test_ink_of_the_background_is_said(tmp_path, background, other):
    ink = 0 if background == "black" else 255
    Image.fromarray(np.dstack([np.full_like(ALPHA, ink), ALPHA])).save(tmp_path / "i.png")
    with pytest.warns(ImageWarning, match=f"nothing of it shows over {background}: is --background {other} meant"):
        load_image(tmp_path / "i.png", InputSpec(size=(6, 9), background=background))
    Image.fromarray(np.dstack([np.full_like(ALPHA, ink), np.full_like(ALPHA, 255)])).save(tmp_path / "i.png")
    load_image(tmp_path / "i.png", InputSpec(size=(6, 9), background=background))       # it is one colour, but opaque


def test_twelve_bits_in_sixteen_are_said(tmp_path):
    Image.fromarray(GREY * np.uint16(16)).save(tmp_path / "i.png")
    with pytest.warns(ImageWarning, match="i.png: is nearly black: no value of its 16 bits is above 3968 of 65535"):
        load_image(tmp_path / "i.png", InputSpec(size=(6, 9)))


@pytest.mark.parametrize("name", ["i16.png", "f01.tif", "exif6.jpg", "alpha_white_ink.png", "la.png", "palette_alpha.png"])
def test_cases_are_a_three(name, data, capsys):
    file = data / "cases" / name
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    assert golden_run.main(["--model", "digits", "--image", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[:2] == ["3", "3"]
    assert all(re.match(r"[a-z ]+: \d+ of \d+ ", line) for line in said.err.splitlines())       # how far it is, if it takes long


@pytest.mark.parametrize("options", [[], ["--resize", "0"]])
def test_an_image_of_the_inputs_size_is_taken_as_it_is(options, data, tmp_path, capsys):
    model = data / "cases" / "kws_49x10.onnx"
    if not model.is_file():
        pytest.skip(f"{model} is not there")
    values = np.random.default_rng(13).integers(0, 256, (49, 10), np.uint8)
    Image.fromarray(values).save(tmp_path / "i.png")
    arguments = ["--model", str(model), "--image", str(tmp_path / "i.png"), "--dump", str(tmp_path)]
    assert golden_run.main([*arguments, *options]) == 0
    index = (tmp_path / "index.json").read_text()
    first = np.load(tmp_path / f"{index.split('file')[1].split('.npy')[0][4:]}.npy")
    # Levels of the input are the pixels', but for its scale: equal ones are equal, brighter ones brighter.
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(first.ravel()[order].astype(int)) >= 0).all() and len(set(first.ravel())) > 200, capsys.readouterr()


def test_a_folder_of_odd_images_is_some_lines(tmp_path, capsys):
    for n in range(9):
        Image.fromarray(GREY[:3, :3]).save(tmp_path / f"{n}_a.png")
    assert evaluate.main(["--model", "digits", "--images", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 6 and "0_a.png: is small, 3x3 pixels" in lines[0] and lines[-1] == "warning: 4 more of these"
