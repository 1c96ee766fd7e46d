"""Latencies of the engine's core in cycles, as functions of the geometry: the one place where they are written down.

Those of a unit alone stand beside its record in `arch/unit`; `arch.units` adds them up.

A latency counts clock edges: a unit of latency 1 shows in cycle t + 1 what it was given in cycle t. Hardware checks at
construction that what it builds agrees; `golden.cycles` computes with nothing else.
"""
from arch.geometry import Geometry

__all__ = [
    "ACTIVATION_READ", "ACTIVATION_TO_READ", "ACTIVATION_WRITE", "COMMANDS", "COMMAND_BACK", "COMMAND_SPACING", "COMMAND_TAKEN",
    "DISPATCH", "GATHER", "GATHER_FILL", "GATHER_ROW", "GATHER_WAITING", "MIN_REVISIT", "OUTPUT_FIFO", "OUTPUT_FIFO_BACK", "PAD",
    "PARAMETER_READ", "REQUANTISE_LANE", "ROOM_BACK", "WEIGHT_READ", "WINDOW", "WRITE_GRANT", "array", "load_after_swap",
    "operand", "parameters_free_after", "scales_after_swap", "swap_after_load", "weights_free_after", "weights_soon"]

# Window generator: beat issued -> address at its output register.
WINDOW = 4
# Activation, weight and parameter memories, address -> data: address registers (2), block RAM (2), bank selection.
ACTIVATION_READ = WEIGHT_READ = PARAMETER_READ = 5
# Write given -> the earliest cycle in which a read of it may be given.
ACTIVATION_TO_READ = 1
# Write given to the engine's write port -> at the memory: sources registered, one of them chosen.
ACTIVATION_WRITE = 2
# Commands that may wait for a unit. A command offered -> taken, at the earliest; taken -> its records offered to the units; least
# distance of two commands; a record taken by the last unit -> the command that has its place taken.
COMMANDS = 4
COMMAND_TAKEN = 2
DISPATCH = 2
COMMAND_SPACING = 3
COMMAND_BACK = 5
# Padding inserted behind the activation memory.
PAD = 1


def operand(geometry: Geometry, read: int = ACTIVATION_READ) -> int:
    """Beat issued by the window generator -> activations and control at the array's port, from a memory read in `read` cycles."""
    return WINDOW + read + PAD


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


# Requantising lane: product (3), the way back from the multiplier, sum, shift in three steps, rounding, comparison, clamp.
REQUANTISE_LANE = 11


# The loaders: cycles from the window generator's `issue` to the first word read for the next pass or output block, and how many
# words before the last of a group its pass may be allowed to start.
def weights_free_after(geometry: Geometry, read: int = ACTIVATION_READ) -> int:
    """`issue` of a swap beat -> first weight word of the next pass read, at the earliest."""
    return operand(geometry, read) - WINDOW + load_after_swap(geometry) - WEIGHT_READ


def weights_soon(geometry: Geometry, read: int = ACTIVATION_READ) -> int:
    """Words left to read when `ready` may be set: the first beat is issued 3 cycles later at the earliest."""
    return min(geometry.pairs - 1, operand(geometry, read) + 3 - WEIGHT_READ - swap_after_load(geometry))


def scales_after_swap(geometry: Geometry) -> int:
    """Swap of the requantiser's parameters (one cycle before pair 0's first result) -> next first word at its load port."""
    return max(geometry.pairs - 2, 0)


def parameters_free_after(geometry: Geometry, read: int = ACTIVATION_READ) -> int:
    """`issue` of an output block's first emitting beat -> first word of the next block's multipliers and shifts read."""
    return operand(geometry, read) - WINDOW + array(geometry) - 1 + scales_after_swap(geometry) - PARAMETER_READ


# Vector given to the output queue -> offered by it: RAM (write, then 2 to read) and the queue behind it.
OUTPUT_FIFO = 4
# Vector taken from the queue -> the earliest cycle in which its place may be reserved again.
OUTPUT_FIFO_BACK = 2
# The same, to the beat that takes it: issued a cycle before.
ROOM_BACK = OUTPUT_FIFO_BACK - 1

# Write grant -> the write of the vector that is taken in the next cycle: offset of the row, start of the row, word. Others who
# want the activation memory's write port deny the grant so long before.
WRITE_GRANT = 5

# Slot of the gather -> write of the word that it completes: line, word, line memory, and four stages of packing.
GATHER = 9
# Least cycles from a line's last pixel, or the start of a command, to the next line; from a row's last slot to the next row.
GATHER_FILL = 3
GATHER_ROW = 4
# Words of the gather that may wait for the write port while it goes on.
GATHER_WAITING = 5
