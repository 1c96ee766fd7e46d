"""Damaged blocks of compressed weights, in front of the decoder's RTL.

Bits turned, words cut off, put in, exchanged or noise, some with their length and check word put right again. Each must end in
the fault that golden finds, or in the weights that it decodes; a block that is whole follows each, and must be decoded rightly.
Nothing may hang, and no more words of weights may come than were to.
"""
import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys

from amaranth.lib import wiring
import numpy as np

from arch import weight_stream as form
from cli import Parser, WorkError, positive, progress, run_command, write_json
from compiler.coding.blocks import encode_blocks, encode_table
from compiler.coding.tables import fit
from golden.weight_stream import StreamError, Table, decode, decode_table
from hw.dma.decoder.unit import WeightDecoder
from sim.verilog.native import Beats, Design

__all__ = ["DamageError", "Seen", "fuzz", "get_parser", "main", "random_blocks", "run_blocks"]

PATIENCE = 8            # cycles a word of a block, and so many times 1000 more: nothing takes as long
BLOCKS = 12             # that are damaged behind each table


class DamageError(WorkError):
    """Something wrong was accepted or given; the message says with which seed."""


@dataclass(frozen=True)
class Seen:
    """Faults of blocks (0 for none), the cycles in which they were done, words of weights before each was, and what passed each
    stream."""

    faults: list[int]
    done: list[int]
    given: list[int]
    beats: dict[str, Beats]

    def weights(self, block: int) -> np.ndarray:
        """Those that came of a block: int8."""
        start = self.given[block - 1] if block else 0
        return self.beats["o"].payload[start:self.given[block]].reshape(-1).view(np.int8)


def run_blocks(design: Design, blocks: Sequence[tuple[np.ndarray, int]], patterns: Sequence[np.ndarray] = ()) -> Seen:
    """Runs blocks (words, weights to come in eights, 0 for a table) one behind the other. `patterns`, if any: cycles in which
    commands and words are offered first, and in which the taker is ready. Raises SimulationError where it hangs."""
    always = [np.ones(1, bool)] * 3
    commands, offered, ready = patterns or always
    faults, done, outs = [], [], []
    with design.simulate() as sim:
        sim.feed("command", [len(words) | eights << 16 for words, eights in blocks], commands)
        words = np.concatenate([words for words, _ in blocks])
        sim.feed("i", words.astype("<u2").view(np.uint8).reshape(-1, 2), offered)
        sim.pattern("o__ready", ready)
        for words, _ in blocks:
            sim.run_until(high="done", deadline=PATIENCE * 211 * (len(words) + 1000))
            faults.append(sim.get("fault"))
            done.append(sim.cycle)
            sim.step()
        sim.step(50)                # what came now would be too much
        beats = {name: sim.beats(name) for name in ("command", "i", "o")}
    outs = np.searchsorted(beats["o"].cycle, done).tolist()
    return Seen(faults, done, outs, beats)


def random_blocks(rng: np.random.Generator, count: int, most: int, *, masked: bool, multiple: int = 1
                  ) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], list[list[form.Entry]]]:
    """Weights of `count` blocks of 8 to 8 * `most` and so many times as much, a table's block, the blocks, and the table's
    entries."""
    density, width = rng.choice([0, 0.02, 0.1, 0.3, 0.7, 1]), 2.0 ** rng.uniform(-1, 6)
    weights = []
    for size in 8 * multiple * rng.integers(1, most + 1, count):
        values = np.clip(rng.laplace(0, width, size), -128, 127)
        weights.append(np.where(rng.random(size) < density, values, 0).astype(np.int8))
    units = np.concatenate(weights).reshape(-1, form.UNIT)
    there = units.any(axis=1) | (not masked)
    counts = np.bincount(units[there].reshape(-1).view(np.uint8), minlength=form.VALUES)
    counts[0] += not there.any()
    parts = [fit(counts)]
    if masked:
        parts.append(fit(rng.integers(1, 40, form.MASKS)))
    return weights, encode_table(*parts), encode_blocks(weights, *parts), parts


