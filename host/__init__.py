"""The PC side: protocol, link and demos."""
from cli import interrupt

interrupt.guard_start()
