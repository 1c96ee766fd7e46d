"""Fireline from Python: a trained network in, an accelerator on an ECP5 board out. docs/api.md shows it from end to end."""
