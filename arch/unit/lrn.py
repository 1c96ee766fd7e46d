"""What the local response normalisation is told, how its constants are loaded, and its latencies."""
from dataclasses import dataclass

from arch.geometry import OPTION_WORDS
from arch.record import Record, number

__all__ = ["ABOVE", "BACK", "BELOW", "ENTRIES", "FILL", "FUNCTIONS", "LrnConfig", "MOST_PIXELS", "MOST_SIZE", "PASS", "latency",
           "turn"]

# Channels of a window at most, and of these below and above its own.
MOST_SIZE = 5
BELOW, ABOVE = (MOST_SIZE - 1) // 2, MOST_SIZE // 2
# Pixels whose channels wait for those of the next output block.
MOST_PIXELS = 512
# Entries of a function, each a parameter word of the unit: in the first bias 17 bits of the base and 14 of the drop, in the
# second one the shift less 1. So many functions it holds.
ENTRIES = 256
FUNCTIONS = OPTION_WORDS["lrn"] // ENTRIES

# Vector taken -> offered, when it passes.
PASS = 2
# Result taken -> the earliest cycle in which its credit may be taken again.
BACK = 2
# A vector that only waits taken -> the next step.
FILL = 3


def turn(lanes: int) -> int:
    """A vector made -> the next step: the elements of a block and its neighbours' go by, one a cycle."""
    return BELOW + lanes + ABOVE


def latency(lanes: int) -> int:
    """Vector made -> offered: the first of its elements (2), the last, its square (5), the sum of squares (3), octave (5), the
    entry (2), the line between two of them (4), the product (2), its shift (4), zero point and limits (2), bytes, queue."""
    return 2 + turn(lanes) - 1 + 5 + 3 + 5 + 2 + 4 + 2 + 4 + 2 + 1 + 1


@dataclass(frozen=True, kw_only=True)
class LrnConfig(Record):
    """Local response normalisation: each byte times a function of the sum of squares of the `size` channels around it.

    With `enable` 0 vectors pass. Otherwise s = sum of (q - zero_point)**2 over (size - 1) // 2 channels below, itself and
    size // 2 above, across all output blocks; octave = max(0, bits of s - 5); entry = 16 * octave + (s >> octave); rest = the
    bits of s that this leaves, in 2**-14 of 2**octave; factor = base - ((drop * rest + 2**13) >> 14);
    q = clamp(zero_point_out + (((q - zero_point) * factor + 2**(shift - 1)) >> shift), 0, 255). Of the words that are loaded into
    the unit, n * 256 + entry is that entry of function n.
    """

    enable: int = number(0, 1, "")
    function: int = number(0, FUNCTIONS - 1, "functions")
    size: int = number(1, MOST_SIZE, "channels")
    pixels: int = number(0, 1023, "vectors", doc="of an output block in this command, after pooling; 0: none at all")
    output_blocks: int = number(1, 4095, "output blocks")
    zero_point: int = number(0, 255, "")
    zero_point_out: int = number(0, 255, "")

    @property
    def constants(self) -> range:
        """Words that it reads of those of the unit."""
        return range(self.function * ENTRIES, (self.function + self.enable) * ENTRIES)
