"""Who asks storage next, and whose the words are that come back."""
from amaranth.lib import data

from arch.transfer import BURST_WORDS
from hw.sdram import word_layout
from hw.sdram_segments import LENGTH_BITS

__all__ = ["request_layout", "source_layout", "word_layout"]


def request_layout(address_bits: int) -> data.StructLayout:
    """`length` words from word `address` on, as storage is asked for them."""
    return data.StructLayout({"write": 1, "address": address_bits, "length": LENGTH_BITS})


def source_layout(address_bits: int) -> data.StructLayout:
    """A burst of 1..`BURST_WORDS` words."""
    return data.StructLayout({"address": address_bits, "length": range(BURST_WORDS + 1)})
