"""What a frame asks for, and what is wrong with it."""
from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from arch.flash import SECTOR_BYTES
from arch.protocol import DATA_WORDS, FRAME_WORDS, Identity, Kind, Refusal, arguments
from arch.record import bits_of_storage
from arch.slots import MOST_BYTES
from hw.link.words import LENGTHS

__all__ = ["HEAD_WORDS", "FrameCheck", "kinds_layout"]

HEAD_WORDS = 5                          # of a frame that are looked at: header, and up to four arguments


def kinds_layout() -> data.StructLayout:
    """A bit for each kind of frame, by name."""
    return data.StructLayout({kind.name.lower(): 1 for kind in Kind})


class FrameCheck(wiring.Component):
    """Says what an undamaged frame asks for and why it may not have it. All outputs are registers, up to date `LATENCY` cycles
    after the inputs (`refused` one more), which stand still meanwhile.

    Parameters
    ----------
    identity : Identity
        With a digest of 0 there is no engine: starts are unknown.
    flash : bool
        Whether there is one: otherwise exchanges, boots and scans are unknown.

    Members
    -------
    head : ``In(16 * HEAD_WORDS)``
        The frame's first words; those behind its end are arbitrary.
    words : ``In(range(FRAME_WORDS + 1))``
        Its length, CRC included.
    busy : ``In(1)``
        Storage is the machine's, or that of the boot, or of the calibration.
    spoilt : ``In(1)``
        Storage holds nothing: no phase of the SDRAM's clock is safe. Who tests boards, without an engine, may have it.
    obey : ``In(1)``
        For a cycle: the frame is obeyed, and the next one must follow it.
    connected, awaited : ``Out(1)``, ``Out(8)``
        A frame was obeyed since the reset; the number that the next one must have.
    kind : ``Out(kinds_layout())``
        The bit of its kind is high, or none if it is unknown.
    again : ``Out(1)``
        It repeats the one that was obeyed last.
    count : ``Out(bits_of_storage(identity.storage_words) + 1)``
        Words that it is about, or bytes of an exchange.
    reply : ``Out(range(len(LENGTHS)))``
        What follows the header of the reply, as `LinkWords` has it.
    refusal, refused : ``Out(4)``, ``Out(1)``
        0, or what is wrong; whether anything is.
    """

    LATENCY = 5

    def __init__(self, identity: Identity, *, flash: bool):
        self.identity, self.flash, self.storage_bits = identity, flash, bits_of_storage(identity.storage_words)
        super().__init__({
            "head": In(16 * HEAD_WORDS), "words": In(range(FRAME_WORDS + 1)), "busy": In(1), "spoilt": In(1), "obey": In(1),
            "connected": Out(1), "awaited": Out(8), "kind": Out(kinds_layout()), "again": Out(1),
            "count": Out(self.storage_bits + 1), "reply": Out(range(len(LENGTHS))), "refusal": Out(4), "refused": Out(1)})

    def elaborate(self, platform):
        m = Module()
        kind, sequence = self.head[:8], self.head[8:16]
        awaited, connected = Signal(8), Signal()
        previous, previous_kind = Signal(8), Signal(8)
        with m.If(self.obey):
            m.d.sync += [awaited.eq(sequence + 1), previous.eq(sequence), previous_kind.eq(kind), connected.eq(1)]
        same, again, turn = Signal(2, reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [same.eq(Cat(sequence == previous, kind == previous_kind)), again.eq(same.all() & ~turn),
                     turn.eq(sequence == awaited)]

        is_ = Signal(kinds_layout(), reset_less=True)
        missing = (set() if self.identity.packing else {Kind.PACKED}) | (
            set() if self.flash else {Kind.EXCHANGE, Kind.BOOT, Kind.SCAN}) | (set() if self.identity.digest else {Kind.START})
        kinds = [one for one in Kind if one not in missing]
        m.d.sync += [is_[one.name.lower()].eq(kind == one) for one in kinds]
        names = list(LENGTHS)
        reply = Signal.like(self.reply, reset_less=True)
        m.d.sync += reply.eq(reduce(or_, (
            Mux(is_[name.lower()], names.index(name), 0) for name in names if name in Kind.__members__)))

        known, busy, spoilt = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        storage = Signal(reset_less=True)
        m.d.sync += [known.eq(is_.as_value().any()),
                     storage.eq(is_.write | is_.packed | is_.read | is_.checksum | is_.start | is_.exchange | is_.boot
                                | is_.scan),
                     busy.eq(self.busy & storage & ~((is_.start | is_.boot) & again)),
                     spoilt.eq(self.spoilt & storage & ~(is_.exchange | is_.scan) if self.identity.digest else 0)]
        fits, count = self._length(m, is_, kinds)
        inside = self._inside(m, is_, count)
        refusal, refused = Signal(4, reset_less=True), Signal(reset_less=True)
        problems = ((~is_.info & ~connected, Refusal.UNCONNECTED), (~is_.info & ~turn & ~again, Refusal.SEQUENCE),
                    (~known, Refusal.UNKNOWN), (~fits, Refusal.LENGTH), (busy, Refusal.BUSY), (spoilt, Refusal.MEMORY),
                    (storage & ~inside, Refusal.RANGE))
        m.d.sync += [refusal.eq(0), refused.eq(refusal != 0)]
        for wrong, why in reversed(problems):           # the first one counts
            with m.If(wrong):
                m.d.sync += refusal.eq(why)
        m.d.comb += [self.connected.eq(connected), self.awaited.eq(awaited), self.kind.eq(is_), self.again.eq(again),
                     self.count.eq(count), self.reply.eq(reply), self.refusal.eq(refusal), self.refused.eq(refused)]
        return m

    def _length(self, m, is_, kinds):
        """Whether the frame has as many words as its kind has, and how many words it is about."""
        second = self.head[48:80]
        words, image = Signal(10, reset_less=True), Signal(10, reset_less=True)     # behind the header; behind an address
        fits, count = Signal(reset_less=True), Signal.like(self.count, reset_less=True)
        m.d.sync += [words.eq(self.words - 3), image.eq(self.words - 5), count.eq(1)]
        lengths = []
        for one in kinds:
            low, high = arguments(one)
            right = Signal(name=f"fits_{one.name.lower()}", reset_less=True)
            m.d.sync += right.eq(((words == low) if low == high else (words >= low) & (words <= high)) & is_[one.name.lower()])
            lengths.append(right)
        m.d.sync += fits.eq(Cat(lengths).any())
        for bit, value in ((is_.write, image), (is_.packed, second[:16]), (is_.read, second[:16]), (is_.checksum, second),
                           (is_.exchange, words)):
            with m.If(bit):
                m.d.sync += count.eq(value)
        return fits, count

    def _inside(self, m, is_, count):
        """Whether the words that it is about are in storage, and are as many as its kind may have."""
        first, second, size = self.head[16:48], self.head[48:80], self.identity.storage_words
        bits = self.storage_bits
        beyond = Signal(bits + 2, reset_less=True)
        sane, inside = Signal(reset_less=True), Signal(reset_less=True)
        # A scan is about a sector of flash.
        sector = ~(first[:exact_log2(SECTOR_BYTES)].any() | first[exact_log2(MOST_BYTES):].any())
        stored = beyond <= size if size & size - 1 else ~beyond[exact_log2(size):].any() | (beyond == size)
        m.d.sync += [
            beyond.eq(first[:bits + 1] + count),
            sane.eq((count != 0) & ~(is_.checksum & second[bits + 1:].any())
                    & ~((is_.read | is_.packed) & second[min(bits + 1, 16):16].any())
                    & ~(is_.read & (count[9:].any() | (count[:9] > DATA_WORDS)))),
            inside.eq((stored & sane & ~first[bits:].any()) & ~is_.scan | is_.exchange | is_.boot
                      | is_.scan & sector)]
        return inside
