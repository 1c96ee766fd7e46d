"""What the requantiser is told, and its latency."""
from dataclasses import dataclass

from arch import pipeline
from arch.record import Record, number

__all__ = ["RequantiseConfig", "latency"]


def latency(lanes: int) -> int:
    """Result of columns 0 and 1 -> vector of all `lanes`: the pairs are one cycle apart."""
    return pipeline.REQUANTISE_LANE + lanes // 2 - 1


@dataclass(frozen=True, kw_only=True)
class RequantiseConfig(Record):
    """q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high), multiplier and shift per channel.

    With `fraction` every second vector of an output block is what `arch.scores` has as the second byte of a score instead,
    q = (zero_point + (acc * multiplier >> (shift - 8))) mod 256; shifts are 9..39 then.
    """

    zero_point: int = number(0, 255, "")
    low: int = number(0, 255, "")
    high: int = number(0, 255, "")
    fraction: int = number(0, 1, "", default=0, doc="1: every second vector is the fraction of a step")
