"""The ECP5 as the gateware sees it."""
from hw.ecp5 import cells
from hw.ecp5.pll import Clocks
from hw.family.device import Device

__all__ = ["ECP5"]

ECP5 = Device(
    name="ecp5", tiles=tuple((rows, width) for rows, width, _ in cells.TILES), block_ram=cells.block_ram,
    multiplier=cells.multiplier, copy=cells.copy, gated_add=cells.gated_add, gated_subtract=cells.gated_subtract,
    gated_difference=cells.gated_difference, chosen_add=cells.chosen_add, config_clock=cells.config_clock, clocks=Clocks)
