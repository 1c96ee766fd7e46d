"""A network on the RTL of the whole machine: every layer against golden, every cycle accounted for."""
import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
import time

import numpy as np

from arch.program import Program
from cli import OutputError, Parser, counting, print_notes, run_command, terminal, waiting, write_bytes, write_json
from compiler.build import compile_network
from compiler.stages import NetworkError
from compiler.target import Target, add_target_arguments, target_from_arguments
from golden import account, compare, values
from golden.consistency import check_program
from golden.hazards import check_hazards
from nets.int8.network import QNetwork
from nets.labelled import has_images, own_images
from nets.network import add_network_arguments, network_from_arguments
from nets.plot import PLOT_SUFFIXES
from nets.preprocess import check_image, find_images, load_image
from nets.quantise import synthetic_images
from nets.scores import Result, check_output_name, ranking, result_of, save_outputs
from sim import summary
from sim.frame import Frame, FrameBench, Prediction, predict
from sim.timeline_plot import plot_timeline
from sim.verilog.waves import Window, add_waves_arguments, window_of

__all__ = ["Checked", "check_frame", "get_parser", "main"]

LISTED = 5              # hazards that are printed
DEADLINE = 100          # times the cycles that a frame takes at least


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """A frame held against golden: its `input`, `output` of the whole network from the RTL, `golden` the same from the reference;
    `wrong` elements of each compute command; wrong elements of the output, and vectors in wrong places, come on top of them."""

    frame: Frame
    output: np.ndarray
    golden: np.ndarray
    wrong: list[int]
    input: np.ndarray

    @property
    def mismatches(self) -> int:
        return sum(self.wrong) + self.frame.wrong_places + int((self.output != self.golden).sum())


