"""From a chip to its bitstream: the tools' runs, their cache, estimates and reports."""
