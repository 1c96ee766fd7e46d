"""The format of images that go packed over the line (PACKED); docs/packing.md has it in full.

Each byte is predicted from its neighbours by the median that JPEG-LS predicts with (M. Weinberger, G. Seroussi, G. Sapiro, "The
LOCO-I lossless image compression algorithm", 2000), channels by their differences; what is left goes as a Rice code, whose
parameter follows from the neighbours.
"""
from dataclasses import dataclass

from arch.protocol import DATA_WORDS, PACKED_HEAD

__all__ = ["ESCAPED_BITS", "HEAD", "LIMIT", "MIDDLE", "ROW_WORDS", "STREAM_WORDS", "THRESHOLDS", "Head"]

HEAD = PACKED_HEAD              # words of arguments in front of the stream
STREAM_WORDS = 2 + DATA_WORDS - HEAD            # at most; a frame is as long as the longest WRITE
ROW_WORDS = 32                  # of a row of a frame at most: the row above waits in the chip
MIDDLE = 128                    # stands for neighbours that there are not, and for equal channels
# Bits of a code's second part, by how many of these the neighbours' unrest reaches: about the best for photographs.
THRESHOLDS = (7, 20, 44, 112, 256)
LIMIT, ESCAPED_BITS = 15, 8     # ones of a code's first part, behind which so many plain bits come


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where a packed frame's words go: rows of `row_words` (1..ROW_WORDS), the first one at word `address` of storage, `skip`
    words (below 65536) between one's end and the next one's begin, until all `span` words (1..65535) from the first one's begin
    to the last one's end are done. `three`: channels of a pixel side by side, which begin anew with each row; else one."""

    address: int
    span: int
    skip: int
    row_words: int
    three: bool

    @property
    def words(self) -> list[int]:
        """As the frame has them."""
        return [self.address & 0xFFFF, self.address >> 16, self.span, self.skip, self.row_words - 1 | ROW_WORDS * self.three]

    @classmethod
    def of(cls, words) -> "Head":
        """From a frame's first words; those bits of the last one that mean nothing are not looked at."""
        low, high, span, skip, shape = map(int, words[:HEAD])
        return cls(address=low | high << 16, span=span, skip=skip, row_words=shape % ROW_WORDS + 1, three=bool(shape & ROW_WORDS))
