"""Finds a model by what the user calls it: a name of the zoo, an ONNX or TFLite file, or a Deep Compression file."""
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nets.endings import scores_of
from nets.fold_affine import fold_into_preparation
from nets.graph import Affine, Graph, Input
from nets.model import Model, ModelError
from nets.onnx.importer import import_onnx
from nets.picture import BACKGROUNDS
from nets.preprocess import CHANNEL_ORDERS, InputSpec, SideFile, read_side_file

__all__ = ["add_model_arguments", "load_model", "model_from_arguments"]

# ImageNet's mean and deviation of RGB in 0..1, as torchvision's and most of the ONNX zoo's models are trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CROP = 256 / 224      # shorter side to crop
MODEL_FILES = (".onnx", ".tflite", ".net")
LARGEST_OF_PIXELS = 1 / 32      # a network that scales its image by less takes pixels in 0..255


def load_model(source: str | Path, *, side_file: str | Path | None = None, size: tuple[int, int] | None = None,
               channels: str | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
               scale: float | None = None, resize: int | None = None, background: str | None = None,
               labels: str | Path | None = None) -> Model:
    """The float model that `source` names.

    A file's preparation of images and its labels come from its side file (`side_file`, or `<model>.json` beside it, if there is
    one); the other arguments override single fields of that (see `nets.preprocess.InputSpec`), `labels` being a file with a
    label a line. Labels and normalisation that a TFLite file carries are taken where nothing else says any. Else a network of 3
    channels is fed as ImageNet models are, one of 1 channel with grey images in 0..1, and one that scales pixels itself with
    pixels in 0..255; the model's notes say so. A network that begins by scaling and shifting its image has that done by the
    preparation, where that can be.

    Raises ModelError, GraphError or PreprocessError; the message names the file.
    """
    name = str(source)
    path = Path(source)
    notes: tuple[str, ...] = ()
    side = _side_path(path, side_file)
    spec, names, first_class = read_side_file(side) if side else SideFile()
    kind = path.suffix.lower()
    if kind == ".onnx":
        known = spec.shape if spec else (CHANNEL_ORDERS.get(channels), None, None)
        graph = import_onnx(path, size=size, open_shape=known)
    elif kind == ".tflite":
        from nets.tflite.importer import import_tflite
        graph = import_tflite(path, size=size)
    elif kind == ".net":
        from nets import deep_compression
        model = deep_compression.load(path)
        graph, spec, names = model.graph, spec or model.spec, names or model.labels
    elif kind == ".fln":
        if not path.exists():
            raise ModelError(f"{name}: no such file")
        raise ModelError(f"{name}: is a quantised network: give it to a command that takes one, as golden.run, "
                         f"or name the float model that it was made from")
    else:
        model = _from_zoo(name)
        graph, spec, names = model.graph, spec or model.spec, names or model.labels
    if size:
        graph = _resized(graph, size)
    if spec is None:
        spec, how = _usual_spec(name, graph)
        if kind == ".tflite":
            spec, how = _told_spec(path, spec, how)
        if mean is None and std is None and scale is None:
            notes = (f"{path.name}: no side file {path.with_suffix('.json').name}: images are prepared as {how}",)
    if labels:
        names = _read_labels(Path(labels))
    if kind == ".tflite":
        spec = replace(spec, raw_type=graph.input.raw_type, raw_order=graph.input.raw_order)
    try:
        spec = _overridden(spec, size=size, channels=channels, mean=mean, std=std, scale=scale, resize=resize,
                           background=background)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: {error}") from None
    graph, spec = fold_into_preparation(graph, spec)
    classes = graph.shapes[scores_of(graph)[0].name][0]
    if kind == ".tflite" and not names:
        from nets.tflite.labels import labels_in
        names = labels_in(path, classes)
    if names and len(names) != classes:
        notes += (f"{path.name}: {len(names)} labels for {classes} outputs",)
    if first_class >= classes:
        raise ModelError(f"{side}: first_class must be one of {classes} outputs, not {first_class}")
    return Model(graph=replace(graph, notes=graph.notes + notes), spec=spec, labels=names, first_class=first_class)


def _side_path(model: Path, given: str | Path | None) -> Path | None:
    if given:
        return Path(given)
    beside = model.with_suffix(".json") if model.suffix.lower() in MODEL_FILES else None
    return beside if beside and "\0" not in str(beside) and beside.exists() else None


def _from_zoo(name: str) -> Model:
    from nets.zoo import catalogue as zoo
    if zoo.is_name(name):
        return zoo.load(name)
    if Path(name).suffix or "/" in name:
        raise ModelError(f"{name}: a model file must end in .onnx, .tflite or .net, or .fln if it is quantised")
    raise ModelError(f"{name}: is no model; {zoo.unknown(name)}; a file must end in .onnx, .tflite, .net or .fln")


def _resized(graph: Graph, size: tuple[int, int]) -> Graph:
    """The same layers on images of another size. Raises GraphError if they do not fit."""
    layers = (replace(layer, shape=(layer.shape[0], *size)) if isinstance(layer, Input) else layer for layer in graph.layers)
    return graph if graph.input.shape[1:] == tuple(size) else replace(graph, layers=tuple(layers))


