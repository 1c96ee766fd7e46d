"""List the boards: device, clock, memory, engine and serial port of each."""
import argparse
import json
from pathlib import Path
import sys

from rich.table import Table

from boards.board import Board
from boards.registry import ALIASES, BOARDS
from cli import Parser, run_command, terminal, write_json

__all__ = ["get_parser", "main", "record", "sdram"]


def sdram(board: Board) -> dict | None:
    """Of a board's SDRAM: `chips`, any of which it may be; how much later than ours its clock rises; the `window` of such phases
    that are safe, and by how many ns words are safe at the chosen one, see `boards.phase`. None without one."""
    phase = board.phase
    if phase is None:
        return None
    return {"chips": list(board.chips), "phase_degrees": phase.degrees, "late": phase.late, "window_degrees": board.window,
            "margin_ns": phase.margin_ns, "margins_ns": phase.margins}


def record(board: Board) -> dict:
    """Facts of a board as plain values; clocks are what the PLL really makes."""
    pll, timing = board.pll, board.timing
    return {"name": board.name, "title": board.title, "aliases": [alias for alias, name in ALIASES.items() if name == board.name],
            "device": f"{board.device}-{board.speed}{board.package}", "input_mhz": float(board.input_mhz),
            "clock_mhz": float(pll.clock_mhz), "geometry": json.loads(board.geometry.to_json()), "network": board.network,
            "sdram": sdram(board), "storage_words": board.storage_words, "cas": timing.cas if timing else None,
            "baud": board.baud, "flash": board.flash}


def _table(records: list[dict]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("board", "device", "MHz", "engine", "storage", "SDRAM's clock", "network", "baud"):
        right = heading in ("MHz", "storage", "baud")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for entry in records:
        name = " = ".join([entry["name"], *entry["aliases"]])
        size = entry["storage_words"] * 2 >> 10
        storage = f"{size >> 10} MB" if entry["sdram"] else f"{size} KB"
        lanes = f"{entry['geometry']['input_lanes']}x{entry['geometry']['output_lanes']}"
        found = entry["sdram"]
        clock = f"{found['phase_degrees']:g}° ({found['margin_ns']:.2f} ns)" if found else ""
        table.add_row(name, entry["device"], f"{entry['clock_mhz']:g}", lanes, storage, clock, entry["network"],
                      str(entry["baud"]))
    return table


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m boards.list", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the list here too")
    return parser


def run(args: argparse.Namespace) -> None:
    records = [record(board) for board in BOARDS.values()]
    if args.json:
        write_json(args.json, records)
    terminal().print(_table(records))


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run the command line; 0 done, 2 bad request."""
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
