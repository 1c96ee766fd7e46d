"""From an image file to the network's input, as the model's side file says."""
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
import json
import math
from pathlib import Path
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from cli import RequestError, RequestWarning
from nets.picture import BACKGROUNDS, plain

__all__ = ["IMAGE_SUFFIXES", "ImageWarning", "InputSpec", "PreprocessError", "SideFile", "check_image", "find_images",
           "load_image", "read_side_file"]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TENSOR_SUFFIX, RAW_SUFFIX = TENSOR_SUFFIXES = ".npy", ".bin"
RAW_TYPES, RAW_ORDERS = ("uint8", "int8"), ("CHW", "HWC")
CHANNEL_ORDERS = {"RGB": 3, "BGR": 3, "L": 1}
CROPS = ("center", "none")
FIRST_CLASS_MAX = 999
FAR = 4                 # times that a picture is enlarged, or its shape longer than the input's: then something may be wrong


class PreprocessError(RequestError):
    """An image or a side file cannot be used; the message names the file."""


class ImageWarning(RequestWarning):
    """An image is used, but hardly as its owner wants; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How a picture becomes the input tensor: x = (pixel * scale - mean) / std per channel, pixel in 0..255.

    `size`: (height, width) of the tensor; a picture of exactly this size is taken as it is. `channels`: "RGB", "BGR" or "L"
    (grey). `resize`: length in pixels that the shorter side is brought to first (bilinear), or 0 for the least with which the
    picture covers `size`. `crop`: "center", or "none" to resize straight to `size`. `background`: "black" or "white", what
    transparent pictures are laid over. `raw_type` and `raw_order`: of the bytes of raw tensors (`.bin`): "uint8" pixels or "int8"
    ones that count from -128, with the channels first, "CHW", or last, "HWC".
    """

    size: tuple[int, int]
    channels: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: int = 0
    crop: str = "center"
    background: str = "black"
    raw_type: str = "uint8"
    raw_order: str = "CHW"

    def __post_init__(self):
        if self.channels not in CHANNEL_ORDERS:
            raise ValueError(f"channels must be one of {', '.join(CHANNEL_ORDERS)}, not {self.channels!r}")
        if self.crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, not {self.crop!r}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}, not {self.background!r}")
        if self.raw_type not in RAW_TYPES:
            raise ValueError(f"raw_type must be one of {', '.join(RAW_TYPES)}, not {self.raw_type!r}")
        if self.raw_order not in RAW_ORDERS:
            raise ValueError(f"raw_order must be one of {', '.join(RAW_ORDERS)}, not {self.raw_order!r}")
        if len(self.size) != 2 or not all(isinstance(n, int) and 1 <= n <= 4096 for n in self.size):
            raise ValueError(f"size must be a height and a width of 1..4096 pixels, not {self.size!r}")
        if not isinstance(self.resize, int) or not 0 <= self.resize <= 8192:
            raise ValueError(f"resize must be 0..8192 pixels, not {self.resize!r}")
        if self.resize and self.crop == "center" and self.resize < max(self.size):
            raise ValueError(f"resize must be at least the crop of {max(self.size)} pixels, not {self.resize}")
        count = CHANNEL_ORDERS[self.channels]
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != count or not all(math.isfinite(v) for v in values):
                raise ValueError(f"{what} must be {count} finite numbers, not {values!r}")
        if not math.isfinite(self.scale) or self.scale == 0 or not all(self.std):
            raise ValueError("scale and std must be finite and not 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (CHANNEL_ORDERS[self.channels], *self.size)

    def with_size(self, size: tuple[int, int]) -> "InputSpec":
        """The same preparation for another input size; a resize keeps its ratio to the crop."""
        grown = round(self.resize * max(size) / max(self.size))
        return replace(self, size=size, resize=max(grown, max(size)) if self.resize else 0)

    def to_json(self) -> dict:
        """What is usual of raw tensors is left out."""
        usual = {"raw_type": RAW_TYPES[0], "raw_order": RAW_ORDERS[0]}
        return {what: value for what, value in asdict(self).items() if value != usual.get(what)}

    @classmethod
    def from_json(cls, record: dict) -> "InputSpec":
        """Raises ValueError or TypeError naming the field that is unknown, missing, out of range or of another type."""
        if not isinstance(record, dict):
            raise TypeError(f"input must be an object, not {record!r}")
        unknown = set(record) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"input has unknown fields: {', '.join(sorted(unknown))}")
        if "size" not in record:
            raise ValueError("input must give a size")
        values = dict(record)
        for what in ("size", "mean", "std"):
            if what in values:
                if not isinstance(values[what], list | tuple):
                    raise TypeError(f"{what} must be a list, not {values[what]!r}")
                values[what] = tuple(values[what])
        for what in ("mean", "std"):
            if not all(isinstance(v, int | float) for v in values.get(what, ())):
                raise TypeError(f"{what} must be numbers, not {values[what]!r}")
        if not isinstance(values.get("scale", 1.0), int | float):
            raise TypeError(f"scale must be a number, not {values['scale']!r}")
        if values.get("channels") == "L":
            values = {"mean": (0.0,), "std": (1.0,)} | values
        return cls(**values)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """uint8 (channels, height, width) of a picture: resized, cropped, channels in the network's order.

        Raises ValueError for a picture that cannot be understood (`nets.picture`), or so long that it cannot be resized before
        the crop.
        """
        image = plain(image, self.background)[0].convert("L" if self.channels == "L" else "RGB")
        height, width = self.size
        scaled = self._scaled(image.size)
        if math.prod(scaled) > max(Image.MAX_IMAGE_PIXELS, math.prod(image.size)):
            raise ValueError(f"{image.width}x{image.height} pixels would become {scaled[0]}x{scaled[1]} before they are cropped "
                             f"to {width}x{height}: crop the picture")
        if scaled != image.size:
            image = image.resize(scaled, Image.Resampling.BILINEAR)
        if scaled != (width, height):
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        array = np.asarray(image, np.uint8)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        return np.ascontiguousarray(array[::-1] if self.channels == "BGR" else array)

    def _scaled(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Width and height before the crop, of a picture of this width and height."""
        height, width = self.size
        if sides == (width, height) or self.crop == "none":
            return width, height
        if self.resize:
            ratio = self.resize / min(sides)
            return tuple(max(self.resize, round(side * ratio)) for side in sides)
        ratio = max(width / sides[0], height / sides[1])
        return max(width, round(sides[0] * ratio)), max(height, round(sides[1] * ratio))

    def misfits(self, sides: tuple[int, int]) -> list[str]:
        """What is odd about a picture of this width and height, a clause each."""
        height, width = self.size
        across, down = (new / old for new, old in zip(self._scaled(sides), sides, strict=True))
        shape = (sides[0] / sides[1]) / (width / height)
        found = []
        if max(across, down) > FAR:
            found.append(f"is small, {sides[0]}x{sides[1]} pixels, and enlarged {max(across, down):.0f} times for an input of "
                         f"{width}x{height}")
        if max(shape, 1 / shape) > FAR:
            what = "squeezed into" if self.crop == "none" else "cropped to its centre for"
            found.append(f"has an extreme shape, {sides[0]}x{sides[1]} pixels, and is {what} an input of {width}x{height}")
        return found

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """float32 input tensor from uint8 pixels of the same (channels, height, width)."""
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        return (pixels.astype(np.float32) * np.float32(self.scale) - mean) / std


def load_image(path: str | Path, spec: InputSpec) -> np.ndarray:
    """uint8 pixels (channels, height, width) of an image file, read as `nets.picture` says, or of a tensor's (`.npy`, `.bin`).

    Raises PreprocessError if it cannot be read. Warns with ImageWarning, once, of what is odd about it.
    """
    if Path(path).suffix.lower() == TENSOR_SUFFIX:
        return _load_tensor(Path(path), spec)
    if Path(path).suffix.lower() == RAW_SUFFIX:
        return _load_raw(Path(path), spec)
    with _opened(path) as file:
        image, concerns = plain(file, spec.background)
        concerns += spec.misfits(image.size)
        pixels = spec.pixels(image)
    if concerns:
        warnings.warn(f"{path}: {'; '.join(concerns)}", ImageWarning, stacklevel=2)
    return pixels


def _load_raw(path: Path, spec: InputSpec) -> np.ndarray:
    """A file of nothing but the input's values: a byte each, or a float32, little-endian. Raises PreprocessError."""
    count = math.prod(spec.shape)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size in (count, 4 * count) else b""
    except (OSError, ValueError) as error:
        raise PreprocessError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        what = "x".join(map(str, spec.shape))
        raise PreprocessError(f"{path}: must have {count:,} bytes, {what} of {spec.raw_type}, or {4 * count:,}, of float32, not "
                              f"{size:,}")
    held = np.frombuffer(data, spec.raw_type if len(data) == count else "<f4")
    if spec.raw_order == "CHW":
        return _as_pixels(path, held.reshape(spec.shape), spec)
    return _as_pixels(path, held.reshape(*spec.shape[1:], spec.shape[0]).transpose(2, 0, 1), spec)


def _load_tensor(path: Path, spec: InputSpec) -> np.ndarray:
    """A NumPy file of an array that says of itself what it is. Raises PreprocessError."""
    array = _opened_tensor(path)
    shapes = {spec.shape: (0, 1, 2), (*spec.shape[1:], spec.shape[0]): (2, 0, 1)}
    held = array[0] if array.ndim in (2, 4) and len(array) == 1 else array
    if held.shape in shapes:
        held = held.transpose(shapes[held.shape])
    elif spec.shape[0] == 1 and held.size == math.prod(spec.shape) and held.ndim < 3:
        held = held.reshape(spec.shape)
    else:
        raise PreprocessError(f"{path}: must be of shape {spec.shape}, or with the channels last, not {array.shape}")
    return _as_pixels(path, held, spec)


def _as_pixels(path: Path, held: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The pixels of values (channels, height, width): bytes are pixels, signed ones count from -128, floats are what the network
    reads. Raises PreprocessError."""
    if held.dtype == np.uint8:
        return np.ascontiguousarray(held)
    if held.dtype == np.int8:
        return (held.astype(np.int16) + 128).astype(np.uint8)
    if held.dtype.kind != "f":
        raise PreprocessError(f"{path}: must hold floats, int8 or uint8, not {held.dtype}")
    if odd := int((~np.isfinite(held)).sum()):
        raise PreprocessError(f"{path}: {odd} of {held.size} values of {held.dtype} are not finite numbers")
    mean, std = (np.array(v)[:, None, None] for v in (spec.mean, spec.std))
    pixels = (held * std + mean) / spec.scale
    return np.clip(np.floor(pixels + 0.5), 0, 255).astype(np.uint8)


def _opened_tensor(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise PreprocessError(f"{path}: cannot be read as a NumPy file: {reason}") from None


def check_image(path: str | Path) -> None:
    """Raises PreprocessError if a file is missing or no image: at once, where a network is calibrated before it is read."""
    if Path(path).suffix.lower() == TENSOR_SUFFIX:
        _opened_tensor(Path(path))
        return
    if Path(path).suffix.lower() == RAW_SUFFIX:
        if not Path(path).is_file():
            raise PreprocessError(f"{path}: is no file")
        return
    with _opened(path):
        pass


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:      # Pillow's, of odd files that it then reads
            yield file
    except UnidentifiedImageError:
        raise PreprocessError(f"{path}: is not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PreprocessError(f"{path}: cannot be read: {reason}") from None


def find_images(folder: str | Path) -> list[Path]:
    """Every image file below a folder, sorted by path; every tensor's where there is no image. Raises PreprocessError where there
    is neither."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PreprocessError(f"{folder}: is not a folder of images")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for suffixes in (IMAGE_SUFFIXES, TENSOR_SUFFIXES):
        if paths := [path for path in files if path.suffix.lower() in suffixes]:
            return paths
    images, tensors = (", ".join(sorted(suffixes)) for suffixes in (IMAGE_SUFFIXES, TENSOR_SUFFIXES))
    raise PreprocessError(f"{folder}: holds no image ({images}) and no tensor ({tensors})")


class SideFile(NamedTuple):
    """What a side file says: `first_class` is the output that the first class has, where others than classes come before it."""

    spec: InputSpec | None = None
    labels: tuple[str, ...] = ()
    first_class: int = 0


def read_side_file(path: str | Path) -> SideFile:
    """Input preparation and labels of a `<model>.json` side file.

    `{"input": {fields of InputSpec}, "labels": "FILE relative to the side file, a label a line" or ["label", ...],
    "first_class": N}`, all optional. Raises PreprocessError naming the file and the field.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PreprocessError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:       # not UTF-8, not JSON, a number of too many digits, nested too deep
        raise PreprocessError(f"{path}: is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise PreprocessError(f"{path}: must be an object with 'input' and 'labels', not {type(record).__name__}")
    try:
        spec = InputSpec.from_json(record["input"]) if "input" in record else None
        labels = record.get("labels", ())
        if isinstance(labels, str):
            file = path.parent / labels
            if file.exists() and not file.is_file():        # a device would be read for ever
                raise ValueError(f"labels {labels!r} must be a file")
            labels = file.read_text(encoding="utf-8").splitlines()
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise TypeError("labels must be a file name or a list of strings")
        first = record.get("first_class", 0)
        if type(first) is not int or not 0 <= first <= FIRST_CLASS_MAX:
            raise ValueError(f"first_class must be a whole number of 0..{FIRST_CLASS_MAX}, not {first!r}")
    except OSError as error:
        raise PreprocessError(f"{path}: labels {record['labels']!r} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, OverflowError) as error:     # OverflowError: an integer beyond a float
        raise PreprocessError(f"{path}: {error}") from None
    return SideFile(spec, tuple(labels), first)
