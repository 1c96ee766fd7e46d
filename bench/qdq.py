"""The integer network run by ONNX Runtime against golden: every layer's tensor, end to end and layer by layer.

    python -m bench.qdq --model M --calibrate DIR --images DIR [--limit 100]

End to end, a step lost early goes on through the layers after it; layer by layer, each layer gets golden's own inputs.
ONNX Runtime turns the export into its integer kernels; `--unfused` leaves floats between DequantizeLinear and QuantizeLinear.
`--integers` takes the export that rounds as the network says: nothing may differ.
Of a model that is a quantised ONNX file the scores are compared with those of the file itself, too.
"""
import argparse
from pathlib import Path
import sys
from typing import TYPE_CHECKING

import numpy as np

from cli import Parser, needs_extra, positive, print_notes, progress, run_command, write_json
from golden import values
from nets.export_qdq import layer_model, network_model
from nets.int8.network import QInput, QNetwork
from nets.network import add_network_arguments, network_and_model
from nets.preprocess import find_images, load_image
from nets.quantise import spread

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["against_file", "compare", "get_parser", "main", "session"]

RUNTIME = "onnxruntime", "bench", "the comparison with ONNX Runtime"


def session(model: bytes, *, fused: bool) -> "InferenceSession":
    """ONNX Runtime on one thread, with or without its graph optimisations. Raises WorkError where it is not installed."""
    onnxruntime = needs_extra(*RUNTIME)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # without VNNI the kernels for signed weights would saturate sums of two products at 16 bits: take others there
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compare(network: QNetwork, images: list[np.ndarray], *, fused: bool, integers: bool = False,
            watch: bool = False) -> dict:
    """What differs on prepared images: shares and steps over all elements of all layers, and the worst layer's share."""
    names = list(network.by_name)
    whole = session(network_model(network, every_layer=True, integers=integers).SerializeToString(), fused=fused)
    single = {layer.name: session(layer_model(network, layer, integers=integers).SerializeToString(), fused=fused)
              for layer in network.layers if not isinstance(layer, QInput)}
    counts = {how: {name: [0, 0, 0] for name in names} for how in ("end_to_end", "layer_by_layer")}  # elements, unequal, steps
    same_top1 = 0

    def count(how: str, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        distance = np.abs(ours.astype(np.int32) - theirs[0])
        entry = counts[how][name]
        counts[how][name] = [entry[0] + ours.size, entry[1] + np.count_nonzero(distance), max(entry[2], int(distance.max()))]

    for x in progress(images, "comparing") if watch else images:
        ours = values.run(network, network.quantise_input(x), keep=names)
        theirs = dict(zip(names, whole.run(names, {whole.get_inputs()[0].name: x[None]}), strict=True))
        same_top1 += int(ours[network.output].argmax() == theirs[network.output].argmax())
        for name in names:
            count("end_to_end", name, ours[name], theirs[name])
            if name in single:
                inputs = {source: ours[source][None] for source in network.by_name[name].inputs}
                count("layer_by_layer", name, ours[name], single[name].run([name], inputs)[0])
    record = {"images": len(images), "fused": fused, "integers": integers, "same_top1": same_top1}
    for how, layers in counts.items():
        elements, unequal = (sum(entry[k] for entry in layers.values()) for k in (0, 1))
        shares = {name: 1 - entry[1] / entry[0] for name, entry in layers.items() if entry[0]}
        worst = min(shares, key=shares.get)
        record[how] = {"elements": elements, "equal": 1 - unequal / elements, "steps": max(e[2] for e in layers.values()),
                       "worst_layer": worst, "worst_equal": shares[worst],
                       "layers": {name: {"equal": shares[name], "steps": layers[name][2]} for name in shares}}
    return record


def against_file(network: QNetwork, path: Path, images: list[np.ndarray], *, fused: bool) -> dict:
    """How far golden's scores are from those of the quantised ONNX file that the network was imported from, on prepared images:
    `equal`, the share, `steps`, the most that one is off, in steps of the file, and `same_top1`, on how many images. What the
    host computes of the scores, as a softmax, is left to it: then the best class alone is compared, the others are None."""
    judge, kind = session(path.read_bytes(), fused=fused), network.tensors[network.output]
    source, apart, same_top1 = judge.get_inputs()[0], [], 0
    for x in images:
        found = values.run(network, network.quantise_input(x))[network.output].astype(np.int64).ravel()
        wanted = judge.run(None, {source.name: x.reshape(1, *(x.shape if len(source.shape) == 4 else (-1,)))})[0].ravel()
        apart.append(np.abs(np.rint(wanted / np.float32(kind.scale)).astype(np.int64) + kind.zero_point - found))
        same_top1 += int(found.argmax() == wanted.argmax())
    steps = {"equal": None, "steps": None} if network.endings else {
        "equal": float((np.stack(apart) == 0).mean()), "steps": int(np.max(apart))}
    return {**steps, "same_top1": same_top1}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.qdq", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="images to compare on")
    parser.add_argument("--limit", type=positive, default=100, metavar="N", help="at most N of them (%(default)s)")
    parser.add_argument("--integers", action="store_true", help="the export that rounds as the network says")
    parser.add_argument("--unfused", action="store_true", help="no integer kernels: floats between quantisations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    needs_extra(*RUNTIME)               # told before the network is quantised, which may take minutes
    network, model = network_and_model(args)
    print_notes(network.notes)
    images = [network.spec.normalise(load_image(path, network.spec)) for path in spread(find_images(args.images), args.limit)]
    record = compare(network, images, fused=not args.unfused, integers=args.integers, watch=True)
    for how in ("end_to_end", "layer_by_layer"):
        part = record[how]
        print(f"{how.replace('_', ' '):15}{part['equal']:10.4%} of {part['elements']:,} equal, at most {part['steps']} apart, "
              f"worst layer {part['worst_layer']} {part['worst_equal']:.4%}")
    print(f"same top-1 on {record['same_top1']} of {record['images']} images")
    if model is not None and model.graph.quantised and Path(args.model).suffix.lower() == ".onnx":
        part = record["file"] = against_file(network, Path(args.model), images, fused=not args.unfused)
        scores = "" if part["equal"] is None else f"{part['equal']:.1%} of its scores equal, at most {part['steps']} apart, "
        print(f"the file itself: {scores}same top-1 on {part['same_top1']} of {len(images)} images")
    if args.json:
        write_json(args.json, record)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
