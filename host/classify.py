"""Photos in, classes out, or numbers where a network classifies nothing: it runs on the board; latency is what its own cycle
counter says."""
import argparse
from collections.abc import Iterable
import csv
import glob
import io
from pathlib import Path
import sys

from arch.program import Program
from cli import OutputError, Parser, terminal, waiting, write_bytes, write_json
from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, upload
from host.runner import Frame, Runner
from host.tensors import quantised_input, result_of
from nets.labelled import class_of
from nets.preprocess import InputSpec, PreprocessError, find_images, load_image
from nets.scores import Result, check_output_name, save_outputs

__all__ = ["get_parser", "images_of", "main"]

COLUMNS = ("file", "class", "label", "score", "right_class", "cycles", "chip_ms", "line_ms")


def images_of(names: Iterable[str]) -> list[tuple[Path, Path]]:
    """Files of images, each with the folder below which it was looked for: files as they are, those below a folder, those of a
    glob. Raises PreprocessError where there is none."""
    found = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += [(image, path) for image in find_images(path)]
        elif path.exists():
            found.append((path, path.parent))
        elif not glob.has_magic(name):
            raise PreprocessError(f"{name}: no such file or folder")
        else:
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            if not matches:
                raise PreprocessError(f"{name}: matches no file")
            fixed = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
            found += [(match, fixed) for match in matches]
    return found


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.classify", description=__doc__)
    parser.add_argument("images", nargs="+", metavar="I", help="image, tensor as .npy or .bin, folder of images, or pattern")
    add_port_arguments(parser)
    add_program_arguments(parser)
    parser.add_argument("--save-output", type=Path, metavar="FILE", help="also write the output's values of each image, as .npy")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write a line for each image: " + ", ".join(COLUMNS))
    return parser


def _check_csv(path: Path) -> None:
    """Raises OutputError for a file that is there and is none of ours: a slip of the hand must not cost a photograph."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.readline().strip() != ",".join(COLUMNS).encode():
                raise OutputError(f"{path}: is there already, and was not written by --csv: give another name, or remove it")


def _write_csv(path: Path, records: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        if record["top5"]:
            best = record["top5"][0]
            found = [best["class"], best["label"], f"{best['score']:.4f}"]
        else:
            error = record["output"]["squared_error"]
            found = ["", "", "" if error is None else f"{error:.6g}"]
        right = "" if record["right_class"] is None else record["right_class"]
        writer.writerow([record["image"], *found, right, record["cycles"], f"{record['latency_ms']:.4f}",
                         f"{record['line_ms']:.4f}"])
    write_bytes(path, text.getvalue().encode())


def _record(image: Path, folder: Path, program: Program, frame: Frame, result: Result) -> dict:
    """What is known of an image, as plain values."""
    labels, classes = tuple(program.meta["labels"]), frame.output.size if result.top5 else 0
    right = class_of(image, folder, labels, program.meta.get("first_class", 0))
    return {"image": str(image), **result.record, "right_class": right if right is not None and right < classes else None,
            "cycles": frame.cycles, "packed_bytes": frame.packed_bytes,
            "latency_ms": 1000 * frame.chip_s, "line_ms": 1000 * frame.line_s,
            "frames_per_s": 1 / frame.chip_s, "frames_per_s_line": 1 / (frame.chip_s + frame.line_s)}


def _summary(records: list[dict]) -> dict:
    """Means over all images; `right` and `accuracy` are None unless each image's name or folder gives its class."""
    count = len(records)
    chip_ms, line_ms = (sum(record[what] for record in records) / count for what in ("latency_ms", "line_ms"))
    right = None
    if all(record["right_class"] is not None for record in records):
        right = sum(record["top5"][0]["class"] == record["right_class"] for record in records)
    return {"images": count, "chip_ms": chip_ms, "line_ms": line_ms, "frames_per_s": 1000 / chip_ms,
            "frames_per_s_line": 1000 / (chip_ms + line_ms), "right": right,
            "accuracy": None if right is None else right / count}


def _show(summary: dict, simulated: bool) -> None:
    right = "" if summary["right"] is None else f", {summary['right']} right ({summary['accuracy']:.1%})"
    how = " (computed: no line is simulated)" if simulated else ""
    for what, text in ((f"{summary['images']} image{'s' * (summary['images'] > 1)}{right}", ""),
                       ("on the chip", f"{summary['chip_ms']:.2f} ms an image, {summary['frames_per_s']:.1f} images/s"),
                       ("on the line", f"{summary['line_ms']:.2f} ms an image{how}"),
                       ("together", f"{summary['frames_per_s_line']:.3g} images/s")):
        print(f"{what:12}{text}".rstrip())


def run(args: argparse.Namespace) -> None:
    check_output_name(args.save_output)
    images, console, records, results = images_of(args.images), terminal(), [], []
    if args.csv:
        _check_csv(args.csv)
    with board_session(args) as session:
        program = program_of(args, session)
        runner, clock_mhz = Runner(session, program), session.info.identity.clock_khz / 1000
        spec = InputSpec.from_json(program.meta["spec"])
        try:
            for image, folder in images:
                q = quantised_input(program, load_image(image, spec))
                if not records:                     # nothing is uploaded for an image that cannot be read
                    upload(runner)
                with waiting(f"{image.name} ({len(records) + 1} of {len(images)})"):
                    frame = runner.run(q)
                results.append(result_of(program, q, frame.output))
                records.append(_record(image, folder, program, frame, results[-1]))
                console.print(f"{program.name}: {image.name}")
                console.print(results[-1].table())
                console.print(f"{1000 * frame.chip_s:.2f} ms on the chip ({frame.cycles} cycles at {clock_mhz:g} MHz), "
                              f"{1000 * frame.line_s:.2f} ms on the line")
        finally:
            if args.csv and records:                # of those that came before whatever went wrong, too
                _write_csv(args.csv, records)
            if args.save_output and results:
                save_outputs(args.save_output, results)
    summary = _summary(records)
    _show(summary, runner.simulated)
    if args.json:
        write_json(args.json, {"model": program.name, "board": session.info.identity.name, "clock_mhz": clock_mhz,
                               **records[0], "images": records, "summary": summary})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
