"""Which family of FPGAs a platform stands for."""
from hw.ecp5.device import ECP5
from hw.family.device import Device

__all__ = ["DEVICES", "Ecp5", "device_of"]

DEVICES = {device.name: device for device in (ECP5,)}


class Ecp5:
    """An ECP5 without pins, when something is synthesised without a board."""

    family = ECP5.name


def device_of(platform) -> Device:
    """The record of an Amaranth platform's family. Raises ValueError if there is none."""
    family = getattr(platform, "family", None)
    if family not in DEVICES:
        raise ValueError(f"platform must be of a family of {', '.join(DEVICES)}, not {type(platform).__name__}: "
                         "hw/family/device.py says what another one has to fill in")
    return DEVICES[family]
