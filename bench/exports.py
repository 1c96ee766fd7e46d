"""Networks as PyTorch exports them: imported here, and held against ONNX Runtime on the same file.

Each network of the zoo is written anew in PyTorch (`bench.torch_networks`), given random weights and the statistics of noise,
exported by both of PyTorch's exporters at full size, imported, and run in float: the largest difference from ONNX Runtime over
the range of the output, whether the largest output is the same, and whether there are as many multiply-accumulates as in the
zoo.
"""
import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import io
import logging
from pathlib import Path
import sys
import tempfile
import time
from types import ModuleType
import warnings

import numpy as np
from rich.table import Table

from cli import Parser, RequestError, needs_extra, progress, run_command, terminal, write_json
from nets.float_run import run as run_float
from nets.graph import Graph
from nets.onnx.importer import import_onnx
from nets.zoo import catalogue as zoo

__all__ = ["Exported", "export", "get_parser", "main"]

TARGET = 1e-4           # of the range of the output
EXPORTERS = {"old": False, "new": True}         # by the argument `dynamo` of torch.onnx.export
IMAGES = 2
MEASURED = 4            # images of noise that the statistics of batch normalisations come from


@dataclass(frozen=True, kw_only=True)
class Exported:
    """`worst`: largest difference of any output element on any image, over the range of that image's outputs. `same_macs`:
    whether the file's network has the multiply-accumulates of the zoo's. `error`: why the file was refused."""

    network: str
    exporter: str
    megabytes: float = 0.0
    seconds: float = 0.0        # of the import
    worst: float = 0.0
    same_top1: int = 0
    same_macs: bool = False
    error: str = ""

    @property
    def good(self) -> bool:
        return not self.error and self.worst < TARGET and self.same_top1 == IMAGES and self.same_macs


def _prepared(torch: ModuleType, network: str, shape: tuple[int, ...], seed: int) -> object:
    """The network in PyTorch with seeded weights and measured statistics, ready to export."""
    from bench.torch_networks import NETWORKS
    torch.manual_seed(seed)
    module = NETWORKS[network]()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
                if (layer.weight == 1).all():           # a network may have drawn it
                    layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.25)
        module.train()
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.eval()
        module(torch.randn(MEASURED, *shape))
    return module.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    out, level = sys.stdout, logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        sys.stdout = io.StringIO()
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        sys.stdout = out
        logging.disable(level)


def export(torch: ModuleType, module: object, shape: tuple[int, ...], path: Path, exporter: str) -> None:
    """Writes the file. Raises RequestError where PyTorch cannot."""
    try:
        with _quiet():
            torch.onnx.export(module, (torch.zeros(1, *shape),), str(path), dynamo=EXPORTERS[exporter], verbose=False)
    except Exception as error:          # of whatever kind: it is PyTorch's
        raise RequestError(f"PyTorch cannot export it: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def _differences(runtime: ModuleType, graph: Graph, path: Path, seed: int) -> tuple[float, int]:
    """Largest difference over the output's range, and how often the largest output is the same."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst, same, random = 0.0, 0, np.random.default_rng(seed)
    for _ in range(IMAGES):
        x = random.standard_normal(graph.input.shape, np.float32)
        got = run_float(graph, x)[graph.output].ravel()
        wanted = session.run(None, {session.get_inputs()[0].name: x[None]})[0].ravel()
        worst = max(worst, float(np.abs(got - wanted).max() / np.ptp(wanted)))
        same += int(got.argmax() == wanted.argmax())
    return worst, same


def measure(network: str, exporters: list[str], seed: int) -> Iterator[Exported]:
    """Exports a network of `bench.torch_networks`, imports what came out, and compares."""
    torch = needs_extra("torch", "train", "the export")
    runtime = needs_extra("onnxruntime", "bench", "the comparison with ONNX Runtime")
    expected, spec = zoo.blank(network.partition(" ")[0])
    module = _prepared(torch, network, spec.shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        for exporter in exporters:
            path = Path(folder) / f"{exporter}.onnx"
            try:
                export(torch, module, spec.shape, path, exporter)
                start = time.perf_counter()
                graph = import_onnx(path)
            except RequestError as error:
                yield Exported(network=network, exporter=exporter, error=str(error).replace(str(path), network))
                continue
            seconds = time.perf_counter() - start
            size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
            worst, same = _differences(runtime, graph, path, seed)
            yield Exported(network=network, exporter=exporter, megabytes=size / 1e6, seconds=seconds, worst=worst, same_top1=same,
                           same_macs=graph.total_macs == expected.total_macs)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.exports", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="this network, with options; may be given again (all)")
    parser.add_argument("--exporter", choices=[*EXPORTERS, "both"], default="both",
                        help="PyTorch's older exporter, which traces, or the newer one (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of weights and images (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def _chosen(only: list[str] | None) -> list[str]:
    """The networks of the wanted names, in every way that they are written."""
    from bench.torch_networks import NETWORKS
    if not only:
        return list(NETWORKS)
    found = [name for name in NETWORKS if name in only or name.partition(" ")[0] in only]
    missing = [name for name in only if not any(name in (each, each.partition(" ")[0]) for each in NETWORKS)]
    if missing:
        raise RequestError(f"--only must be one of {', '.join(NETWORKS)}, not {', '.join(missing)}")
    return found


def run(args: argparse.Namespace) -> int:
    needs_extra("torch", "train", "the export")
    names = _chosen(args.only)
    exporters = list(EXPORTERS) if args.exporter == "both" else [args.exporter]
    if "new" in exporters:
        needs_extra("onnxscript", "train", "the newer exporter")
    figures = [one for name in progress(names, "networks") for one in measure(name, exporters, args.seed)]
    table = Table(title=f"networks exported by PyTorch, target {TARGET:.0e}")
    for heading in ("network", "exporter", "MB", "seconds", "difference / range", "same top-1", "MACs"):
        table.add_column(heading, justify="left" if heading in ("network", "exporter") else "right")
    for one in figures:
        table.add_row(one.network, one.exporter, *(["refused", "", "", "", ""] if one.error else [
            f"{one.megabytes:.1f}", f"{one.seconds:.1f}", f"{one.worst:.1e}", f"{one.same_top1} of {IMAGES}",
            "the zoo's" if one.same_macs else "others"]))
    terminal().print(table)
    for one in figures:
        if one.error:
            print(f"{one.network}, {one.exporter} exporter: {one.error}")
    if args.json:
        write_json(args.json, {"target": TARGET, "seed": args.seed, "figures": [asdict(one) for one in figures]})
    return 0 if all(one.good for one in figures) else 1


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
