"""Small networks of several kinds, trained on the handwritten digits: how often float and int8 are right on other images.

    python -m bench.trained --out trained [--only resnet20]

Each is trained in PyTorch, exported, imported, and quantised on the calibration images of `digits`; a network whose file is there
is not trained again. Training is seeded, and looks at nothing but the images that `digits` was trained on.
"""
import argparse
from dataclasses import replace
import os
from pathlib import Path
import sys
from types import ModuleType

import numpy as np
from rich.table import Table

from bench.exports import export
from cli import Parser, RequestError, counting, needs_extra, positive, run_command, terminal, write_json
from golden.evaluate import evaluate
from nets import digits
from nets.labelled import labelled_images
from nets.load import load_model
from nets.preprocess import InputSpec
from nets.quantise import quantise_with

__all__ = ["get_parser", "main"]

TARGET = 0.01           # what int8 may be less often right than float
BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 4e-3, 2e-2


def _train(torch: ModuleType, name: str, epochs: int | None, seed: int) -> tuple[object, InputSpec]:
    """The trained network in evaluation mode, and how its images are prepared."""
    from bench.torch_networks import SMALL
    from nets.digits.train import SPEC, distort, greyscale, load_digits, split
    build, side, usual = SMALL[name]
    epochs = epochs or usual
    spec, data = replace(SPEC, size=(side, side), resize=side), load_digits()
    fit, _ = split(data.target, 0)              # those of the embedded network, whatever the seed
    images = torch.from_numpy(np.stack([spec.normalise(spec.pixels(greyscale(data.images[index]))) for index in fit]))
    targets = torch.from_numpy(data.target[fit])
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random, module = torch.Generator().manual_seed(seed), build()
    steps = epochs * -(-len(fit) // BATCH)
    optimiser = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps, pct_start=0.2)
    with counting(f"training {name}", steps) as done:
        for epoch in range(epochs):
            for n, chosen in enumerate(torch.randperm(len(fit), generator=random).split(BATCH)):
                loss = torch.nn.functional.cross_entropy(module(distort(images[chosen], random)), targets[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                done(epoch * steps // epochs + n + 1)
    return module.eval(), spec


def _file_of(torch: ModuleType, name: str, args: argparse.Namespace) -> Path:
    """The network's file, trained first unless it is there; its side file is written last."""
    path = args.out / f"{name}.onnx"
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        args.out.mkdir(parents=True, exist_ok=True)
        module, spec = _train(torch, name, args.epochs, args.seed)
        export(torch, module, spec.shape, path, "old")
        write_json(path.with_suffix(".json"), {
            "input": spec.to_json(), "labels": [str(digit) for digit in range(10)],
            "training": {"script": "python -m bench.trained", "seed": args.seed, "epochs": args.epochs}})
    return path


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.trained", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/trained"), metavar="DIR",
                        help="the networks' files (%(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this network; may be given again (all)")
    parser.add_argument("--epochs", type=positive, metavar="N", help="of training (8 to 40)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of weights, distortions and order (%(default)s)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    torch = needs_extra("torch", "train", "training")
    needs_extra("sklearn", "train", "training")
    from bench.torch_networks import SMALL
    names = args.only or list(SMALL)
    if wrong := [name for name in names if name not in SMALL]:
        raise RequestError(f"--only must be one of {', '.join(SMALL)}, not {', '.join(wrong)}")
    records, table = {}, Table(title="right of the digits not trained on")
    for heading in ("network", "parameters", "MMAC", "float", "int8"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name in names:
        model = load_model(_file_of(torch, name, args))
        network = quantise_with(model, digits.CALIBRATION)
        images = labelled_images(digits.IMAGES, network.tensors[network.output].shape[0], network.labels)
        found = evaluate(network, model, images, jobs=args.jobs)
        shares = {what: found[what]["top1"] for what in ("float", "int8")}
        records[name] = {"parameters": model.graph.parameters, "macs": model.graph.total_macs, "images": len(images), **shares}
        table.add_row(name, f"{model.graph.parameters:,}", f"{model.graph.total_macs / 1e6:.2f}",
                      *(f"{share:.1%}" for share in shares.values()))
    terminal().print(table)
    if args.json:
        write_json(args.json, {"target": TARGET, "networks": records})
    return int(any(record["float"] - record["int8"] > TARGET for record in records.values()))


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
