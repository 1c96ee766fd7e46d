"""Put a network's program and weights into a board's storage, and verify them."""
import argparse
import sys
import time

from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, upload
from host.runner import Runner
from nets.cli import write_json

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m host.load", description=__doc__)
    add_port_arguments(parser)
    add_program_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    with board_session(args) as session:
        runner = Runner(session, program_of(args, session))
        start = time.monotonic()
        fresh = upload(runner)
        seconds = time.monotonic() - start
        size = 2 * len(runner.program.storage)
        if fresh:
            print(f"{runner.program.name}: {size} bytes in {seconds:.1f} s, verified; {session.sent_again} times sent again")
        else:
            print(f"{runner.program.name}: is there already, verified")
        if args.json:
            write_json(args.json, {"program": runner.program.name, "bytes": size, "seconds": seconds, "uploaded": fresh,
                                   "sent_again": session.sent_again})


def main(argv: list[str] | None = None) -> int:
    return main_of(run, get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
