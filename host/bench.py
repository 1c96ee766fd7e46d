"""Run frames on a board: cycles, frames a second, and what each unit of the chip waited for."""
import argparse
import sys

import numpy as np
from rich.table import Table

from arch.instruction import QUEUES
from cli import Parser, positive, terminal, waiting, write_json
from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, upload
from host.queues import COUNTED, MEANING
from host.runner import Frame, Runner

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.bench", description=__doc__)
    add_port_arguments(parser)
    add_program_arguments(parser)
    parser.add_argument("--frames", type=positive, default=10, metavar="N", help="of noise, all the same (%(default)s)")
    return parser


def _stalls(counters: dict[str, int], cycles: int) -> Table:
    table = Table(title="cycles of the last frame, by queue")
    for heading in ("queue", *COUNTED.values()):
        table.add_column(heading, justify="left" if heading == "queue" else "right")
    for queue in QUEUES:
        values = (counters[f"{queue}_{what}"] for what in COUNTED)
        table.add_row(queue, *(f"{value} ({value / max(1, cycles):.0%})" for value in values))
    return table


def _cycles(frames: list[Frame], steady: list[Frame]) -> str:
    """Cycles of the frames; the first one's apart where those behind it need no constants loaded."""
    counts = [frame.cycles for frame in steady]
    span = f"{min(counts)}..{max(counts)} cycles"
    if steady is frames:
        return span
    return f"{frames[0].cycles} cycles for the first, {span} behind it, for which weights stay on the chip"


def run(args: argparse.Namespace) -> int | None:
    with board_session(args) as session:
        program = program_of(args, session)
        runner, clock_hz = Runner(session, program), session.info.identity.clock_khz * 1000
        upload(runner)
        q = np.random.default_rng(0).integers(0, 256, program.input.shape, dtype=np.uint8)
        with waiting(f"{args.frames} frames"):
            frames = [runner.run(q) for _ in range(args.frames)]
        counters = session.counters()
    cycles, steady = [frame.cycles for frame in frames], [frame for frame in frames if frame.kept] or frames
    if any(not np.array_equal(frame.output, frames[0].output) for frame in frames):
        print("error: the same input gave different outputs: the chip or its memory is at fault", file=sys.stderr)
        return 1
    chip_s, line_s = (float(np.mean([getattr(frame, what) for frame in steady])) for what in ("chip_s", "line_s"))
    print(f"{program.name}: {len(frames)} frames, all with the same output; {_cycles(frames, steady)}",
          f"on the chip {1 / chip_s:.1f} frames/s at {clock_hz / 1e6:g} MHz",
          f"with the line {1 / (chip_s + line_s):.3g} frames/s, {1000 * line_s:.4g} ms more"
          + (" (computed: no line is simulated)" if runner.simulated else ""), sep="\n")
    terminal().print(_stalls(counters, cycles[-1]))
    print(MEANING)
    if args.json:
        write_json(args.json, {"model": program.name, "frames": len(frames), "cycles": cycles, "clock_mhz": clock_hz / 1e6,
                               "weights_stay": steady is not frames,
                               "frames_per_s": 1 / chip_s, "frames_per_s_line": 1 / (chip_s + line_s),
                               "line_ms": 1000 * line_s, "counters": counters})
    return None


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
