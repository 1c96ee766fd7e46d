"""Block RAM of any depth, registered on all sides."""
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from hw.parts.delay import delayed
from hw.primitives import BlockRam, Copy
from hw.primitives.block_ram import tile_shape

__all__ = ["BankedRam"]

SLICE_BITS = 18         # at most: each slice of the word has address registers of its own, beside its block RAMs
GROUP_SLICES = 2        # slices that share the registers before those
BANK_WORDS = 8192       # deeper block RAMs would be a single bit wide


class BankedRam(wiring.Component):
    """`depth` words of `lanes` * `lane_bits` bits; one read port and one write port with an enable per lane.

    Latency `LATENCY` cycles, one word per cycle each way, free running. A word written in cycle t can be read with an address
    given in cycle t + `TO_READ` or later; reading it in cycle t gives an undefined word. Contents start at 0.

    Depth is split into powers of two so that no block RAM is wasted: 3072 words are a bank of 2048 and one of 1024.

    Addresses pass two levels of registers, copied on the way: block RAMs stand in rows across the whole chip, and a wire from
    one end of it to the other takes 9 ns.

    Members: `r_addr` In(range(depth)), `r_data` Out(lanes * lane_bits), `w_addr`, `w_data`, `w_en` In(lanes).
    """

    LATENCY = 3 + BlockRam.LATENCY
    TO_READ = 1

    def __init__(self, *, depth: int, lanes: int, lane_bits: int):
        self.depth, self.lanes, self.lane_bits = depth, lanes, lane_bits
        assert self.LATENCY == pipeline.ACTIVATION_READ == pipeline.WEIGHT_READ == pipeline.PARAMETER_READ
        assert self.TO_READ == pipeline.ACTIVATION_TO_READ
        bits = ceil_log2(depth)
        super().__init__({"r_addr": In(bits), "r_data": Out(lanes * lane_bits),
                          "w_addr": In(bits), "w_data": In(lanes * lane_bits), "w_en": In(lanes)})

    @staticmethod
    def banks(depth: int) -> list[int]:
        """Words of each bank, powers of two in descending order."""
        sizes, left = [], depth
        while left:
            size = min(1 << left.bit_length() - 1, BANK_WORDS)
            sizes.append(size)
            left -= size
        return sizes

    @classmethod
    def slice_bits(cls, depth: int) -> int:
        """Bits of a lane's slices, but for the last one: as many as the block RAMs of the largest bank have without waste."""
        width = tile_shape(cls.banks(depth)[0])[1]
        return max(1, SLICE_BITS // width) * width

    @classmethod
    def tiles(cls, *, depth: int, lanes: int, lane_bits: int) -> int:
        """DP16KD that a memory takes."""
        bits = cls.slice_bits(depth)
        widths = [min(bits, lane_bits - low) for low in range(0, lane_bits, bits)]
        return lanes * sum(BlockRam.tiles(depth=size, width=width) for size in cls.banks(depth) for width in widths)

    def elaborate(self, platform):
        m = Module()
        read, write = Signal(self.lanes * self.lane_bits), delayed(m, self.w_data, 2, "w_data")
        m.d.comb += self.r_data.eq(read)
        bits = self.slice_bits(self.depth)
        for lane in range(self.lanes):
            for n, low in enumerate(range(0, self.lane_bits, bits)):
                if n % GROUP_SLICES == 0:
                    name = f"group{lane}_{low}_"
                    r_addr, w_addr, w_en = (self._copies(m, value, name + what) for what, value in (
                        ("r_addr", self.r_addr), ("w_addr", self.w_addr), ("w_en", self.w_en[lane])))
                span = slice(lane * self.lane_bits + low, lane * self.lane_bits + min(low + bits, self.lane_bits))
                m.submodules[f"slice{lane}_{low}"] = self._slice(r_addr, w_addr, w_en, write[span], read[span])
        return m

    def _copies(self, m, value, name):
        """A register of `value` that is not merged with the other slices'."""
        copies = []
        for n, bit in enumerate(value):
            m.submodules[f"{name}{n}"] = copy = Copy()
            m.d.comb += copy.d.eq(bit)
            copies.append(copy.q)
        return Cat(*copies)

    def _slice(self, r_early, w_early, w_en, w_data, r_data):
        m = Module()
        banks = self.banks(self.depth)
        r_addr, w_addr = self._copies(m, r_early, "r_addr"), self._copies(m, w_early, "w_addr")
        words, hits, first = [], [], 0
        for n, size in enumerate(banks):
            bits = ceil_log2(size)
            m.submodules[f"bank{n}"] = bank = BlockRam(depth=size, width=len(w_data))
            # Banks start at multiples of their size, so the upper address bits select them.
            w_hit = self._copies(m, w_en & (w_early[bits:] == first >> bits), f"w_en{n}_")
            hit = self._copies(m, delayed(m, r_early[bits:] == first >> bits, BlockRam.LATENCY, f"hit{n}_"), f"hit{n}_")
            m.d.comb += [bank.r_addr.eq(r_addr[:bits]), bank.w_addr.eq(w_addr[:bits]),
                         bank.w_data.eq(w_data), bank.w_en.eq(w_hit)]
            words.append(bank.r_data)
            hits.append(hit)
            first += size
        word = words[0]
        if len(banks) > 1:
            word = 0
            for hit, data_ in zip(hits, words, strict=True):
                word = word | data_ & hit.replicate(len(data_))
        selected = Signal(len(r_data), reset_less=True)
        m.d.sync += selected.eq(word)
        m.d.comb += r_data.eq(selected)
        return m
