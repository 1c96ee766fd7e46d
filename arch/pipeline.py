"""Latencies of the engine's units in cycles, as functions of the geometry: the one place where they are written down.

A latency counts clock edges: a unit of latency 1 shows in cycle t + 1 what it was given in cycle t. Hardware checks at
construction that what it builds agrees; `golden.cycles` computes with nothing else. Whoever changes a unit's pipeline changes
its line here.
"""
from arch.geometry import Geometry

__all__ = ["ACTIVATION_READ", "ACTIVATION_WRITE", "PAD", "PARAMETER_READ", "WEIGHT_READ", "WINDOW"]

# Window generator: beat issued -> address and control at its output registers.
WINDOW = 2
# Activation memory: address given -> data. Address register, block RAM with output register (2), bank selection.
ACTIVATION_READ = 4
# Activation memory: write given -> a read given in that cycle or later sees it.
ACTIVATION_WRITE = 1
# Padding inserted after the read.
PAD = 1
# Weight and parameter memories: address register, block RAM with output register (2), bank selection.
WEIGHT_READ = 4
PARAMETER_READ = 4


def operand(geometry: Geometry) -> int:
    """Beat issued by the window generator -> activations and control at the array's input."""
    return WINDOW + ACTIVATION_READ + PAD
