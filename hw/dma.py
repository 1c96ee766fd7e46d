"""Transfers between storage and the memories on the chip, and the program's way to the sequencer."""
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch.command import Record
from arch.geometry import Geometry
from arch.instruction import STORAGE, PixelTransfer, Transfer
from arch.transfer import TransferFault
from hw.layout import record_layout
from hw.storage_arbiter import request_layout, source_layout, word_layout
from hw.weights import bias_layout, scale_layout, weight_layout

__all__ = ["Dma", "fault_layout", "load_layout", "store_layout"]


def load_layout() -> data.StructLayout:
    """A load: its opcode and, in the same bits, the record that goes with it."""
    body = data.UnionLayout({"transfer": record_layout(Transfer), "pixels": record_layout(PixelTransfer)})
    return data.StructLayout({"opcode": 4, "body": body})


def store_layout() -> data.StructLayout:
    return record_layout(Transfer)


def fault_layout() -> data.StructLayout:
    """`code`: one of `arch.transfer.TransferFault`."""
    return data.StructLayout({"valid": 1, "code": range(max(TransferFault) + 1)})


class Dma(wiring.Component):
    """Loads, stores and the program's words, beside each other through one storage.

    The commands of a queue run one after the other, those of the two queues beside each other. Transfers are cut into bursts of
    at most `arch.transfer.BURST_WORDS` words; for each next burst the program comes first, then stores, then loads. The next
    request is offered to storage while words of the present one pass. `golden.cycles.dma` tells every cycle.

    A load is done when its last word can be read in its memory, or is in the pixel FIFO; the request of a row of pixels waits
    until the FIFO has room for all of it. A store is done when storage has taken its last word.

    Each run is checked before its first request. One that leaves its memory, storage, or the program's region (stores) stops
    its queue with a fault, which stays until `clear`; earlier runs were moved. What is fetched wraps at the end of storage.

    Whoever sets `clear`, for a cycle or longer, must then wait for `idle` before commands are taken again (`ready` is low until
    then): everything is forgotten, no more is written on the chip, words of reads under way are swallowed and those of writes
    are given to storage with any value, so that it does not hang. Storage may only be reset together with this.

    Parameters
    ----------
    geometry : Geometry
    address_bits : int
        Of a word's address in the storage's requests.
    storage_words : int
        Words of storage, at most 2**address_bits, which is the default.

    Members
    -------
    load : ``In(stream.Signature(load_layout()))``
        The opcode is that of a load, the record in its range (`arch.instruction.word_ranges`).
    store : ``In(stream.Signature(store_layout()))``
    store_base, store_words : ``In(24)``, ``In(25)``
        The program's region in storage; stable while stores run.
    fetch : ``In(stream.Signature(StructLayout({"address": 24, "length": range(513)})))``
        1..512 words; ``fetched`` takes them all, whenever they come.
    fetched : ``Out(word_layout())``
    request, w, r : ``Out(stream.Signature(request_layout(address_bits)))``, ``Out(stream.Signature(16))``, ``In(word_layout())``
        Storage, as `hw.sdram.Sdram` has it.
    a_addr, a_data, a_en, w_addr, w_data, w_en, p_addr, biases, scales, p_en, h_addr, h_data, read_grant, write_grant, pixels :
        The engine, as `hw.engine.Engine` has them; registers.
    load_done, store_done : ``Out(1)``
        For a cycle, for each command.
    fault : ``Out(fault_layout())``
        The first fault, until `clear`.
    clear : ``In(1)``
    idle : ``Out(1)``
        No command, no fetch, no word is under way.
    """

    def __init__(self, geometry: Geometry, *, address_bits: int, storage_words: int | None = None):
        self.geometry, self.address_bits = geometry, address_bits
        self.words = 1 << address_bits if storage_words is None else storage_words
        if not 1 <= address_bits <= STORAGE:
            raise ValueError(f"Address bits of storage must be 1..{STORAGE}, not {address_bits}")
        if not 1 <= self.words <= 1 << address_bits:
            raise ValueError(f"Words of storage must be 1..{1 << address_bits}, not {self.words}")
        address, word = ceil_log2(geometry.activation_words), 8 * geometry.input_lanes
        super().__init__({
            "load": In(stream.Signature(load_layout())), "store": In(stream.Signature(store_layout())),
            "store_base": In(STORAGE), "store_words": In(STORAGE + 1),
            "fetch": In(stream.Signature(source_layout(STORAGE))), "fetched": Out(word_layout()),
            "request": Out(stream.Signature(request_layout(address_bits))), "w": Out(stream.Signature(16)), "r": In(word_layout()),
            "a_addr": Out(address), "a_data": Out(word), "a_en": Out(geometry.blocks_per_word),
            "w_addr": Out(ceil_log2(geometry.weight_words)), "w_data": Out(weight_layout(geometry)), "w_en": Out(1),
            "p_addr": Out(ceil_log2(geometry.parameter_words)), "biases": Out(bias_layout()), "scales": Out(scale_layout()),
            "p_en": Out(1), "h_addr": Out(address), "h_data": In(word), "read_grant": Out(1, init=1),
            "write_grant": Out(1, init=1), "pixels": Out(stream.Signature(32)),
            "load_done": Out(1), "store_done": Out(1), "fault": Out(fault_layout()), "clear": In(1), "idle": Out(1, init=1)})

    def elaborate(self, platform):
        return Module()
