"""Networks by name: the embedded digits, and every family of the zoo with its options."""
import argparse
from dataclasses import replace
from difflib import get_close_matches
import os
from pathlib import Path

import numpy as np

from nets import digits
from nets.graph import Affine, Graph, GraphError
from nets.model import Model, ModelError
from nets.onnx.importer import import_onnx
from nets.preprocess import InputSpec, SideFile, find_images, load_image, read_side_file
from nets.zoo.families import COMMON, FAMILIES, SQUEEZENET_OPTIONS, Family, Option
from nets.zoo.weights import initialise, normalised, with_weights_of

__all__ = ["IMAGENET", "NAMES", "add_family_arguments", "blank", "is_name", "load", "unknown", "with_family_arguments"]

NAMES = ("digits", *FAMILIES)
ALIASES = {"squeezenet": "squeezenet1_0"}           # what else may stand before the colon

IMAGENET = InputSpec(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256)
CIFAR = InputSpec(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616), resize=32)
GREY = InputSpec(size=(32, 32), channels="L", mean=(0.0,), std=(1.0,))
MEASURED = 8            # images that the statistics of batch normalisations are measured on


def is_name(text: str) -> bool:
    """Whether a text names a network of the zoo (with options or not), rather than a file."""
    return text in NAMES or _base(text) in FAMILIES


def unknown(name: str) -> str:
    """What the zoo has instead of a name that is none of it: the nearest one first."""
    near = get_close_matches(_base(name), NAMES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}The zoo has {', '.join(NAMES)}; all but digits take options, as squeezenet:sr=0.25"


def _base(name: str) -> str:
    base = name.partition(":")[0]
    return ALIASES.get(base, base)


def load(name: str, *, seed: int = 0) -> Model:
    """A network of the zoo: one of `NAMES`, with options as in `squeezenet:base_e=128,sr=0.125,bypass=simple,size=224` or
    `mobilenet_v1:width=0.25,size=128`.

    `squeezenet` is v1.0; what the options do not change is as the name says. Where the environment names a data folder,
    `$FIRELINE_DATA/models/<name before the colon>.onnx` gives trained weights of a SqueezeNet as long as no option but the size
    is given, and its side file the image preparation and labels. Otherwise weights are random, the same for the same seed, and
    batch normalisations have statistics measured on photographs of the data folder, or on noise. The notes of the model say
    which. Names of the 1000 ImageNet classes come from the folder too (`images/labels.txt`).

    Raises ModelError for an unknown name or option, GraphError for a network that cannot be.
    """
    if not 0 <= seed < 2**63:
        raise ModelError(f"seed must be 0..2**63 - 1, not {seed}")
    if name == "digits":
        spec, labels, _ = read_side_file(digits.MODEL.with_suffix(".json"))
        return Model(graph=replace(import_onnx(digits.MODEL), name=name), spec=spec, labels=labels)
    graph, spec = blank(name)
    labels, trained = _imagenet_labels(graph.shapes[graph.output][0]), _trained(name)
    if trained:
        size = spec.size
        graph, spec, labels = _attach(graph, trained)
        spec = spec.with_size(size)
    else:
        graph = initialise(graph, seed)
        if any(isinstance(layer, Affine) for layer in graph.layers):
            graph = normalised(graph, _inputs(spec), seed)
    return Model(graph=graph, spec=spec, labels=labels)


def blank(name: str) -> tuple[Graph, InputSpec]:
    """The network of a name as its builder makes it, weights 0, and how its images are prepared. Raises as `load`."""
    family, options = _parse(name)
    values = {option: _value(name, family, option, text) for option, text in options.items()}
    shape = family.shape[:1] + values.pop("size", family.shape[1:])
    try:
        graph = family.build(name, shape, values.pop("classes", family.classes), **values)
    except (TypeError, ValueError) as error:
        if isinstance(error, GraphError):
            raise
        raise ModelError(f"{name}: {error}") from None
    return graph, _usual(shape).with_size(shape[1:])


