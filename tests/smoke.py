"""Every command that users are told of, with a short run of each; `.ci/run` starts them all in an environment of its own.

    python tests/smoke.py --python .venv/bin/python [--once | --quick] [--slow 1 | 2] [--extras bench,formal,test]

Runs on any Python: nothing of ours and nothing installed is imported here. The commands are those of the interpreter that is
named, started in an empty folder, so that what they find is what was installed. Two passes: as they are, and with output that
knows nothing but ASCII and a network whose name is markup. tests/test_project.py sees to it that no command is forgotten.
"""
import argparse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

__all__ = ["FIRELINE", "ON_A_BOARD", "PLAIN", "RUNS", "Run", "calibrated", "environment_of"]

PLAIN = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}     # output without UTF-8
MARKUP = "[bold]_é"             # name of a network
LABEL = "[/b] é"                # name of a class
BOARD = "versa-ecp5"            # the smallest chip of a board: simulated in a minute
PATIENCE_S = 900


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command and what it must come to: the exit code, and in what it prints a match of `says`.

    `{model}`, `{image}` and `{images}` in `words` are a network, a picture and a folder of them. `needs`: the extra without which
    the command ends with one line that names it. `slow`: compiles a model of the RTL, or routes; 1 or 2, the
    half of these that it is of.
    """

    module: str
    words: str = ""
    says: str = "."
    code: int = 0
    needs: str = ""
    slow: int = 0


RUNS = (
    Run(module="golden.run", words="--model {model} --image {image} --dump dumped --json run.json", says="95.8%"),
    Run(module="nets.info", words="--model {model} --plot costs.png --json info.json", says="total"),
    Run(module="nets.quantise", words="--model {model} --images {images} --out net.fln", says="net.fln"),
    Run(module="nets.compress", says="compressed.fln",
        words="--model {model} --images {labelled} --calibrate {images} --calibration-limit 4 --limit 8 --jobs 1 --sparsity 0.5 "
              "--out compressed.fln --json compress.json"),
    Run(module="golden.evaluate", words="--model {model} --images {labelled} --limit 12 --jobs 2 --json e.json", says="int8"),
    Run(module="nets.export_qdq", words="--model {model} --out net_int8.onnx --json export.json", says="net_int8.onnx"),
    Run(module="compiler.compile", words=f"--model {{model}} --board {BOARD} --out net.flp --explain --plot s.png --json c.json",
        says="net.flp"),
    Run(module="compiler.disasm", words="net.flp", says="compute"),
    Run(module="host.bundle", words=f"--model {{model}} --board {BOARD} --image {{image}} --out net.flu --json bundle.json",
        says="net.flu"),
    Run(module="boards.list", words="--json boards.json", says="ulx3s-85f"),
    Run(module="hw.build", words=f"--board {BOARD} --model {{model}} --estimate --json estimate.json", says="frames/s"),
    Run(module="sim.run", words=f"--model {{model}} --board {BOARD} --image {{image}} --plot queues.png --json sim.json",
        says="every element of every layer equals golden", slow=2),
    Run(module="sim.weights", words="--count 12 --lanes 2 --json weights_fuzz.json", says="nothing hung", slow=2),
    Run(module="sim.netlist", words="--frames 3 --json netlist.json", says="equal golden", slow=1),
    Run(module="sim.update_costs", words="net.flu net.flu --json costs.json", says="nothing"),
    Run(module="sim.updates", words="--cuts 20 --faults 2 --json updates.json", says="0 boards without a model"),
    Run(module="sim.fuzz", words="--frames 100 --json fuzz.json", says="nothing wrong accepted"),
    Run(module="bench.accuracy", words="--json accuracy.json", says="top-1"),
    Run(module="bench.bad_files", words="--count 12 --json bad.json", says="12 damaged files"),
    Run(module="bench.float_reference", words="--count 2 --json float.json", says="ONNX Runtime", needs="bench"),
    Run(module="bench.packing", words=f"--model {{model}} --images {{images}} --board {BOARD} --limit 2 --json packing.json",
        says="unpacked again and equal"),
    Run(module="bench.qdq", words="--model {model} --images {images} --limit 1 --integers --json qdq.json", says="end to end",
        needs="bench"),
    Run(module="bench.mlperf_tiny", words="--rtl none", says="give the folder of MLPerf Tiny's files", code=2, needs="bench"),
    Run(module="bench.random_networks", words="--count 3 --json random.json", says="networks", needs="test"),
    Run(module="bench.exports", words="--only lenet5:activation=relu --json exports.json", says="the zoo's", needs="train"),
    Run(module="bench.trained", words="--only lenet5 --epochs 1 --out trained --json trained.json", says="lenet5", needs="train"),
    Run(module="bench.light", words="--out light --only light_squeezenet", says="light_squeezenet.onnx"),
    Run(module="bench.zoo", says="squeezenet1_1",
        words=f"--only lenet5 --only squeezenet1_1 --board {BOARD} --page zoo.md --plot zoo.png --json zoo.json"),
    Run(module="bench.metaparameters", words="--only 0.125,0.5 --page m.md --plot m.png --json m.json", says="80.3 %"),
    Run(module="bench.weights.compare", words="--page weights.md --json weights.json", says="digits"),
    Run(module="bench.weights.pruned", words="--seed -1", says="must be 0 or more", code=2),
    Run(module="bench.engine", words="--model {model} --image {image} --preset 25f --layers conv1 --json engine.json",
        says="conv1", slow=2),
    Run(module="bench.fmax", words="--preset 25f --core array --stop-after 0.01 --build fmax", says="found no end", code=1,
        slow=2),
    Run(module="bench.cores", words="weight-stationary --lanes 2 --columns 4 --stop-after 9 --build cores --json cores.json",
        says="weight-stationary", slow=1),
    Run(module="bench.netlist_digest", words=f"--board {BOARD} --build digest", says=BOARD, slow=2),
    Run(module="formal", words="--only results --depth 5 --json formal.json", says="yes", needs="formal", slow=1),
    Run(module="nets.digits.train", words="--help", says="usage", needs="train"),
)
ON_A_BOARD = (          # with {port}, where sim.board serves
    Run(module="host.info", words="--port {port} --json info.json", says="Versa"),
    Run(module="host.selftest", words="--port {port} --seconds 1 --json selftest.json", says="digits equal the reference"),
    Run(module="host.load", words="--port {port} --model {model} --json load.json", says="verified"),
    Run(module="host.update", words="--port {port} --confirm", says="no way to its flash", code=1),
    Run(module="host.classify", words="--port {port} --model {model} --json classify.json {image}", says="on the chip"),
    Run(module="host.bench", words="--port {port} --model {model} --frames 2 --json bench.json", says="frames"),
)
FIRELINE = (            # the same code under one name
    Run(module="", words="--help", says="usage: fireline"),
    Run(module="", words="--version", says="yosys"),
    Run(module="", words="run --image {image}", says="95.8%"),
    Run(module="", words="completion bash", says="fireline"),
)
SERVER = "sim.board"
QUICK = ("golden.run", "nets.info", "sim.run")          # what a Python must be able to do


def calibrated(run: Run) -> Run:
    """The run for a network under another name than digits, which alone finds its calibration images by itself."""
    if run.module in ("nets.compress", "nets.info", "nets.quantise"):
        return run
    return replace(run, words=run.words.replace("{model}", "{model} --calibrate {images}"))


def environment_of(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what changes how output looks or what is found, and with `extra`."""
    dropped = ("COLUMNS", "FIRELINE_DATA", "PYTHONPATH", "LANG", "LC_CTYPE", *PLAIN)
    return {name: value for name, value in os.environ.items() if name not in dropped} | dict(extra)


