"""Measures how far the float reference is from ONNX Runtime on real images: largest difference over the output's range."""
import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import os
from pathlib import Path
import sys
import time

import numpy as np
from rich.table import Table

from cli import Parser, needs_extra, progress, run_command, terminal, write_json
from nets import digits
from nets.float_run import run
from nets.load import load_model
from nets.preprocess import find_images, load_image

__all__ = ["Difference", "get_parser", "main", "measure"]

TARGET = 1e-4


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`worst`: largest difference of any output element on any image, divided by the range of that image's outputs."""

    model: str
    images: int
    worst: float
    same_top1: int
    seconds: float          # of the float reference, median of an image
    runtime_seconds: float  # of ONNX Runtime on one thread


def measure(model: str | Path, images: Sequence[Path]) -> Difference:
    """Compares both on each image. Raises ModelError, GraphError or PreprocessError."""
    onnxruntime = needs_extra("onnxruntime", "bench", "the comparison with ONNX Runtime")
    loaded = load_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    worst, same, times = 0.0, 0, []
    for path in progress(images, Path(model).stem):
        x = loaded.spec.normalise(load_image(path, loaded.spec))
        start = time.perf_counter()
        got = run(loaded.graph, x)[loaded.graph.output].ravel()
        middle = time.perf_counter()
        wanted = session.run(None, {loaded.graph.input.name: x[None]})[0].ravel()
        times.append((middle - start, time.perf_counter() - middle))
        worst = max(worst, float(np.abs(got - wanted).max() / np.ptp(wanted)))
        same += int(got.argmax() == wanted.argmax())
    ours, theirs = np.median(times, axis=0).tolist()
    return Difference(model=str(model), images=len(images), worst=worst, same_top1=same, seconds=ours, runtime_seconds=theirs)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.float_reference", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("FIRELINE_DATA"), metavar="DIR",
                        help="folder of the shared models and photographs ($FIRELINE_DATA); without it digits alone")
    parser.add_argument("--count", type=int, default=50, help="images of each model (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures too")
    return parser


def _work(args: argparse.Namespace) -> int:
    todo = [(digits.MODEL, digits.IMAGES)]
    if args.data:
        todo += [(path, args.data / "images" / "imagenet-sample") for path in sorted((args.data / "models").glob("*.onnx"))]
    figures = []
    for model, folder in todo:
        images = find_images(folder)
        figures.append(measure(model, images[::max(1, len(images) // args.count)][:args.count]))
    table = Table(title=f"float reference against ONNX Runtime, target {TARGET:.0e}")
    for heading in ("model", "images", "largest difference / range", "same top-1", "seconds", "ONNX Runtime"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for one in figures:
        table.add_row(Path(one.model).stem, str(one.images), f"{one.worst:.1e}", str(one.same_top1), f"{one.seconds:.3f}",
                      f"{one.runtime_seconds:.3f}")
    terminal().print(table)
    if args.json:
        write_json(args.json, {"target": TARGET, "figures": [asdict(one) for one in figures]})
    return 0 if all(one.worst < TARGET for one in figures) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f"--count must be positive, not {args.count}")
    if args.data and not (args.data / "models").is_dir():
        parser.error(f"--data {args.data} holds no models/")
    return run_command(_work, args)


if __name__ == "__main__":
    sys.exit(main())
