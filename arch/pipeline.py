"""Latencies of the engine's units in cycles, as functions of the geometry: the one place where they are written down.

A latency counts clock edges: a unit of latency 1 shows in cycle t + 1 what it was given in cycle t. Hardware checks at
construction that what it builds agrees; `golden.cycles` computes with nothing else. Whoever changes a unit's pipeline changes
its line here.
"""
from arch.geometry import Geometry

__all__ = ["ACTIVATION_READ", "ACTIVATION_TO_READ", "MIN_REVISIT", "PAD", "PARAMETER_READ", "WEIGHT_READ", "WINDOW", "array",
           "load_after_swap", "operand", "swap_after_load"]

# Window generator: beat issued -> address at its output register.
WINDOW = 1
# Activation, weight and parameter memories, address -> data: address register, block RAM (2), bank selection.
ACTIVATION_READ = WEIGHT_READ = PARAMETER_READ = 4
# Write given -> the earliest cycle in which a read of it may be given.
ACTIVATION_TO_READ = 1
# Padding inserted behind the activation memory.
PAD = 1


def operand(geometry: Geometry) -> int:
    """Beat issued by the window generator -> activations and control at the array's port."""
    return WINDOW + ACTIVATION_READ + PAD


# The array, as its docstring has it: lanes one cycle apart, multiplier (2), three sums, sum of the column, partial sums (4).
def array(geometry: Geometry) -> int:
    """Beat at the array's port -> result of columns 0 and 1; each further pair one cycle later."""
    return geometry.input_lanes + 6


def load_after_swap(geometry: Geometry) -> int:
    """Swap beat at the array's port -> first word of the next load at its port, at the earliest."""
    return geometry.input_lanes + geometry.pairs


def swap_after_load(geometry: Geometry) -> int:
    """Last word of a load at the array's port -> swap beat that uses it, at the earliest."""
    return 3


MIN_REVISIT = 5         # least distance of two beats with the same partial sum


# Requantising lane: product (3), its sum, shift in three steps, rounding, comparison, clamp.
REQUANTISE_LANE = 10


def requantise(lanes: int) -> int:
    """Result of columns 0 and 1 -> vector of all `lanes`: the pairs are one cycle apart."""
    return REQUANTISE_LANE + lanes // 2 - 1
