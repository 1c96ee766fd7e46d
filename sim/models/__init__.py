"""Simulated parts around the chip: SDRAM, flash, a serial line."""
