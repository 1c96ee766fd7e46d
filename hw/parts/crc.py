"""CRC-32 of IEEE 802.3, a byte at a time."""
from functools import reduce
from operator import xor

from amaranth import Cat, Value

from arch.protocol import CRC_POLYNOMIAL

__all__ = ["CRC_INIT", "crc_step"]

CRC_INIT = 0xFFFFFFFF


def _step(register: int, byte: int) -> int:
    register ^= byte
    for _ in range(8):
        register = register >> 1 ^ (CRC_POLYNOMIAL if register & 1 else 0)
    return register


def crc_step(register: Value, byte: Value) -> Value:
    """The CRC's register (before its last inversion) after one more byte; gates only.

    The CRC is linear, so each bit is the exclusive or of those bits of register and byte that it depends on.
    """
    bits = [*register, *byte]
    effects = [_step(1 << n, 0) for n in range(32)] + [_step(0, 1 << n) for n in range(8)]
    return Cat(reduce(xor, [bit for bit, effect in zip(bits, effects, strict=True) if effect >> n & 1]) for n in range(32))
