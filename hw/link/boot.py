"""A model from one of the slots in flash to storage, after a reset (docs/updates.md); `golden.boot` says which."""
from contextlib import contextmanager

from amaranth import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.flash import PAGE_BYTES, SECTOR_BYTES
from arch.protocol import Identity
from arch.record import bits_of_storage
from arch.slots import ERASED, FACTORY, HEADER_MAGIC, MARK_AT, SLOT_NAMES, STATE_BYTES, STATE_MAGIC, Layout, Why
from hw.link.boot_numbers import BootNumbers
from hw.link.flash_words import FlashWords
from hw.link.spi import SpiPins, answer_layout, exchange_layout
from hw.parts.compare import differs
from hw.parts.states import States
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["Boot"]

# Places of words in a header and in a state, as `arch.slots` packs them; numbers of 32 bits have the low word first.
_DIGEST, _SECURITY, _WORDS, _PROGRAM, _OUTPUT, _END, _CYCLES, _EXPECTED, _HEADER_END = 2, 6, 8, 10, 12, 14, 16, 18, 20
_COUNTER, _FLOOR, _NAMED, _TRIAL, _STATE_END, _MARK = 2, 4, 6, 7, STATE_BYTES // 2, MARK_AT // 2
_LAST, _SECTOR_LAST = PAGE_BYTES // 2 - 1, SECTOR_BYTES // 2 - 1         # words of a header, and of a sector
_ACTIVE = 6                             # whose turn it is: active, fallback (7), then all slots from 0 on
_KEPT = 16                              # words, at their place modulo 16: a header's leave the floor of the state
assert not {_FLOOR, _FLOOR + 1} & {place % _KEPT for place in range(_SECURITY, _HEADER_END)}

_STATES = (
    "WAKE", "OPEN", "READ", "WORD", "COMPARE", "STOP", "CLOSE", "CLOSED", "OLDER", "NEWER", "STATE", "MARK", "MARKED", "PICK",
    "PICKED", "PROGRAM", "OUTPUT", "FLOOR", "PAYLOAD", "GIVE", "REQUEST", "CLEAR", "EMPTY", "RUN", "STARTED", "RUNNING", "RESULT",
    "SUM", "AWAIT", "SUMMED", "EXPECTED", "FOLD", "CHECK", "OVER", "SHOW", "DONE")


