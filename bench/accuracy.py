"""Float and int8 accuracy, and what one frame of the integer network costs.

    FIRELINE_DATA=... python -m bench.accuracy [--json FILE]

For each trained network of the data folder: top-1 and top-5 on its images, calibrated on 64 of them; for digits on the images
that it was not trained on. Then seconds a frame, the best of several, and the peak memory of a process that runs one.
"""
import argparse
import os
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from cli import Parser, positive, run_command, write_json
from golden import values
from golden.evaluate import evaluate
from nets import digits
from nets.int8.file import load, save
from nets.labelled import labelled_images
from nets.load import load_model
from nets.quantise import quantise_with

__all__ = ["frame_cost", "get_parser", "main"]

TRAINED = ("squeezenet1_1", "squeezenet1_0_deepcomp")
FRAMES = 5


def frame_cost(file: Path) -> dict:
    """Seconds a frame and peak megabytes of a new process that loads a quantised file and runs frames of noise."""
    command = [sys.executable, "-m", "bench.accuracy", "--frame", str(file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, output.stdout.split())
    return {"seconds": seconds, "megabytes": megabytes}


def _time_frames(file: Path) -> None:
    network = load(file)
    q = np.random.default_rng(0).integers(0, 256, network.tensors[network.input.name].shape).astype(np.uint8)
    seconds = []
    for _ in range(FRAMES):
        start = time.perf_counter()
        values.run(network, q)
        seconds.append(time.perf_counter() - start)
    print(min(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.accuracy", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--frame", type=Path, help=argparse.SUPPRESS)
    return parser


def run(args: argparse.Namespace) -> int:
    if args.frame:
        _time_frames(args.frame)
        return 0
    cases = [("digits", digits.CALIBRATION, digits.IMAGES)]
    data = os.environ.get("FIRELINE_DATA")
    if data:
        photographs = Path(data) / "images" / "imagenet-sample"
        cases += [(str(Path(data) / "models" / f"{name}.onnx"), photographs, photographs) for name in TRAINED]
    else:
        print("FIRELINE_DATA is not set: digits only", file=sys.stderr)
    records = {}
    for source, calibration, folder in cases:
        model = load_model(source)
        network = quantise_with(model, calibration)
        images = labelled_images(folder, network.tensors[network.output].shape[0], network.labels)
        record = evaluate(network, model, images, jobs=args.jobs)
        with tempfile.TemporaryDirectory() as temporary:
            save(network, Path(temporary) / "network.fln")
            record["frame"] = frame_cost(Path(temporary) / "network.fln")
        records[model.name] = record
        counts = ", ".join(f"{what} {record[what]['top1']:.1%} ({round(record[what]['top1'] * len(images))}) top-1 "
                           f"{record[what]['top5']:.1%} ({round(record[what]['top5'] * len(images))}) top-5"
                           for what in ("float", "int8"))
        print(f"{model.name}: {len(images)} images, {counts}; "
              f"{record['frame']['seconds']:.3f} s a frame, {record['frame']['megabytes']:.0f} MB")
    if args.json:
        write_json(args.json, records)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
