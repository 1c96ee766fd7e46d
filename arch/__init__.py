"""The contract between software and hardware: geometry, commands, latencies. Imports nothing of ours and no Amaranth."""
