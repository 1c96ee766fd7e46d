"""AlexNet and VGG-16 as sparse as Deep Compression prunes them, with weights at random places: what a decoder makes of them.

    python -m bench.weights.pruned --model alexnet --out alexnet_pruned.fln
    python -m sim.run --model alexnet_pruned.fln --board ulx3s --units decoder

Shares of weights that stay, layer by layer, are those of Han, Mao and Dally, "Deep Compression", arXiv:1510.00149v5, tables 4 and
5. The network is quantised as it comes, and its weights that stay are what they were.
"""
import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import sys

import numpy as np

from cli import Parser, RequestError, print_notes, run_command
from nets.int8.file import SEAL, save
from nets.int8.network import QConv, QNetwork
from nets.load import load_model
from nets.quantise import quantise_with

__all__ = ["STAYING", "get_parser", "main", "pruned"]

# Per cent of each layer's weights, in order.
STAYING = {
    "alexnet": (84, 38, 35, 37, 37, 9, 9, 25),
    "vgg16": (58, 22, 34, 36, 53, 24, 42, 32, 27, 34, 35, 29, 36, 4, 4, 23),
}


def pruned(network: QNetwork, staying: Sequence[int], seed: int) -> QNetwork:
    """The network with so many per cent of each convolution's weights, of as many convolutions as there are; the others are 0."""
    rng, shares = np.random.default_rng(seed), iter(staying)

    def less(layer: QConv) -> QConv:
        kept = np.zeros(layer.weight.size, bool)
        kept[rng.permutation(kept.size)[:round(kept.size * next(shares) / 100)]] = True
        return replace(layer, weight=np.where(kept.reshape(layer.weight.shape), layer.weight, np.int8(0)))
    layers = tuple(less(layer) if isinstance(layer, QConv) else layer for layer in network.layers)
    if next(shares, None) is not None:
        raise ValueError(f"{network.name} has fewer than {len(staying)} convolutions")
    return replace(network, name=f"{network.name}_pruned", layers=layers)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.weights.pruned", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=STAYING, default="alexnet", help="the network (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the places (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the network (<network>_pruned.fln)")
    return parser


def run(args: argparse.Namespace) -> None:
    if args.seed < 0:
        raise RequestError(f"--seed must be 0 or more, not {args.seed}")
    out = args.out or SEAL.named(f"{args.model}_pruned")
    SEAL.check_output(out)
    network = pruned(quantise_with(load_model(args.model)), STAYING[args.model], args.seed)
    save(network, out)
    print_notes(network.notes)
    print(out)


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
