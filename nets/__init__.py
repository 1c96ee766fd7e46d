"""What to run: graphs, importers, the SqueezeNet zoo and quantisation. Knows nothing of hardware."""
from cli import interrupt

interrupt.guard_start()
