"""Networks compiled for boards, each in a process of its own, whose time and memory are measured; what was made is kept.

A network's results lie in a folder of its own. They are made again when our sources have changed, and only then: a survey that
was interrupted goes on where it was.
"""
from collections.abc import Callable, Iterable
import json
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
import re
import resource
import signal
import time

from arch.geometry import Geometry
from arch.sdram import Timing
from bench.survey.bounds import bounds
from boards import BOARDS, Board, find
from boards.board import MOST_STORAGE_MB
from cli import RequestError, WorkError, write_json
from compiler.build import compile_network
from compiler.figures import figures
from compiler.lowering.needs import needed
from compiler.stages import NetworkError
from hw.tools.cache import Stages, digest_of_files, digest_of_sources
from nets.int8.file import load, save
from nets.load import load_model
from nets.quantise import outline

__all__ = ["MAIN", "Work", "alone", "measure", "slug"]

MAIN = find("ulx3s").name       # the board whose cycles, bounds and compile times are told
FLN = "network.fln"
NETWORK_SOURCES, PROGRAM_SOURCES = ("arch", "nets", "bench/survey/bounds"), ("arch", "nets", "compiler", "golden")

Work = Callable[[str], None]        # is told what is being done


def slug(name: str) -> str:
    """A network's name as one of a folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def measure(name: str, folder: Path, boards: Iterable[Board], told: Work, model: Path | None = None) -> dict:
    """The record of a network: `network`, `macs`, `parameters`, `weight_bytes`, `input`, `units` by board, that its engine is
    given for it, `bounds` on the engine of `MAIN`, `boards` by name, each with `cycles`, `frames_per_s`, `bound` and `commands`,
    or with `refused`, and `compiling` with `seconds` of the processor and `megabytes` for `MAIN`. Where that has too little
    storage, `enlarged` is as if it had as much as can be addressed.

    `name` is one of the zoo or that of a file; `model` a file instead. Raises what `nets.load.load_model` and
    `nets.quantise.outline` do.
    """
    stages = Stages(folder / slug(name))
    depends = {"name": name, "sources": digest_of_sources(*NETWORK_SOURCES)}
    if source := model or (Path(name) if Path(name).is_file() else None):
        depends["file"] = digest_of_files([source])
    told("layers")
    stages.make("network", depends, lambda making: alone(_outline, str(model or name), making))
    record = {"network": name} | json.loads((stages.folder / "network.json").read_text(encoding="utf-8"))
    targets: dict[tuple[Geometry, int], list[Board]] = {}
    for board in boards:
        targets.setdefault((board.geometry.with_options(record["units"][board.name]), board.storage_words), []).append(board)
    record["boards"] = {}
    for (geometry, words), alike in targets.items():
        told(", ".join(board.name for board in alike))
        found = _target(stages, geometry, words, [board.timing for board in alike], record["weight_bytes"])
        for board, timed in zip(alike, found.get("timed", ()) or [None] * len(alike), strict=True):
            record["boards"][board.name] = {"refused": found["refused"]} if timed is None else timed | {
                "frames_per_s": float(board.pll.clock_mhz) * 1e6 / timed["cycles"], "commands": found["commands"]}
        if MAIN in (board.name for board in alike):
            record["compiling"] = found
            larger = find(MAIN).with_storage(MOST_STORAGE_MB)
            if found.get("lacks") and words < larger.storage_words:
                told("more storage")
                record["enlarged"] = _target(stages, geometry, larger.storage_words, [larger.timing], record["weight_bytes"])
    return record


def _target(stages: Stages, geometry: Geometry, words: int, timings: list[Timing | None], weight_bytes: int) -> dict:
    """What compiling for an engine with so many words of storage came to, with a prediction for each timing."""
    if weight_bytes > 2 * words:            # known before hours of work
        return {"refused": [f"{weight_bytes:,} bytes of weights do not fit storage of {2 * words:,}"], "lacks": True}
    key = f"{geometry.digest:016x}-{words}"
    depends = {"sources": digest_of_sources(*PROGRAM_SOURCES), "timings": [str(timing) for timing in timings], "words": words,
               "geometry": geometry.to_json()}
    stages.make(key, depends, lambda making: alone(_compiled, making, key, geometry.to_json(), words, timings), [FLN])
    return json.loads((stages.folder / f"{key}.json").read_text(encoding="utf-8"))


# In processes of their own

def _outline(name: str, making: Path) -> None:
    """Writes the network's shapes as a quantised file, and what can be said of it without compiling."""
    model = load_model(name)
    network = outline(model)
    save(network, making / FLN)
    units = {board.name: needed(network, board.geometry) for board in BOARDS.values()}
    found = bounds(network, find(MAIN).geometry.with_options(units[MAIN]))
    write_json(making / "network.json", {
        "macs": network.total_macs, "parameters": model.graph.parameters, "input": list(model.graph.input.shape),
        "weight_bytes": sum(layer.weight.size for layer in network.layers if hasattr(layer, "weight")),
        "units": units,
        "bounds": {"compute": found.compute, "storage": found.storage, "overlapped": found.overlapped,
                   "layer_by_layer": found.layer_by_layer, "bound_by": found.bound_by}})


def _compiled(making: Path, key: str, geometry: str, words: int, timings: list[Timing | None]) -> None:
    network, took = load(making / FLN), None
    began = time.process_time()
    try:
        compiled = compile_network(network, Geometry.from_json(geometry), storage_words=words)
    except NetworkError as error:
        record = {"refused": [str(problem) for problem in error.problems]}
        record["lacks"] = all(problem.reason.startswith("storage must") for problem in error.problems)
    else:
        program, timed = compiled.program, {}
        for timing in dict.fromkeys(timings):       # boards often have the same, and predicting takes longer than compiling
            data = figures(compiled, network, timing, words)
            took = took or time.process_time() - began
            timed[timing] = {"cycles": data["cycles"], "utilisation": data["utilisation"], "bound": _bound(data["layers"])}
        record = {"timed": [timed[timing] for timing in timings], "commands": len(program.parts),
                  "instructions": len(program.instructions), "storage_bytes": 2 * compiled.layout.end,
                  "moved_bytes": sum(data["storage_bytes"].values()), "seconds": took}
    record.setdefault("seconds", time.process_time() - began)
    write_json(making / f"{key}.json", record | {"megabytes": _peak_megabytes()})


def _bound(layers: list[dict]) -> dict[str, float]:
    """The share of the layers' cycles that each thing bounds, the largest first."""
    cycles = {name: sum(layer["cycles"] for layer in layers if layer["bound"] == name)
              for name in {layer["bound"] for layer in layers}}
    total = max(sum(cycles.values()), 1)
    return {name: cycles[name] / total for name in sorted(cycles, key=lambda name: -cycles[name])}


def _peak_megabytes() -> float:
    """Of this process; what it was forked from does not count, where the system says so (Linux)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(work: Callable[..., None], *arguments: object) -> None:
    """Runs `work` in a new process. Raises RequestError with the message of one that it raised, WorkError if it died."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        error = ours.recv()
        process.join()
    except EOFError:
        process.join()
        raise WorkError(f"{work.__name__.strip('_')} ended its process with code {process.exitcode}: what it said stands above, "
                        f"or there was not enough memory") from None
    finally:
        process.kill()
        process.join()
    if error is not None:
        raise RequestError(error)


def _run(connection: Connection, work: Callable[..., None], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent ends it
    try:
        work(*arguments)
        connection.send(None)
    except RequestError as error:
        connection.send(str(error))
