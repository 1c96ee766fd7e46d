"""Command: a digest of each board's chip that changes with its logic but not with the names of its signals and modules.

The chip is elaborated, flattened, and each bit is given a hash of the logic behind it, cells and registers that it reaches
within some levels; the digest is that of all cells' hashes. A change that only moves or renames things leaves it as it is.
To compare two commits, run the command in a worktree of each (`git worktree add --detach DIR COMMIT`) and compare what it prints.
Different digests mean different netlists; that equal ones mean equal netlists is as good as certain, not proved: two structures
that differ only further apart than the levels that are looked at would pass.
"""
import argparse
import hashlib
import json
from pathlib import Path
import sys

import numpy as np

from boards import BOARDS, find
from cli import Parser, run_command, write_json
from hw.chip import Chip
from hw.tools import toolchain

__all__ = ["digest_of_chip", "digest_of_netlist", "get_parser", "main"]

LEVELS = 64             # of cells behind each bit
SCRIPT = ("read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v; read_rtlil top.il; hierarchy -top top; proc -noopt; "
          "flatten -noscopeinfo; opt_expr; opt_merge; opt_clean; select -module top; write_json -selected top.json")


def digest_of_netlist(design: dict) -> str:
    """Digest of a flat netlist in Yosys' JSON: of its cells, their parameters, connections, first values, and its ports by name;
    of no other name."""
    module = design["modules"]["top"]
    cells = list(module["cells"].values())
    numbers: dict[int | str, int] = {}              # of the bits

    def number(bit: int | str) -> int:
        return numbers.setdefault(bit, len(numbers))
    own, drives, reads = [], [], []                 # hashes of cells; (bit, cell, pin), (cell, bit, pin)
    for index, cell in enumerate(cells):
        own.append(_hash(cell["type"], cell["parameters"]))
        for port, bits in cell["connections"].items():
            for n, bit in enumerate(bits):
                pin, where = _hash(port, n), number(bit)
                if cell["port_directions"][port] == "input":
                    reads.append((index, where, pin))
                else:
                    drives.append((where, index, pin))
    fixed = {number(bit): _hash("constant", bit) for bit in list(numbers) if isinstance(bit, str)}
    outputs = []
    for name, port in module["ports"].items():
        for n, bit in enumerate(port["bits"]):
            if port["direction"] == "output":
                outputs.append((number(bit), _hash("output", name, n)))
            else:
                fixed[number(bit)] = _hash(port["direction"], name, n)
    first = np.zeros(len(numbers), np.uint64)       # values of registers
    for net in module["netnames"].values():
        for bit, value in zip(net["bits"], reversed(net["attributes"].get("init", "")), strict=False):
            if bit in numbers and value in "01":
                first[numbers[bit]] = 1 + int(value)
    return _refined(np.array(own, np.uint64), first, fixed, np.array(drives, np.uint64), np.array(reads, np.uint64), outputs)


def _hash(*what: object) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=8).digest(), "little")


def _mixed(values: np.ndarray) -> np.ndarray:
    """Each number scattered over all bits (splitmix64)."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _refined(own, first, fixed, drives, reads, outputs) -> str:
    """The digest after `LEVELS` rounds, in each of which cells and bits learn of those one level further away."""
    driven, driver, out_pin = drives.T
    reader, read, in_pin = reads.T
    bits, cells = _mixed(first + np.uint64(1)), own
    known = np.fromiter(fixed, np.int64, len(fixed))
    values = np.fromiter(fixed.values(), np.uint64, len(fixed))
    for _ in range(LEVELS):
        bits[known] = values
        inputs = np.zeros(len(own), np.uint64)
        np.add.at(inputs, reader, _mixed(bits[read] ^ in_pin))
        cells = _mixed(own + _mixed(inputs))
        bits = _mixed(first + np.uint64(1))
        np.add.at(bits, driven, _mixed(cells[driver] ^ out_pin))
    bits[known] = values
    ends = [int(bits[bit]) ^ pin for bit, pin in outputs]
    return hashlib.sha256(np.sort(cells).tobytes() + np.sort(np.array(ends, np.uint64)).tobytes()).hexdigest()[:16]


def digest_of_chip(name: str, folder: Path) -> str:
    """Digest of a board's chip; RTLIL, netlist and log stay in `folder`. Raises ToolError."""
    board = find(name)
    content = board.platform().prepare(Chip.of(board), "top").files["top.il"]
    (folder / "top.il").write_bytes(content.encode() if isinstance(content, str) else content)
    toolchain.yosys(SCRIPT, log=folder / "yosys.log")
    return digest_of_netlist(json.loads((folder / "top.json").read_text(encoding="utf-8")))


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.netlist_digest", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", nargs="+", default=list(BOARDS), metavar="B", help="boards (all)")
    parser.add_argument("--build", type=Path, default=Path("build/digest"), metavar="DIR", help="folder of files (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the digests as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    digests = {}
    for name in dict.fromkeys(find(name).name for name in args.board):
        folder = args.build / name
        folder.mkdir(parents=True, exist_ok=True)
        digests[name] = digest_of_chip(name, folder)
        print(name, digests[name], flush=True)
    if args.json:
        write_json(args.json, digests)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
