"""Simulation of the gateware: Verilator models driven at full speed from NumPy, cocotb benches, behavioural parts."""
from cli import interrupt

interrupt.guard_start()
