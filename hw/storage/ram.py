"""Storage in block RAM, for networks that need no SDRAM."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch.sdram import PULL
from arch.transfer import RAM_READ
from hw.parts.banked_ram import BankedRam
from hw.parts.delay import delayed
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["StorageRam"]


class StorageRam(wiring.Component):
    """Reads and writes `length` words from word `address` on, as `hw.storage.sdram.Sdram` does behind the same ports.

    A request is taken when none is served; from the next cycle on its words have their turns, one a cycle. Word read: on ``r``
    `arch.transfer.RAM_READ` cycles after its turn; word to be written: asked for in its turn. ``request.ready`` and ``take`` are
    registers. Address 2**address_bits - 1 is followed by 0; beyond the last word nothing is written, and what
    is read is undefined. Reset ends the request under way and keeps the words.

    Parameters
    ----------
    words : int
        Words of 16 bits, a multiple of 1024, at most 131072.

    Members
    -------
    request : ``In(stream.Signature(request_layout(address_bits)))``
    take, w : ``Out(1)``, ``In(16)``
    r : ``Out(word_layout())``
    """

    def __init__(self, words: int):
        if isinstance(words, bool) or not isinstance(words, int):
            raise TypeError(f"Words of storage must be an integer, not {words!r}")
        if not 1024 <= words <= 131072 or words % 1024:
            raise ValueError(f"Words of storage must be 1024..131072 and a multiple of 1024, not {words}")
        assert RAM_READ == PULL + BankedRam.LATENCY
        self.words, self.address_bits = words, ceil_log2(words)
        super().__init__({"request": In(stream.Signature(request_layout(self.address_bits))), "take": Out(1), "w": In(16),
                          "r": Out(word_layout())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BankedRam(depth=self.words, lanes=1, lane_bits=16)
        request = self.request.payload
        idle, reading, writing = Signal(init=1), Signal(), Signal()
        address, left = Signal(self.address_bits, reset_less=True), Signal(len(request.length), reset_less=True)
        last, place = Signal(reset_less=True), delayed(m, address, PULL, "place")
        m.d.comb += [
            self.request.ready.eq(idle), self.take.eq(writing), ram.r_addr.eq(place), ram.w_addr.eq(place), ram.w_data.eq(self.w),
            ram.w_en.eq(delayed(m, writing, PULL, "write", reset=True)),
            self.r.valid.eq(delayed(m, reading, RAM_READ, "valid", reset=True)), self.r.data.eq(ram.r_data)]
        with m.If(idle):
            m.d.sync += [address.eq(request.address), left.eq(request.length), last.eq(request.length == 1)]
            with m.If(self.request.valid & (request.length != 0)):
                m.d.sync += [idle.eq(0), reading.eq(~request.write), writing.eq(request.write)]
        with m.Else():
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), last.eq(left == 2)]
            with m.If(last):
                m.d.sync += [idle.eq(1), reading.eq(0), writing.eq(0)]
        return m
