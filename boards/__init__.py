"""Boards for the open ECP5 flow, on top of amaranth-boards: the only place with board names, pins and clocks."""
