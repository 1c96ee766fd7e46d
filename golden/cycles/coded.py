"""Coded loads in time: words that wait for the decoder of weights, its taker, and loads that are completed in order."""
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode
from arch.transfer import CODED_WORD, JOINED, WRITE
from golden import weight_stream
from golden.cycles.streams import NEVER
from golden.cycles.weight_decoder import CLOSED, Block, DecoderCycles
from golden.weight_stream import Trace

__all__ = ["LEAST", "CodedCycles", "coded_blocks"]

LEAST = CODED_WORD + CLOSED + 1 + JOINED        # from a block's last word to its completion


def coded_blocks(loads: Sequence[CodedTransfer], contents: np.ndarray) -> list[Block]:
    """What the decoder does for each of a program's coded loads, in order, whose blocks are in `contents`: words of storage
    (uint16) from word 0 on. Raises ValueError for one that is damaged, or that comes before a table."""
    table, keys = None, []
    blocks: dict[bytes, dict[bytes, None]] = {}         # of each table, by their words
    for load in loads:
        words = contents[load.storage:load.storage + load.words].tobytes()
        if not load.chip_words:
            table = words
        elif table is None:
            raise ValueError("a coded load needs a table before it")
        blocks.setdefault(table, {})
        if load.chip_words:
            blocks[table][words] = None
        keys.append((table, words if load.chip_words else b""))
    found: dict[tuple[bytes, bytes], Block] = {}
    for table, own in blocks.items():
        found[table, b""] = weight_stream.entries(_words(table))
        found |= {(table, words): trace for words, trace in _traces(table, tuple(own)).items()}
    return [found[key] for key in keys]


def _words(stored: bytes) -> np.ndarray:
    return np.frombuffer(stored, np.uint16)


_kept: dict[tuple[bytes, bytes], Trace] = {}        # of blocks that were seen: many programs of a network are tried
_MOST = 1 << 13


def _traces(table: bytes, blocks: Sequence[bytes]) -> dict[bytes, Trace]:
    """What blocks of a table take, by their words."""
    if new := [words for words in blocks if (table, words) not in _kept]:
        if len(_kept) + len(new) > _MOST:
            _kept.clear()
            new = list(blocks)
        ready = weight_stream.decode_table(_words(table))
        traces = weight_stream.traces([_words(words) for words in new], ready)
        _kept.update(((table, words), trace) for words, trace in zip(new, traces, strict=True))
    return {words: _kept[table, words] for words in blocks}


class CodedCycles:
    """What a DMA with a decoder has more, as far as it follows from words before cycle `settled`; `advance` goes on with more."""

    def __init__(self, geometry: Geometry, taken: Sequence[Opcode], done: list[int]):
        """`taken`: opcodes of loads, in order; to `done` their completions are appended."""
        self._taken, self._done = taken, done
        self._ready = _Ready()
        self._decoder = DecoderCycles(self._ready, lanes=geometry.decoder_lanes, word_units=geometry.input_lanes // 2)
        self._raw: list[int] = []           # when words of other loads can be read, in order
        self._joined = {True: 0, False: 0}  # completions of coded loads, and of others
        self.settled = 0

    @property
    def taken(self) -> list[int]:
        """Cycles in which the decoder takes its words."""
        return self._decoder.cycles.words

    @property
    def given(self) -> list[int]:
        """Cycles in which its words of weights are taken from it."""
        return self._decoder.cycles.given

    @property
    def known(self) -> int:
        """A cycle before which the decoder does nothing that is not known."""
        return self.settled + CODED_WORD

    @property
    def busy(self) -> bool:
        return self._decoder.busy

    @property
    def least(self) -> int:
        """A cycle before which no further coded load is completed; NEVER, if there is none."""
        return self.known + self._decoder.left + JOINED if self.busy else NEVER

    def give(self, block: Block, offered: int) -> None:
        """A block's command, offered to the decoder from a cycle on."""
        self._decoder.give(block, offered)

    def come(self, cycles: np.ndarray) -> None:
        """Words of coded loads come from storage."""
        self._decoder.came += (cycles + CODED_WORD).tolist()

    def write(self, cycles: np.ndarray) -> None:
        """Plain words of weights are at their port, where they go first."""
        self._ready.denied += cycles.tolist()

    def complete(self, cycle: int) -> None:
        """The words of the next load that is not coded can be read."""
        self._raw.append(cycle)

    def advance(self, settled: int) -> None:
        """All words before a cycle were told."""
        self.settled = max(self.settled, settled)
        self._ready.known = self.settled + WRITE
        self._decoder.advance()
        own = {True: self._decoder.cycles.done, False: self._raw}
        while len(self._done) < len(self._taken):
            coded = self._taken[len(self._done)] is Opcode.LOAD_CODED
            if self._joined[coded] == len(own[coded]):
                return
            cycle = own[coded][self._joined[coded]] + JOINED
            self._done.append(max(cycle, self._done[-1] + 1) if self._done else cycle)
            self._joined[coded] += 1


class _Ready:
    """Weight memory: not in cycles that are `denied`, all of which before `known` are there."""

    def __init__(self):
        self.denied: list[int] = []
        self.known = 0

    def following(self, cycle: int) -> int:
        number = bisect_left(self.denied, cycle)
        while number < len(self.denied) and self.denied[number] == cycle:
            number, cycle = number + 1, cycle + 1
        return cycle if cycle < self.known else NEVER
