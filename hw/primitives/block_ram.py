"""Block RAM with its output register."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.ecp5.device import ECP5
from hw.primitives.platform import device_of

__all__ = ["BlockRam", "tile_shape"]


def tile_shape(depth: int) -> tuple[int, int]:
    """Depth and width in bits of the block RAM tiles that hold `depth` rows without a multiplexer: of an ECP5, the only family
    so far.

    Raises ValueError if `depth` is not 1..16384.
    """
    for rows, width in ECP5.tiles:
        if 1 <= depth <= rows:
            return rows, width
    raise ValueError(f"Depth of a block RAM must be 1..{ECP5.tiles[-1][0]} rows, not {depth!r}")


class BlockRam(wiring.Component):
    """`depth` rows of `width` bits; one write port, one read port, both always on.

    ``r_data`` follows ``r_addr`` by ``LATENCY`` cycles, one row per cycle, free running: the block
    RAM registers the address and then the data. Written data can be read from the next cycle on.
    Reading a row in the very cycle it is written gives an undefined word (the twin gives the old
    one): users assert that they do not rely on it. Contents start at 0.

    Rows are never split over tiles in depth, so there is no multiplexer behind the output
    register: ``block_rams`` tiles of ``tile_shape(depth)``.

    Parameters
    ----------
    depth : int
        Rows, 1..16384.
    width : int
        Bits of a row, at least 1.

    Members
    -------
    w_en : ``In(1)``
    w_addr, r_addr : ``In(range(depth))``
    w_data : ``In(width)``
    r_data : ``Out(width)``
    """

    LATENCY = 2

    def __init__(self, *, depth: int, width: int):
        self.depth, self.width = depth, width
        self.tile = tile_shape(depth)
        if width < 1:
            raise ValueError(f"Width of a block RAM must be at least 1 bit, not {width!r}")
        bits = ceil_log2(depth)
        super().__init__({"w_en": In(1), "w_addr": In(bits), "w_data": In(width),
                          "r_addr": In(bits), "r_data": Out(width)})

    @staticmethod
    def tiles(*, depth: int, width: int) -> int:
        """Tiles that a memory takes."""
        return -(-width // tile_shape(depth)[1])

    @property
    def block_rams(self) -> int:
        """Tiles used."""
        return self.tiles(depth=self.depth, width=self.width)

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.submodules.rows = rows = memory.Memory(shape=self.width, depth=self.depth, init=[])
            write, read = rows.write_port(), rows.read_port()
            data = Signal(self.width, reset_less=True)
            m.d.comb += [write.en.eq(self.w_en), write.addr.eq(self.w_addr),
                         write.data.eq(self.w_data), read.addr.eq(self.r_addr)]
            m.d.comb += read.en.eq(1)
            m.d.sync += data.eq(read.data)
            m.d.comb += self.r_data.eq(data)
            return m
        device_of(platform).block_ram(m, self)
        return m
