"""What the inverter is told, and its latency."""
from dataclasses import dataclass

from arch.record import Record, number

__all__ = ["LATENCY", "InvertConfig"]

LATENCY = 0


@dataclass(frozen=True, kw_only=True)
class InvertConfig(Record):
    """Every byte of `vectors` vectors becomes 255 less its value, if `enable` says so."""

    enable: int = number(0, 1, "")
    vectors: int = number(0, 65535, "vectors", doc="of all output blocks")
