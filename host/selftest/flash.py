"""The flash under test, without writing to it: its identity, its size, and that it reads the same in two ways."""
from zlib import crc32

from arch.flash import BLOCK_BYTES, SECTOR_BYTES
from host.flash import Flash
from host.link import LinkError
from host.selftest.finding import Check, Finding
from host.session import Session

__all__ = ["test_flash"]

_MAKERS = {0xEF: "Winbond", 0x9D: "ISSI", 0x20: "Micron", 0xC2: "Macronix", 0x01: "Infineon", 0xC8: "GigaDevice",
           0x1F: "Renesas", 0xBF: "Microchip"}
_PREAMBLE = b"\xff\xff\xbd\xb3"        # with which an ECP5's configuration begins, behind its comments
_SECTORS = (0, 1 << 19)                 # bytes
_PINS = "look at the flash's joints; hw/chip.py holds WP and HOLD high where the platform names them"


def test_flash(session: Session) -> Check:
    """Raises LinkError as the session does, but not if no flash answers."""
    identity = session.info.identity
    if identity.slots is None:
        return Check(name="flash", skipped="this board's chip has no way to its flash")
    try:
        flash = Flash(session, identity.flash_offset)
    except LinkError as error:
        return Check(name="flash", findings=[Finding(
            names=("no flash",), seen=str(error), means="nothing answers on the pins of the flash", try_=_PINS)])
    maker, _, code = flash.identity
    name = f"{_MAKERS.get(maker, 'of another maker')} {flash.identity.hex()}"
    found = []
    size = 1 << code if 16 <= code <= 28 else 0
    if size and size < identity.flash_bytes:
        found.append(Finding(names=("smaller flash",), seen=f"the flash says that it has {size >> 20} MB ({name})",
                             means=f"the chip was built for {identity.flash_bytes >> 20} MB: slots would lie behind its end",
                             try_=f"build with --flash-mb {max(1, size >> 20)}"))
    read = b""
    for sector in _SECTORS:
        read = flash.read(sector, SECTOR_BYTES)
        if not crc32(read) == session.scan(sector) == session.scan(sector):
            found.append(Finding(names=("flash reads differ",), seen=f"4 KB from byte {sector:,} on read differently each time",
                                 means="bits are lost between flash and FPGA", try_=_PINS))
            break
    begin = flash.read(0, BLOCK_BYTES // 64)
    boots = f"{'a' if _PREAMBLE in begin else 'no'} bitstream at its beginning"
    covered = f"{name}, {size >> 20} MB; {len(_SECTORS)} sectors read in two ways; {boots}"
    return Check(name="flash", covered=covered, findings=found)
