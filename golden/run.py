"""One image through the integer network, bit for bit as the chip computes it; the five best classes, or the output's numbers."""
import argparse
import json
from pathlib import Path
import re
import sys

import numpy as np

from cli import OutputError, Parser, print_notes, run_command, terminal, write_json
from golden import values
from nets.int8.network import QNetwork
from nets.labelled import own_images
from nets.network import add_network_arguments, network_from_arguments
from nets.preprocess import check_image, find_images, load_image
from nets.scores import check_output_name, result_of, save_outputs

__all__ = ["dump", "get_parser", "main"]


def dump(network: QNetwork, tensors: dict[str, np.ndarray], folder: Path) -> None:
    """Writes every tensor as `<layer>.npy`, characters that file names should not have as `_`, and `index.json` with name,
    operator, file, shape, scale, zero point and octaves (`QNetwork`) of each in order. Raises OutputError."""
    index, taken = [], set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for layer in network.layers:
            stem = name = re.sub(r"[^\w.-]", "_", layer.name, flags=re.ASCII)[:100]
            while name in taken:
                name = f"{stem}_{len(taken)}"
            taken.add(name)
            np.save(folder / f"{name}.npy", tensors[layer.name])
            kind = network.tensors[layer.name]
            index.append({"name": layer.name, "op": layer.op, "file": f"{name}.npy", "shape": kind.shape,
                          "scale": kind.scale, "zero_point": kind.zero_point,
                          "octaves": network.octaves.get(layer.name)})
        (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m golden.run", description=__doc__)
    add_network_arguments(parser)
    parser.add_argument("--image", type=Path, metavar="I", help="the picture, or a tensor as .npy or .bin (digits has its own)")
    parser.add_argument("--save-output", type=Path, metavar="FILE", help="also write the output's values, as .npy")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="also write every layer's tensor there, as .npy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the five best, or what the output is like, as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    check_output_name(args.save_output)
    if args.image:
        check_image(args.image)
    network = network_from_arguments(args)
    image = args.image or find_images(own_images(network, "--image"))[0]
    q = network.quantise_input(network.spec.normalise(load_image(image, network.spec)))
    print_notes(network.notes)
    tensors = values.run(network, q, keep=network.by_name if args.dump else None)
    result = result_of(network, q, tensors[network.output])
    terminal().print(f"{network.name}: {image.name}")
    terminal().print(result.table())
    if args.save_output:
        save_outputs(args.save_output, [result])
    if args.dump:
        dump(network, tensors, args.dump)
    if args.json:
        write_json(args.json, {"model": network.name, "image": str(image), "notes": network.notes, **result.record})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
