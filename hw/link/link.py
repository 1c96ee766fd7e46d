"""The board's side of the host protocol (docs/protocol.md): frames in, commands to machine and storage, replies out."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.memory.calibration import PHASE_WORDS
from arch.protocol import COUNTERS, LINE_COUNTS, REFUSED, REPLY, Identity, Refusal
from arch.record import bits_of_storage
from hw.link.check import HEAD_WORDS, FrameCheck
from hw.link.checksum import LinkChecksum
from hw.link.exchange import LinkExchange
from hw.link.line import LineCounts
from hw.link.read import LinkRead
from hw.link.receive import LinkReceiver
from hw.link.reply import Body, LinkReply
from hw.link.send import LinkSender
from hw.link.spi import answer_layout, exchange_layout
from hw.link.uart import byte_layout
from hw.link.unpack import LinkUnpack
from hw.link.words import LENGTHS, LinkWords, status_layout
from hw.link.write import LinkWrite
from hw.parts.slot import Slot
from hw.parts.states import States
from hw.primitives import BlockRam
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["Link", "status_layout"]

_WORD = BlockRam.LATENCY + 1            # cycles from the decision for a word of the frame to the word
_STATES = ("IDLE", "HEAD", "CHECK", "DECIDE", "OBEY", "REFUSE", "WRITE", "CHECKSUM", "SCAN", "BEGIN", "REPLY")
_SHAPE = 5                              # word of a packed frame from which on it is the unpacker's


class Link(wiring.Component):
    """Obeys one frame after the other; the next one is received meanwhile.

    What a frame asks for is only done if all of it arrived undamaged, in its turn, and inside storage. A reset at any time
    leaves a board that waits for `INFO`. Words written go to storage at one in five cycles or so, which is faster than any line.

    Parameters
    ----------
    identity : Identity
        If it has `packing`, packed frames are unpacked.
    flash : bool
        Whether there is one.

    Members
    -------
    rx : ``In(stream.Signature(byte_layout()))``, tx : ``Out(stream.Signature(8))``
        The line. A receiver that cannot wait for `rx.ready` loses frames, which are sent again.
    request, w, r : ``Out(stream.Signature(request_layout(bits)))``, ``Out(stream.Signature(16))``, ``In(word_layout())``
        Storage, as `hw.storage.share.StorageShare` has it for the host; nothing is requested while `status.running`,
        `status.booting` or `status.calibrating`. A `ready` that is high stays so until something is taken. Addresses have
        `arch.record.bits_of_storage` of the identity's words.
    exchange, exchanged : ``Out(stream.Signature(exchange_layout()))``, ``In(answer_layout())``
        The flash, likewise; only if there is one.
    start, program : ``Out(1)``, ``Out(bits)``
        Starts the program at a word of storage, for a cycle.
    clear : ``Out(1)``
        Ends a program, forgets its end and its fault, for a cycle.
    boot : ``Out(1)``
        Tries the slots in flash again, likewise, with `clear`; only if there is one.
    scan, sector : ``Out(1)``, ``Out(24)``
        Likewise: reads the sector of flash from this byte on, which stays until `scanned`.
    scanned, scan_crc : ``In(1)``, ``In(32)``
        For a cycle: the CRC of its bytes is there, and stays.
    status : ``In(status_layout())``
    phase : ``In(data.ArrayLayout(16, PHASE_WORDS))``
        What the calibration found, as `LinkWords` has it.
    index, counter : ``Out(range(len(COUNTERS)))``, ``In(32)``
        The count of `index`, a cycle later.
    heard, spoilt : ``Out(1)``
        For a cycle, for each undamaged and each damaged frame.
    idle : ``Out(1)``
        No whole frame waits or is obeyed, and no byte waits to be sent.
    """

    def __init__(self, identity: Identity, *, flash: bool = False):
        self.identity, self.flash = identity, flash
        self.storage_bits = bits = bits_of_storage(identity.storage_words)
        members = {
            "exchange": Out(stream.Signature(exchange_layout())), "exchanged": In(answer_layout()), "boot": Out(1),
            "scan": Out(1), "sector": Out(24), "scanned": In(1), "scan_crc": In(32)}
        super().__init__({
            **(members if flash else {}), "rx": In(stream.Signature(byte_layout())),
            "tx": Out(stream.Signature(8)), "request": Out(stream.Signature(request_layout(bits))),
            "w": Out(stream.Signature(16)), "r": In(word_layout()), "start": Out(1), "program": Out(bits), "clear": Out(1),
            "status": In(status_layout()), "phase": In(data.ArrayLayout(16, PHASE_WORDS)),
            "index": Out(range(len(COUNTERS))), "counter": In(32), "heard": Out(1),
            "spoilt": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = LinkReceiver()
        m.submodules.sender = sender = LinkSender()
        m.submodules.slot = slot = Slot(sender.i.payload.shape())
        m.submodules.check = check = FrameCheck(self.identity, flash=self.flash)
        m.submodules.write = write = LinkWrite(self.storage_bits, _WORD)
        m.submodules.read = read = LinkRead(self.storage_bits)
        m.submodules.checksum = checksum = LinkChecksum()
        m.submodules.reply = reply = LinkReply()
        m.submodules.line = LineCounts()
        connect(m, flipped(self.rx), receiver.i)
        connect(m, reply.o, slot.i)
        connect(m, slot.o, sender.i)
        connect(m, sender.o, flipped(self.tx))

        head = Signal(16 * HEAD_WORDS, reset_less=True)
        first, body = head[16:48], Signal(Body, reset_less=True)
        m.d.comb += [
            check.head.eq(head), check.words.eq(receiver.o.payload.words),
            check.busy.eq(self.status.running | self.status.booting | self.status.calibrating),
            check.spoilt.eq(self.status.no_window), self.program.eq(first), read.address.eq(first),
            read.count.eq(check.count), write.address.eq(first), write.count.eq(check.count),
            reply.header.eq(head[:16] | REPLY), reply.body.eq(body)]
        next_ = write.next
        if self.flash:
            m.submodules.exchange = exchange = LinkExchange(_WORD)
            next_ = next_ | exchange.next
            connect(m, exchange.exchange, flipped(self.exchange))
            connect(m, exchange.o, reply.exchange)
            m.d.comb += [exchange.exchanged.eq(self.exchanged), exchange.byte.eq(self.w.payload[:8]),
                         exchange.count.eq(check.count), exchange.start.eq(reply.begun & (body == Body.EXCHANGE)),
                         self.sector.eq(first)]
        # Nothing of a frame is needed any more when its reply has begun, but for the bytes of an exchange.
        m.d.comb += receiver.o.ready.eq(Mux(body == Body.EXCHANGE, reply.done, reply.begun))
        if self.identity.packing:
            m.submodules.unpack = unpack = LinkUnpack(self.storage_bits, _WORD)
            next_ = next_ | unpack.next
            m.d.comb += [unpack.address.eq(first), unpack.span.eq(head[48:64]), unpack.skip.eq(head[64:80]),
                         unpack.words.eq(receiver.o.payload.words), unpack.data.eq(receiver.data)]
        self._storage(m, receiver, write, read, check.kind)
        self._stream(m, read, checksum, reply)
        self._table(m, check, checksum, reply, first)
        self._states(m, head, body, next_)
        return m

    def _storage(self, m, receiver, write, read, kind):
        """Requests of reads and writes, never both at once. A frame's word goes on from a register, which stands still while it
        is not taken: it follows the RAM, whose address does not change before."""
        free = Signal()                         # a cycle late: storage is far away, and nothing is given twice so soon
        reads = Signal(reset_less=True)
        word, give, asks, writes = receiver.data, write.give, write.request.valid, write.request.payload
        if self.identity.packing:
            unpack = m.submodules.unpack
            packed = Signal(reset_less=True)
            m.d.sync += [packed.eq(kind.packed), unpack.room.eq(self.w.ready)]
            m.d.comb += unpack.request.ready.eq(free)
            word, writes = Mux(packed, unpack.word, word), Mux(packed, unpack.request.payload, writes)
            give, asks = give | unpack.give, asks | unpack.request.valid
        m.d.sync += [self.w.payload.eq(word), write.room.eq(self.w.ready), free.eq(self.request.ready),
                     reads.eq(~(kind.write | kind.packed))]
        m.d.comb += [
            self.w.valid.eq(give), read.r.eq(self.r), read.request.ready.eq(free), write.request.ready.eq(free),
            self.request.valid.eq((read.request.valid | asks) & free),
            self.request.payload.eq(Mux(reads, read.request.payload, writes))]

    def _stream(self, m, read, checksum, reply):
        """Words that are read go to the checksum or into the reply: whichever was started takes them."""
        for taker in (checksum.i, reply.read):
            m.d.comb += [taker.valid.eq(read.o.valid), taker.payload.eq(read.o.payload)]
        m.d.comb += read.o.ready.eq(checksum.i.ready | reply.read.ready)

    def _table(self, m, check, checksum, reply, nonce):
        """Words of replies that are neither storage's nor the flash's."""
        m.submodules.words = words = LinkWords(self.identity)
        m.d.comb += [
            self.index.eq(reply.place[1:]), words.which.eq(reply.table), words.place.eq(reply.place), reply.word.eq(words.word),
            words.awaited.eq(check.awaited), words.crc.eq(checksum.crc), words.nonce.eq(nonce), words.status.eq(self.status),
            words.counter.eq(self.counter), words.line.eq(m.submodules.line.counts),
            words.phase.eq(self.phase)]
        if self.flash:
            m.d.comb += words.scanned.eq(self.scan_crc)

    def _states(self, m, head, body, next_):
        """A frame's first words, their check, what it asks for, the reply."""
        names = list(LENGTHS)
        parts = m.submodules
        receiver, check, reply = parts.receiver, parts.check, parts.reply
        events, unawaited = parts.line.events, Signal()
        byte = self.rx
        m.d.comb += [events[LINE_COUNTS.index(name)].eq(event) for name, event in (
            ("sound", self.heard), ("damaged", self.spoilt), ("unawaited", unawaited),
            ("lost", byte.valid & byte.ready & byte.payload.error))]
        damaged = receiver.o.payload.damaged
        step, table = Signal(range(HEAD_WORDS + _WORD)), Signal.like(reply.table, reset_less=True)
        jump, target, on = Signal(), Signal(2 + self.identity.packing, reset_less=True), Signal()    # to a word; to the next one
        with m.If(jump):
            m.d.sync += receiver.word.eq(target)
        with m.Elif(on):
            m.d.sync += receiver.word.eq(receiver.word + 1)
        m.d.comb += reply.table.eq(table)
        m.d.sync += [jump.eq(0), on.eq(next_), step.eq(step + 1), self.start.eq(0), self.clear.eq(0), self.heard.eq(0),
                     self.spoilt.eq(0), unawaited.eq(0), parts.read.start.eq(0)]
        if self.flash:
            m.d.sync += [self.boot.eq(0), self.scan.eq(0)]
        with States(m, (*_STATES, *("UNPACK",) * self.identity.packing)) as states:
            with states.at("IDLE"):
                m.d.comb += self.idle.eq(~receiver.o.valid & ~parts.slot.o.valid & parts.sender.idle)
                m.d.sync += [step.eq(0), jump.eq(1), target.eq(0),
                             parts.words.reason.eq(Mux(check.connected, Refusal.DAMAGED, Refusal.UNCONNECTED))]
                with m.If(receiver.o.valid):
                    states.go("HEAD")
            with states.at("HEAD"):
                m.d.sync += [head.eq(Cat(head[16:], receiver.data)), on.eq(1)]
                with m.If(step == HEAD_WORDS + _WORD - 1):
                    m.d.sync += [step.eq(0), self.heard.eq(~damaged), self.spoilt.eq(damaged)]
                    states.go("CHECK")
            with states.at("CHECK"):
                with m.If(damaged):
                    m.d.sync += head[8:16].eq(0)
                    states.go("REFUSE")
                with m.Elif(step == FrameCheck.LATENCY):
                    states.go("DECIDE")
            with states.at("DECIDE"):
                m.d.sync += [parts.words.reason.eq(check.refusal), body.eq(Body.TABLE),
                             unawaited.eq(check.refusal == Refusal.SEQUENCE)]
                states.go("OBEY")
                with m.If(check.refused):
                    states.go("REFUSE")
            self._obey(m, states, table, body, jump, target)
            if self.identity.packing:
                self._unpacked(m, states, parts)
            with states.at("SCAN"):
                if self.flash:
                    with m.If(self.scanned):
                        states.go("BEGIN")
            with states.at("REFUSE"):
                m.d.sync += [head[:8].eq(REFUSED), table.eq(names.index("REFUSED")), body.eq(Body.TABLE)]
                states.go("BEGIN")
            for name, part in (("WRITE", parts.write), ("CHECKSUM", parts.checksum), ("REPLY", reply)):
                with states.at(name):
                    with m.If(part.done):
                        states.go("IDLE" if part is reply else "BEGIN")
            with states.at("BEGIN"):
                m.d.comb += reply.start.eq(1)
                states.go("REPLY")

    def _obey(self, m, states, table, body, jump, target):
        """What an undamaged frame asks for, in its turn."""
        parts = m.submodules
        check, kind = parts.check, parts.check.kind
        with states.at("OBEY"):
            m.d.comb += check.obey.eq(~kind.packed)         # of that nobody knows yet
            m.d.sync += [table.eq(check.reply), jump.eq(1),
                         target.eq(Mux(kind.exchange, 1, Mux(kind.packed, _SHAPE, 3))),
                         self.start.eq(kind.start & ~check.again), self.clear.eq((kind.clear | kind.boot) & ~check.again),
                         parts.read.start.eq(kind.read | kind.checksum)]
            states.go("BEGIN")
            if self.flash:
                m.d.sync += [self.boot.eq(kind.boot & ~check.again), self.scan.eq(kind.scan)]
                with m.If(kind.scan):
                    states.go("SCAN")
            with m.If(kind.read):
                m.d.sync += body.eq(Body.READ)
            with m.If(kind.exchange):
                m.d.sync += body.eq(Body.EXCHANGE)
            with m.If(kind.write):
                m.d.comb += parts.write.start.eq(1)
                states.go("WRITE")
            with m.If(kind.checksum):
                m.d.comb += parts.checksum.start.eq(1)
                states.go("CHECKSUM")
            if self.identity.packing:
                with m.If(kind.packed):
                    m.d.comb += parts.unpack.start.eq(1)
                    states.go("UNPACK")

    def _unpacked(self, m, states, parts):
        """A packed frame is obeyed once all of it has made sense."""
        unpack, check = parts.unpack, parts.check
        with states.at("UNPACK"):
            with m.If(unpack.done):
                m.d.comb += check.obey.eq(~unpack.wrong)
                m.d.sync += parts.words.reason.eq(Refusal.CODED)
                states.go("BEGIN")
                with m.If(unpack.wrong):
                    states.go("REFUSE")
