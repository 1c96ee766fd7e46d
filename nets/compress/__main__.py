"""A float network gets smaller, without training: weights that do least are taken out, and many of the others share a value.

Each layer is pruned alone first, to see how much the scores change; then each loses so many weights that all together have the
share that --sparsity asks for at the least noise, those of the least magnitude times the deviation of their input
(nets.compress.sensitivity, nets.compress.pruning). What is left makes up for what is gone, as far as the calibration images tell,
and biases restore the means (nets.compress.biases). With --codebook each layer has at most so many different integers once it is
quantised, found by k-means (nets.compress.sharing).

Writes a quantised network, and prints float and int8 accuracy on labelled images, before and after. The class of an image is the
number that its file name begins with, or its sub-folder's name (a number, or a label).
"""
import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys

from rich.table import Table

from cli import OutputError, Parser, RequestError, positive, print_notes, progress, run_command, terminal, write_bytes, write_json
from golden.evaluate import evaluate
from nets import digits
from nets.compress.compressor import Compressed, Compressor, refuse_quantised
from nets.compress.plot import Point, plot_accuracy
from nets.compress.sensitivity import LEVELS, MOST
from nets.compress.sharing import LARGEST_CODEBOOK, codebook
from nets.endings import scores_of
from nets.int8.file import SEAL, save
from nets.labelled import labelled_images, own_images
from nets.load import add_model_arguments, model_from_arguments
from nets.model import Model
from nets.plot import PLOT_SUFFIXES, plot_suffix
from nets.preprocess import find_images, load_image
from nets.quantise import CALIBRATION_LIMIT, spread

__all__ = ["get_parser", "main"]

Labelled = list[tuple[Path, int]]


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nets.compress", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--sparsity", type=_share, default=0.0, metavar="S",
                        help=f"the share of all weights that is to be 0, up to {MOST} (%(default)s: nothing is pruned)")
    parser.add_argument("--codebook", type=_codebook, metavar="N",
                        help=f"at most N different integers a layer, 0 among them, 2..{LARGEST_CODEBOOK} (all)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="labelled images, sub-folders too (digits has its own)")
    parser.add_argument("--limit", type=positive, metavar="N", help="measure accuracy on at most N of them, evenly spread (all)")
    parser.add_argument("--calibrate", type=Path, metavar="DIR",
                        help="images to calibrate on (those of --images; digits has its own)")
    parser.add_argument("--calibration-limit", type=positive, default=CALIBRATION_LIMIT, metavar="N",
                        help="take at most N of them, evenly spread (%(default)s)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N",
                        help="processes that measure accuracy (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FILE",
                        help="keep what each layer bears in a JSON file, and take from there what an earlier run has measured")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the compressed network, quantised (<network>-compressed.fln)")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="also write sizes, accuracies and what each layer bears as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help=f"also compress to other sparsities, and draw accuracy over size ({', '.join(PLOT_SUFFIXES)})")
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= MOST:
        raise argparse.ArgumentTypeError(f"must be 0..{MOST}, not {text!r}")
    return share


def _codebook(text: str) -> int:
    size = positive(text)
    if not 2 <= size <= LARGEST_CODEBOOK:
        raise argparse.ArgumentTypeError(f"must be 2..{LARGEST_CODEBOOK}, not {text!r}")
    return size


def _requested(args: argparse.Namespace) -> tuple[Model, list[Path], Labelled]:
    """The model, the images to calibrate on, and the labelled ones. Raises RequestError with all that is wrong."""
    problems: list[str] = []

    def checked(what, *given):
        try:
            return what(*given)
        except RequestError as error:
            problems.append(str(error))
    if not args.sparsity and not args.codebook:
        problems.append("nothing to do: give --sparsity or --codebook")
    if args.plot:
        checked(plot_suffix, args.plot.suffix)
    for path in filter(None, (args.out, args.plot, args.json, args.keep)):
        checked(_check_folder, path)
    model = checked(model_from_arguments, args)
    if model:
        checked(refuse_quantised, model)
    if model or args.out:
        checked(SEAL.check_output, _output(args, model))
    own = model and model.spec.shape == digits.CONFIG.input_shape and not args.images
    calibration = checked(find_images, args.calibrate or (digits.CALIBRATION if own else args.images)) \
        if own or args.images or args.calibrate else None
    images = checked(_labelled, model, args) if model else None
    if problems:
        raise RequestError("\n".join(problems) if len(problems) == 1 else
                           "\n".join([f"{len(problems)} problems", *(f"  {problem}" for problem in dict.fromkeys(problems))]))
    return model, spread(calibration, args.calibration_limit), spread(images, args.limit or len(images))


