"""A quantised network as the commands take it: a file, or a float model that is quantised on the fly."""
from argparse import ArgumentParser, Namespace
from pathlib import Path

from cli import positive
from nets.int8 import file as quantised_file
from nets.int8.network import QNetwork
from nets.load import add_model_arguments, model_from_arguments
from nets.model import Model, ModelError
from nets.quantise import CALIBRATION_LIMIT, outline, quantise_with

__all__ = ["add_network_arguments", "network_and_model", "network_from_arguments", "outline_from_arguments",
           "quantised_file_of"]

# of add_model_arguments; a quantised file holds these
FLOAT_ONLY = ("side_file", "size", "channels", "mean", "std", "scale", "resize", "background", "labels", "calibrate")


def add_network_arguments(parser: ArgumentParser, *, default: str = "digits") -> None:
    """Adds `--model`, what overrides its side file, and `--calibrate`; `network_from_arguments` reads them."""
    add_model_arguments(parser, default=default)
    group = parser.add_argument_group("quantisation", "of a float model; --model may also be a quantised .fln file")
    group.add_argument("--calibrate", type=Path, metavar="DIR",
                       help="images to calibrate on (digits has its own; other networks get noise)")
    group.add_argument("--calibration-limit", type=positive, default=CALIBRATION_LIMIT, metavar="N",
                       help="take at most N of them, evenly spread (%(default)s)")


def network_from_arguments(args: Namespace) -> QNetwork:
    """The network that the arguments name. Raises what `nets.load`, `nets.quantise` and `nets.int8.file` do."""
    return network_and_model(args)[0]


def outline_from_arguments(args: Namespace) -> QNetwork:
    """The same network's shapes (`nets.quantise.outline`), without a look at images; a quantised file as it is. Raises what
    `network_from_arguments` does."""
    found = quantised_file_of(args)
    return outline(model_from_arguments(args)) if found is None else found


def network_and_model(args: Namespace) -> tuple[QNetwork, Model | None]:
    """The quantised network, and the float model that it was made from: None for a quantised file."""
    found = quantised_file_of(args)
    if found is not None:
        return found, None
    model = model_from_arguments(args)
    return quantise_with(model, args.calibrate, limit=args.calibration_limit), model


def quantised_file_of(args: Namespace) -> QNetwork | None:
    """The quantised file that the arguments name, if they name one."""
    if Path(args.model).suffix != quantised_file.SUFFIX:
        return None
    given = [what for what in FLOAT_ONLY if getattr(args, what, None) is not None]
    if given:
        raise ModelError(f"{args.model}: is quantised already: --{given[0].replace('_', '-')} cannot change it")
    return quantised_file.load(args.model)
