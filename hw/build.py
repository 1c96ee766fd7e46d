"""Command: a network and a board in, a bitstream and a report out.

Compiles the network, elaborates the chip, runs Yosys and nextpnr with one seed after the other until the board's clock is met,
packs, and writes build/BOARD/: top.bit, the network's program, report.json and report.html. A stage whose inputs have not
changed is not run again. With --estimate no tool runs: geometry, resources, cycles and frames/s are printed at once.
"""
import argparse
from dataclasses import replace
import json
from pathlib import Path
import shlex
import shutil
import subprocess
import sys
from threading import Lock

from rich.progress import Progress
from rich.table import Table

from arch.line import frame_exchange
from boards import ALIASES, BOARDS, Board, find
from boards import list as boards_list
from cli import Parser, meter, positive, print_notes, run_command, terminal, write_bytes, write_json
from compiler.build import compile_network
from compiler.figures import figures
from compiler.program_file import SUFFIX, save
from compiler.stages import NetworkError
from compiler.target import add_storage_argument, add_units_argument, engine_for
from hw.chip import Chip
from hw.tools import bitstream, estimate, toolchain
from hw.tools.bitstream import ClockMissed, Watch, build_bitstream, part_of, told
from hw.tools.cache import Stages, digest_of_files, digest_of_sources
from hw.tools.toolchain import ToolError
from nets.int8.network import QNetwork
from nets.network import add_network_arguments, network_from_arguments, outline_from_arguments

__all__ = ["get_parser", "main"]

# What a program and its cycles depend on, and what the chip's netlist does.
PROGRAM_SOURCES = ("arch", "nets", "compiler", "golden/cycles")
CHIP_SOURCES = ("arch", "boards", "hw")
LOADER = "openFPGALoader"
RESOURCES = ("lut4", "ff", "block_ram", "multipliers")


class Shown(Watch):
    """Stages as lines with a spinner and the time that they took."""

    def __init__(self, progress: Progress):
        self.progress, self.tasks, self.lock = progress, {}, Lock()

    def begin(self, stage: str) -> None:
        with self.lock:
            self.tasks[stage] = self.progress.add_task(stage, total=1)

    def end(self, stage: str, result: str) -> None:
        with self.lock:
            self.progress.update(self.tasks[stage], completed=1, description=f"{stage}: {result}")


def _files_of(args: argparse.Namespace) -> str:
    """Digest of the files that the network's arguments name, and of the arguments."""
    paths = [Path(value) for value in (args.model, args.side_file, args.labels, args.calibrate) if value is not None]
    paths += [Path(args.model).with_suffix(".json")]
    files = [path for path in paths if path.is_file()]
    for folder in (path for path in paths if path.is_dir()):
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    words = {name: str(value) for name, value in vars(args).items() if name in _MODEL_ARGUMENTS}
    return digest_of_files(files) + json.dumps(words, sort_keys=True)


def _model_arguments() -> frozenset[str]:
    parser = Parser()
    add_network_arguments(parser)
    return frozenset(vars(parser.parse_args([])))


_MODEL_ARGUMENTS = _model_arguments()


def _program(stages: Stages, args: argparse.Namespace, board: Board, watch: Watch) -> tuple[Path, dict]:
    """The network's program file and its figures in cycles; made anew only if model, board or our sources changed."""
    depends = {"model": _files_of(args), "geometry": board.geometry.to_json(), "storage": board.storage_words,
               "timing": str(board.timing), "sources": digest_of_sources(*PROGRAM_SOURCES)}

    def make(folder: Path) -> None:
        network = network_from_arguments(args)
        print_notes(network.notes)
        compiled = compile_network(network, board.geometry, storage_words=board.storage_words, timing=board.timing)
        save(compiled.program, folder / f"program{SUFFIX}")
        write_json(folder / "figures.json", figures(compiled, network, board.timing, board.storage_words))
    with told(watch, "program and its cycles") as say:
        say("done" if stages.make("program", depends, make) else "reused")
    return stages.folder / f"program{SUFFIX}", json.loads((stages.folder / "figures.json").read_text(encoding="utf-8"))