def _usual(shape: tuple[int, int, int]) -> InputSpec:
    """How images for a network of the zoo are prepared, by the shape that it reads."""
    return GREY if shape[0] == 1 else CIFAR if max(shape[1:]) <= 64 else IMAGENET


def _inputs(spec: InputSpec) -> list[np.ndarray]:
    """What batch normalisations are measured on: photographs of the data folder, evenly spread, or noise."""
    from nets.quantise import synthetic_images  # which reads this module for its command
    folder = Path(os.environ.get("FIRELINE_DATA") or "/nowhere", "images", "imagenet-sample")
    if folder.is_dir() and spec.shape[0] == 3:
        found = find_images(folder)
        pixels = [load_image(found[n * len(found) // MEASURED], spec) for n in range(MEASURED)]
    else:
        pixels = synthetic_images(spec, count=MEASURED)
    return [spec.normalise(each) for each in pixels]


def add_family_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for each option of the SqueezeNet family but size, which every command has anyway."""
    group = parser.add_argument_group(
        "SqueezeNet family", "any point of it; the same as --model squeezenet:base_e=...,sr=...")
    for option, what in (SQUEEZENET_OPTIONS | {"classes": COMMON["classes"]}).items():
        group.add_argument(f"--{option.replace('_', '-')}", metavar="VALUE", help=what.meaning)


def with_family_arguments(name: str, args: argparse.Namespace) -> str:
    """A model's name with the flags of `add_family_arguments` as options: ("squeezenet1_1",
    --sr 0.5) -> "squeezenet1_1:sr=0.5". Raises ModelError where the model takes none."""
    given = {option: value for option in (*SQUEEZENET_OPTIONS, "classes") if (value := getattr(args, option, None)) is not None}
    if not given:
        return name
    if FAMILIES.get(_base(name)) is None or FAMILIES[_base(name)].options is not SQUEEZENET_OPTIONS:
        flags = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        bases = [*ALIASES, *(base for base, family in FAMILIES.items() if family.options is SQUEEZENET_OPTIONS)]
        raise ModelError(f"{name}: {flags} must go with --model {', '.join(bases)}")
    _, options = _parse(name)
    return f"{name.partition(':')[0]}:" + ",".join(f"{key}={value}" for key, value in (options | given).items())


def _parse(name: str) -> tuple[Family, dict[str, str]]:
    """The family of a name, and its options as they are written."""
    family = FAMILIES.get(_base(name))
    if family is None:
        raise ModelError(f"{name}: is no network; {unknown(name)}")
    options, known = {}, {**family.options, **COMMON}
    _, colon, text = name.partition(":")
    for item in text.split(",") if colon else ():
        option, equals, value = item.partition("=")
        if option not in known or not equals:
            raise ModelError(f"{name}: {item!r} must be option=value with one of {', '.join(known)}")
        options[option] = value
    return family, options


def _value(name: str, family: Family, option: str, text: str) -> object:
    known: dict[str, Option] = {**family.options, **COMMON}
    try:
        return known[option].parse(text)
    except ValueError:
        raise ModelError(f"{name}: {option} must be {known[option].meaning}, not {text!r}") from None


def _trained(name: str) -> Path | None:
    """The file of trained weights of a SqueezeNet without options but the size, where there is one."""
    folder = os.environ.get("FIRELINE_DATA")
    family, options = _parse(name)
    if not folder or family.options is not SQUEEZENET_OPTIONS or options.keys() - {"size"}:
        return None
    path = Path(folder, "models", f"{_base(name)}.onnx")
    return path if path.is_file() else None


def _imagenet_labels(classes: int) -> tuple[str, ...]:
    path = Path(os.environ.get("FIRELINE_DATA", ""), "images", "labels.txt")
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    return labels if len(labels) == classes else ()


def _attach(graph: Graph, path: Path) -> tuple[Graph, InputSpec, tuple[str, ...]]:
    graph = with_weights_of(graph, import_onnx(path))
    side = path.with_suffix(".json")
    spec, labels, _ = read_side_file(side) if side.is_file() else SideFile()
    graph = replace(graph, notes=(*graph.notes, f"trained weights: {path}"))
    return graph, spec or IMAGENET, labels
