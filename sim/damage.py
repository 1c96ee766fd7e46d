"""Blocks of compressed weights, whole and damaged, and what golden makes of them."""
import numpy as np

from arch import weight_stream as form
from cli import WorkError
from compiler.coding.blocks import encode_blocks, encode_table
from compiler.coding.tables import fit
from golden.weight_stream import StreamError, Table, decode, decode_table

__all__ = ["DamageError", "damaged", "expected", "random_blocks"]


class DamageError(WorkError):
    """Something wrong was accepted or given; the message says with which seed."""


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


def damaged(rng: np.random.Generator, words: np.ndarray) -> tuple[str, np.ndarray]:
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


def expected(words: np.ndarray, eights: int, table: Table | None) -> tuple[int, np.ndarray, Table | None]:
    """Fault, weights, and the table that is there then."""
    try:
        if not eights:
            return 0, np.zeros(0, np.int8), decode_table(words)
        return 0, decode([words], table, [eights])[0], table
    except StreamError as error:
        return int(error.fault), np.zeros(0, np.int8), table if eights else None
