"""What produces the figures in README and docs: accuracy, equality, clocks, damage."""
from cli import interrupt

interrupt.guard_start()
