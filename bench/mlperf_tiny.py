"""MLPerf Tiny's four reference files, as they are, on every board, and held against LiteRT. Resumable.

    FIRELINE_DATA=... python -m bench.mlperf_tiny --page docs/mlperf_tiny.md

IC and VWW read photographs, KWS and AD seeded noise. A frame and one behind it run on the RTL of each board's machine, which is
built first: minutes for a large one, kept afterwards; --rtl names the boards, or none. What was found out is kept in --build and
used again until our sources or the files change.
"""
import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import shlex
import sys

from rich.progress import BarColumn, MofNCompleteColumn

from bench.tiny.judges import JUDGE, compare, inputs_of
from bench.tiny.machines import estimated, serving, simulated
from bench.tiny.page import check_page, tables, write_page
from boards import BOARDS, Board, find
from cli import Parser, RequestError, meter, needs_extra, positive, print_notes, run_command, terminal, write_json
from hw.tools.cache import Stages, digest_of_files, digest_of_sources
from nets.int8.network import QNetwork
from nets.load import load_model
from nets.preprocess import find_images
from nets.quantise import quantise_with, spread
from nets.scores import classifies

__all__ = ["NETWORKS", "get_parser", "main"]

NETWORKS = {"IC": "mlperf_tiny_ic_int8", "VWW": "mlperf_tiny_vww_int8", "KWS": "mlperf_tiny_kws_int8",
            "AD": "mlperf_tiny_ad_int8"}
OF_PHOTOGRAPHS = frozenset({"IC", "VWW"})
LEAST_INPUTS = 100
JUDGED, COMPILED = ("arch", "nets", "golden", "bench/tiny"), ("arch", "nets", "golden", "compiler", "boards", "hw/tools")
SIMULATED = ("arch", "nets", "golden", "compiler", "hw", "sim")


def get_parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("FIRELINE_DATA", "."))
    parser = Parser(prog="python -m bench.mlperf_tiny", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=data / "models" / "tflite", metavar="DIR",
                        help="folder of the files mlperf_tiny_*_int8.tflite (%(default)s)")
    parser.add_argument("--images", type=Path, default=data / "images", metavar="DIR",
                        help="folder of photographs (%(default)s)")
    parser.add_argument("--only", action="append", choices=NETWORKS, metavar="N",
                        help=f"this network; may be given again (all of {', '.join(NETWORKS)})")
    parser.add_argument("--inputs", type=positive, default=LEAST_INPUTS, metavar="N", help="of each network (%(default)s)")
    parser.add_argument("--board", action="append", metavar="B",
                        help=f"this board; may be given again (all of {', '.join(BOARDS)})")
    parser.add_argument("--rtl", action="append", metavar="B", help="run frames on this board's machine; may be given again; "
                        "none for no board (all that --board names)")
    parser.add_argument("--build", type=Path, default=Path("build/mlperf_tiny"), metavar="DIR", help="what is kept (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables between the marks of this page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")
    return parser


class _Kept:
    """A network, and what is known of it, kept in a folder."""

    def __init__(self, name: str, args: argparse.Namespace):
        self.name, self.file = name, args.models / f"{NETWORKS[name]}.tflite"
        if not self.file.is_file():
            raise RequestError(f"{self.file}: no such file: give the folder of MLPerf Tiny's files (--models)")
        self.photographs = args.images if name in OF_PHOTOGRAPHS else None
        self.count, self.stages = args.inputs, Stages(args.build / name.lower())
        self._network: QNetwork | None = None

    @property
    def network(self) -> QNetwork:
        if self._network is None:
            self._network = quantise_with(load_model(self.file))
        return self._network

    def found(self, key: str, sources: tuple[str, ...], make: Callable[[], dict], **depends: object) -> dict:
        """What `make` gives, made again when the file, the sources or what it depends on have changed."""
        depends |= {"file": digest_of_files([self.file]), "sources": digest_of_sources(*sources)}
        self.stages.make(key, depends, lambda folder: write_json(folder / f"{key}.json", make()))
        return json.loads((self.stages.folder / f"{key}.json").read_text(encoding="utf-8"))

    def agreement(self) -> dict:
        """How far golden and XNNPACK are from the reference kernels (`bench.tiny.judges.compare`)."""
        files = digest_of_files(spread(find_images(self.photographs), self.count)) if self.photographs else ""

        def make() -> dict:
            inputs = inputs_of(self.network, self.photographs, self.count)
            return compare(self.network, self.file.read_bytes(), inputs, classifies(self.network))
        found = self.found("agreement", JUDGED, make, inputs=self.count, files=files)
        return found | {"of": "photographs" if self.photographs else "of noise"}

    def on(self, board: Board) -> dict:
        """What the board makes of it (`bench.tiny.machines.estimated`); `lacks` what the device has too little of."""
        found = self.found(f"on-{board.name}", COMPILED, lambda: estimated(self.network, serving(board, self.network)),
                           board=repr(board))
        lacks = [what for what, one in found.get("resources", {}).items() if one["used"] > one["available"]]
        return found | {"lacks": lacks}

    def frames(self, board: Board) -> dict:
        """A frame and one behind it on the RTL (`bench.tiny.machines.simulated`)."""
        return self.found(f"rtl-{board.name}", SIMULATED, lambda: simulated(
            self.network, serving(board, self.network), inputs_of(self.network, self.photographs, 1)[0]), board=repr(board))


def _boards(names: list[str] | None, usual: list[Board]) -> list[Board]:
    """Boards by name. Raises RequestError."""
    try:
        return list(dict.fromkeys(map(find, names))) if names else usual
    except ValueError as error:
        raise RequestError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    needs_extra(*JUDGE)
    if args.page:
        check_page(args.page)
    boards = _boards(args.board, list(BOARDS.values()))
    machines = [] if args.rtl == ["none"] else _boards(args.rtl, boards)
    networks = [_Kept(name, args) for name in args.only or NETWORKS]
    record = {"agreement": {}, "boards": {board.name: {} for board in boards}, "rtl": {}}
    work = [(kept, how, board) for kept in networks for how, board in (
        ("LiteRT", None), *(("cycles", board) for board in boards), *(("RTL", board) for board in machines))]
    with meter(BarColumn(), MofNCompleteColumn()) as shown:
        task = shown.add_task("networks", total=len(work))
        for kept, how, board in work:
            shown.update(task, description=f"{kept.name}: {board.name + ', ' if board else ''}{how}")
            if board is None:
                record["agreement"][kept.name] = kept.agreement()
            elif how == "cycles":
                record["boards"][board.name][kept.name] = kept.on(board)
            elif "refused" not in kept.on(board):
                record["rtl"].setdefault(board.name, {})[kept.name] = kept.frames(board)
            shown.advance(task)
    if args.json:
        write_json(args.json, record)
    if args.page:
        write_page(args.page, record, _command(args))
    for table in tables(record):
        terminal().print(table)
    print_notes(f"{name} on {board}: {problem}" for board, found in record["boards"].items()
                for name, one in found.items() for problem in one.get("refused", ()))
    return int(any(found["wrong"] or found["predicted"] != found["cycles"][0]
                   for on_board in record["rtl"].values() for found in on_board.values()))


def _command(args: argparse.Namespace) -> str:
    """What makes the page again."""
    words = [word for what in ("only", "board", "rtl") for value in getattr(args, what) or () for word in (f"--{what}", value)]
    words += ["--inputs", str(args.inputs)] if args.inputs != LEAST_INPUTS else []
    return shlex.join(["python", "-m", "bench.mlperf_tiny", *words, "--page", str(args.page)])


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