class Smoke:
    """Runs commands of one interpreter in one folder and counts what failed."""

    def __init__(self, python: Path, extras: set[str], names: Mapping[str, str], environment: Mapping[str, str]):
        self.python, self.extras, self.names, self.environment, self.failed = python, extras, names, environment, 0

    def command(self, run: Run, words: str) -> list[str]:
        start = [str(self.python), "-m", run.module] if run.module else [str(self.python.parent / "fireline")]
        return start + words.format_map(self.names).split()

    def check(self, run: Run) -> None:
        """Prints a line for the run, and all that it said if it is not what it must be."""
        if run.needs and run.needs not in self.extras:
            run = replace(run, code=1, says=rf"\Aerror: [^\n]*pip install -e '\.\[{run.needs}\]'\n\Z")
        command, began = self.command(run, run.words), time.monotonic()
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, timeout=PATIENCE_S)
            code, said = done.returncode, (done.stdout + done.stderr).decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            code, said = None, f"no end in {PATIENCE_S} s\n{late.stdout}\n{late.stderr}"
        good = code == run.code and re.search(run.says, said) and "Traceback" not in said
        self.failed += not good
        print(f"  {'ok  ' if good else 'FAIL'} {time.monotonic() - began:5.1f} s  {' '.join(command[1:])}".encode(
            "ascii", "replace").decode(), flush=True)
        if not good:
            print(f"exit code {code}, must be {run.code} and say {run.says!r}\n{said}".encode("ascii", "replace").decode())

    def help(self, module: str) -> None:
        needs = next((run.needs for run in RUNS if run.module == module and run.words == "--help"), "")
        self.check(Run(module=module, words="--help", says="usage: ", needs=needs))

    @contextmanager
    def board(self) -> Iterator[None]:
        """`sim.board` in the background, and {port} where it serves; Ctrl-C must end it with 130."""
        command = self.command(Run(module=SERVER), f"--board {BOARD}")
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as server:
            try:
                self.names["port"] = server.stdout.readline().strip()
                yield
            finally:
                server.send_signal(signal.SIGINT)
                code = server.wait(60)
                good = code == 130 and self.names["port"].startswith("/dev/")
                self.failed += not good
                print(f"  {'ok  ' if good else 'FAIL'}          {' '.join(command[1:])}: exit code {code}", flush=True)


