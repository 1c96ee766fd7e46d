"""What the global average is told, and its latencies."""
from dataclasses import dataclass

from arch import pipeline
from arch.record import Record, number

__all__ = ["AverageConfig", "BACK", "PASS", "latency"]

# Vector taken -> offered, when it passes.
PASS = 2
# Result taken -> the earliest cycle in which its credit may be taken again.
BACK = 2


def latency(lanes: int) -> int:
    """Last vector of a map taken -> result offered: sum (2), selection (2), start, lane, `lanes` bytes in turn, queue."""
    return 2 + 2 + 1 + pipeline.REQUANTISE_LANE + lanes + 1


@dataclass(frozen=True, kw_only=True)
class AverageConfig(Record):
    """Global average: sums every vector of an output block; `start` is -pixels * zero point, of all commands together.

    With `enable` 0 vectors pass. A map of several bands uses one output block per command: `first` begins anew, `last` emits.
    Sums stay when they are emitted: a band that is not the first adds to them all the same.
    q = clamp(zero_point + ((sum * multiplier + 2**(shift - 1)) >> shift), low, high). With `fraction` a second vector follows
    each, with what the sums have beyond whole steps, as that of the requantiser.
    """

    enable: int = number(0, 1, "")
    first: int = number(0, 1, "")
    last: int = number(0, 1, "")
    pixels: int = number(0, 1023, "vectors", doc="of an output block in this command, after pooling; 0: none at all")
    output_blocks: int = number(1, 4095, "output blocks")
    start: int = number(-(1 << 31), (1 << 31) - 1, "")
    multiplier: int = number(0, 255, "")
    shift: int = number(1, 39, "bits")
    zero_point: int = number(0, 255, "")
    low: int = number(0, 255, "")
    high: int = number(0, 255, "")
    fraction: int = number(0, 1, "", default=0, doc="1: emits the fraction of a step, too")
