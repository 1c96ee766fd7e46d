"""Tests of a board from its line's other end: what is wrong, what it means, and what to try."""
from cli import interrupt

interrupt.guard_start()

from host.selftest.finding import Check, Finding

__all__ = ["Check", "Finding"]