def _record(board: Board, data: dict, clock_mhz: float, resources: dict, command: str, **further: object) -> dict:
    """What report.json holds."""
    geometry, clock_hz = board.geometry, clock_mhz * 1e6
    first_s, chip_s = data["cycles"] / clock_hz, data["cycles_again"] / clock_hz
    line = frame_exchange(data["input_words"], data["output_words"], baud=board.baud, chip_s=chip_s)
    return {
        "board": board.name, "model": data["model"], "geometry": json.loads(geometry.to_json()), "clock_mhz": clock_mhz,
        "clock_wanted_mhz": board.clock_mhz, "cycles": data["cycles"], "cycles_again": data["cycles_again"],
        "frames_per_s": 1 / chip_s, "weight_bytes": data["weight_bytes"], "stored_weight_bytes": data["stored_weight_bytes"],
        "frames_per_s_line": 1 / (chip_s + line.seconds),
        "line": {"baud": board.baud, "bytes": round(line.sent + line.received), "ms": 1000 * line.seconds},
        "latency_ms": 1000 * first_s, "utilisation": data["utilisation"], "resources": resources,
        "peak_gmac_per_s": geometry.macs * clock_mhz / 1000, "storage_gbyte_per_s": 2 * clock_mhz / 1000,
        "layers": data["layers"], "timeline": data["timeline"], "memory": data["memory"], "storage_bytes": data["storage_bytes"],
        "sdram": boards_list.sdram(board), "command": command, **further}


def _serving(board: Board, args: argparse.Namespace) -> tuple[Board, QNetwork]:
    """The board with the optional units that are wanted and that the network needs, and the network's shapes, or itself where its
    weights are compressed."""
    network = network_from_arguments(args) if "decoder" in args.units else outline_from_arguments(args)
    return replace(board, geometry=engine_for(network, board.geometry.with_options(args.units), board.name)), network


def _estimate(board: Board, args: argparse.Namespace) -> dict:
    """The record without running a tool; nothing is written. Shapes are enough for it, but for compressed weights."""
    board, network = _serving(board, args)
    compiled = compile_network(network, board.geometry, storage_words=board.storage_words, timing=board.timing)
    data = figures(compiled, network, board.timing, board.storage_words)
    used = estimate.resources(board.geometry, part_of(board.platform()).die, None if board.chips else board.storage_words,
                              packing=board.packing)
    return _record(board, data, float(board.pll.clock_mhz), used, _command(args), estimate=True)


def _command(args: argparse.Namespace) -> str:
    return "python -m hw.build " + shlex.join(args.given)


def _table(record: dict) -> Table:
    geometry = record["geometry"]
    table = Table(title=f"{record['model']} on {record['board']}", show_header=False)
    table.add_row("engine", f"{geometry['input_lanes']}x{geometry['output_lanes']}, {geometry['activation_words']} activation, "
                            f"{geometry['weight_words']} weight words" if geometry else "none: this chip tests the board")
    if geometry and "options" in geometry:
        table.add_row("optional units", ", ".join(geometry["options"]))
    for key in RESOURCES:
        used = record["resources"][key]
        share = used["used"] / max(used["available"], 1)
        table.add_row(key.replace("_", " "), f"{used['used']:,} of {used['available']:,} ({share:.0%})")
    table.add_row("clock", f"{record['clock_mhz']:g} MHz" + (" wanted" if record.get("estimate") else f", seed {record['seed']}"))
    if sdram := record["sdram"]:
        table.add_row("SDRAM's clock", f"{sdram['phase_degrees']:g} degrees later, words safe by {sdram['margin_ns']:.2f} ns")
    if geometry is None:
        return table
    if "decoder" in geometry.get("options", ()):
        share = record["stored_weight_bytes"] / record["weight_bytes"]
        table.add_row("weights", f"{record['weight_bytes']:,} bytes, stored in {record['stored_weight_bytes']:,} ({share:.0%})")
    table.add_row("cycles a frame", f"{record['cycles']:,}, {record['utilisation']:.1%} of the multipliers used")
    if record["cycles_again"] != record["cycles"]:
        table.add_row("behind the first", f"{record['cycles_again']:,}, {1000 / record['frames_per_s']:.2f} ms: weights stay on "
                                          f"the chip")
    table.add_row("frames/s", f"{record['frames_per_s']:.1f} on the chip, latency {record['latency_ms']:.2f} ms")
    line = record["line"]
    table.add_row("with the line", f"{record['frames_per_s_line']:.3g}, {line['ms']:.4g} ms more at {line['baud']:,} baud")
    return table


