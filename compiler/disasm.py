"""Reads a program back: every instruction with its place, waits and fields, and the first illegal word with its reason."""
import argparse
from collections.abc import Iterator
from pathlib import Path
import sys

import numpy as np

from arch.geometry import PRESETS, Geometry
from arch.instruction import InstructionError
from arch.program import Part
from cli import Parser, RequestError, run_command, write_json
from compiler import program_file
from compiler.instruction_page import instruction_page
from compiler.listing import Line, lines, record_of, text_of

__all__ = ["DisassembleError", "get_parser", "main"]


class DisassembleError(RequestError):
    """A file that cannot be read as a program; the message names it."""


def _geometry(text: str) -> Geometry:
    """A preset's name, or a file with a geometry in JSON."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        return Geometry.from_json(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(PRESETS)} or a JSON file, not {text!r}") from None
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _place(text: str) -> int:
    try:
        place = int(text, 0)
    except ValueError:
        place = -1
    if place < 0:
        raise argparse.ArgumentTypeError(f"must be a word of storage, 0 or more, not {text!r}")
    return place


def _read(args: argparse.Namespace) -> tuple[np.ndarray, Geometry, int, tuple[Part, ...]]:
    """Words from the first instruction on, geometry, the first instruction's place, and what compute commands compute."""
    if args.file.suffix == program_file.SUFFIX:
        if args.geometry is not None or args.at is not None:
            raise DisassembleError(f"{args.file}: knows its geometry and its place: give neither --geometry nor --at")
        program = program_file.load(args.file)
        return program.storage[program.program:], program.geometry, program.program, program.parts
    if args.geometry is None:
        raise DisassembleError(f"{args.file}: is no program ({program_file.SUFFIX}); raw words need --geometry")
    content = args.file.read_bytes()
    if len(content) % 2:
        raise DisassembleError(f"{args.file}: must hold whole words of 16 bits, not {len(content)} bytes")
    at = args.at or 0
    return np.frombuffer(content, "<u2")[at:], args.geometry, at, ()


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m compiler.disasm", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE",
                        help=f"a program ({program_file.SUFFIX}) of compiler.compile, or words of 16 bits, low byte first")
    parser.add_argument("--geometry", type=_geometry, metavar="G",
                        help=f"of raw words: {', '.join(PRESETS)} or a JSON file")
    parser.add_argument("--at", type=_place, metavar="WORD", help="of raw words: where the program begins (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the instructions as JSON")
    parser.add_argument("--document", action="store_true", help="print docs/instructions.md, the page about the instruction set")
    return parser


def _show(found: Iterator[Line], taken: list[Line]) -> None:
    print(f"{'word':>8}  {'instruction':<16}  {'token':<13} waits")
    for line in found:
        taken.append(line)
        print(text_of(line))


def run(args: argparse.Namespace) -> int:
    if args.document:
        print(instruction_page(), end="")
        return 0
    if args.file is None:
        raise DisassembleError("a program must be given: FILE")
    words, geometry, at, parts = _read(args)
    taken: list[Line] = []
    error = None
    try:
        _show(lines(words, geometry, base=at, parts=parts), taken)
    except InstructionError as found:
        error = found
        sys.stdout.flush()
        print(f"error: {args.file}: word {at + error.word}: {error.reason}", file=sys.stderr)
    if args.json:
        write_json(args.json, {"instructions": [record_of(line) for line in taken],
                               "error": error and {"word": at + error.word, "reason": error.reason}})
    return int(error is not None)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