def check_frame(network: QNetwork, program: Program, q: np.ndarray, frame: Frame) -> Checked:
    """Compares every layer of a frame with input `q`."""
    tensors = values.run(network, q, keep=network.by_name)
    return Checked(frame=frame, output=compare.final_output(network, program, frame.output), golden=tensors[network.output],
                   input=q, wrong=compare.mismatches(network, tensors, program, frame.written))


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.run", description=__doc__)
    add_network_arguments(parser)
    parser.add_argument("--image", type=Path, metavar="I",
                        help="a picture, a tensor as .npy or .bin, or a folder of pictures (digits has its own; other networks "
                             "get seeded noise)")
    parser.add_argument("--images", type=_count, default=0, metavar="N",
                        help="of a folder: take N of them, evenly spread (all); of noise, N pictures (1)")
    add_target_arguments(parser)
    parser.add_argument("--save-output", type=Path, metavar="FILE", help="also write the output's values of each image, as .npy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"also draw what the queues did ({', '.join(PLOT_SUFFIXES)})")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table of layers as Markdown")
    add_waves_arguments(parser, "the first frame")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def _images(args: argparse.Namespace, network: QNetwork) -> dict[str, np.ndarray]:
    """Pixels of the pictures by their names; of a network that brings none, and is given none, seeded noise."""
    if args.image is None and not has_images(network):
        count = args.images or 1
        return {f"noise {seed}": synthetic_images(network.spec, count=1, seed=seed)[0] for seed in range(1, count + 1)}
    place = args.image or own_images(network, "--image")
    found = find_images(place) if place.is_dir() else [place]
    if args.image is None and not args.images:
        found = found[:1]
    if args.images and args.images < len(found):
        found = [found[n * len(found) // args.images] for n in range(args.images)]
    return {str(path): load_image(path, network.spec) for path in found}


def _bench(program: Program, target: Target, window: Window | None) -> FrameBench:
    what = f"{program.geometry.input_lanes}x{program.geometry.output_lanes}"
    started = time.monotonic()
    with waiting(f"building the model of the {what} machine: minutes the first time, kept afterwards"):
        bench = FrameBench(program.geometry, timing=target.timing, words=target.storage_words,
                           waves=window.kind if window else "")
    print(f"model of the {what} machine: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return bench


def run(args: argparse.Namespace) -> int:
    _check(args)
    target = target_from_arguments(args)
    network = network_from_arguments(args)
    target = target.serving(network)
    images = _images(args, network)
    try:
        program = compile_network(network, target.geometry, storage_words=target.storage_words, timing=target.timing).program
    except NetworkError as error:
        for problem in error.problems:
            print(f"error: {network.name} on {target.title}: {problem}", file=sys.stderr)
        return 2
    check_program(program, waits=False)
    print_notes(network.notes)
    hazards = [*map(str, check_hazards(program))]
    if program.again:
        hazards += map(str, check_hazards(program.again, after=program))
    for hazard in hazards[:LISTED]:
        print(f"hazard: {hazard}", file=sys.stderr)
    inputs = [network.quantise_input(network.spec.normalise(pixels)) for pixels in images.values()]
    checked, expected = [], max(sum(account.program_beats(program)), sum(account.least_words(program).values()))
    window = window_of(args)
    with _bench(program, target, window) as bench:
        if window:
            with waiting(f"waveform of {window.cycles} cycles from {window.first} on"):
                bench.write_waves(program, inputs[0], window)
        bench.load(program)
        if program.again and len(inputs) == 1:          # to see a frame whose constants lie on the chip already
            images |= {f"{next(iter(images))} again": next(iter(images.values()))}
            inputs *= 2
        for image, q in zip(images, inputs, strict=True):
            with counting(Path(image).name, expected) as status:
                frame = bench.run(q, status=status, deadline=DEADLINE * expected)
            checked.append(check_frame(network, frame.program, q, frame))
    with waiting("predicting the cycles"):
        foretold = predict(program, timing=target.timing, words=target.storage_words, start=checked[0].frame.start)
    layers = account.layers_of(program, network, checked[0].frame, mismatches=checked[0].wrong, predicted=foretold.done)
    results = [result_of(network, one.input, one.output) for one in checked]
    record = _record(network, program, target, list(images), checked, foretold, layers)
    record |= {"hazards": hazards, **results[0].record}
    _show(program, target, record, checked, list(images), layers, results[0])
    _write(args, program, record, checked, layers)
    if args.save_output:
        save_outputs(args.save_output, results)
    return int(record["mismatches"] > 0 or record["late_commands"] > 0 or len(set(record["cycles"].values())) > 1
               or len(hazards) > 0)


def _check(args: argparse.Namespace) -> None:
    if args.plot and args.plot.suffix.lower() not in PLOT_SUFFIXES:
        raise OutputError(f"{args.plot}: must end in {' or '.join(PLOT_SUFFIXES)}")
    check_output_name(args.save_output)
    if args.image and not args.image.is_dir():
        check_image(args.image)


def _record(network: QNetwork, program: Program, target: Target, images: Sequence[str], checked: list[Checked],
            foretold: Prediction, layers: list[account.LayerAccount]) -> dict:
    """All figures: of the first frame where they are of one."""
    first, geometry = checked[0], program.geometry
    macs = sum(layer.macs for layer in layers)
    moved, least = account.traffic(program, first.frame.requests), account.least_words(program)
    return {
        "model": network.name, "board": target.name, "geometry": geometry.to_json(), "image": images[0],
        "cycles": {"predicted": foretold.cycles, "measured": first.frame.cycles},
        "cycles_again": checked[-1].frame.cycles if program.again else None,
        "late_commands": sum(foretold.late(first.frame).values()), "mismatches": sum(one.mismatches for one in checked),
        "utilisation": macs / geometry.macs / first.frame.cycles,
        "layers": [summary.layer_record(layer, geometry) for layer in layers],
        "sdram_bytes": sum(moved.values()), "bytes": moved, "least_bytes": {kind: 2 * words for kind, words in least.items()},
        "queues": summary.queue_record(first.frame, foretold), "time": summary.idle_causes(layers),
        "simulation": {"cycles": first.frame.simulated, "seconds": first.frame.seconds},
        "images": [{"image": image, "class": int(ranking(one.output)[0]), "golden": int(ranking(one.golden)[0]),
                    "same_logits": bool((one.output == one.golden).all()), "mismatches": one.mismatches,
                    "cycles": one.frame.cycles} for image, one in zip(images, checked, strict=True)],
    }


def _show(program: Program, target: Target, record: dict, checked: list[Checked], images: Sequence[str],
          layers: list[account.LayerAccount], result: Result) -> None:
    console, first = terminal(), checked[0]
    console.print(f"{record['model']} on {target.title}: {Path(images[0]).name}")
    console.print(result.table())
    summary.show_layers(console, layers, program.geometry)
    summary.show_queues(console, record["queues"])
    summary.show_traffic(console, record["bytes"], account.least_words(program))
    total = first.frame.cycles
    parts = ", ".join(f"{cause} {cycles / total:.1%}" for cause, cycles in record["time"].items())
    console.print(f"time: {parts}")
    off, late = record["cycles"]["predicted"] - total, record["late_commands"]
    console.print(f"{total:,} cycles, {record['utilisation']:.1%} of the multipliers' peak; predicted {off:+d} cycles, "
                  f"{late} commands off", soft_wrap=True)
    if record["cycles_again"]:
        console.print(f"{record['cycles_again']:,} cycles for frames behind the first one: weights stay on the chip")
    seconds = max(first.frame.seconds, 1e-9)
    console.print(f"simulated in {seconds:.0f} s, {first.frame.simulated / seconds / 1e3:.0f} thousand cycles a second")
    if len(checked) > 1:
        same = sum(entry["same_logits"] for entry in record["images"])
        agree = sum(entry["class"] == entry["golden"] for entry in record["images"])
        best = f"top-1 as golden's in {agree}, all logits" if result.top5 else "all of the output as golden's"
        console.print(f"{len(checked)} images: {best} in {same}")
    wrong = record["mismatches"]
    if wrong:
        console.print(f"{wrong} elements differ from golden", style="bold red")
    else:
        console.print("every element of every layer equals golden", style="green")


def _write(args: argparse.Namespace, program: Program, record: dict, checked: list[Checked],
           layers: list[account.LayerAccount]) -> None:
    if args.json:
        write_json(args.json, record)
    if args.plot:
        write_bytes(args.plot, plot_timeline(program, checked[0].frame, args.plot.suffix))
    if args.markdown:
        write_bytes(args.markdown, (summary.markdown(layers, program.geometry, checked[0].frame.cycles) + "\n").encode())


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
