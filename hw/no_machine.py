"""What stands in the machine's place on a chip without an engine: storage is the host's at any time."""
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.protocol import COUNTERS
from arch.record import bits_of_storage
from hw.sequencer.counters import BITS
from hw.sequencer.sequencer import error_layout
from hw.storage.arbiter import request_layout, word_layout
from hw.storage.share import StorageShare

__all__ = ["NoMachine"]


class NoMachine(wiring.Component):
    """The ports of `hw.machine.Machine` that a chip needs. Nothing runs, and nothing ever did: `start` and `clear` do nothing.

    Parameters
    ----------
    address_bits, storage_words : int
        As `hw.machine.Machine` has them.
    """

    def __init__(self, *, address_bits: int, storage_words: int):
        self.address_bits = address_bits
        requests = stream.Signature(request_layout(address_bits))
        super().__init__({
            "start": In(1), "clear": In(1), "program": In(bits_of_storage(storage_words)), "running": Out(1), "finished": Out(1),
            "error": Out(error_layout()), "cycles": Out(32), "index": In(range(len(COUNTERS))), "counter": Out(BITS),
            "host_request": In(requests), "host_w": In(stream.Signature(16)), "host_r": Out(word_layout()),
            "request": Out(requests), "take": In(1), "w": Out(16), "r": In(word_layout())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.share = share = StorageShare(self.address_bits)
        for outer, inner in ((flipped(self.request), share.request), (flipped(self.host_request), share.host_request),
                             (flipped(self.host_w), share.host_w)):
            connect(m, outer, inner)
        m.d.comb += [share.take.eq(self.take), self.w.eq(share.w), share.r.eq(self.r), self.host_r.eq(share.host_r),
                     share.host.eq(1), share.asks.eq(1)]
        return m
