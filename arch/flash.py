"""The flash that configures the FPGA: what its chip understands, and where the bitstream ends in it (`arch.slots`: what follows).
"""

__all__ = ["BLOCK_BYTES", "BOOT_OFFSET", "Command", "PAGE_BYTES", "SECTOR_BYTES", "Status"]

BOOT_OFFSET = 2 << 20                   # bytes; the greatest bitstream, an 85F's, ends before


class Command:
    """First bytes of exchanges with a SPI flash, which all makers' chips understand (such as Winbond's W25Q128JV data sheet)."""

    PROGRAM, READ, STATUS, WRITE_ENABLE, ERASE_SECTOR, ERASE_BLOCK = 0x02, 0x03, 0x05, 0x06, 0x20, 0xD8
    RELEASE, IDENTIFY, NOTHING = 0xAB, 0x9F, 0xFF


class Status:
    """Bits of a flash's first status register."""

    BUSY, WRITE_ENABLED = 1, 2


PAGE_BYTES = 256                        # programmed at once
SECTOR_BYTES = 4 << 10                  # erased at once
BLOCK_BYTES = 64 << 10                  # likewise, with another command
