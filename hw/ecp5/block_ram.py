"""Block RAM with its output register (ECP5 memory usage guide, FPGA-TN-02204)."""

from amaranth import ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["BlockRam", "tile_shape"]

# Depth and width of one DP16KD, and the number of its 14 address pins that lie below the address.
_TILES = ((512, 36, 5), (1024, 18, 4), (2048, 9, 3), (4096, 4, 2), (8192, 2, 1), (16384, 1, 0))


def tile_shape(depth: int) -> tuple[int, int]:
    """Depth and width in bits of the block RAM tiles that hold `depth` rows without a multiplexer.

    Raises ValueError if `depth` is not 1..16384.
    """
    for rows, width, _ in _TILES:
        if 1 <= depth <= rows:
            return rows, width
    raise ValueError(f"Depth of a block RAM must be 1..16384 rows, not {depth!r}")


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
        """DP16KD that a memory takes."""
        return -(-width // tile_shape(depth)[1])

    @property
    def block_rams(self) -> int:
        """DP16KD tiles used."""
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
        for n in range(self.block_rams):
            low, high = n * self.tile[1], min((n + 1) * self.tile[1], self.width)
            m.submodules[f"tile{n}"] = self._tile(self.w_data[low:high], self.r_data[low:high])
        return m

    def _tile(self, w_data: Value, r_data: Value) -> Instance:
        rows, width, unused = next(tile for tile in _TILES if tile[:2] == self.tile)
        wide = width == 36
        pins = {}
        for n in range(14):
            k = n - unused
            in_range = 0 <= k < len(self.w_addr)
            # Below the address lie the byte enables of 18 and 36-bit ports, always 1.
            pins[f"i_ADA{n}"] = self.w_addr[k] if in_range else Const(k < 0 and width >= 18)
            pins[f"i_ADB{n}"] = self.r_addr[k] if in_range else Const(0)
        for n in range(len(w_data)):
            pins[f"i_DI{'AB'[n // 18]}{n % 18}"] = w_data[n]
            # A 36-bit read uses both ports' pins, a narrower one port B's.
            pins[f"o_DO{'AB'[n // 18] if wide else 'B'}{n % 18}"] = r_data[n]
        return Instance(
            "DP16KD", **pins,
            p_DATA_WIDTH_A=width, p_DATA_WIDTH_B=width,
            # A 36-bit read leaves through both halves of the tile.
            p_REGMODE_A="OUTREG" if wide else "NOREG", p_REGMODE_B="OUTREG",
            p_RESETMODE="SYNC", p_ASYNC_RESET_RELEASE="SYNC", p_GSR="DISABLED",
            p_CSDECODE_A="0b000", p_CSDECODE_B="0b000", p_CLKAMUX="CLKA", p_CLKBMUX="CLKB",
            p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL",
            i_CLKA=ClockSignal(), i_CLKB=ClockSignal(),
            # The 36-bit port writes whenever its clock is enabled.
            i_CEA=self.w_en if wide else Const(1), i_WEA=Const(1) if wide else self.w_en,
            i_CEB=Const(1), i_WEB=Const(0), i_OCEA=Const(1), i_OCEB=Const(1),
            i_RSTA=Const(0), i_RSTB=Const(0),
            **{f"i_CS{port}{n}": Const(0) for port in "AB" for n in range(3)},
        )
