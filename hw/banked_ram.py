"""Block RAM of any depth, registered on all sides."""
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from hw.primitives import BlockRam, Copy

__all__ = ["BankedRam"]

SLICE_BITS = 36         # each slice of the word has address registers of its own, for at most 36 block RAMs
BANK_WORDS = 8192       # deeper block RAMs would be a single bit wide


class BankedRam(wiring.Component):
    """`depth` words of `lanes` * `lane_bits` bits; one read port and one write port with an enable per lane.

    Latency `LATENCY` cycles, one word per cycle each way, free running. A word written in cycle t can be read with an address
    given in cycle t + `TO_READ` or later; reading it in cycle t gives an undefined word. Contents start at 0.

    Depth is split into powers of two so that no block RAM is wasted: 3072 words are a bank of 2048 and one of 1024.

    Members: `r_addr` In(range(depth)), `r_data` Out(lanes * lane_bits), `w_addr`, `w_data`, `w_en` In(lanes).
    """

    LATENCY = 2 + BlockRam.LATENCY
    TO_READ = 1

    def __init__(self, *, depth: int, lanes: int, lane_bits: int):
        self.depth, self.lanes, self.lane_bits = depth, lanes, lane_bits
        assert self.LATENCY == pipeline.ACTIVATION_READ == pipeline.WEIGHT_READ == pipeline.PARAMETER_READ
        assert self.TO_READ == pipeline.ACTIVATION_TO_READ
        bits = ceil_log2(depth)
        super().__init__({"r_addr": In(bits), "r_data": Out(lanes * lane_bits),
                          "w_addr": In(bits), "w_data": In(lanes * lane_bits), "w_en": In(lanes)})

    @property
    def banks(self) -> list[int]:
        """Words of each bank, powers of two in descending order."""
        sizes, left = [], self.depth
        while left:
            size = min(1 << left.bit_length() - 1, BANK_WORDS)
            sizes.append(size)
            left -= size
        return sizes

    def elaborate(self, platform):
        m = Module()
        read, write = Signal(self.lanes * self.lane_bits), Signal(self.lanes * self.lane_bits, reset_less=True)
        m.d.sync += write.eq(self.w_data)
        m.d.comb += self.r_data.eq(read)
        for lane in range(self.lanes):
            for low in range(0, self.lane_bits, SLICE_BITS):
                span = slice(lane * self.lane_bits + low, lane * self.lane_bits + min(low + SLICE_BITS, self.lane_bits))
                m.submodules[f"slice{lane}_{low}"] = self._slice(self.w_en[lane], write[span], read[span])
        return m

    def _copies(self, m, value, name):
        """A register of `value` that is not merged with the other slices'."""
        copies = []
        for n, bit in enumerate(value):
            m.submodules[f"{name}{n}"] = copy = Copy()
            m.d.comb += copy.d.eq(bit)
            copies.append(copy.q)
        return Cat(*copies)

    def _slice(self, w_en, w_data, r_data):
        m = Module()
        banks = self.banks
        r_addr, w_addr = self._copies(m, self.r_addr, "r_addr"), self._copies(m, self.w_addr, "w_addr")
        words, hits, first = [], [], 0
        for n, size in enumerate(banks):
            bits = ceil_log2(size)
            m.submodules[f"bank{n}"] = bank = BlockRam(depth=size, width=len(w_data))
            # Banks start at multiples of their size, so the upper address bits select them.
            w_hit = self._copies(m, w_en & (self.w_addr[bits:] == first >> bits), f"w_en{n}_")
            hit = self.r_addr[bits:] == first >> bits
            for stage in range(BlockRam.LATENCY):
                hit, previous = Signal(name=f"hit{n}_{stage}", reset_less=True), hit
                m.d.sync += hit.eq(previous)
            hit = self._copies(m, hit, f"hit{n}_")
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
