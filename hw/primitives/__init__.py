"""What a vendor's cells do better than logic, each with a behavioural twin of the same latency behind the same ports."""

from .block_ram import BlockRam
from .config_clock import ConfigClock
from .copy import Copy, copied
from .multiplier import Multiplier
from .platform import Ecp5, device_of

__all__ = ["BlockRam", "ConfigClock", "Copy", "Ecp5", "Multiplier", "copied", "device_of"]
