"""Streaming depthwise convolution: the unit and its constants in `unit`, its control in `steps`, a channel in `lane`."""
from hw.engine.depthwise.unit import UNIT, Depthwise

__all__ = ["Depthwise", "UNIT"]
