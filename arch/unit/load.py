"""What the loaders of weights and parameters are told."""
from dataclasses import dataclass

from arch.record import WEIGHT_ADDRESS, Record, number
from arch.unit.window import WindowConfig

__all__ = ["LoadConfig"]

PASSES = WindowConfig.most("kernel_y") * WindowConfig.most("kernel_x") * WindowConfig.most("blocks")

@dataclass(frozen=True, kw_only=True)
class LoadConfig(Record):
    """Where weights and parameters of the command lie; both are read in ascending order and wrap at the memory's end.

    Weights: a word (PI pairs) per column pair, pass and output block. Parameters: a word per column pair and output block; it
    holds two biases, two multipliers and two shifts. Within a pass or block, the last column pair comes first.
    """

    weights: int = number(0, (1 << WEIGHT_ADDRESS) - 1, "words", memory="weight_words", doc="first word of the first pass")
    parameters: int = number(0, (1 << WEIGHT_ADDRESS) - 1, "words", memory="parameter_words",
                             doc="first word of the first output block")
    passes: int = number(1, PASSES, "passes", doc="of one output block, as in the window")
    output_blocks: int = number(1, 4095, "output blocks")
