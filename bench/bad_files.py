"""Damages real model files in many ways and loads them: each must load or be refused in one line, soon and without a traceback.

A file that loads is run, and where ONNX Runtime or LiteRT loads the same bytes, both must compute the same.
"""
import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import multiprocessing
from multiprocessing.connection import Connection
import os
from pathlib import Path
from random import Random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings

import onnx
from rich.table import Table

from bench.damage.flatbuffers import TFLITE_MUTATIONS
from bench.damage.mutations import BYTE_MUTATIONS, FLN_MUTATIONS, JSON_MUTATIONS, ONNX_MUTATIONS
from cli import Parser, progress, run_command, terminal, write_json

__all__ = ["Case", "Outcome", "Sample", "find_samples", "get_parser", "main", "make_cases", "run_cases"]

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT_NAMES = ("squeezenet", "shufflenet", "bvlc_alexnet", "inception_v1")
TFLITE_NAMES = ("ic_fp32", "vww_float", "ad_fp32", "ic_int8", "ad_int8")
OF_FORMAT = {".onnx": ONNX_MUTATIONS, ".fln": FLN_MUTATIONS, ".tflite": TFLITE_MUTATIONS}
GOOD = ("loaded", "refused")
OUTCOMES = (*GOOD, "differs", "bad message", "traceback", "hang", "crash")
MEMORY_BYTES = 6 << 30          # address space of the process that loads
JUDGED_MACS = 1_000_000_000     # larger networks are not compared with others' implementations
TOLERANCE = 1e-4                # of the range of the output and zero
LARGEST_EXPONENT = 1e2          # 1e2 * 2**-23 is a tenth of the tolerance


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A real file: its bytes, those of its side file, and how often it is drawn."""

    name: str
    data: bytes
    side: bytes | None
    weight: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged file. `number` and the run's seed make it again."""

    number: int
    sample: str
    mutation: str
    data: bytes
    side: bytes | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What loading a case came to: one of `OUTCOMES`, and the message of the refusal or the traceback."""

    number: int
    sample: str
    mutation: str
    outcome: str
    message: str
    seconds: float


def find_samples(data: Path | None) -> list[Sample]:
    """The real files: models inside the onnx package, the embedded digits, and the shared ones where there are any."""
    from nets import digits
    paths = [(LIGHT / f"light_{name}.onnx", 3) for name in LIGHT_NAMES] + [(digits.MODEL, 8)]
    if data:
        paths += [(data / "models" / "squeezenet1_1.onnx", 1), (data / "models" / "squeezenet1_0_deepcomp.onnx", 1),
                  (data / "models" / "deep-compression" / "compressed_SqueezeNet.net", 2)]
        paths += [(data / "models" / "tflite" / f"mlperf_tiny_{name}.tflite", 4) for name in TFLITE_NAMES]
    samples = []
    for path, weight in paths:
        side = path.with_suffix(".json")
        samples.append(Sample(name=path.name, data=path.read_bytes(), side=side.read_bytes() if side.exists() else None,
                              weight=weight))
    return [*samples, *_quantised_samples()]


def _quantised_samples() -> list[Sample]:
    """The embedded digits in integers, as our own file and as ONNX; they are calibrated on noise, for their values do not matter
    here."""
    import numpy as np

    from nets.export_qdq import network_model
    from nets.int8 import file as quantised_file
    from nets.load import load_model
    from nets.quantise import quantise
    model = load_model("digits")
    pixels = np.random.default_rng(0).integers(0, 256, model.spec.shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.fln"
        network = quantise(model, [pixels])
        quantised_file.save(network, path)
        exported = network_model(network).SerializeToString(deterministic=True)
        return [Sample(name=path.name, data=path.read_bytes(), side=None, weight=2),
                Sample(name="digits_qdq.onnx", data=exported, side=None, weight=4)]


def make_cases(samples: Sequence[Sample], count: int, seed: int):
    """Yields `count` cases, the same for the same arguments; mutations take turns, files are drawn."""
    numbers: Counter[str] = Counter()
    for number in range(count):
        rng = Random(f"{seed}-{number}")
        sample = rng.choices(samples, [one.weight for one in samples])[0]
        mutations = [*BYTE_MUTATIONS, *OF_FORMAT.get(Path(sample.name).suffix, ())]
        sides = JSON_MUTATIONS if sample.side else ()
        index = numbers[sample.name] % (len(mutations) + len(sides))
        numbers[sample.name] += 1
        other = rng.choice(samples).data
        if index < len(mutations):
            yield Case(number=number, sample=sample.name, mutation=mutations[index].__name__,
                       data=mutations[index](sample.data, rng, other), side=sample.side)
        else:
            mutate = sides[index - len(mutations)]
            yield Case(number=number, sample=sample.name, mutation=f"side file: {mutate.__name__}", data=sample.data,
                       side=mutate(sample.side, rng, other))


def run_cases(cases, folder: Path, *, timeout: float):
    """Yields the outcome of each case, loaded in another process that is replaced when it crashes or hangs.

    Files are made in `folder`/models, so that side files find labels in `folder`/images as they do in the shared data.
    """
    worker = None
    folder = folder / "models"
    folder.mkdir()
    try:
        for case in cases:
            path = folder / f"case{case.number}{Path(case.sample).suffix}"
            path.write_bytes(case.data)
            if case.side is not None:
                path.with_suffix(".json").write_bytes(case.side)
            worker = worker or _Worker()
            start = time.monotonic()
            outcome, message = worker.ask(path, timeout)
            if outcome in ("hang", "crash") or not worker.alive:
                worker.close()
                worker = None
            yield Outcome(number=case.number, sample=case.sample, mutation=case.mutation, outcome=outcome, message=message,
                          seconds=round(time.monotonic() - start, 3))
            for file in (path, path.with_suffix(".json")):
                file.unlink(missing_ok=True)
    finally:
        if worker:
            worker.close()


class _Worker:
    """A process that loads; `alive`: whether it can be asked once more."""

    def __init__(self):
        self.alive = True
        context = multiprocessing.get_context("spawn")
        self.link, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far,), daemon=True)
        self.process.start()
        far.close()
        if not self.link.poll(120):
            raise RuntimeError("the loading process does not start")
        self.link.recv()

    def ask(self, path: Path, timeout: float) -> tuple[str, str]:
        """Outcome and message. The answer comes in two parts: what loading came to, then what the comparison did."""
        try:
            self.link.send(str(path))
            if not self.link.poll(timeout):
                return "hang", f"no answer in {timeout} s"
            answer = self.link.recv()
            if answer[0] != "loaded":
                return answer
        except (EOFError, OSError):
            return "crash", f"process ended with {self.process.exitcode}"
        # Now it is ONNX Runtime or LiteRT that reads the damaged file: their hangs and crashes are not ours.
        try:
            if self.link.poll(timeout):
                return self.link.recv()
        except (EOFError, OSError):
            self.alive = False
            return "loaded", "the judge crashes"
        self.alive = False
        return "loaded", "the judge hangs"

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.link.close()


def _serve(link: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    link.send("ready")
    while True:
        path = Path(link.recv())
        model, outcome, message = _load(path)
        link.send((outcome, message))
        if outcome == "loaded":
            link.send(_compare(path, model))


def _load(path: Path):
    """Model or None, outcome, message."""
    from nets.graph import GraphError
    from nets.model import ModelError
    from nets.preprocess import PreprocessError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return (_run_quantised if path.suffix == ".fln" else _run_float)(path), "loaded", ""
    except (GraphError, ModelError, PreprocessError) as error:
        text = str(error)
        more = len(getattr(error, "problems", ()))
        clean = text.count("\n") == (more if more > 1 else 0) and path.stem in text.splitlines()[0]
        return None, "refused" if clean and all(c.isprintable() or c == "\n" for c in text) else "bad message", text
    except Exception:
        return None, "traceback", traceback.format_exc()


def _run_float(path: Path):
    from nets.float_run import run
    from nets.load import load_model
    from nets.quantise import needs_no_images, quantise
    model = load_model(str(path))
    if model.graph.total_macs <= JUDGED_MACS:
        run(model.graph, _image(model))
        if needs_no_images(model):
            quantise(model, ())
    return model


def _run_quantised(path: Path):
    import numpy as np

    from golden import values
    from nets.int8 import file as quantised_file
    network = quantised_file.load(path)
    values.run(network, np.random.default_rng(1).integers(0, 256, network.spec.shape, np.uint8))
    return network


def _image(model):
    import numpy as np
    return np.random.default_rng(1).normal(size=model.graph.input.shape).astype(np.float32)


def _compare(path: Path, model) -> tuple[str, str]:
    """Whether ONNX Runtime or LiteRT, where it takes the file, computes what we do."""
    import numpy as np

    from nets.float_run import run
    from nets.graph import Softmax
    judge = {".onnx": _runtime, ".tflite": _litert}.get(path.suffix)
    if judge is None:
        return "loaded", ""
    if model.graph.total_macs > JUDGED_MACS or model.graph.quantised:        # integers of two kinds of kernels are never equal
        return "loaded", "not compared"
    x = _image(model)
    try:
        wanted = judge(path, x)
    except ImportError:
        return "loaded", "not compared: there is no judge"
    except Exception as error:      # what the judge refuses may still be readable: no verdict
        return "loaded", f"the judge refuses: {(str(error).splitlines() or [''])[0]}"
    exponents = [layer.inputs[0] for layer in model.graph.layers if isinstance(layer, Softmax)]
    tensors = run(model.graph, x, keep=exponents)
    got = tensors[model.graph.output]
    if got.size != wanted.size:
        return "differs", f"shape {got.shape} against {wanted.shape}"
    with np.errstate(all="ignore"):
        wanted = wanted.reshape(got.shape).astype(np.float32)
        if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
            return "loaded", "values overflow"
        if any(np.abs(tensors[name]).max() > LARGEST_EXPONENT for name in exponents):
            return "loaded", "softmax of values whose rounding decides"
        span = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-30)
        worst = float(np.abs(got - wanted).max()) / span
    return ("loaded", "agrees") if worst <= TOLERANCE else ("differs", f"{worst:.2g} of the range of the output")


def _runtime(path: Path, x):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: x[None]})[0]


def _litert(path: Path, x):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    judge = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
    judge.allocate_tensors()
    source, result = judge.get_input_details()[0], judge.get_output_details()[0]
    judge.set_tensor(source["index"], (x.transpose(1, 2, 0) if len(source["shape"]) == 4 else x).reshape(source["shape"]))
    judge.invoke()
    y = judge.get_tensor(result["index"])
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.bad_files", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="files to make (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the damage (%(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds after which loading counts as a hang (%(default)s)")
    parser.add_argument("--data", type=Path, default=os.environ.get("FIRELINE_DATA"), metavar="DIR",
                        help="folder of the shared models ($FIRELINE_DATA); without it the small models only")
    parser.add_argument("--json", metavar="FILE", help="where to write every outcome")
    return parser


def _work(args: argparse.Namespace) -> int:
    samples = find_samples(args.data)
    with tempfile.TemporaryDirectory() as folder:
        if args.data:
            (Path(folder) / "images").mkdir()
            shutil.copy(args.data / "images" / "labels.txt", Path(folder) / "images")
        cases = run_cases(make_cases(samples, args.count, args.seed), Path(folder), timeout=args.timeout)
        outcomes = list(progress(cases, "files", total=args.count))
    _print_summary(outcomes, args.seed)
    if args.json:
        write_json(args.json, {"seed": args.seed, "outcomes": [asdict(outcome) for outcome in outcomes]})
    return 0 if all(outcome.outcome in GOOD for outcome in outcomes) else 1


def _print_summary(outcomes: Sequence[Outcome], seed: int) -> None:
    console = terminal()
    table = Table(title=f"{len(outcomes)} damaged files, seed {seed}")
    table.add_column("damage")
    for outcome in OUTCOMES:
        table.add_column(outcome, justify="right")
    for mutation in sorted({outcome.mutation for outcome in outcomes}):
        counts = Counter(outcome.outcome for outcome in outcomes if outcome.mutation == mutation)
        table.add_row(mutation, *(str(counts[outcome] or "") for outcome in OUTCOMES))
    counts = Counter(outcome.outcome for outcome in outcomes)
    table.add_section()
    table.add_row("all", *(str(counts[outcome]) for outcome in OUTCOMES))
    console.print(table)
    agreed = sum(outcome.message == "agrees" for outcome in outcomes)
    console.print(f"{counts['loaded']} loaded, {agreed} of them compared with ONNX Runtime or LiteRT and equal; slowest "
                  f"{max(outcome.seconds for outcome in outcomes):.1f} s")
    for outcome in outcomes:
        if outcome.outcome not in GOOD:
            console.print(f"case {outcome.number}, {outcome.sample}, {outcome.mutation}: {outcome.outcome}: {outcome.message}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.count < 1 or args.timeout <= 0:
        parser.error("count and timeout must be positive")
    if args.data and not (args.data / "models").is_dir():
        parser.error(f"--data {args.data} holds no models/")
    return run_command(_work, args)


if __name__ == "__main__":
    sys.exit(main())
