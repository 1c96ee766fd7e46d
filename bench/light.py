"""The light networks inside the onnx package, with seeded noise for weights: theirs are constants, which make all channels alike.

    python -m bench.light --out DIR [--only light_resnet50]
"""
import argparse
from math import prod
from pathlib import Path
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from cli import Parser, RequestError, progress, run_command, write_bytes

__all__ = ["FOLDER", "NAMES", "constant_shapes", "file_of", "filled", "get_parser", "main"]

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = tuple(f"light_{name}" for name in (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet512"))


def constant_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all that is known without running the network."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    shapes = {name: array.shape for name, array in held.items()}
    for node in proto.graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(held[node.input[0]].tolist())
        elif node.op_type == "Reshape" and node.input[0] in shapes:
            shapes[node.output[0]] = tuple(held[node.input[1]].tolist())
    return shapes


def filled(name: str, seed: int, *, most: int | None = None) -> onnx.ModelProto:
    """A light network with weights that tell channels apart, of sizes that keep activations near 1; tensors of more than `most`
    elements stay the constants that they are."""
    proto = onnx.load(FOLDER / f"{name}.onnx")
    random = np.random.default_rng(seed)
    shapes = constant_shapes(proto)
    roles = {tensor: (node.op_type, index) for node in proto.graph.node for index, tensor in enumerate(node.input)}
    kept = []
    for node in proto.graph.node:
        shape = shapes.get(node.output[0])
        if node.op_type != "ConstantOfShape" or most is not None and prod(shape) > most:
            kept.append(node)
            continue
        match roles[node.output[0]]:
            case ("Conv", 1):
                array = random.normal(scale=np.sqrt(2 / prod(shape[1:])), size=shape)
            case ("Gemm", 1):
                array = random.normal(scale=np.sqrt(2 / max(shape)), size=shape)
            case ("BatchNormalization", 1 | 4) | ("Mul", 1) | ("Unsqueeze", 0):
                array = random.uniform(0.5, 1.5, size=shape)
            case _:
                array = random.normal(scale=0.1, size=shape)
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto


def file_of(name: str, folder: Path, seed: int = 0) -> Path:
    """Writes a filled network, `FOLDER`'s name in `folder`, unless it is there. Raises OutputError."""
    path = folder / f"{name}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, filled(name, seed).SerializeToString())
    return path


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.light", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write files to")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"this one; may be given again ({', '.join(NAMES)})")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the weights (%(default)s)")
    return parser


def run(args: argparse.Namespace) -> None:
    names = args.only or NAMES
    if wrong := [name for name in names if name not in NAMES]:
        raise RequestError(f"--only must be one of {', '.join(NAMES)}, not {', '.join(wrong)}")
    if args.seed < 0:
        raise RequestError(f"--seed must be at least 0, not {args.seed}")
    for name in progress(names, "light networks"):
        (args.out / f"{name}.onnx").unlink(missing_ok=True)
        print(file_of(name, args.out, args.seed), flush=True)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
