"""A float network becomes a quantised one, calibrated on a folder of images.

Weights are int8 per output channel, activations uint8 per tensor (`nets.int8.network`). Large pools are split into several layers
(`nets.int8.pools`). Channels of one tensor are given ranges
that are alike (`nets.int8.equalise`), scores far from zero are moved there (`nets.int8.centre`), ranges are clipped where the
mean squared error is least (`nets.int8.clip`), weights are rounded so that their errors cancel (`nets.int8.rounding`). Of a
network that comes quantised the integers are taken as they are (`nets.int8.given`), and no images are needed. What all this loses
is measured (`nets.int8.losses`), and channels that do nothing are taken out (`nets.int8.dead_channels`). The same images always
give the same network.
"""
import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
import hashlib
from pathlib import Path
import sys
from typing import TypeVar

import numpy as np

from cli import Parser, RequestError, positive, print_notes, progress, run_command, terminal, write_bytes, write_json
from nets import digits
from nets.graph import GraphError
from nets.int8.calibrate import Statistics, measure
from nets.int8.centre import centre
from nets.int8.check import check
from nets.int8.dead_channels import without_dead_channels
from nets.int8.equalise import equalise, measure_ranges
from nets.int8.file import save
from nets.int8.fuse import plan
from nets.int8.given import Changes, settle, without_shift
from nets.int8.loss_report import loss_records, loss_table, plot_losses
from nets.int8.losses import measure_losses, warnings
from nets.int8.lower import lower
from nets.int8.network import QNetwork
from nets.int8.pools import split_pools
from nets.int8.rounding import Palette
from nets.load import add_model_arguments, model_from_arguments
from nets.model import Model
from nets.plot import PLOT_SUFFIXES
from nets.preprocess import InputSpec, find_images, load_image

__all__ = ["CALIBRATION_LIMIT", "get_parser", "main", "needs_no_images", "outline", "quantise", "quantise_with", "spread",
           "synthetic_images"]

Item = TypeVar("Item")

CALIBRATION_LIMIT = 64
SAMPLE = 8                     # images that tell the ranges of channels, and what rounding loses
SYNTHETIC_IMAGES = 16
SYNTHETIC_HEADROOM = 2.5       # photographs reach further than noise: SqueezeNet then loses a point, not half of them


def quantise(model: Model, images: Iterable[np.ndarray], *, headroom: float = 1.0, notes: tuple[str, ...] = (),
             dead_channels: bool = False, palette: Palette | None = None) -> QNetwork:
    """The network in integers, calibrated on images: uint8 pixels (channels, height, width) as `InputSpec.pixels` makes them.
    `headroom` widens the ranges found (see `nets.int8.lower`); `notes` join those of the model. What the network brings of its
    integers is taken as it is (`nets.int8.given`), and if that is all, it needs no images; with some, losses are measured.
    `dead_channels`: they stay. `palette` chooses the integers of weights (see `nets.int8.lower`).

    Raises GraphError naming every layer that cannot be computed in integers, ValueError without any image that is needed.
    """
    graph, offset = without_shift(model.graph)
    graph, octaves = settle(split_pools(graph)), {}
    steps = plan(graph)
    images, changes = list(images), Changes()
    if not images and not steps.complete:
        raise ValueError("images must be at least one, not none")
    sample = [model.spec.normalise(pixels) for pixels in spread(images, SAMPLE)]
    if not graph.quantised:
        ranges = measure_ranges(graph, progress(sample, "measuring channels"))
        graph, octaves = equalise(graph, steps, ranges)
        graph, offset = centre(graph, steps, ranges)
        steps = plan(graph)
    statistics = Statistics(steps)
    if images:
        statistics = measure(graph, steps, (model.spec.normalise(pixels) for pixels in progress(images, "calibrating")))
    layers, tensors = lower(steps, graph.shapes, statistics, headroom=headroom, changes=changes, palette=palette)
    if changes.problems:
        raise GraphError(model.name, changes.problems)
    notes = (*changes.notes(model.name), *notes)
    network = QNetwork(name=model.name, layers=layers, tensors=tensors, output=steps.output, spec=model.spec,
                       labels=model.labels, first_class=model.first_class, endings=steps.endings, offset=offset,
                       octaves={step.name: octaves[step.value] for step in steps.steps if step.value in octaves})
    losses = measure_losses(graph, steps, network, progress(sample, "measuring losses")) if images else ()
    network = replace(network, losses=losses, notes=model.notes + steps.notes + notes + (warnings(losses) if losses else ()),
                      provenance={"calibration_images": len(images), "calibration_sha256": _digest(images)})
    if not dead_channels:
        network = without_dead_channels(network)
    check(network)
    return network


