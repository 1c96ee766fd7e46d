"""Networks by name: the embedded digits, and every point of the SqueezeNet family."""
import argparse
from dataclasses import replace
import os
from pathlib import Path

from nets import digits
from nets.graph import Graph
from nets.model import Model, ModelError
from nets.onnx.importer import import_onnx
from nets.preprocess import InputSpec, read_side_file
from nets.zoo.squeezenet import V1_0, V1_1, Bypass, SqueezeNetConfig, initialise, squeezenet, with_weights_of

__all__ = ["IMAGENET", "NAMES", "OPTIONS", "add_family_arguments", "is_name", "load",
           "with_family_arguments"]

FAMILY = {
    "squeezenet1_0": V1_0,
    "squeezenet1_1": V1_1,
    "squeezenet1_0_simple_bypass": replace(V1_0, bypass=Bypass.SIMPLE),
    "squeezenet1_0_complex_bypass": replace(V1_0, bypass=Bypass.COMPLEX),
}
NAMES = ("digits", *FAMILY)
BASES = {"squeezenet": V1_0} | FAMILY       # what may stand before the colon

IMAGENET = InputSpec(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                     resize=256)

# Every option of `NAME:option=value,...` and what it means, for help texts.
OPTIONS = {
    "base_e": "expand channels of the first Fire modules",
    "incr_e": "expand channels added every freq modules",
    "pct3x3": "share of 3x3 among the expand channels",
    "freq": "modules between two increments",
    "sr": "squeeze ratio: squeeze channels over expand channels",
    "modules": "number of Fire modules",
    "bypass": "none, simple or complex",
    "pools": "layers followed by a pool, such as 1+4+8",
    "conv1_channels": "output channels of conv1",
    "conv1_kernel": "kernel size of conv1",
    "conv1_stride": "stride of conv1",
    "classes": "number of classes",
    "size": "input size in pixels, such as 224 or 224x320",
}


def is_name(text: str) -> bool:
    """Whether a text names a network of the zoo (with options or not), rather than a file."""
    return text in NAMES or text.partition(":")[0] in BASES


def load(name: str, *, seed: int = 0) -> Model:
    """A network of the zoo: one of `NAMES`, or a point of the SqueezeNet family as
    `squeezenet:base_e=128,incr_e=128,pct3x3=0.5,freq=2,sr=0.125,bypass=simple,size=224`.

    Before the colon stands v1.0 (`squeezenet`) or any of `NAMES` but digits; what the options
    (`OPTIONS`) do not change is as there. Where the environment names a data folder,
    `$FIRELINE_DATA/models/<name before the colon>.onnx` gives trained weights as long as no option
    changes the shape of a convolution, and its side file the image preparation and labels.
    Otherwise weights are random, the same for the same seed. The notes of the model say which.
    Names of the 1000 ImageNet classes come from the folder too (`images/labels.txt`).

    Raises ModelError for an unknown name or option, GraphError for a network that cannot be.
    """
    if not 0 <= seed < 2**63:
        raise ModelError(f"seed must be 0..2**63 - 1, not {seed}")
    if name == "digits":
        spec, labels = read_side_file(digits.MODEL.with_suffix(".json"))
        return Model(graph=replace(import_onnx(digits.MODEL), name=name), spec=spec, labels=labels)
    base, options = _parse(name)
    config = _config(name, base, options)
    graph = squeezenet(config, name=name)
    spec, labels = IMAGENET, _imagenet_labels(config.classes)
    trained = _trained(base, config)
    if trained:
        graph, spec, labels = _attach(graph, trained)
    else:
        graph = initialise(graph, seed)
    return Model(graph=graph, spec=spec.with_size(config.input_shape[1:]), labels=labels)


def add_family_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for each of `OPTIONS` but size, which every command has anyway."""
    group = parser.add_argument_group(
        "SqueezeNet family", "any point of it; the same as --model squeezenet:base_e=...,sr=...")
    for option, meaning in OPTIONS.items():
        if option != "size":
            group.add_argument(f"--{option.replace('_', '-')}", metavar="VALUE", help=meaning)


def with_family_arguments(name: str, args: argparse.Namespace) -> str:
    """A model's name with the flags of `add_family_arguments` as options: ("squeezenet1_1",
    --sr 0.5) -> "squeezenet1_1:sr=0.5". Raises ModelError where the model takes none."""
    given = {option: value for option in OPTIONS if (value := getattr(args, option, None))
             is not None and option != "size"}
    if not given:
        return name
    if not is_name(name) or name == "digits":
        flags = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise ModelError(f"{name}: {flags} must go with --model {', '.join(BASES)}")
    base, options = _parse(name)
    return f"{base}:" + ",".join(f"{key}={value}" for key, value in (options | given).items())


def _parse(name: str) -> tuple[str, dict[str, str]]:
    base, colon, text = name.partition(":")
    if base not in BASES:
        raise ModelError(f"{name}: must be one of {', '.join(NAMES)}, or one of "
                         f"{', '.join(BASES)} with options, as in squeezenet:sr=0.25")
    options = {}
    for item in text.split(",") if colon else ():
        option, equals, value = item.partition("=")
        if option not in OPTIONS or not equals:
            raise ModelError(f"{name}: {item!r} must be option=value with one of "
                             f"{', '.join(OPTIONS)}")
        options[option] = value
    return base, options


def _config(name: str, base: str, options: dict[str, str]) -> SqueezeNetConfig:
    try:
        return replace(BASES[base], **dict(_field(*option) for option in options.items()))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: {error}") from None


def _field(option: str, text: str) -> tuple[str, object]:
    """Field of SqueezeNetConfig and its value. Raises ValueError."""
    try:
        match option:
            case "size":
                height, x, width = text.partition("x")
                return "input_shape", (3, int(height), int(width if x else height))
            case "pools":
                return option, tuple(int(layer) for layer in text.split("+") if layer)
            case "pct3x3" | "sr":
                return option, float(text)
            case "bypass":
                return option, text
        return option, int(text)
    except ValueError:
        raise ValueError(f"{option} must be {OPTIONS[option]}, not {text!r}") from None


def _trained(base: str, config: SqueezeNetConfig) -> Path | None:
    """The file of trained weights for a configuration, where there is one."""
    folder = os.environ.get("FIRELINE_DATA")
    if not folder or config.with_size(BASES[base].input_shape[1:]) != BASES[base]:
        return None
    path = Path(folder, "models", f"{base}.onnx")
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
    spec, labels = read_side_file(side) if side.is_file() else (None, ())
    graph = replace(graph, notes=(*graph.notes, f"trained weights: {path}"))
    return graph, spec or IMAGENET, labels
