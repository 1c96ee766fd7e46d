"""The board's side of the host protocol (docs/protocol.md): frames in, commands to machine and storage, replies out."""
from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from arch.protocol import COUNTERS, DATA_WORDS, REFUSED, REPLY, Identity, Kind, Refusal, arguments
from hw.ecp5 import BlockRam
from hw.link.read import LinkRead
from hw.link.receive import LinkReceiver
from hw.link.send import LinkSender
from hw.link.spi import answer_layout, exchange_layout
from hw.link.uart import byte_layout
from hw.link.words import LENGTHS, LinkWords, status_layout
from hw.parts.crc import CRC_INIT, crc_step
from hw.parts.queue import Queue
from hw.parts.slot import Slot
from hw.parts.states import States
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["Link", "status_layout"]

_HEAD = 5                               # words of a frame that are looked at: header, and up to four arguments
_WORD = BlockRam.LATENCY + 1            # cycles from the decision for a word of the frame to the word
_CHECKS = 5                             # cycles until all is known about them
_STATES = ("IDLE", "HEAD", "CHECK", "DECIDE", "OBEY", "REFUSE", "SPAN", "FETCH", "GIVE", "WRITE", "LOW", "HIGH", "CRC", "REPLY",
           "TABLE", "COPIED", "SELECT", "WORD", "STORAGE", "PASS")
_EXCHANGE_STATES = ("OUT", "BYTE", "BACK", "ANSWER")


class Source(Enum, shape=2):
    """Of the words of a reply."""

    HEAD, TABLE, READ, FLASH = range(4)