def _output(args: argparse.Namespace, model: Model | None) -> Path:
    return args.out or SEAL.named(f"{model.name}-compressed")


def _labelled(model: Model, args: argparse.Namespace) -> Labelled:
    scores = model.graph.shapes[scores_of(model.graph)[0].name]
    return labelled_images(args.images or own_images(model, "--images"), scores[0], model.labels, model.first_class)


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: {path.parent} is no folder")


def _other_sparsities(sparsity: float, zeros: float) -> list[float]:
    """What a drawing shows beside the sparsity that was asked for: some below, one beyond, and none twice of a network of which
    the share `zeros` is 0 already."""
    most = sparsity or MOST
    tried = [0.0, most / 3, most * 2 / 3, *([(1 + 2 * sparsity) / 3] if 0 < sparsity < LEVELS[-1] else [])]
    different = {max(one, zeros): one for one in reversed(tried)}
    different.pop(max(sparsity, zeros), None)
    return sorted(different.values())


def _point(name: str, record: dict) -> Point:
    return Point(size=record["bytes"], float=record["float"]["top1"], int8=record["int8"]["top1"], label=name)


def _table(records: dict[str, dict]) -> Table:
    grid = Table(title="accuracy before and after")
    grid.add_column("")
    for column in ("zeros", "integers", "bytes", "float top-1", "top-5", "int8 top-1", "top-5"):
        grid.add_column(column, justify="right")
    for name, record in records.items():
        shares = [f"{record[what][top]:.2%}" for what in ("float", "int8") for top in ("top1", "top5")]
        grid.add_row(name, f"{record['zeros']:.1%}", str(record["integers"]), f"{record['bytes']:,}", *shares)
    return grid


def run(args: argparse.Namespace) -> None:
    if args.codebook:
        codebook(args.codebook)         # what is not installed is told at once
    model, calibration, images = _requested(args)
    compressor = Compressor(model, [load_image(path, model.spec) for path in progress(calibration, "loading images")], args.keep)

    def measured(what: Compressed) -> dict:
        return what.record | evaluate(what.network, what.model, images, jobs=min(args.jobs, len(images)))
    after = compressor.at(args.sparsity, args.codebook)
    records = {"before": measured(compressor.before()), "after": measured(after)}
    out = _output(args, model)
    save(after.network, out)
    others = _curve(compressor, args, measured) if args.plot else {}
    if args.plot:
        chosen, before = (_point(name, record) for name, record in ((f"{args.sparsity:.0%}", records["after"]),
                                                                    ("before", records["before"])))
        points = [*(_point(f"{sparsity:.0%}", record) for sparsity, record in others.items()), chosen]
        write_bytes(args.plot, plot_accuracy(model.name, before, points, chosen, args.plot.suffix))
    if args.json:
        write_json(args.json, _record(args, compressor, records, others))
    print_notes(after.network.notes)
    print(f"{model.name} on {len(images)} images")
    terminal().print(_table(records))
    print(out)


def _curve(compressor: Compressor, args: argparse.Namespace, measured) -> dict[float, dict]:
    """Records of the other sparsities."""
    return {sparsity: measured(compressor.at(sparsity, args.codebook))
            for sparsity in progress(_other_sparsities(args.sparsity, compressor.zeros), "other sparsities")}


def _record(args: argparse.Namespace, compressor: Compressor, records: dict[str, dict], others: dict[float, dict]) -> dict:
    layers = [{"name": name, "weights": layer.size, "zeros": layer.zeros,
               "noise": dict(zip(map(str, LEVELS), layer.noise, strict=True))}
              for name, layer in compressor.sensitivity.items()] if args.sparsity > compressor.zeros else []
    return {"model": compressor.model.name, "sparsity": args.sparsity, "codebook": args.codebook, **records,
            "others": [{"sparsity": sparsity, **record} for sparsity, record in others.items()], "layers": layers}


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
