"""The reference: what the chip must compute, and when. Never imports hw, so that the two check each other."""
from cli import interrupt

interrupt.guard_start()
