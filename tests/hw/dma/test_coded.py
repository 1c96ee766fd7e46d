# amaranth: UnusedElaboratable=no
"""Coded loads through the DMA, beside all others: every value and every cycle; damaged blocks; clear in the middle."""
from functools import cache

import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer, storage_words
from golden.cycles.streams import Readiness
from sim.weights import random_blocks
from tests.hw.dma.dma_bench import DmaBench, Work
from tests.hw.dma.test_dma import ROWS
from tests.hw.storage.sdram_bench import STRESS

OPTIONS = {"activation_words": 512, "weight_words": 512, "options": ("decoder",)}
BENCHES = {"ram, 2 lanes": (Geometry(input_lanes=8, output_lanes=4, **OPTIONS), 12288),
           "sdram, 4 lanes": (Geometry(input_lanes=16, output_lanes=8, decoder_lanes=4, **OPTIONS), ROWS),
           "small rows, 2 lanes": (Geometry(input_lanes=4, output_lanes=2, **OPTIONS), STRESS)}


@cache
def made(name: str) -> DmaBench:
    return DmaBench(*BENCHES[name])


class Coder:
    """Blocks of weights and tables, one behind the other from word `at` of storage on, and the loads that bring them."""

    def __init__(self, geometry: Geometry, rng: np.random.Generator, at: int, end: int):
        self.geometry, self.rng, self.at, self.end = geometry, rng, at, end
        self.stored: dict[int, np.ndarray] = {}
        self.weights: list[np.ndarray] = []

    def _place(self, words: np.ndarray) -> int | None:
        if self.at + len(words) > self.end:
            return None
        self.stored[self.at] = words
        self.at += len(words) + int(self.rng.integers(0, 5))
        return self.at

    def loads(self, count: int, most: int) -> list[tuple[Opcode, CodedTransfer]]:
        """A table and blocks of up to `most` words of weight memory, as far as there is room."""
        eights = self.geometry.input_lanes // 4
        weights, table, blocks, _ = random_blocks(self.rng, count, most, masked=bool(self.rng.integers(2)), multiple=eights)
        found = []
        for words, own in [(table, None), *zip(blocks, weights, strict=True)]:
            at = self.at
            if self._place(words) is None:
                break
            chip_words = 0 if own is None else own.size // 8 // eights
            chip = int(self.rng.integers(0, self.geometry.weight_words - chip_words + 1))
            chip = min(chip, self.geometry.weight_words - 1)
            found.append((Opcode.LOAD_CODED, CodedTransfer(storage=at, words=len(words), chip=chip, chip_words=chip_words)))
            self.weights += [] if own is None else [own]
        return found


def others(rng: np.random.Generator, bench: DmaBench, opcode: Opcode, end: int) -> Transfer | PixelTransfer:
    """A transfer of another kind, of storage below `end`."""
    g, small = bench.geometry, bool(rng.integers(2))
    if opcode is Opcode.LOAD_PIXELS:
        width, channels = int(rng.integers(1, 9 if small else 400)), int(rng.integers(1, 5))
        return PixelTransfer(storage=int(rng.integers(0, end - 1600)), storage_step=int(rng.integers(0, 300)), width=width,
                             channels=channels, rows=int(rng.integers(1, 4)))
    memory = {Opcode.LOAD_WEIGHTS: g.weight_words, Opcode.LOAD_PARAMETERS: g.parameter_words}.get(opcode, g.activation_words)
    words = int(rng.integers(1, 6 if small else min(800 // storage_words(g, opcode), 100)))
    return Transfer(storage=int(rng.integers(0, end - 1700)), storage_step=int(rng.integers(0, 800)),
                    chip=int(rng.integers(0, memory - 2 * words)), chip_step=int(rng.integers(0, words)), words=words,
                    runs=int(rng.integers(1, 3)))


def pattern(rng: np.random.Generator) -> Readiness:
    if rng.integers(2):
        return Readiness()
    return Readiness(np.append(np.repeat(rng.random(97) < rng.choice([0.05, 0.3, 0.9]), rng.choice([1, 20])), True))


def drawn(bench: DmaBench, seed: int, *, most: int = 120) -> Work:
    """Coded loads, in a few groups with a table each, among others; stores and fetches."""
    rng = np.random.default_rng(seed)
    border = bench.words // 3
    coder, loads = Coder(bench.geometry, rng, border, bench.words), []
    plain = [Opcode.LOAD_WEIGHTS, Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS]
    share = float(rng.choice([0, 0.3, 0.7]))
    for _ in range(int(rng.integers(1, 4))):
        for one in coder.loads(int(rng.integers(1, 5)), most):
            loads.append(one)
            while rng.random() < share:
                opcode = plain[rng.integers(len(plain))]
                loads.append((opcode, others(rng, bench, opcode, border)))
    stores = [others(rng, bench, Opcode.STORE, border) for _ in range(int(rng.integers(0, 4)))]
    fetches = [(int(rng.integers(0, bench.words - 512)), int(rng.integers(1, 513))) for _ in range(int(rng.integers(0, 5)))]
    return Work(loads=loads, stores=stores, fetches=fetches, stored=coder.stored, weights=coder.weights,
                patterns={name: pattern(rng) for name in ("load", "store", "fetch", "pixels")})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", BENCHES)
def test_every_word_in_its_cycle(name, seed):
    bench = made(name)
    bench.check(drawn(bench, seed), seed)
