"""Gateware in Amaranth, one component a file. Never imports golden, so that the two check each other."""
from cli import interrupt

interrupt.guard_start()