def _names(python: Path, environment: Mapping[str, str], work: Path) -> dict[str, str]:
    """Pictures and network of the installed package; the network also as a file whose name is markup."""
    script = "import json; from nets import digits as d; print(json.dumps([str(p) for p in (d.MODEL, d.IMAGES, d.CALIBRATION)]))"
    done = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True)
    model, images, calibration = map(Path, json.loads(done.stdout))
    for suffix in (".onnx", ".json"):
        shutil.copy(model.with_suffix(suffix), work / f"{MARKUP}{suffix}")
    (work / "labels.txt").write_text(f"{LABEL}\n" * 10, encoding="utf-8")
    return {"model": "digits", "image": str(images / "0_0078.png"), "images": str(calibration), "labelled": str(images)}


def main(argv: list[str] | None = None) -> int:
    """0 if every command did what it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, metavar="FILE", help="interpreter whose commands are run")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--once", action="store_true", help="leave the second pass out")
    parser.add_argument("--slow", type=int, choices=(1, 2), help="of the slow runs only this half; all without")
    parser.add_argument("--models", type=Path, metavar="DIR", help="where simulated models are kept for other runs (nowhere)")
    parser.add_argument("--extras", default="", metavar="NAMES", help="extras that are installed there, with commas")
    args = parser.parse_args(argv)
    python, environment = args.python.absolute(), environment_of({})
    models = args.models and args.models.absolute()
    with tempfile.TemporaryDirectory(prefix="smoke.") as folder:
        os.chdir(folder)
        if models:
            models.mkdir(parents=True, exist_ok=True)
            Path("build").mkdir()
            Path("build/sim").symlink_to(models)
        smoke = Smoke(python, set(args.extras.split(",")), _names(python, environment, Path(folder)), environment)
        if args.quick:
            for run in RUNS:
                if run.module in QUICK:
                    smoke.check(run)
        else:
            _all(smoke, once=args.once, slow=args.slow)
    print(f"{smoke.failed} failed" if smoke.failed else "all as they must be")
    return int(smoke.failed > 0)


def _all(smoke: Smoke, *, once: bool, slow: int | None) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(smoke.help, dict.fromkeys([*(run.module for run in (*RUNS, *ON_A_BOARD)), SERVER])))
    for run in (*FIRELINE, *RUNS):
        if not run.slow or slow in (None, run.slow):
            smoke.check(run)
    with smoke.board():
        for run in ON_A_BOARD:
            smoke.check(run)
    if once:
        return
    print("the same in ASCII", flush=True)
    smoke.environment = environment_of(PLAIN)
    smoke.names = dict(smoke.names, model=f"{MARKUP}.onnx --labels labels.txt")
    for run in (*FIRELINE, *RUNS):
        if not run.slow or "{model}" in run.words:
            smoke.check(calibrated(run))
    with smoke.board():
        for run in ON_A_BOARD:
            smoke.check(calibrated(run))


if __name__ == "__main__":
    sys.exit(main())
