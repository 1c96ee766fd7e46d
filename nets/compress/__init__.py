"""Smaller networks without training: weights that do least are taken out, those that are alike are shared."""
from cli import interrupt

interrupt.guard_start()
