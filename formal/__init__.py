"""Proofs about the gateware: stream stages lose, repeat and reorder nothing; the packed multiplier is two plain products."""
from cli import interrupt

interrupt.guard_start()