def _write(folder: Path, record: dict) -> None:
    # Not above: it brings matplotlib, for which an estimate need not wait.
    from hw.tools import report
    write_json(folder / "report.json", record)
    write_bytes(folder / "report.html", report.render(record).encode())


def _loader(board: Board) -> list[str]:
    """The command that configures the board's FPGA over USB, without the bitstream. Raises ToolError if there is none."""
    if not board.program:
        raise ToolError(f"--program does not know {board.name}: build without it, and load the bitstream with another tool")
    if shutil.which(LOADER) is None:
        raise ToolError(f"{LOADER} must be on PATH for --program: see https://trabucayre.github.io/openFPGALoader")
    return [LOADER, *board.program]


def _load_board(loader: list[str], path: Path) -> None:
    """Runs it. Raises ToolError."""
    done = subprocess.run([*loader, str(path)], check=False)
    if done.returncode:
        raise ToolError(f"{LOADER} failed with code {done.returncode}: is the board plugged in? The bitstream is there: "
                        f"{shlex.join([*loader, str(path)])}")


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m hw.build", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="ulx3s", metavar="B", help=f"one of {', '.join([*ALIASES, *BOARDS])} (%(default)s)")
    add_network_arguments(parser, default="")
    for action in parser._actions:
        if action.dest == "model":
            action.default, action.help = None, f"{action.help.split(' (')[0]} (the board's own: squeezenet1_1, or digits)"
    parser.add_argument("--list-boards", action="store_true", help="list the boards and end")
    parser.add_argument("--selftest", action="store_true",
                        help="build the small chip without an engine that tests a board, for host.selftest, into BOARD-selftest")
    parser.add_argument("--estimate", action="store_true", help="print what would be built, and how fast, without building it")
    add_storage_argument(parser)
    add_units_argument(parser)
    parser.add_argument("--sdram", metavar="NAME", help="the SDRAM on your board, where batches differ (any that its record has)")
    parser.add_argument("--flash-mb", type=positive, metavar="N", help="size of the flash on your board, where batches differ")
    parser.add_argument("--packing", action="store_true",
                        help="a chip that unpacks images, which the host then packs for the line (docs/packing.md)")
    parser.add_argument("--freq", type=_megahertz, metavar="MHZ", help="clock, instead of the board's")
    parser.add_argument("--seeds", type=positive, default=8, metavar="N", help="try placement seeds 1..N (%(default)s)")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="seeds routed at a time (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build"), metavar="DIR",
                        help="folder of the boards' folders (%(default)s)")
    parser.add_argument("--program", action="store_true", help="load the bitstream into the board when it is ready")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write report.json here too")
    return parser


