"""Bytes and images/s over the serial line, of images as they are and packed.

    python -m bench.packing --model M --images DIR [--board ulx3s] [--check 10] [--json FILE]

Each image is quantised as the network has its input, and packed (docs/packing.md); the frames of some, evenly spread, are
unpacked again by the reference of the board's unpacker, bit by bit, and must be the image. What the line carries is counted from
the frames themselves, escapes included. The chip's time is the predicted one of a frame behind the first.
"""
import argparse
from pathlib import Path
import sys
import time

import numpy as np

from arch.line import ESCAPED, frame_exchange
from arch.program import Tensor
from arch.protocol import DATA_WORDS, Kind
from boards import find
from cli import Parser, WorkError, positive, print_notes, run_command, write_json
from compiler.build import compile_network
from compiler.figures import figures
from golden.packing import unpack
from host.packing import packed_frames
from host.protocol import Message, pair
from host.tensors import quantised_input, words_of
from nets.network import add_network_arguments, network_from_arguments
from nets.preprocess import find_images, load_image
from nets.quantise import spread

__all__ = ["get_parser", "line_bytes", "main"]


def line_bytes(kind: Kind, frames: list[np.ndarray]) -> int:
    """Of messages with these arguments, on the line."""
    return sum(len(Message.of(kind, n % 256, words).to_bytes()) for n, words in enumerate(frames))


def _check(tensor: Tensor, words: np.ndarray, frames: list[np.ndarray], name: str) -> None:
    """Raises WorkError if the frames do not bring the words to where they belong, each once."""
    storage, times = np.zeros_like(words), np.zeros(len(words), int)
    for frame in frames:
        unpacked = unpack(frame.tolist())
        for address, row in unpacked.rows:
            low = address - tensor.address
            storage[low:low + len(row)] = row
            times[low:low + len(row)] += 1
        if unpacked.wrong:
            raise WorkError(f"{name}: a frame that was packed is not understood")
    if not np.array_equal(storage, words) or (times != 1).any():
        raise WorkError(f"{name}: what is unpacked is not what was packed")


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m bench.packing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="images to pack")
    parser.add_argument("--board", default="ulx3s", metavar="B", help="whose engine and line (%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N images, evenly spread (all)")
    parser.add_argument("--check", type=positive, default=10, metavar="N", help="unpack N of them (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    network, board = network_from_arguments(args), find(args.board)
    print_notes(network.notes)
    compiled = compile_network(network, board.geometry, storage_words=board.storage_words, timing=board.timing)
    program, data = compiled.program, figures(compiled, network, board.timing, board.storage_words)
    found, rows, seconds = find_images(args.images), [], []
    chosen = spread(found, min(args.limit or len(found), len(found)))
    checked = set(spread(chosen, min(args.check, len(chosen))))
    for path in chosen:
        q = quantised_input(program, load_image(path, network.spec))
        words = words_of(program.input, q, board.geometry.input_lanes)
        begun = time.process_time()
        frames = packed_frames(program.input, words)
        seconds.append(time.process_time() - begun)
        if frames is None:
            raise WorkError(f"{program.name}: its input is not packed: it has neither one channel nor three")
        if path in checked:
            _check(program.input, words, frames, path.name)
        parts = [np.concatenate([pair(program.input.address + low), words[low:low + DATA_WORDS]]).astype("<u2")
                 for low in range(0, len(words), DATA_WORDS)]
        rows.append({"image": path.name, "frames": len(frames), "packed": 2 * sum(map(len, frames)),
                     "line_packed": line_bytes(Kind.PACKED, frames), "line": line_bytes(Kind.WRITE, parts)})
    chip_s = data["cycles_again"] / (1e6 * float(board.pll.clock_mhz))
    # All but the image itself, which takes so many bytes on the line.
    rest = frame_exchange(0, data["output_words"], baud=board.baud, chip_s=chip_s, escaped=ESCAPED).seconds + chip_s
    mean = {what: sum(row[what] for row in rows) / len(rows) for what in ("packed", "line_packed", "line", "frames")}
    rate = {what: 1 / (rest + 10 * mean[what] / board.baud) for what in ("line", "line_packed")}
    most = max(rows, key=lambda row: row["line_packed"])
    print(f"{program.name}, {len(rows)} images of {2 * program.input.words:,} bytes, {len(checked)} of them unpacked again and "
          f"equal", f"packed: {mean['packed']:,.0f} bytes an image in {mean['frames']:.1f} frames, "
          f"{mean['line_packed']:,.0f} on the line",
          f"at most: {most['line_packed']:,} bytes on the line ({most['image']})",
          f"as they are: {mean['line']:,.0f} bytes on the line",
          f"at {board.baud:,} baud, {1000 * chip_s:.2f} ms on the chip: {rate['line']:.2f} images/s, packed "
          f"{rate['line_packed']:.2f}", f"packing takes {1000 * np.median(seconds):.1f} ms of processor time an image", sep="\n")
    if args.json:
        write_json(args.json, {"model": program.name, "board": board.name, "images": len(rows), "unpacked": len(checked),
                               "bytes": mean, "images_per_s": rate["line"], "images_per_s_packed": rate["line_packed"],
                               "chip_ms": 1000 * chip_s, "pack_ms": 1000 * float(np.median(seconds)), "each": rows})


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
