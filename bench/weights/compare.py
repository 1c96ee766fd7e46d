"""How long a network's weights are in several formats: the table of docs/weight_stream.md.

    python -m bench.weights.compare --model net.onnx --calibrate photographs --model net.tflite

Weights are those that a board's engine loads, in its order, with channels that fill up blocks, stage by stage and in blocks of
what a transfer brings. Bytes hold headers, tables and padding; in brackets what they are to the order-0 entropy, which knows each
stage's frequencies for nothing.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

import numpy as np
from rich.table import Table

from bench.survey.tables import markdown
from bench.weights.kinds import KINDS
from cli import Parser, positive, progress, run_command, terminal, write_bytes, write_json
from compiler.costs import WEIGHT_TRANSFER_WORDS
from compiler.lowering.lower import lower
from compiler.target import target_of
from nets.load import load_model
from nets.quantise import CALIBRATION_LIMIT, needs_no_images, quantise, quantise_with

__all__ = ["get_parser", "main", "sizes", "stage_blocks"]

ENTROPY = next(iter(KINDS))


def stage_blocks(weights: np.ndarray) -> list[np.ndarray]:
    """A stage's weights as transfers bring them, 2 * WEIGHT_TRANSFER_WORDS at most each."""
    flat = np.ascontiguousarray(weights).reshape(-1)
    return [flat[at:at + 2 * WEIGHT_TRANSFER_WORDS] for at in range(0, flat.size, 2 * WEIGHT_TRANSFER_WORDS)]


def sizes(stages: Sequence[np.ndarray]) -> dict[str, float]:
    """Bytes of a network's stages in each format, and `raw`."""
    blocks = [stage_blocks(weights) for weights in stages if weights.size]
    found = {"raw": float(sum(weights.size for weights in stages))}
    return found | {name: sum(map(kind, blocks)) for name, kind in KINDS.items()}


def _record(name: str, args: argparse.Namespace) -> dict:
    model = load_model(name)
    if needs_no_images(model):
        network = quantise(model, (), dead_channels=args.dead_channels)
    else:
        network = quantise_with(model, args.calibrate, limit=args.calibration_limit)
    target = target_of(args.board).serving(network)
    stages = [stage.work.weights for stage in lower(network, target.geometry).stages]
    return {"network": network.name} | sizes(stages)


def _cells(record: dict) -> list[str]:
    entropy = record[ENTROPY]
    return [record["network"], f"{record['raw']:,.0f}", f"{entropy:,.0f}",
            *(f"{record[name]:,.0f} ({record[name] / entropy:.3f})" for name in list(KINDS)[1:])]


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.weights.compare", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="M", help="a network; may be given again (digits)")
    parser.add_argument("--calibrate", type=Path, metavar="DIR", help="images to calibrate those of float weights on")
    parser.add_argument("--calibration-limit", type=positive, default=CALIBRATION_LIMIT, metavar="N",
                        help="take at most N of them (%(default)s)")
    parser.add_argument("--dead-channels", action="store_true",
                        help="channels that do nothing stay, in networks that come quantised")
    parser.add_argument("--board", default="ulx3s", metavar="B", help="whose engine takes the weights (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table as Markdown, FILE.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the bytes as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    records = [_record(name, args) for name in progress(args.model or ["digits"], "networks")]
    headings = ["network", "raw", *KINDS]
    if args.json:
        write_json(args.json, {"board": args.board, "networks": records})
    if args.page:
        write_bytes(args.page, markdown(headings, map(_cells, records)).encode())
    table = Table(title=f"bytes of weights on {args.board}")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for record in records:
        table.add_row(*_cells(record))
    terminal().print(table)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