def _megahertz(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"must be MHz, above 0 and below 1000, not {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    if args.list_boards:
        return boards_list.main([])
    board = find(args.board)
    if args.storage_mb is not None:
        if not args.estimate:
            raise ValueError("--storage-mb must go with --estimate: a chip that is built has the storage that its board has")
        board = board.with_storage(args.storage_mb)
    if args.program and args.estimate:
        raise ValueError("--program must not go with --estimate, which builds nothing")
    if args.selftest and (args.estimate or args.model or args.units or args.packing):
        raise ValueError("--selftest must not go with --estimate, --model, --units and --packing: its chip has no engine")
    loader = _loader(board) if args.program else []         # now, not after half an hour
    if args.freq is not None:
        board = replace(board, clock_mhz=args.freq)
    if args.sdram is not None:
        board = board.with_chip(args.sdram.lower())
    if args.flash_mb is not None:
        board = board.with_flash(args.flash_mb)
    if args.packing:
        board = replace(board, packing=True)
    _ = board.pll                                           # a clock that there is not, or at which the SDRAM is not safe
    args.model = args.model or board.network
    folder = args.build / (f"{board.name}-selftest" if args.selftest else board.name)
    with meter(transient=args.estimate) as progress:
        watch = Shown(progress)
        if args.estimate:
            progress.add_task("estimate", total=None)
            record = _estimate(board, args)
        else:
            record = (_built_selftest if args.selftest else _built)(board, args, folder, watch)
    terminal().print(_table(record))
    if args.json:
        write_json(args.json, record)
    if args.estimate:
        return 0
    if record["clock_met"] is False:
        print(f"error: {record['error']}", file=sys.stderr)
        return 1
    print(folder / bitstream.BITSTREAM, folder / ("report.json" if args.selftest else "report.html"), sep="\n")
    if args.program:
        _load_board(loader, folder / bitstream.BITSTREAM)
    return 0


def _refused(args: argparse.Namespace) -> int:
    """`run`, with a line for each thing that stands against a network."""
    try:
        return run(args)
    except NetworkError as error:
        for problem in error.problems:
            print(f"error: {args.model} on {args.board}: {problem}", file=sys.stderr)
        return 2


def _built(board: Board, args: argparse.Namespace, folder: Path, watch: Watch) -> dict:
    """Runs all stages and writes the report, also when the clock was missed."""
    stages, (board, _) = Stages(folder), _serving(board, args)
    _, data = _program(stages, args, board, watch)
    clock, resources, routed = _routed(board, args, stages, watch, engine=True)
    record = _record(board, data, clock, resources, _command(args), **routed)
    _write(folder, record)
    return record


def _built_selftest(board: Board, args: argparse.Namespace, folder: Path, watch: Watch) -> dict:
    """The same for a chip without an engine, of which there is less to report."""
    clock, resources, routed = _routed(board, args, Stages(folder), watch, engine=False)
    record = {"board": board.name, "model": "self-test", "geometry": None, "clock_mhz": clock,
              "clock_wanted_mhz": board.clock_mhz, "resources": resources, "sdram": boards_list.sdram(board),
              "command": _command(args), **routed}
    write_json(folder / "report.json", record)
    return record


def _routed(board: Board, args: argparse.Namespace, stages: Stages, watch: Watch, *, engine: bool) -> tuple[float, dict, dict]:
    """The clock that the board's chip keeps, what it takes, and what else a report says of its routes."""
    depends = {"board": str(board), "sources": digest_of_sources(*CHIP_SOURCES)} | ({} if engine else {"engine": False})
    clock = float(board.pll.clock_mhz)
    further: dict = {"clock_met": True}
    try:
        done = build_bitstream(stages, board.platform(), lambda: Chip.of(board, engine=engine), depends=depends, clock_mhz=clock,
                               seeds=args.seeds, jobs=args.jobs, watch=watch,
                               room=board.flash_offset if board.flash else None)
        best, routed = done.best, done.routed
    except ClockMissed as missed:
        best, routed = missed.best, missed.routed
        further = {"clock_met": False, "error": str(missed)}
        clock = best.clock_mhz
    return clock, best.to_json()["resources"], {
        "seed": best.seed, "routed_mhz": best.clock_mhz, "critical_path": best.path,
        "seeds": [{"seed": one.seed, "clock_mhz": one.clock_mhz} for one in routed],
        "tools": {name: toolchain.version(name) for name in bitstream.TOOLS}, **further}


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    args = (parser or get_parser()).parse_args(given)
    args.given = given
    return run_command(_refused, args, ValueError)


if __name__ == "__main__":
    sys.exit(main())
