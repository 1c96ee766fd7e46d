"""The netlist that goes on the chip: nextpnr's packed cells, simulated through the chip's pins."""
