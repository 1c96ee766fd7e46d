"""cocotb benches: drivers, monitors, and how they are run."""
