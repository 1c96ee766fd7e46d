"""How often the float network and the integer network are right on a folder of labelled images.

The class of an image is the number that its file name begins with, or its sub-folder's name (a number, or a label);
"first_class" of a side file says which output class 0 has. The table of layers shows what rounding loses on the calibration
images: signal to noise in dB.
"""
import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
import multiprocessing
import os
from pathlib import Path
import signal
import sys
import threading
import warnings

from cli import Parser, positive, print_notes, progress, run_command, terminal, write_bytes, write_json
from golden import values
from nets import float_run
from nets.endings import scores_of
from nets.int8.loss_report import loss_records, loss_table, plot_losses
from nets.int8.network import QNetwork
from nets.labelled import labelled_images, own_images
from nets.model import Model
from nets.network import add_network_arguments, network_and_model
from nets.plot import PLOT_SUFFIXES
from nets.preprocess import find_images, load_image
from nets.quantise import spread
from nets.scores import ranking

__all__ = ["evaluate", "get_parser", "main"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Ranks = tuple[int | None, int]          # of the right class, from 0: float (None without a float model) and int8


class _Worker:
    """One image at a time, in a process of its own."""

    def __init__(self, network: QNetwork, model: Model | None):
        self.network, self.model = network, model

    def ranks(self, path: Path, right: int) -> Ranks:
        network, model = self.network, self.model
        x = network.spec.normalise(load_image(path, network.spec))
        q = values.run(network, network.quantise_input(x))[network.output]
        last = scores_of(model.graph)[0].name if model else None
        y = float_run.run(model.graph, x, keep=(last,))[last] if model else None
        rank, float_rank = (None if scores is None else int((ranking(scores) == right).argmax()) for scores in (q, y))
        return float_rank, rank


_worker: _Worker | None = None


def _start(network: QNetwork, model: Model | None) -> None:
    global _worker
    _worker = _Worker(network, model)


def _ranks(item: tuple[Path, int]) -> tuple[Ranks, list[Warning]]:
    """With what this process would warn of, for the parent to say."""
    with warnings.catch_warnings(record=True, action="always") as heard:
        return _worker.ranks(*item), [warning.message for warning in heard]


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started within never hear of an interrupt: it is the parent's to report, once."""
    if threading.current_thread() is not threading.main_thread():       # the only one that may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _all_ranks(network: QNetwork, model: Model | None, images: list[tuple[Path, int]], jobs: int) -> Iterator[Ranks]:
    if jobs == 1:
        worker = _Worker(network, model)
        yield from (worker.ranks(*item) for item in images)
        return
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))      # processes share the cores already; read when they import NumPy
    try:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (network, model)) as pool:
            try:
                with _deaf():
                    results = pool.map(_ranks, images, chunksize=4)
                for ranks, heard in results:
                    for warning in heard:
                        warnings.warn(warning, stacklevel=2)
                    yield ranks
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def evaluate(network: QNetwork, model: Model | None, images: list[tuple[Path, int]], *, jobs: int = 1) -> dict:
    """Fractions of images whose right class is the first or among the first five: `images`, `float` (None without a float
    model) and `int8`, each with `top1` and `top5`. Raises PreprocessError for an image that cannot be read."""
    ranks = list(progress(_all_ranks(network, model, images, jobs), "evaluating", total=len(images)))
    record: dict = {"images": len(images)}
    for column, what in enumerate(("float", "int8")):
        column_ranks = [pair[column] for pair in ranks]
        record[what] = None if None in column_ranks else {
            f"top{n}": sum(rank < n for rank in column_ranks) / len(ranks) for n in (1, 5)}
    return record


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m golden.evaluate", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser)
    parser.add_argument("--images", type=Path, metavar="DIR",
                        help="labelled images, sub-folders too (digits has its own)")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N of them, evenly spread (all)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the fractions, and what layers lose, as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help=f"also draw what rounding loses, layer by layer ({', '.join(PLOT_SUFFIXES)})")
    return parser


def run(args: argparse.Namespace) -> None:
    if args.images:
        find_images(args.images)        # what is missing is told at once, not behind minutes of calibration
    network, model = network_and_model(args)
    classes = network.tensors[network.output].shape[0]
    images = labelled_images(args.images or own_images(network, "--images"), classes, network.labels,
                             network.first_class)
    images = spread(images, args.limit or len(images))
    print_notes(network.notes)
    record = evaluate(network, model, images, jobs=min(args.jobs, len(images)))
    print(f"{network.name} on {len(images)} images")
    for what in ("float", "int8"):
        if record[what] is None:
            print(f"{what:6} not known of a quantised file: name the float model to compare")
        else:
            print(f"{what:6} " + "   ".join(f"{top.replace('top', 'top-')} {share:7.2%} ({round(share * len(images))})"
                                            for top, share in record[what].items()))
    if network.losses:
        terminal().print(loss_table(network.losses))
    if args.plot:
        write_bytes(args.plot, plot_losses(network.name, network.losses, args.plot.suffix))
    if args.json:
        write_json(args.json, {"model": network.name, "notes": network.notes, **record, "losses": loss_records(network.losses)})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