class Boot(wiring.Component):
    """Reads the two states in flash, marks a trial that begins, and tries one slot after the other: copies the payload to
    storage, runs its program, and compares the CRC of its output. Then the flash is the link's.

    Words go to storage and come from there one by one, slower than it takes and gives them, each before it is asked for.

    Parameters
    ----------
    identity : Identity
    layout : Layout
    look_bits : int
        See `FlashWords`.

    Members
    -------
    exchange : ``In(stream.Signature(exchange_layout()))``, exchanged : ``Out(answer_layout())``
        The flash, for the link; waits while `busy`.
    request, w, r : ``Out(stream.Signature(request_layout(bits)))``, ``Out(stream.Signature(16))``, ``In(word_layout())``
        Storage; only while `busy`.
    start, clear : ``Out(1)``
        Runs the machine, and ends what it does, for a cycle.
    barred : ``In(1)``
        At the end of the reset: storage holds nothing, so no slot is tried.
    running, failed : ``In(1)``
        Of the machine: from the tenth cycle after `start` on, and how it went; until `clear`.
    scan, sector : ``In(1)``, ``In(24)``
        For a cycle, while not `busy`: reads the sector of flash from this byte on, which stays until `scanned`.
    scanned, scan_crc : ``Out(1)``, ``Out(32)``
        For a cycle: the CRC of its bytes is there.
    busy : ``Out(1)``
        From the reset on.
    booted, program : ``Out(1)``, ``Out(24)``
        A slot's self-test passed, and its program begins at this word: no flash holds more than 24 bits can say. While `start`
        is high, that of the program to run.
    trial, outcome : ``Out(1)``, ``Out(16)``
        The slot is on trial; all of an `arch.slots.Outcome`.
    pins : ``Out(SpiPins())``
    """

    def __init__(self, identity: Identity, layout: Layout, **options):
        self.identity, self.layout, self.flash = identity, layout, FlashWords(identity.clock_khz, **options)
        self.numbers, self.storage_bits = BootNumbers(identity.storage_words), bits_of_storage(identity.storage_words)
        super().__init__({
            "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
            "request": Out(stream.Signature(request_layout(self.storage_bits))), "w": Out(stream.Signature(16)),
            "r": In(word_layout()), "start": Out(1), "clear": Out(1), "barred": In(1), "running": In(1), "failed": In(1),
            "busy": Out(1, init=1), "booted": Out(1), "program": Out(24), "trial": Out(1), "outcome": Out(16),
            "scan": In(1), "sector": In(24), "scanned": Out(1), "scan_crc": Out(32), "pins": Out(SpiPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.flash, m.submodules.numbers = flash, numbers = self.flash, self.numbers
        connect(m, flash.pins, flipped(self.pins))
        connect(m, flipped(self.exchange), flash.exchange)
        # Of what is read: a slot's header, behind it its payload, or a state, first to see which one counts.
        self.header, self.payload, self.counts = Signal(), Signal(), Signal()
        self.second_state, self.slot, self.place = Signal(), Signal(2), Signal(range(_SECTOR_LAST + 1), reset_less=True)
        self.marking, self.sums = Signal(), Signal()            # the mark is programmed; words come from storage
        self.scanning = Signal()                                # of a sector, for the host
        self.word, self.wait, self.fold = Signal(16, reset_less=True), Signal(4), Signal()
        self.why, self.second = Signal(Why, reset_less=True), Signal()          # of two words at the end, the second one
        # Of the state; a slot that there is not has the number of none.
        self.known, self.trying, self.marked = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        self.turn, self.tried = Signal(3), Signal(self.layout.slots)
        self.active, self.fallback = Signal(2, reset_less=True), Signal(2, reset_less=True)
        m.d.comb += [
            flash.address.eq(self._address()), self.exchanged.eq(flash.exchanged), numbers.word.eq(self.word),
            numbers.place.eq(self.place), self.program.eq(numbers.b), self.request.payload.address.eq(numbers.b),
            self.request.payload.length.eq(1), self.request.payload.write.eq(~self.sums), self.w.payload.eq(self.word)]
        self.whys = Array(Signal(4, name=f"why_{name}") for name in SLOT_NAMES)
        shown = Signal(2)                       # none before the end
        m.d.sync += [shown.eq(Mux(self.booted, self.slot, 3)),
                     self.trial.eq(self.booted & self.trying & self.known & (self.slot == self.active))]
        m.d.comb += self.outcome.eq(Cat(*self.whys, shown, self.trial, self.known))
        self._checksum(m)
        m.d.sync += [self.wait.eq(0), self.start.eq(0), self.clear.eq(0)]
        with States(m, _STATES) as self.states:
            self._words(m)
            self._records(m)
            self._candidates(m)
            self._checks(m)
            self._storage(m)
            self._test(m)
        return m

    def _address(self) -> Value:
        """In flash, of what is read or marked next."""
        layout = self.layout
        states, marks = (Array(Const(layout.state(n) + at, 24) for n in (0, 1))[self.second_state] for at in (0, MARK_AT))
        slots = Array(Const(layout.slot(n), 24) for n in range(layout.slots))[self.slot]
        return Mux(self.scanning, self.sector, Mux(self.header, slots, Mux(self.marking, marks, states)))

    def _checksum(self, m):
        """The CRC of words: the low byte of `word` in the cycle after `fold`, the other one then. `whole`: they end with it."""
        crc = CRC32_ISO_HDLC().create()
        self.fresh, self.whole, low, high = Signal(), Signal(reset_less=True), Signal(), Signal()
        anew = Signal()
        m.submodules.crc = ResetInserter(anew)(crc)
        m.d.sync += [low.eq(self.fold), high.eq(low), anew.eq(self.fresh), self.whole.eq(crc.match_detected)]
        m.d.comb += [crc.valid.eq(low | high), crc.data.eq(Mux(high, self.word[8:], self.word[:8])),
                     self.scan_crc.eq(crc.crc)]

    @contextmanager
    def _after(self, m, name: str, a: int | None = None, b: int | None = None, *, zero=0, odd=None):
        """A state of 16 cycles, in which numbers of these places get into the registers, and are compared: yields at the end.
        `zero`: b becomes 0 instead; `odd`: of the two words at `b` this one is looked at."""
        with self.states.at(name):
            numbers, wait = self.numbers, self.wait
            early, later = ~wait[2:].any(), wait[1]
            m.d.sync += wait.eq(wait + 1)
            m.d.comb += [
                numbers.into_a.eq(early & ~later & (a is not None)), numbers.into_b.eq(early & later & (b is not None)),
                numbers.zero.eq(early & later & zero),
                numbers.at.eq(Mux(later, (b or 0) % _KEPT, (a or 0) % _KEPT) | wait[0] if odd is None else b % _KEPT | odd)]
            with m.If(wait.all()):
                yield

    def _words(self, m):
        """Words of flash: opened, read one after the other, looked at when their time has come, closed."""
        states, flash, place, header = self.states, self.flash, self.place, self.header
        magic, digest = (Signal(name=f"wrong_{name}", reset_less=True) for name in ("magic", "digest"))
        self.wrong_magic, self.wrong_digest = magic, digest
        expected = HEADER_MAGIC | self.identity.digest << 32 | STATE_MAGIC << 128
        constants = Array(Const(expected >> 16 * n & 0xFFFF, 16) for n in range(10))
        wrong = differs(m, "word", self.word, Value.cast(constants[Cat(place[:3], ~header)]))
        kept, of_magic, of_digest = (Signal(name=f"of_{name}", reset_less=True) for name in ("kept", "magic", "digest"))
        m.d.sync += [kept.eq(Mux(header, _one_of(place, _SECURITY, _HEADER_END), _one_of(place, 0, _STATE_END)) & ~self.payload),
                     of_magic.eq(_one_of(place, 0, _DIGEST)), of_digest.eq(_one_of(place, _DIGEST, _SECURITY))]
        with states.at("OPEN"):
            m.d.comb += [flash.read.eq(1), self.fresh.eq(1)]
            m.d.sync += [place.eq(0), magic.eq(0), digest.eq(0), self.why.eq(Why.NOT_TRIED), self.payload.eq(0),
                         self.second.eq(0), self.sums.eq(0)]
            states.go("READ")
        with states.at("READ"):
            m.d.sync += self.word.eq(flash.word)
            with m.If(flash.came):
                states.go("WORD")
        with states.at("WORD"):
            m.d.comb += self.fold.eq(header | ~place[_STATE_END.bit_length() - 1])      # all but the mark
            states.go("COMPARE")
        with states.at("COMPARE"):
            m.d.sync += place.eq(place + 1)
            m.d.comb += self.numbers.write.eq(kept)
            m.d.sync += [magic.eq(magic | wrong & of_magic), digest.eq(digest | wrong & of_digest)]
            with m.If(self.payload):
                self._payload(m)
            with m.Elif(place == Mux(self.scanning, _SECTOR_LAST, Mux(header, _LAST, _MARK))):
                states.go("STOP")
                with m.If(header & ~self.scanning):
                    states.go("PROGRAM")
            with m.Else():
                self._next(m)
        with states.at("STOP"):
            m.d.comb += flash.stop.eq(1)
            states.go("CLOSE")
        with states.at("CLOSE"):
            with m.If(flash.ended):
                states.go("CLOSED")

    def _next(self, m):
        m.d.comb += self.flash.next.eq(1)
        self.states.go("READ")

    def _payload(self, m):
        """A word of the payload is there, or one of the two of its CRC."""
        with m.If(self.numbers.more):
            self.states.go("GIVE")
        with m.Else():
            m.d.sync += self.second.eq(1)
            self._next(m)
            with m.If(self.second):
                m.d.comb += self.flash.next.eq(0)
                self.states.go("STOP")

    def _records(self, m):
        """States: both, then the one that counts again; what it says; and the mark of a trial that begins."""
        states, place, word, numbers = self.states, self.place, self.word, self.numbers
        good, older = Signal(), Signal(reset_less=True)
        none, slots = 3, self.layout.slots
        m.d.comb += good.eq(self.whole & ~self.wrong_magic)
        number = [Mux(_one_of(byte, 0, slots), byte[:2], none) for byte in (word[:8], word[8:])]
        erased = word[:8] == ERASED
        with m.If(~self.header):
            for at, target, value in ((_NAMED, self.active, number[0]), (_NAMED, self.fallback, number[1]),
                                      (_TRIAL, self.trying, word[:8].any()), (_MARK, self.marked, ~erased)):
                with m.If(place == at):         # the last one that it had
                    m.d.sync += target.eq(value)
        with states.at("WAKE"):
            with m.If(self.flash.ended):
                states.go("OPEN")
                with m.If(self.barred):
                    states.go("SHOW")
        with states.at("CLOSED"):
            with m.If(self.scanning):
                m.d.comb += self.scanned.eq(1)
                states.go("DONE")
            with m.Elif(self.header):
                self._closed(m)
            with m.Elif(self.counts):
                m.d.sync += self.known.eq(good)
                states.go("STATE")
            with m.Elif(self.second_state):
                states.go("NEWER")
            with m.Else():
                m.d.sync += older.eq(good)
                states.go("OLDER")
        with self._after(m, "OLDER", b=_COUNTER):
            m.d.sync += self.second_state.eq(1)
            states.go("OPEN")
        with self._after(m, "NEWER", a=_COUNTER):
            m.d.sync += [self.second_state.eq(good & (~older | numbers.more)), self.counts.eq(1)]
            states.go("OPEN")
        with states.at("STATE"):
            m.d.sync += self.turn.eq(Mux(self.known, _ACTIVE, 0))
            states.go("PICK")
            with m.If(self.known & self.trying & ~self.marked):
                m.d.sync += self.marking.eq(1)
                states.go("MARK")
        with states.at("MARK"):
            m.d.comb += self.flash.mark.eq(1)
            states.go("MARKED")
        with states.at("MARKED"):
            with m.If(self.flash.ended):
                states.go("PICK")

    def _tell(self, m, why):
        """Of this slot, if it is one."""
        for n in range(self.layout.slots):
            with m.If(self.slot == n):
                m.d.sync += self.whys[n].eq(why)

    def _candidates(self, m):
        """Active, fallback, all others: whoever is there and was not yet tried."""
        states, slot, turn, slots = self.states, self.slot, self.turn, self.layout.slots
        fresh = Signal(reset_less=True)
        m.d.comb += fresh.eq(Cat((slot == n) & ~self.tried[n] for n in range(slots)).any())
        with states.at("PICK"):
            m.d.sync += slot.eq(Mux(turn[2], Mux(turn[0], self.fallback, self.active), turn[:2]))
            states.go("PICKED")
        with states.at("PICKED"):
            m.d.sync += turn.eq(turn + 1)
            states.go("PICK")
            with m.If(turn == slots):
                states.go("SHOW")
            with m.Elif((turn == _ACTIVE) & self.trying & self.marked):
                self._tell(m, Why.TRIAL)
            with m.Elif(fresh):
                m.d.sync += [self.header.eq(1), *(self.tried[n].eq(self.tried[n] | (slot == n)) for n in range(slots))]
                states.go("OPEN")
        with states.at("OVER"):
            m.d.sync += self.clear.eq(1)
            self._tell(m, self.why)
            states.go("PICK")
            with m.If(self.booted):
                states.go("SHOW")
        with self._after(m, "SHOW", b=_PROGRAM, zero=~self.booted):
            m.d.sync += self.busy.eq(0)
            states.go("DONE")
        with states.at("DONE"):
            with m.If(self.scan):
                m.d.sync += self.scanning.eq(1)
                states.go("OPEN")

    def _leave(self, m, why, where: str = "STOP"):
        m.d.sync += self.why.eq(why)
        self.states.go(where)

    def _checks(self, m):
        """A header that was read; what follows waits in flash meanwhile. Then a payload that was copied."""
        states, numbers = self.states, self.numbers
        unfit = ~numbers.more | numbers.over
        with self._after(m, "PROGRAM", a=_WORDS, b=_PROGRAM):
            states.go("OUTPUT")
            with m.If(self.wrong_magic):
                self._leave(m, Why.MAGIC)
            with m.Elif(~self.whole):
                self._leave(m, Why.HEADER)
            with m.Elif(self.wrong_digest):
                self._leave(m, Why.GEOMETRY)
            with m.Elif(unfit):
                self._leave(m, Why.SIZE)
        with self._after(m, "OUTPUT", a=_END, b=_OUTPUT):
            states.go("FLOOR")
            with m.If(unfit):
                self._leave(m, Why.SIZE)
        with self._after(m, "FLOOR", a=_FLOOR, b=_SECURITY):
            states.go("PAYLOAD")
            with m.If(numbers.more & self.known & (self.slot != FACTORY)):
                self._leave(m, Why.SECURITY)
        with self._after(m, "PAYLOAD", a=_WORDS, zero=1):
            m.d.comb += self.fresh.eq(1)
            m.d.sync += self.payload.eq(1)
            self._next(m)

    def _closed(self, m):
        """A slot is no longer read."""
        m.d.sync += self.payload.eq(0)
        self.states.go("CLEAR")
        with m.If(self.why != Why.NOT_TRIED):
            self.states.go("OVER")
        with m.Elif(~self.whole):
            self._leave(m, Why.PAYLOAD, "OVER")

    def _storage(self, m):
        """A word to storage, or from there."""
        states, numbers = self.states, self.numbers
        with states.at("GIVE"):                   # storage may ask for it as soon as it is asked
            m.d.comb += self.w.valid.eq(1)
            with m.If(self.w.ready):
                states.go("REQUEST")
        with states.at("REQUEST"):
            m.d.comb += self.request.valid.eq(1)
            with m.If(self.request.ready):
                m.d.comb += numbers.count.eq(1)
                states.go("EMPTY")
                with m.If(self.payload):
                    self._next(m)
                with m.If(self.sums):
                    states.go("AWAIT")
        with states.at("AWAIT"):
            m.d.sync += self.word.eq(self.r.data)
            with m.If(self.r.valid):
                states.go("SUMMED")
        with states.at("SUMMED"):
            m.d.comb += self.fold.eq(1)
            states.go("SUM")

    def _test(self, m):
        """The self-test: the output's words become 0, the program runs, the CRC over its output and the expected one is right."""
        states, numbers = self.states, self.numbers
        late = Signal(reset_less=True)
        with self._after(m, "CLEAR", a=_END, b=_OUTPUT):
            m.d.sync += self.word.eq(0)
            states.go("EMPTY")
        with self._after(m, "EMPTY"):
            states.go("RUN")
            with m.If(numbers.more):
                states.go("GIVE")
        with self._after(m, "RUN", a=_CYCLES, b=_PROGRAM):
            m.d.sync += self.start.eq(1)
            states.go("STARTED")
        with self._after(m, "STARTED", zero=1):
            states.go("RUNNING")
        m.d.sync += late.eq(~numbers.more)
        with states.at("RUNNING"):
            m.d.comb += numbers.count.eq(1)
            with m.If(~self.running):
                states.go("RESULT")
                with m.If(self.failed):
                    self._leave(m, Why.OUTPUT, "OVER")
            with m.Elif(late & ~numbers.more):      # for a cycle `more` may be wrong, while b is counted
                self._leave(m, Why.LATE, "OVER")
        with self._after(m, "RESULT", a=_END, b=_OUTPUT):
            m.d.comb += self.fresh.eq(1)
            m.d.sync += [self.sums.eq(1), self.second.eq(0)]
            states.go("SUM")
        with self._after(m, "SUM"):
            states.go("EXPECTED")
            with m.If(numbers.more):
                states.go("REQUEST")
        with self._after(m, "EXPECTED", b=_EXPECTED, odd=self.second):
            m.d.sync += self.word.eq(numbers.kept)
            states.go("FOLD")
        with states.at("FOLD"):
            m.d.comb += self.fold.eq(1)
            m.d.sync += self.second.eq(1)
            states.go("EXPECTED")
            with m.If(self.second):
                states.go("CHECK")
        with self._after(m, "CHECK"):
            m.d.sync += self.booted.eq(self.whole)
            states.go("OVER")
            with m.If(~self.whole):
                self._leave(m, Why.OUTPUT, "OVER")


def _one_of(value, first: int, end: int):
    """Whether it is first..end - 1, without a carry chain."""
    return Cat(value == n for n in range(first, end)).any()