def _usual_spec(name: str, graph: Graph) -> tuple[InputSpec, str]:
    """The preparation that a network without a side file was most likely trained with, and what it is in words."""
    channels, height, width = graph.input.shape
    kind = graph.input.quantised if graph.input.takes_steps else None
    if channels not in (1, 3):
        raise ModelError(f"{name}: images have 1 or 3 channels, but the network reads {channels}")
    resize = round(max(height, width) * IMAGENET_CROP) if channels == 3 else 0
    order, usual = ("RGB", InputSpec(size=(height, width), mean=IMAGENET_MEAN, std=IMAGENET_STD, resize=resize)) \
        if channels == 3 else ("L", InputSpec(size=(height, width), channels="L", mean=(0.0,), std=(1.0,)))
    if kind:
        low, high = kind.range
        taken = replace(usual, scale=kind.scale, mean=(kind.scale * kind.zero_point,) * channels, std=(1.0,) * channels)
        return taken, f"the input's own steps ({order}): pixels in 0..255 are {low:.4g}..{high:.4g}"
    first = [layer for layer in graph.consumers[graph.input.name] if isinstance(layer, Affine)]
    if first and max(np.abs(layer.scale).max() for layer in first) < LARGEST_OF_PIXELS:
        plain = replace(usual, scale=1.0, mean=(0.0,) * channels, std=(1.0,) * channels)
        return plain, f"pixels in 0..255 ({order}), since the network scales them itself"
    return usual, "ImageNet's (RGB in 0..1, mean and deviation of ImageNet)" if channels == 3 else "grey in 0..1"


def _told_spec(path: Path, usual: InputSpec, how: str) -> tuple[InputSpec, str]:
    """The preparation that a TFLite file's metadata tells, else the usual one, and what it is in words."""
    from nets.tflite.metadata import normalisation_in
    told = normalisation_in(path)
    if told is None:
        return usual, how
    try:
        told = told.of(usual.shape[0])
        spec = replace(usual, scale=1.0, mean=told.mean, std=told.std)
    except ValueError as error:
        return usual, f"{how}; what its metadata says is not taken: {error}"
    mean, std = (", ".join(f"{value:g}" for value in dict.fromkeys(values)) for values in (told.mean, told.std))
    return spec, f"its metadata says: pixels in 0..255, less {mean}, divided by {std} ({usual.channels})"


def _overridden(spec: InputSpec, *, size: tuple[int, int] | None, **fields) -> InputSpec:
    """The preparation with the fields that are not None. Raises ValueError for a value out of range."""
    fields = {what: tuple(value) if isinstance(value, list) else value for what, value in fields.items() if value is not None}
    channels = fields.get("channels", spec.channels)
    if CHANNEL_ORDERS.get(channels) not in (None, len(spec.mean)):
        count = CHANNEL_ORDERS[channels]            # the old values belong to other channels
        fields = {"mean": (0.0,) * count, "std": (1.0,) * count} | fields
    if size and tuple(size) != spec.size:
        spec = spec.with_size(tuple(size))
    return replace(spec, **fields)


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:      # not UTF-8, or a NUL in the name
        raise ModelError(f"{path}: labels cannot be read: {getattr(error, 'strerror', None) or error}") from None


def add_model_arguments(parser: ArgumentParser, *, default: str = "digits") -> None:
    """Adds `--model` and what overrides a side file; `model_from_arguments` reads them."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default=default, metavar="M",
                       help="name of the zoo, also with options as squeezenet:sr=0.25, .onnx or .tflite file, or "
                            "Deep Compression .net file (%(default)s)")
    group.add_argument("--side-file", metavar="FILE", help="image preparation and labels of a model file (M with suffix .json)")
    group.add_argument("--size", type=_size, metavar="HxW", help="height and width of the image, or N for both")
    group.add_argument("--channels", choices=sorted(CHANNEL_ORDERS), help="order of the channels; L is grey")
    group.add_argument("--mean", type=_numbers, metavar="X,..", help="mean, a number a channel, in units of pixel * scale")
    group.add_argument("--std", type=_numbers, metavar="X,..", help="deviation, a number a channel")
    group.add_argument("--scale", type=_number, metavar="X", help="factor of pixels in 0..255, as 1/255")
    group.add_argument("--resize", type=int, metavar="N", help="pixels that the shorter side gets before the crop; 0: as few as "
                       "cover the input")
    group.add_argument("--background", choices=sorted(BACKGROUNDS), help="what transparent images are laid over (black)")
    group.add_argument("--labels", metavar="FILE", help="names of the classes, one a line")


def model_from_arguments(args: Namespace) -> Model:
    """The model that the arguments of `add_model_arguments` name; raises what `load_model` does."""
    fields = ("side_file", "size", "channels", "mean", "std", "scale", "resize", "background", "labels")
    return load_model(args.model, **{what: getattr(args, what) for what in fields})


def _number(text: str) -> float:
    try:
        top, _, bottom = text.partition("/")
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise ArgumentTypeError(f"must be a number, not {text!r}") from None


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 6 for side in sides):
        raise ArgumentTypeError(f"must be N or HxW in pixels, not {text!r}")
    return int(sides[0]), int(sides[-1])
