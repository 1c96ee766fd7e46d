"""Which stages share a table, and their weights as storage holds them with it.

A block is what a load brings. A table is for the blocks up to the next one: stages whose loads take turns share one, and so do
neighbours whose weights are so much alike that another table costs more than it saves.
"""
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from arch import weight_stream as form
from compiler import costs
from compiler.coding.blocks import encode
from compiler.coding.tables import WORD
from compiler.images import weight_words
from compiler.stages import Stage

__all__ = ["Piece", "Share", "shares"]


@dataclass(frozen=True)
class Piece:
    """Words `words`, on the chip, of a stage's weights, which a load brings."""

    stage: Stage
    words: range

    @property
    def weights(self) -> np.ndarray:
        """int8 (words, PI, 2)."""
        return self.stage.work.weights[self.words.start:self.words.stop]


@dataclass(frozen=True, eq=False)
class Share:
    """Stages that share a table, in the order in which they are loaded first. `parts`: of each piece that is loaded, those that
    are blocks; `blocks`: of these, None for one whose plain words are as short."""

    stages: tuple[Stage, ...]
    table: np.ndarray
    parts: dict[Piece, tuple[Piece, ...]]
    blocks: dict[Piece, np.ndarray | None]

    @classmethod
    def of(cls, stages: Sequence[Stage], loaded: Mapping[Stage, Collection[Piece]], lanes: int | None = None) -> "Share":
        parts = {piece: own for stage in stages for piece, own in _parts(stage, loaded[stage]).items()}
        pieces = list(dict.fromkeys(part for own in parts.values() for part in own))
        coded = encode([piece.weights for piece in pieces], lanes)
        return cls(tuple(stages), coded.table, parts, dict(zip(pieces, coded.blocks, strict=True)))

    @property
    def shorter(self) -> bool:
        """Whether storage holds fewer words than if all were plain."""
        plain = sum(stage.work.weights.size for stage in self.stages) // 2
        return bool(self.stages) and len(self.table) + sum(len(self.stored(piece)) for piece in self.blocks) < plain

    def but(self, plain: Collection[Stage]) -> "Share":
        """The same without some of its stages."""
        return Share(tuple(stage for stage in self.stages if stage not in plain), self.table, self.parts,
                     {piece: block for piece, block in self.blocks.items() if piece.stage not in plain})

    def stored(self, piece: Piece) -> np.ndarray:
        """The words of a piece in storage: uint16."""
        block = self.blocks[piece]
        return weight_words(piece.weights) if block is None else block


def shares(loaded: Iterable[Piece], lanes: int | None = None) -> list[Share]:
    """The stages of pieces, given in the order in which they are loaded, perhaps again and again; for a decoder of so many
    lanes as `encode` has it."""
    first: dict[Stage, int] = {}
    last: dict[Stage, int] = {}
    pieces: dict[Stage, dict[Piece, None]] = {}
    for number, piece in enumerate(loaded):
        first.setdefault(piece.stage, number)
        last[piece.stage] = number
        pieces.setdefault(piece.stage, {})[piece] = None
    together: list[list[Stage]] = []
    end = -1
    for stage in first:             # in order
        if first[stage] > end:
            together.append([])
        together[-1].append(stage)
        end = max(end, last[stage])
    return [Share.of(found, pieces, lanes) for found in _neighbours(together)]


def _parts(stage: Stage, loaded: Collection[Piece]) -> dict[Piece, tuple[Piece, ...]]:
    """Of each piece of a stage that is loaded the parts that are blocks: itself, or, where pieces overlap too much since a stage
    is loaded again and again, what lies between all of their ends."""
    ends = sorted({end for piece in loaded for end in (piece.words.start, piece.words.stop)})
    between = [range(*pair) for pair in pairwise(ends)]
    bits = _bits(_counts(stage)) / (stage.work.weights.size // stage.work.weights[0].size)       # of a word on the chip
    whole, cut = (len(found) * costs.BLOCK_WORDS * WORD + bits * sum(map(len, found))
                  for found in ([piece.words for piece in loaded], between))
    if whole <= cut:
        return {piece: (piece,) for piece in loaded}
    return {piece: tuple(Piece(stage, words) for words in between
                         if piece.words.start <= words.start and words.stop <= piece.words.stop) for piece in loaded}


def _neighbours(together: list[list[Stage]]) -> list[list[Stage]]:
    """Those joined that tables of their own save too little: of all neighbours those that gain most, while some do."""
    counts = [sum(_counts(stage) for stage in found) for found in together]
    bits = list(map(_bits, counts))
    while len(together) > 1:
        loss = [_bits(counts[n] + counts[n + 1]) - bits[n] - bits[n + 1] for n in range(len(counts) - 1)]
        at = int(np.argmin(loss))
        if loss[at] >= costs.TABLE_WORDS * WORD:
            break
        together[at:at + 2] = [together[at] + together[at + 1]]
        counts[at:at + 2] = [counts[at] + counts[at + 1]]
        bits[at:at + 2] = [_bits(counts[at])]
    return together


def _counts(stage: Stage) -> np.ndarray:
    return np.bincount(stage.work.weights.view(np.uint8).reshape(-1), minlength=form.VALUES)


def _bits(counts: np.ndarray) -> float:
    """Order-0 entropy of values that occur so often."""
    there = counts[counts > 0]
    return float(-(there * np.log2(there / there.sum())).sum())
