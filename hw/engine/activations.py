"""The activation memory, and the operands that it feeds to the array."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from hw.engine.mac_array import beat_layout
from hw.engine.window import issue_layout
from hw.parts.banked_ram import BankedRam
from hw.parts.delay import delayed
from hw.primitives import Copy

__all__ = ["Activations"]

LANES_PER_COPY = 2      # input lanes served by one copy of the padding line


class Activations(wiring.Component):
    """Activation memory of words of PI bytes, and padding: an issued address and its `issue` become a beat for the array.

    `beat` follows `issue` by `pipeline.ACTIVATION_READ` + `pipeline.PAD` cycles, free running. Outside the map its lanes are
    the zero point. `r_data`, the word read, follows `address` by `pipeline.ACTIVATION_READ` cycles. A word written in cycle t
    may be read with an address of cycle t + `pipeline.ACTIVATION_TO_READ` or later.

    Members: `address`, `issue` In (from the window generator); `beat`, `r_data` Out; write port `w_addr`, `w_data`, and
    `w_en` In(PI / PO), a bit for each vector of PO bytes in a word.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        bits = geometry.input_lanes * 8
        address = ceil_log2(geometry.activation_words)
        super().__init__({
            "address": In(address), "issue": In(issue_layout(geometry)), "r_data": Out(bits),
            "beat": Out(beat_layout(geometry.input_lanes, geometry.band_pixels)),
            "w_addr": In(address), "w_data": In(bits), "w_en": In(geometry.blocks_per_word)})

    def elaborate(self, platform):
        m = Module()
        geometry = self.geometry
        m.submodules.memory = memory = BankedRam(depth=geometry.activation_words, lanes=geometry.blocks_per_word,
                                                 lane_bits=geometry.output_lanes * 8)
        m.d.comb += [memory.r_addr.eq(self.address), self.r_data.eq(memory.r_data),
                     memory.w_addr.eq(self.w_addr), memory.w_data.eq(self.w_data), memory.w_en.eq(self.w_en)]

        read, issue = pipeline.ACTIVATION_READ, self.issue
        inside = delayed(m, issue.row & issue.column, read - 1, "inside")
        zero_point = delayed(m, issue.zero_point, read, "zero_point")
        x = Signal(geometry.input_lanes * 8, reset_less=True)
        for first in range(0, geometry.input_lanes, LANES_PER_COPY):
            m.submodules[f"inside{first}"] = copy = Copy()
            m.d.comb += copy.d.eq(inside)
            for lane in range(first, min(first + LANES_PER_COPY, geometry.input_lanes)):
                m.d.sync += x.word_select(lane, 8).eq(Mux(copy.q, memory.r_data.word_select(lane, 8), zero_point))
        control = delayed(m, Cat(issue.first, issue.last, issue.addr), read + pipeline.PAD, "control")
        m.d.comb += [
            self.beat.valid.eq(delayed(m, issue.valid, read + pipeline.PAD, "valid")),
            self.beat.swap.eq(delayed(m, issue.swap, read + pipeline.PAD, "swap")),
            Cat(self.beat.first, self.beat.last, self.beat.addr).eq(control), Cat(self.beat.x).eq(x)]
        return m