class Link(wiring.Component):
    """Obeys one frame after the other; the next one is received meanwhile.

    What a frame asks for is only done if all of it arrived undamaged, in its turn, and inside storage. A reset at any time
    leaves a board that waits for `INFO`. Words written go to storage at one in five cycles or so, which is faster than any line.

    Parameters
    ----------
    identity : Identity
    flash : bool
        Whether there is one.

    Members
    -------
    rx : ``In(stream.Signature(byte_layout()))``, tx : ``Out(stream.Signature(8))``
        The line. A receiver that cannot wait for `rx.ready` loses frames, which are sent again.
    request, w, r : ``Out(stream.Signature(request_layout(24)))``, ``Out(stream.Signature(16))``, ``In(word_layout())``
        Storage, as `hw.storage.share.StorageShare` has it for the host; nothing is requested while `status.running` or
        `status.booting`. A `ready` that is high stays so until something is taken.
    exchange, exchanged : ``Out(stream.Signature(exchange_layout()))``, ``In(answer_layout())``
        The flash, likewise; only if there is one.
    start, program : ``Out(1)``, ``Out(24)``
        Starts the program at a word of storage, for a cycle.
    clear : ``Out(1)``
        Ends a program, forgets its end and its fault, for a cycle.
    status : ``In(status_layout())``
    index, counter : ``Out(range(len(COUNTERS)))``, ``In(32)``
        The count of `index`, a cycle later.
    heard : ``Out(1)``
        For a cycle, for each undamaged frame.
    idle : ``Out(1)``
        No whole frame waits or is obeyed, and no byte waits to be sent.
    """

    def __init__(self, identity: Identity, *, flash: bool = False):
        self.identity, self.flash = identity, flash
        members = {"exchange": Out(stream.Signature(exchange_layout())), "exchanged": In(answer_layout())}
        super().__init__({
            **(members if flash else {}), "rx": In(stream.Signature(byte_layout())),
            "tx": Out(stream.Signature(8)), "request": Out(stream.Signature(request_layout(24))), "w": Out(stream.Signature(16)),
            "r": In(word_layout()), "start": Out(1), "program": Out(24), "clear": Out(1), "status": In(status_layout()),
            "index": Out(range(len(COUNTERS))), "counter": In(32), "heard": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = LinkReceiver()
        m.submodules.sender = sender = LinkSender()
        m.submodules.read = read = LinkRead()
        connect(m, flipped(self.rx), receiver.i)
        connect(m, sender.o, flipped(self.tx))
        frame = receiver.o.payload

        head = Signal(16 * _HEAD, reset_less=True)
        kind, sequence, first = head[:8], head[8:16], head[16:48]
        awaited, previous, previous_kind, connected = Signal(8), Signal(8), Signal(8), Signal()
        again, count, refusal = Signal(reset_less=True), Signal(25, reset_less=True), Signal(4, reset_less=True)
        is_ = self._check(m, frame, head, awaited, previous, previous_kind, connected, again, count, refusal)

        # The CRC follows the states by a cycle.
        crc, byte, folded = Signal(32, reset_less=True), Signal(8, reset_less=True), Signal(8, reset_less=True)
        fresh, fold = Signal(), Signal()
        m.d.sync += [fresh.eq(0), fold.eq(0), folded.eq(byte)]
        with m.If(fresh):
            m.d.sync += crc.eq(CRC_INIT)
        with m.Elif(fold):
            m.d.sync += crc.eq(crc_step(crc, folded))
        reason = Signal(4, reset_less=True)
        m.submodules.words = words = LinkWords(self.identity)
        names, which, more = list(LENGTHS), Signal.like(words.which, reset_less=True), Signal(reset_less=True)      # any words
        place, last = Signal.like(words.place, reset_less=True), Signal(reset_less=True)
        end = Signal.like(place, reset_less=True)
        m.d.comb += [
            self.index.eq(place[1:]), words.which.eq(which), words.place.eq(place), words.reason.eq(reason),
            words.awaited.eq(awaited), words.crc.eq(crc), words.nonce.eq(first), words.status.eq(self.status),
            words.counter.eq(self.counter)]
        m.d.sync += last.eq(place == end)

        refused = Signal(reset_less=True)
        m.d.sync += refused.eq(refusal != 0)
        checking = Signal(reset_less=True)
        step, left, ended = Signal(range(_HEAD + _WORD)), Signal(9, reset_less=True), Signal(reset_less=True)
        burst, full, over = Signal(range(Queue.PLACES + 1)), Signal(reset_less=True), Signal(reset_less=True)
        m.submodules.slot = slot = Slot(sender.i.payload.shape())
        connect(m, slot.o, sender.i)
        out, is_read, is_exchange = slot.i, Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += [
            self.program.eq(first), read.address.eq(first), read.count.eq(count), read.r.eq(self.r),
            self.request.payload.write.eq(1), self.request.payload.address.eq(first), self.request.payload.length.eq(burst)]
        m.d.sync += [self.w.payload.eq(receiver.data), self.start.eq(0), self.clear.eq(0), self.heard.eq(0), read.start.eq(0),
                     step.eq(step + 1), ended.eq(Mux(checking, read.last, left == 1)), full.eq(burst == Queue.PLACES - 1)]

        # What is sent next comes from one of these.
        source, exchanged = Signal(Source, reset_less=True), self.exchanged.data if self.flash else Const(0, 8)
        for one, value, final in ((Source.HEAD, head[:16] | REPLY, ~is_read & ~is_exchange & ~more),
                                  (Source.TABLE, words.word, last), (Source.READ, read.o.payload, read.last),
                                  (Source.FLASH, exchanged, ended)):
            with m.If(source == one):
                m.d.comb += [out.payload.word.eq(value), out.payload.last.eq(final)]

        free, room = Signal(), Signal()             # a cycle late: storage is far away, and nothing is given twice so soon
        m.d.sync += [free.eq(self.request.ready), room.eq(self.w.ready)]
        jump, target, on = Signal(), Signal(2, reset_less=True), Signal()       # to a word of the frame; to the next one
        m.d.sync += [jump.eq(0), on.eq(0)]
        with m.If(jump):
            m.d.sync += receiver.word.eq(target)
        with m.Elif(on):
            m.d.sync += receiver.word.eq(receiver.word + 1)

        answer = Signal.like(which, reset_less=True)            # to a frame that is obeyed
        m.d.sync += answer.eq(reduce(or_, (
            Mux(is_[Kind[name]], names.index(name), 0) for name in ("INFO", "CHECKSUM", "STATUS", "COUNTERS"))))

        with States(m, _STATES + (_EXCHANGE_STATES if self.flash else ())) as states:
            with states.at("IDLE"):
                m.d.comb += self.idle.eq(~receiver.o.valid & ~slot.o.valid & sender.idle)
                m.d.sync += [step.eq(0), jump.eq(1), target.eq(0),
                             reason.eq(Mux(connected, Refusal.DAMAGED, Refusal.UNCONNECTED))]
                with m.If(receiver.o.valid):
                    states.go("HEAD")
            with states.at("HEAD"):
                m.d.sync += [head.eq(Cat(head[16:], receiver.data)), on.eq(1)]
                with m.If(step == _HEAD + _WORD - 1):
                    m.d.sync += [step.eq(0), self.heard.eq(~frame.damaged)]
                    states.go("CHECK")
            with states.at("CHECK"):
                with m.If(frame.damaged):
                    m.d.sync += head[8:16].eq(0)
                    states.go("REFUSE")
                with m.Elif(step == _CHECKS):
                    states.go("DECIDE")
            with states.at("DECIDE"):
                m.d.sync += [reason.eq(refusal), is_read.eq(0), is_exchange.eq(0), checking.eq(kind == Kind.CHECKSUM),
                             left.eq(count), burst.eq(0)]
                states.go("OBEY")
                with m.If(refused):
                    states.go("REFUSE")
            with states.at("OBEY"):
                m.d.sync += [awaited.eq(sequence + 1), previous.eq(sequence), previous_kind.eq(kind), connected.eq(1),
                             which.eq(answer), jump.eq(1), target.eq(3), step.eq(0)]
                states.go("SPAN")
                with m.If(is_[Kind.WRITE]):
                    states.go("FETCH")
                with m.If(is_[Kind.READ]):
                    m.d.sync += [is_read.eq(1), read.start.eq(1)]
                with m.If(is_[Kind.CHECKSUM]):
                    m.d.sync += [fresh.eq(1), read.start.eq(1)]
                    states.go("LOW")
                with m.If(is_[Kind.START]):
                    m.d.sync += self.start.eq(~again)
                with m.If(is_[Kind.CLEAR]):
                    m.d.sync += self.clear.eq(~again)
                if self.flash:
                    with m.If(is_[Kind.EXCHANGE]):
                        m.d.sync += [is_exchange.eq(1), target.eq(1)]
            with states.at("REFUSE"):
                m.d.sync += [head[:8].eq(REFUSED), is_read.eq(0), is_exchange.eq(0)]
                m.d.sync += which.eq(names.index("REFUSED"))
                states.go("SPAN")
            with states.at("SPAN"):
                m.d.sync += source.eq(Source.HEAD)
                m.d.sync += place.eq(0)
                with m.Switch(which):
                    for n, length in enumerate(LENGTHS.values()):
                        with m.Case(n):
                            m.d.sync += [end.eq(max(length - 1, 0)), more.eq(length != 0)]
                states.go("REPLY")

            # Some words, then a request for their room.
            with states.at("FETCH"):
                with m.If(step == _WORD):                   # in `w.payload` with the next edge
                    states.go("GIVE")
            with states.at("GIVE"):
                # `w.payload` stays: it follows the RAM, whose address does not change before the word is taken.
                m.d.comb += self.w.valid.eq(room)
                m.d.sync += [step.eq(0), over.eq(ended)]
                with m.If(room):
                    m.d.sync += [left.eq(left - 1), on.eq(1), burst.eq(burst + 1)]
                    states.go("FETCH")
                    with m.If(ended | full):
                        states.go("WRITE")
            with states.at("WRITE"):
                m.d.comb += self.request.valid.eq(free)
                m.d.sync += step.eq(0)
                with m.If(free):
                    m.d.sync += [first[:24].eq(first[:24] + burst), burst.eq(0)]
                    states.go("FETCH")
                    with m.If(over):
                        states.go("SPAN")

            with states.at("LOW"):
                m.d.sync += byte.eq(read.o.payload[:8])
                with m.If(read.o.valid):
                    states.go("HIGH")
            with states.at("HIGH"):
                m.d.comb += read.o.ready.eq(1)
                m.d.sync += [byte.eq(read.o.payload[8:]), fold.eq(1)]
                states.go("CRC")
            with states.at("CRC"):
                m.d.sync += fold.eq(1)
                states.go("LOW")
                with m.If(ended):
                    states.go("SPAN")

            with states.at("REPLY"):
                m.d.comb += out.valid.eq(1)
                m.d.sync += step.eq(0)
                with m.If(out.ready):
                    m.d.comb += receiver.o.ready.eq(~is_exchange)       # nothing else of the frame is needed any more
                    states.go("IDLE")
                    with m.If(is_read):
                        states.go("STORAGE")
                    with m.Elif(more):
                        states.go("TABLE")
                    if self.flash:
                        with m.If(is_exchange):
                            states.go("OUT")
            with states.at("TABLE"):
                m.d.sync += source.eq(Source.TABLE)
                states.go("COPIED")
            with states.at("COPIED"):
                states.go("SELECT")
            with states.at("SELECT"):
                states.go("WORD")
            with states.at("WORD"):
                m.d.comb += out.valid.eq(1)
                with m.If(out.ready):
                    m.d.sync += place.eq(place + 1)
                    states.go("TABLE")
                    with m.If(last):
                        states.go("IDLE")
            with states.at("STORAGE"):
                m.d.sync += source.eq(Source.READ)
                states.go("PASS")
            with states.at("PASS"):
                m.d.comb += [out.valid.eq(read.o.valid), read.o.ready.eq(out.ready)]
                with m.If(read.o.valid & read.o.ready & read.last):
                    states.go("IDLE")

            if self.flash:
                self._exchange(m, states, receiver, out, source, on, step, left, ended)

        # Reads and writes never ask at once.
        reads = Signal(reset_less=True)
        m.d.sync += reads.eq(kind != Kind.WRITE)
        m.d.comb += read.request.ready.eq(free)
        with m.If(read.request.valid):
            m.d.comb += self.request.valid.eq(free)
        with m.If(reads):
            m.d.comb += self.request.payload.eq(read.request.payload)
        return m

    def _exchange(self, m, states, receiver, out, source, on, step, left, ended):
        """Each word's low byte goes to the flash, and is answered by a word with the byte that came meanwhile."""
        with states.at("OUT"):
            with m.If(step == _WORD):
                states.go("BYTE")
        with states.at("BYTE"):                   # in `w.payload`, as for "GIVE"
            m.d.comb += [self.exchange.valid.eq(1), self.exchange.payload.data.eq(self.w.payload[:8]),
                         self.exchange.payload.last.eq(ended)]
            with m.If(self.exchange.ready):
                states.go("BACK")
        with states.at("BACK"):
            m.d.sync += source.eq(Source.FLASH)
            with m.If(self.exchanged.valid):
                states.go("ANSWER")
        with states.at("ANSWER"):
            m.d.comb += out.valid.eq(1)
            m.d.sync += step.eq(0)
            with m.If(out.ready):
                m.d.sync += [left.eq(left - 1), on.eq(1)]
                states.go("OUT")
                with m.If(ended):
                    m.d.comb += receiver.o.ready.eq(1)
                    states.go("IDLE")

    def _check(self, m, frame, head, awaited, previous, previous_kind, connected, again, count, refusal):
        """What is wrong with a frame (`refusal`, 0 if nothing), whether it is a repeated one, and how many words it is about;
        all up to date `_CHECKS` cycles after `head`. Returns a register for each kind, that of the frame is high."""
        kind, sequence, first, second = head[:8], head[8:16], head[16:48], head[48:80]
        words, image = Signal(10, reset_less=True), Signal(10, reset_less=True)     # behind the header; behind an address
        fits, known, turn = (Signal(name=name, reset_less=True) for name in ("fits", "known", "turn"))
        same = Signal(2, reset_less=True)           # in parts
        storage, sane, inside, busy = (Signal(name=name, reset_less=True) for name in ("storage", "sane", "inside", "busy"))
        beyond = Signal(26, reset_less=True)
        kinds = [one for one in Kind if self.flash or one is not Kind.EXCHANGE]
        is_ = {one: Signal(name=f"is_{one.name.lower()}", reset_less=True) for one in kinds}
        m.d.sync += [bit.eq(kind == one) for one, bit in is_.items()]
        is_info, is_start, is_read, is_checksum = (is_[one] for one in (Kind.INFO, Kind.START, Kind.READ, Kind.CHECKSUM))
        is_exchange = is_.get(Kind.EXCHANGE, Const(0))
        m.d.sync += [
            words.eq(frame.words - 3), image.eq(frame.words - 5), known.eq(Cat(is_.values()).any()),
            same.eq(Cat(sequence == previous, kind == previous_kind)), again.eq(same.all() & ~turn), turn.eq(sequence == awaited),
            beyond.eq(first[:25] + count),
            storage.eq(is_[Kind.WRITE] | is_read | is_checksum | is_start | is_exchange),
            inside.eq((self._stored(beyond) & sane & ~first[24:].any()) | is_exchange),
            sane.eq((count != 0) & ~(is_checksum & second[25:].any())
                    & ~(is_read & (count[9:].any() | (count[:9] > DATA_WORDS)))),
            busy.eq((self.status.running | self.status.booting) & storage & ~(is_start & again))]
        lengths = []
        for one, bit in is_.items():
            low, high = arguments(one)
            right = Signal(name=f"fits_{one.name.lower()}", reset_less=True)
            m.d.sync += right.eq(((words == low) if low == high else (words >= low) & (words <= high)) & bit)
            lengths.append(right)
        m.d.sync += [fits.eq(Cat(lengths).any()), count.eq(1)]
        for bit, value in ((is_[Kind.WRITE], image), (is_read, second[:16]), (is_checksum, second), (is_exchange, words)):
            with m.If(bit):
                m.d.sync += count.eq(value)
        m.d.sync += refusal.eq(0)
        with m.If(~is_info & ~connected):
            m.d.sync += refusal.eq(Refusal.UNCONNECTED)
        with m.Elif(~is_info & ~turn & ~again):
            m.d.sync += refusal.eq(Refusal.SEQUENCE)
        with m.Elif(~known):
            m.d.sync += refusal.eq(Refusal.UNKNOWN)
        with m.Elif(~fits):
            m.d.sync += refusal.eq(Refusal.LENGTH)
        with m.Elif(busy):
            m.d.sync += refusal.eq(Refusal.BUSY)
        with m.Elif(storage & ~inside):
            m.d.sync += refusal.eq(Refusal.RANGE)
        return is_

    def _stored(self, beyond):
        """Whether words before `beyond` are in storage."""
        size = self.identity.storage_words
        if size & size - 1:
            return beyond <= size
        return ~beyond[exact_log2(size):].any() | (beyond == size)
