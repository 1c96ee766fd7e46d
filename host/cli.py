"""What the host commands share: the port, the program, progress, exit codes."""
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import sys

from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn

from arch.program import Program
from boards import BOARDS
from cli import meter, positive, print_notes, run_command
from compiler.build import compile_network
from compiler.program_file import load
from compiler.stages import NetworkError
from host.engine import engine_of
from host.link import SerialLink
from host.ports import BAUD, Found, find_port
from host.runner import Runner
from host.session import Session
from nets.network import add_network_arguments, network_from_arguments

__all__ = ["BOOT_S", "add_port_arguments", "add_program_arguments", "board_session", "main_of", "port_of", "program_of",
           "slot_meter", "upload"]

AUTO = "the board's"            # network
BOOT_S = 60                    # to copy 32 MB from flash; simulated boards are slow


def add_port_arguments(parser: ArgumentParser) -> None:
    """Adds `--port`, `--baud` and `--json`."""
    parser.add_argument("--port", metavar="P",
                        help="serial port, URL (socket://HOST:N, rfc2217://HOST:N), or the path that sim.board prints (that of "
                             "the only board that is plugged in)")
    parser.add_argument("--baud", type=positive, metavar="N",
                        help=f"of the port, as in boards.list (that of the board that was found, else {BAUD})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")


def add_program_arguments(parser: ArgumentParser) -> None:
    """Adds `--program`, and `--model` with what goes with it; `program_of` reads them."""
    parser.add_argument("--program", type=Path, metavar="FILE", help="a compiled program (.flp) instead of a model")
    add_network_arguments(parser, default=AUTO)


def port_of(args: Namespace) -> Found:
    """The port that the arguments name, or the only one, and its rate. Raises LinkError."""
    found = Found(port=args.port, baud=BAUD, name="") if args.port else find_port()
    return replace(found, baud=args.baud or found.baud)


@contextmanager
def board_session(args: Namespace) -> Iterator[Session]:
    """A session, connected. Raises LinkError."""
    found = port_of(args)
    if not args.port:
        print(f"on {found.port}: {found.name}", file=sys.stderr)
    link = SerialLink(found.port, found.baud)
    try:
        link.drain()
        session = Session(link, patience_s=link.patience_s, slowness=link.slowness)
        session.connect()
        session.boot(BOOT_S)
        yield session
    finally:
        link.close()


def program_of(args: Namespace, session: Session) -> Program:
    """The program that the arguments name, for the board of the session."""
    if args.program:
        return load(args.program)
    identity = session.info.identity
    if args.model == AUTO:
        args.model = BOARDS[identity.name].network if identity.name in BOARDS else "digits"
    network = network_from_arguments(args)
    print_notes(network.notes)
    return compile_network(network, engine_of(identity.digest), storage_words=identity.storage_words).program


def upload(runner: Runner) -> bool:
    """Uploads unless storage holds the program already, with progress to stderr; says whether it did."""
    if runner.loaded():
        return False
    size = 2 * len(runner.program.storage)
    with meter(BarColumn(), DownloadColumn(), TransferSpeedColumn(), transient=False) as progress:
        task = progress.add_task(runner.program.name, total=size)
        runner.load(lambda words: progress.update(task, completed=2 * words))
    return True


@contextmanager
def slot_meter() -> Iterator[Callable[[str, int, int], None]]:
    """Progress of `host.slots.Slots.write_slot`, to stderr."""
    with meter(BarColumn(), DownloadColumn(), TransferSpeedColumn(), transient=False) as shown:
        tasks = {}

        def show(stage: str, done: int, size: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=size)
            shown.update(tasks[stage], completed=done)
        yield show


def main_of(work: Callable[[Namespace], int | None], parser: ArgumentParser, argv: list[str] | None) -> int:
    """Exit code: 0 done, 1 the board or its line failed, 2 bad request, 130 interrupted."""
    def guarded(args: Namespace) -> int | None:
        try:
            return work(args)
        except NetworkError as error:
            for problem in error.problems:
                print(f"error: {problem}", file=sys.stderr)
            return 2
    return run_command(guarded, parser.parse_args(argv))
