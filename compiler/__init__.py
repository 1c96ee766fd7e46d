"""From a quantised network to commands and memory images."""
from cli import interrupt

interrupt.guard_start()
