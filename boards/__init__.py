"""Boards for the open ECP5 flow, on top of amaranth-boards: the only place with board names, pins and clocks."""
from cli import interrupt

interrupt.guard_start()

from boards.board import Board
from boards.registry import ALIASES, BOARDS, find

__all__ = ["ALIASES", "BOARDS", "Board", "find"]
