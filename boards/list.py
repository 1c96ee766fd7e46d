"""List the boards: device, clock, memory, engine and serial port of each."""
import argparse
import json
from pathlib import Path
import sys

from rich.table import Table

from boards.board import Board
from boards.registry import ALIASES, BOARDS
from cli import Parser, run_command, terminal, write_json

__all__ = ["get_parser", "main", "record"]


def record(board: Board) -> dict:
    """Facts of a board as plain values; clocks are what the PLL really makes."""
    pll, timing = board.pll, board.timing
    return {"name": board.name, "title": board.title, "aliases": [alias for alias, name in ALIASES.items() if name == board.name],
            "device": f"{board.device}-{board.speed}{board.package}", "input_mhz": float(board.input_mhz),
            "clock_mhz": float(pll.clock_mhz), "geometry": json.loads(board.geometry.to_json()), "network": board.network,
            "sdram": board.sdram.name if board.sdram else None, "storage_words": board.storage_words,
            "sdram_phase_degrees": float(pll.phase_degrees) if timing else None, "cas": timing.cas if timing else None,
            "baud": board.baud, "flash": board.flash}


def _table(records: list[dict]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("board", "device", "MHz", "engine", "storage", "network", "baud"):
        right = heading in ("MHz", "storage", "baud")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for entry in records:
        name = " = ".join([entry["name"], *entry["aliases"]])
        size = entry["storage_words"] * 2 >> 10
        storage = f"{size >> 10} MB" if entry["sdram"] else f"{size} KB"
        lanes = f"{entry['geometry']['input_lanes']}x{entry['geometry']['output_lanes']}"
        table.add_row(name, entry["device"], f"{entry['clock_mhz']:g}", lanes, storage, entry["network"],
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
