"""A quantised network as ONNX, for other tools and as an independent judge of `golden.values`.

Every layer's tensor keeps its name: uint8, scores uint16 where they have sub-steps. Arithmetic runs between DequantizeLinear and
QuantizeLinear with the scales that the integers mean exactly; what only moves or compares values runs on uint8; tables run on
integers. Only the rounding of floats can tell it from the integer network: about one element in 100 million is off by one step
(of the scores' sub-steps, one in some thousands), and the layers after it follow.
With `--integers` convolutions are ConvInteger and rounding is spelt out in doubles, which hold every product: bit for bit the
same, but slower.
"""
import argparse
from pathlib import Path
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

from cli import Parser, print_notes, run_command, write_bytes, write_json
from nets.export.integers import IntegerExporter
from nets.export.nodes import Exporter
from nets.export.qdq import QdqExporter
from nets.int8.network import QLayer, QNetwork
from nets.network import add_network_arguments, network_from_arguments

__all__ = ["get_parser", "layer_model", "main", "network_model"]


def _integers(network: QNetwork, name: str) -> onnx.ValueInfoProto:
    kind = network.tensors[name]
    return helper.make_tensor_value_info(name, TensorProto.UINT8 if kind.bits == 8 else TensorProto.UINT16, [1, *kind.shape])


def _exporter(network: QNetwork, integers: bool) -> Exporter:
    return IntegerExporter(network) if integers else QdqExporter(network)


def network_model(network: QNetwork, *, every_layer: bool = False, integers: bool = False) -> onnx.ModelProto:
    """The whole network, from the prepared image, float (1, channels, height, width), to the scores, float (1, classes).

    They are called `image` and `scores`, with `_` appended where a layer has that name. With `every_layer` every layer's
    integers are an output too; with `integers` nothing is rounded but as the network says.
    """
    exporter = _exporter(network, integers)
    for layer in network.layers:
        exporter.add(layer)
    final, value = network.tensors[network.output], exporter.values(network.output)
    if network.offset:
        value = exporter.node("Add", [value, exporter.array(f"{exporter.scores}/offset", np.float32(network.offset))],
                             f"{exporter.scores}/moved")
    exporter.node("Flatten", [value], exporter.scores, axis=1)
    shape = network.tensors[network.input.name].shape
    outputs = [helper.make_tensor_value_info(exporter.scores, TensorProto.FLOAT, [1, int(np.prod(final.shape))])]
    if every_layer:
        outputs += [_integers(network, layer.name) for layer in network.layers]
    return exporter.model(network.name, [helper.make_tensor_value_info(exporter.image, TensorProto.FLOAT, [1, *shape])], outputs)


def layer_model(network: QNetwork, layer: QLayer, *, integers: bool = False) -> onnx.ModelProto:
    """One layer alone, other than the input: from the integers that it reads to its own."""
    exporter = _exporter(network, integers)
    exporter.add(layer)
    return exporter.model(layer.name, [_integers(network, name) for name in dict.fromkeys(layer.inputs)],
                         [_integers(network, layer.name)])


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nets.export_qdq", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser)
    parser.add_argument("--integers", action="store_true", help="integer convolutions: bit for bit the same, but slower")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the network, FILE.onnx")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was written as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    network = network_from_arguments(args)
    print_notes(network.notes)
    write_bytes(args.out, network_model(network, integers=args.integers).SerializeToString(deterministic=True))
    if args.json:
        write_json(args.json, {"model": network.name, "file": str(args.out), "integers": args.integers, "notes": network.notes})
    print(args.out)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
