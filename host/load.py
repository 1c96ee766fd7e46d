"""Put a network's program and weights into a board's storage, or into the flash that it boots from, and verify them."""
import argparse
from pathlib import Path
import sys
import time

from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn

from arch.flash import BOOT_OFFSET, Boot, boot_image
from boards import BOARDS
from cli import Parser, meter, write_json
from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, upload
from host.flash import Flash
from host.runner import Runner

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.load", description=__doc__)
    add_port_arguments(parser)
    add_program_arguments(parser)
    parser.add_argument("--flash", nargs="?", type=Path, const=Path(), metavar="FILE",
                        help="into flash, from which the board boots after its next reset; a compiled program, or the model's")
    return parser


def _flash(runner: Runner) -> int:
    """Writes flash with progress to stderr; returns how many bytes."""
    session, program = runner.session, runner.program
    board = BOARDS.get(session.info.identity.name)
    offset = board.flash_offset if board else BOOT_OFFSET
    image = boot_image(Boot(program=program.program, words=program.storage), session.info.identity.digest)
    flash = Flash(session, offset)
    with meter(BarColumn(), DownloadColumn(), TransferSpeedColumn(), transient=False) as progress:
        tasks = {stage: progress.add_task(stage, total=len(image), start=False) for stage in ("erase", "program", "verify")}

        def show(stage: str, done: int) -> None:
            if not done:
                progress.start_task(tasks[stage])
            progress.update(tasks[stage], completed=done)
        flash.write(offset, image, show)
    return len(image)


def run(args: argparse.Namespace) -> None:
    if args.flash not in (None, Path()):
        args.program = args.flash
    with board_session(args) as session:
        runner = Runner(session, program_of(args, session))
        start, fresh, size = time.monotonic(), True, 2 * len(runner.program.storage)
        if args.flash:
            size = _flash(runner)
        else:
            fresh = upload(runner)
        seconds = time.monotonic() - start
        where = " to flash, booted after the next reset" if args.flash else ""
        if fresh:
            print(f"{runner.program.name}: {size} bytes{where}, in {seconds:.1f} s, verified; "
                  f"{session.sent_again} times sent again")
        else:
            print(f"{runner.program.name}: is there already, verified")
        if args.json:
            write_json(args.json, {"program": runner.program.name, "bytes": size, "seconds": seconds, "uploaded": fresh,
                                   "flash": bool(args.flash), "sent_again": session.sent_again})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
