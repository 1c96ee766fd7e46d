"""A boot of `host.device.Device` from its flash, as the chip's: what `golden.boot` says is done."""
from arch.flash import Command, Status
from golden.boot import Booted, boot
from host.device import Device

__all__ = ["booting"]

_LOOKS = 1000                   # at a flash that is busy


def booting(device: Device) -> Booted:
    """Tries the slots where the device's identity says that they lie; its programs run as `device.run` runs them. A trial that
    begins is marked through the flash's own commands."""
    def run(address: int) -> int | None:
        status = device.run(address)
        return None if status.failed else status.cycles

    flash = device.flash
    for command in (Command.NOTHING, Command.RELEASE):
        flash.exchange(bytes([command]))
    _wait(flash)
    found = boot(flash.read, device.identity.slots, digest=device.identity.digest, storage=device.storage, run=run)
    if found.mark is not None:
        flash.exchange(bytes([Command.WRITE_ENABLE]))
        flash.exchange(bytes([Command.PROGRAM, *found.mark.to_bytes(3, "big"), 0]))
        _wait(flash)
    return found


def _wait(flash) -> None:
    for _ in range(_LOOKS):
        if not flash.exchange(bytes([Command.STATUS, 0]))[1] & Status.BUSY:
            return
