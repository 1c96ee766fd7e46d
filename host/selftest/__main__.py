"""Test a board: its line, its memory line by line, its flash, its engine; what each finding means and what to try.

What the board's memory holds is lost; its flash is only read. The report is made to be pasted into an issue.
"""
import argparse
from collections.abc import Callable
from importlib.metadata import version
import platform
import sys
from textwrap import wrap

from boards import BOARDS
from cli import Parser, positive, progress, write_json
from host.cli import BOOT_S, add_port_arguments, board_session, main_of
from host.selftest.finding import Check
from host.selftest.flash import test_flash
from host.selftest.line import test_line
from host.selftest.lines import Places
from host.selftest.memory import test_memory
from host.selftest.network import test_network
from host.selftest.phase import test_phase, without_memory
from host.session import Session

__all__ = ["get_parser", "main"]

_WIDTH = 110


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.selftest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_port_arguments(parser)
    parser.add_argument("--seconds", type=positive, default=20, metavar="N",
                        help="that the memory's test may take, nearly; it says how much it covered (%(default)s)")
    parser.add_argument("--whole", action="store_true", help="test every word of the memory: four minutes for 32 MB at 3 Mbaud")
    parser.add_argument("--sdram", metavar="NAME", help="the SDRAM for which the chip was built, if hw.build was told one")
    parser.add_argument("--seed", type=positive, default=1, metavar="N", help="of random words (%(default)s)")
    return parser


def _places(session: Session, sdram: str | None) -> Places | None:
    """Of an SDRAM behind the chip; None if there is none, or none that is known. Raises ValueError for one that no batch has."""
    board = BOARDS.get(session.info.identity.name)
    if board is None or not board.chips:
        return None
    chip = (board.with_chip(sdram.lower()) if sdram else board).sdram
    return Places(row_bits=chip.row_bits, column_bits=chip.column_bits)


def _checks(session: Session, args: argparse.Namespace) -> list[Check]:
    def of_memory(name: str, test: Callable[[], list[Check]]) -> list[Check]:
        if without_memory(session):
            return [Check(name=name, skipped="without a phase of its clock there is no memory")]
        return test()
    tests = (lambda: [test_line(session, seed=args.seed)], lambda: [test_phase(session)],
             lambda: of_memory("memory", lambda: test_memory(session, _places(session, args.sdram), seconds=args.seconds,
                                                             seed=args.seed, whole=args.whole)),
             lambda: [test_flash(session)], lambda: of_memory("network", lambda: [test_network(session)]))
    return [check for test in progress(tests, "self-test") for check in test()]


def _about(session: Session) -> list[str]:
    """Board, chip and versions."""
    identity = session.info.identity
    board = BOARDS.get(identity.name)
    title = f"{board.title} ({identity.name}, {board.device}-{board.speed})" if board else identity.name
    engine = f"digest {identity.digest:016x}" if identity.digest else "none: this is the self-test's chip"
    chip = (f"{identity.clock_khz / 1000:g} MHz, engine {engine}, {2 * identity.storage_words >> 10:,} KB of storage, "
            f"protocol {session.info.version}")
    host = (f"fireline {version('fireline')}, Python {platform.python_version()}, pyserial {version('pyserial')}, "
            f"{platform.system()} {platform.machine()}")
    return [f"board     {title}", f"chip      {chip}", f"host      {host}"]


def _told(checks: list[Check]) -> list[str]:
    """Lines of the report."""
    told = []
    for check in checks:
        state = "skipped" if check.skipped else "ok" if check.good else "FAILED"
        told += wrap(f"{check.name:15}  {state:7}  {check.skipped or check.covered}", _WIDTH, subsequent_indent=" " * 26)
        for finding in check.findings:
            for name, text in (("fault", " or ".join(finding.names)), ("seen", finding.seen), ("means", finding.means),
                               ("try", finding.try_)):
                told += wrap(f"    {name:6} {text}", _WIDTH, subsequent_indent=" " * 11)
    return told


def run(args: argparse.Namespace) -> int:
    with board_session(args) as session:
        status = session.status()
        session.clear()
        checks = _checks(session, args)
        if status.booted:
            session.reboot(BOOT_S)
        about = _about(session)
    print(*about, *_told(checks), sep="\n")
    bad = [check for check in checks if not check.good]
    if args.json:
        write_json(args.json, {"about": about, "good": not bad, "checks": [check.record() for check in checks]})
    if bad:
        print(f"error: {', '.join(check.name for check in bad)}: see above for what to try", file=sys.stderr)
    return int(bool(bad))


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
