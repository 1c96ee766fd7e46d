"""Damaged blocks of compressed weights, in front of the decoder's RTL.

Bits turned, words cut off, put in, exchanged or noise, some with their length and check word put right again. Each must end in
the fault that golden finds, or in the weights that it decodes; a block that is whole follows each, and must be decoded rightly.
Nothing may hang, and no more words of weights may come than were to.

The decoder is in its DMA, between loads of other kinds: all memories must hold what golden says, and of a damaged block no word
but its own may have changed. Or, `--alone`, nothing but the decoder is simulated.
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
from cli import Parser, positive, progress, run_command, write_json
from hw.dma.decoder.unit import WeightDecoder
from sim.coded_loads import LoadsBench, fuzz_loads
from sim.damage import DamageError, damaged, expected, random_blocks
from sim.verilog.native import Beats, Design

__all__ = ["Seen", "check_blocks", "fuzz", "get_parser", "main", "run_blocks"]

BLOCKS = 12             # that are damaged behind each table
PATIENCE = 8            # cycles a word of a block, and so many times 1000 more: nothing takes as long


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


def check_blocks(design: Design, blocks: Sequence[tuple[np.ndarray, int]], seed: int, word_bytes: int) -> Counter:
    """Runs blocks, damaged or not, and holds what comes against golden; returns the faults. Raises DamageError."""
    seen, table, faults = run_blocks(design, blocks), None, Counter()
    for number, (words, eights) in enumerate(blocks):
        fault, weights, table = expected(words, eights, table)
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
    faults, kinds = Counter(), Counter()
    for round_ in progress(range(-(-count // BLOCKS)), "damaging blocks"):
        rng = np.random.default_rng([seed, round_])
        weights, table, whole, _ = random_blocks(rng, BLOCKS, 60, masked=bool(rng.integers(2)))
        blocks = [(table, 0)]
        for eights, words in zip((one.size // 8 for one in weights), whole, strict=True):
            of_table = rng.random() < 0.15
            how, other = damaged(rng, table if of_table else words)
            to_come = eights + int(rng.integers(1, 9)) * (rng.random() < 0.05)
            blocks += [(other, 0 if of_table else to_come), *([(table, 0)] if of_table else []), (words, eights)]
            kinds[how] += 1
        faults += check_blocks(design, blocks, round_, word_bytes)
    return {"damaged": kinds.total(), "by_damage": dict(kinds), "by_fault": dict(faults), "seed": seed, "wrong": 0}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=positive, default=10_000, metavar="N", help="damaged blocks (%(default)s)")
    parser.add_argument("--alone", action="store_true", help="the decoder alone")
    parser.add_argument("--lanes", type=int, choices=(2, 4), default=4, help="weights a cycle (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def decoder(lanes: int) -> wiring.Component:
    """The decoder with so many lanes that fits an engine of that size."""
    return WeightDecoder(lanes=lanes, word_units=2 * lanes)


def run(args: argparse.Namespace) -> None:
    if args.alone:
        record = fuzz(Design(decoder(args.lanes)), 2 * args.lanes * form.UNIT, args.count, args.seed)
        held = "faults and weights as golden's"
    else:
        record = fuzz_loads(LoadsBench(args.lanes), args.count, args.seed)
        held = "faults, memories and storage as golden's"
    faults = ", ".join(f"{name} {count}" for name, count in sorted(record["by_fault"].items()))
    print(f"{record['damaged']} damaged blocks, and those behind them ({faults}): {held}, nothing hung")
    if args.json:
        write_json(args.json, record)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
