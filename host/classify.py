"""Photos in, classes out: the network runs on the board; latency is what its own cycle counter says."""
import argparse
from collections.abc import Iterable
import glob
from pathlib import Path
import sys

from cli import terminal, waiting, write_json
from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, upload
from host.runner import Runner
from host.tensors import quantised_input, top
from nets.preprocess import InputSpec, PreprocessError, find_images, load_image
from nets.scores import score_table

__all__ = ["get_parser", "images_of", "main"]


def images_of(names: Iterable[str]) -> list[Path]:
    """Files of images: files as they are, those below a folder, those of a glob. Raises PreprocessError where there is none."""
    found = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += find_images(path)
        elif path.exists():
            found.append(path)
        elif not glob.has_magic(name):
            raise PreprocessError(f"{name}: no such file or folder")
        else:
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            if not matches:
                raise PreprocessError(f"{name}: matches no file")
            found += matches
    return found


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m host.classify", description=__doc__)
    parser.add_argument("images", nargs="+", metavar="I", help="image, folder of images, or pattern")
    add_port_arguments(parser)
    add_program_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    images, console, records = images_of(args.images), terminal(), []
    with board_session(args) as session:
        program = program_of(args, session)
        runner, clock_hz = Runner(session, program), session.info.identity.clock_khz * 1000
        spec = InputSpec.from_json(program.meta["spec"])
        for image in images:
            q = quantised_input(program, load_image(image, spec))
            if not records:                     # nothing is uploaded for an image that cannot be read
                upload(runner)
            with waiting(f"{image.name} ({len(records) + 1} of {len(images)})"):
                frame = runner.run(q)
            best, latency = top(program, frame.output), frame.cycles / clock_hz
            records.append({"image": str(image), "top5": best, "cycles": frame.cycles, "latency_ms": latency * 1000,
                            "frames_per_s": 1 / latency})
            console.print(f"{program.name}: {image.name}")
            console.print(score_table(best))
            console.print(f"{latency * 1000:.2f} ms on the chip ({frame.cycles} cycles at {clock_hz / 1e6:g} MHz), "
                          f"{1 / latency:.1f} frames/s")
    if args.json:
        write_json(args.json, {"model": program.name, "board": session.info.identity.name, "clock_mhz": clock_hz / 1e6,
                               **records[0], "images": records})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