def _damaged(rng: np.random.Generator, words: np.ndarray) -> tuple[str, np.ndarray]:
    """A block that is another one, and how."""
    words = words.copy()
    how = str(rng.choice(["bits", "cut", "longer", "words", "noise"]))
    match how:
        case "bits":
            for bit in rng.integers(0, 16 * len(words), rng.integers(1, 4)):
                words[bit // 16] ^= 1 << bit % 16
        case "cut":
            words = words[:rng.integers(1, len(words))]
        case "longer":
            words = np.insert(words, rng.integers(0, len(words) + 1), rng.integers(0, 1 << 16))
        case "words":
            a, b = rng.integers(0, len(words), 2)
            words[[a, b]] = words[[b, a]]
        case "noise":
            start = rng.integers(0, len(words))
            words[start:] = rng.integers(0, 1 << 16, len(words) - start)
    if rng.random() < 0.6 and len(words) > form.HEADER:       # what checks less must find it
        words[1] = len(words)
        words[-1] = form.check_word(words[:-1])
    return how, words


def _expected(words: np.ndarray, eights: int, table: Table | None) -> tuple[int, np.ndarray, Table | None]:
    """Fault, weights, and the table that is there then."""
    try:
        if not eights:
            return 0, np.zeros(0, np.int8), decode_table(words)
        return 0, decode([words], table, [eights])[0], table
    except StreamError as error:
        return int(error.fault), np.zeros(0, np.int8), table if eights else None


def check_blocks(design: Design, blocks: Sequence[tuple[np.ndarray, int]], seed: int, word_bytes: int) -> Counter:
    """Runs blocks, damaged or not, and holds what comes against golden; returns the faults. Raises DamageError."""
    seen, table, faults = run_blocks(design, blocks), None, Counter()
    for number, (words, eights) in enumerate(blocks):
        fault, weights, table = _expected(words, eights, table)
        given = seen.weights(number)
        most = -(-8 * eights // word_bytes) * word_bytes
        if seen.faults[number] != fault:
            raise DamageError(f"seed {seed}, block {number}: fault {seen.faults[number]} instead of {fault}")
        if fault and given.size > most or not fault and not np.array_equal(
                given, np.pad(weights, (0, -weights.size % word_bytes))):
            raise DamageError(f"seed {seed}, block {number}: other weights than golden decodes")
        faults[form.Fault(fault).name.lower() if fault else "none"] += 1
    if seen.given[-1] != len(seen.beats["o"]) or len(seen.beats["i"]) != sum(len(words) for words, _ in blocks):
        raise DamageError(f"seed {seed}: words came or were taken beside those of the blocks")
    return faults


def fuzz(design: Design, word_bytes: int, count: int, seed: int) -> dict:
    """Figures of so many damaged blocks. Raises DamageError, and SimulationError where something hangs."""
    faults, kinds, damaged = Counter(), Counter(), 0
    for round_ in progress(range(-(-count // BLOCKS)), "damaging blocks"):
        rng = np.random.default_rng([seed, round_])
        weights, table, whole, _ = random_blocks(rng, BLOCKS, 60, masked=bool(rng.integers(2)))
        blocks = [(table, 0)]
        for eights, words in zip((one.size // 8 for one in weights), whole, strict=True):
            of_table = rng.random() < 0.15
            how, other = _damaged(rng, table if of_table else words)
            to_come = eights + int(rng.integers(1, 9)) * (rng.random() < 0.05)
            blocks += [(other, 0 if of_table else to_come), *([(table, 0)] if of_table else []), (words, eights)]
            kinds[how] += 1
            damaged += 1
        faults += check_blocks(design, blocks, round_, word_bytes)
    return {"damaged": damaged, "by_damage": dict(kinds), "by_fault": dict(faults), "seed": seed, "wrong": 0}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=positive, default=10_000, metavar="N", help="damaged blocks (%(default)s)")
    parser.add_argument("--lanes", type=int, choices=(2, 4), default=4, help="weights a cycle (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def decoder(lanes: int) -> wiring.Component:
    """The decoder with so many lanes that fits an engine of that size."""
    return WeightDecoder(lanes=lanes, word_units=2 * lanes)


def run(args: argparse.Namespace) -> None:
    record = fuzz(Design(decoder(args.lanes)), 2 * args.lanes * form.UNIT, args.count, args.seed)
    faults = ", ".join(f"{name} {count}" for name, count in sorted(record["by_fault"].items()))
    print(f"{record['damaged']} damaged blocks, and those behind them ({faults}): faults and weights as golden's, nothing hung")
    if args.json:
        write_json(args.json, record)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