def needs_no_images(model: Model) -> bool:
    """Whether the network brings all of its integers. Raises GraphError as `quantise` does."""
    return model.graph.quantised and plan(settle(split_pools(without_shift(model.graph)[0]))).complete


def _digest(images: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for pixels in images:
        digest.update(pixels.tobytes())
    return digest.hexdigest()


def outline(model: Model) -> QNetwork:
    """The network with nothing but its shapes: weights are 0 and scales 1. Enough to say how long a chip takes for a frame, and
    what of it, since neither depends on values. Raises GraphError as `quantise` does."""
    graph = settle(split_pools(without_shift(model.graph)[0]))
    steps = plan(graph)
    layers, tensors = lower(steps, graph.shapes, None)
    network = QNetwork(name=model.name, layers=layers, tensors=tensors, output=steps.output, spec=model.spec, labels=model.labels,
                       first_class=model.first_class, endings=steps.endings, notes=model.notes + steps.notes)
    check(network)
    return network


def quantise_with(model: Model, folder: Path | None = None, *, limit: int = CALIBRATION_LIMIT) -> QNetwork:
    """The network calibrated on at most `limit` images of a folder, evenly spread over their sorted paths.

    Without a folder, `digits` has its own, and a network that brings all of its integers needs none; others get synthetic images,
    and a note that says so. Raises GraphError, PreprocessError.
    """
    if folder is None and model.name == "digits" and model.spec.shape == digits.CONFIG.input_shape:
        folder = digits.CALIBRATION
    if folder is None and needs_no_images(model):
        return quantise(model, ())
    if folder is None:
        note = (f"{model.name}: calibrated on {SYNTHETIC_IMAGES} synthetic images, which costs accuracy: "
                f"give a folder of real ones (--calibrate; nets.quantise --images)")
        return quantise(model, synthetic_images(model.spec), headroom=SYNTHETIC_HEADROOM, notes=(note,))
    paths = spread(find_images(folder), limit)
    return quantise(model, (load_image(path, model.spec) for path in paths))


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` of the items, evenly spread, the first and the last among them."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(limit, len(items))).round().astype(int)]


def synthetic_images(spec: InputSpec, *, count: int = SYNTHETIC_IMAGES, seed: int = 0) -> list[np.ndarray]:
    """uint8 noise with the spectrum of photographs: amplitude falls as 1 / frequency, channels are much alike.

    (D. Field, "Relations between the statistics of natural images and the response properties of cortical cells", JOSA A 1987.)
    """
    rng = np.random.default_rng(seed)
    channels, height, width = spec.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    images = []
    for _ in range(count):
        waves = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((channels + 1, height, width))) / frequency, s=(height, width))
        waves = waves[:1] + 0.3 * waves[1:]
        waves = waves / max(waves.std(), 1e-9) * rng.uniform(30, 80) + rng.uniform(90, 160)
        images.append(np.clip(waves + 0.5, 0, 255).astype(np.uint8))
    return images


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nets.quantise", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--images", type=Path, metavar="DIR",
                        help="images to calibrate on, sub-folders too (digits has its own; other networks get noise)")
    parser.add_argument("--limit", type=positive, default=CALIBRATION_LIMIT, metavar="N",
                        help="take at most N of them, evenly spread (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the quantised network, FILE.fln")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what rounding loses, layer by layer, as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"also draw it ({', '.join(PLOT_SUFFIXES)})")
    return parser


def run(args: argparse.Namespace) -> None:
    network = quantise_with(model_from_arguments(args), args.images, limit=args.limit)
    if args.plot and not network.losses:
        raise RequestError(f"{network.name}: losses are measured on images only: give a folder (--images)")
    save(network, args.out)
    if args.plot:
        write_bytes(args.plot, plot_losses(network.name, network.losses, args.plot.suffix))
    if args.json:
        write_json(args.json, {"model": network.name, "notes": network.notes, "losses": loss_records(network.losses)})
    print_notes(network.notes)
    if network.losses:
        terminal(stderr=True).print(loss_table(network.losses))
    print(args.out)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
