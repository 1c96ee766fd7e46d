"""Checks a program word by word and tells headers, waits and fields apart."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from arch import control
from arch.control import Fault
from arch.geometry import Geometry
from arch.instruction import QUEUE_OF, QUEUES, SYNC, Opcode, WordRange, opcodes, word_ranges
from hw.parts.credits import Credits
from hw.parts.queue import Queue

__all__ = ["Checker", "checked_layout", "finding_layout"]

ADDRESSEES = (*QUEUES, "control")
PAGE_BITS = 5           # of an index into the table of ranges, looked up at once


def checked_layout() -> data.StructLayout:
    """A legal word, its part in the instruction, and who gets it: a bit for each queue, and one for the control."""
    return data.StructLayout({"word": 16, "header": 1, "last": 1, "to": len(ADDRESSEES)})


def finding_layout() -> data.StructLayout:
    """An illegal word: why, in which instruction (number and opcode), and which word of the program."""
    return data.StructLayout({"valid": 1, "code": 5, "opcode": 4, "index": 24, "word": 24})


def _ranges(geometry: Geometry, opcode: Opcode, storage_bits: int) -> list[WordRange]:
    """As `word_ranges`, but a digest has only one value."""
    ranges = list(word_ranges(geometry, opcode, storage_bits))
    if opcode is Opcode.START:
        for n in range(4):
            word = geometry.digest >> 16 * n & 0xFFFF
            ranges[n] = WordRange(name=ranges[n].name, low=word, high=word)
    return ranges


# Of a field, with the sign bit turned over where there is one; `digest` if another value means another geometry.
_RANGE = data.StructLayout({"low": 16, "high": 16, "signed": 1, "digest": 1})


class Checker(wiring.Component):
    """Lets the legal words of a program pass, up to its end or its first illegal word.

    A word taken in cycle t is offered in cycle t + `control.CHECK`, one a cycle; at most `control.CHECK_PLACES` are under way.
    The range of each field comes from a table made from `arch.instruction.word_ranges`; addresses of storage have
    `storage_bits`.

    Members
    -------
    i : ``In(stream.Signature(16))``
    o : ``Out(stream.Signature(checked_layout()))``
    over : ``Out(1)``
        The end was taken, or an illegal word found: no more words are wanted.
    found : ``Out(finding_layout())``
        The first illegal word, until reset.
    """

    def __init__(self, geometry: Geometry, storage_bits: int):
        self.geometry, self.storage_bits = geometry, storage_bits
        super().__init__({"i": In(stream.Signature(16)), "o": Out(stream.Signature(checked_layout())), "over": Out(1),
                          "found": Out(finding_layout())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(checked_layout())
        m.submodules.places = places = Credits(control.CHECK_PLACES, control.CHECK_PLACES)
        # What leads on from the queue begins at a register.
        o = Signal(checked_layout(), reset_less=True)
        m.d.comb += [queue.o.ready.eq(~self.o.valid | self.o.ready), self.o.payload.eq(o)]
        with m.If(queue.o.ready):
            m.d.sync += [o.eq(queue.o.payload), self.o.valid.eq(queue.o.valid)]
        over, failed, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(places.any & ~over), taken.eq(self.i.valid & self.i.ready), places.take.eq(taken),
            places.give.eq(self.o.valid & self.o.ready), self.over.eq(over | failed)]
        stage = self._follow(m, taken, over)
        stage = self._compare(m, stage)
        self._judge(m, stage, queue, failed)
        return m

    def _follow(self, m, taken, over):
        """Which part of an instruction the present word is; returns the word beside that, and its range."""
        word = self.i.payload
        first_of, count_of, table = {}, {}, []
        for opcode in opcodes(self.geometry):
            ranges = _ranges(self.geometry, opcode, self.storage_bits)
            first_of[opcode], count_of[opcode] = len(table), len(ranges)
            for entry in ranges:
                flip = (entry.low < 0) << 15
                table.append({"low": entry.low & 0xFFFF ^ flip, "high": entry.high & 0xFFFF ^ flip, "signed": entry.low < 0,
                              "digest": entry.name.startswith("digest")})
        # Few ranges are different: first their numbers, of each page and then of one, then themselves. In LUTs: synthesis would
        # spend block RAMs. Sorted they are less logic.
        different = [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in table)]
        different.sort(key=lambda row: (row["digest"], row["low"], row["high"]))
        logic = {"rom_style": "logic"}
        pages = []
        for first in range(0, len(table), 1 << PAGE_BITS):
            numbers = [different.index(row) for row in table[first:first + (1 << PAGE_BITS)]]
            m.submodules[f"numbers{first}"] = page = memory.Memory(shape=range(len(different)), depth=1 << PAGE_BITS, attrs=logic,
                                                                   init=numbers)
            pages.append(page.read_port(domain="comb"))
        m.submodules.ranges = ranges = memory.Memory(shape=_RANGE, depth=len(different), init=different, attrs=logic)
        read = ranges.read_port(domain="comb")

        is_header, is_wait, one_left = Signal(init=1), Signal(), Signal()
        first, left = Signal(init=1), Signal(range(max(count_of.values()) + 1), reset_less=True)
        waits, opcode, index = Signal(4, reset_less=True), Signal(4, reset_less=True), Signal(range(len(table)), reset_less=True)
        start_index, count = Signal.like(index), Signal.like(left)
        with m.Switch(word[:4]):
            for code in opcodes(self.geometry):
                with m.Case(code):
                    m.d.comb += [start_index.eq(first_of[code] % len(table)), count.eq(count_of[code])]
        ends = word[:4] == Opcode.END
        with m.If(taken):
            with m.If(is_header):
                m.d.sync += [first.eq(0), waits.eq(word[4:8]), opcode.eq(word[:4]), index.eq(start_index), left.eq(count),
                             is_header.eq(ends), is_wait.eq(word[4:8].any()), one_left.eq(0), over.eq(ends)]
            with m.Elif(is_wait):
                m.d.sync += [waits.eq(waits & (waits - 1)), is_wait.eq((waits & (waits - 1)).any())]
            with m.Else():
                m.d.sync += [index.eq(index + 1), left.eq(left - 1), one_left.eq(left == 2), is_header.eq(one_left)]

        # The tables are large: what is looked up in them passes a register.
        part = {"word": 16, "header": 1, "wait": 1, "last": 1, "first": 1, "opcode": 4}
        before, was_valid = Signal(data.StructLayout(part | {"index": len(index)}), reset_less=True), Signal()
        m.d.sync += [was_valid.eq(taken), before.word.eq(word), before.header.eq(is_header), before.wait.eq(is_wait & ~is_header),
                     before.last.eq(one_left & ~is_header), before.first.eq(first),
                     before.opcode.eq(Mux(is_header, word[:4], opcode)), before.index.eq(index)]
        looked, was_looked = Signal(data.StructLayout(part | {"page": len(index) - PAGE_BITS}), reset_less=True), Signal()
        found, was_found = Signal(data.StructLayout(part | {"number": len(read.addr)}), reset_less=True), Signal()
        stage, valid = Signal(data.StructLayout(part | {"range": _RANGE}), reset_less=True), Signal()
        m.d.sync += [was_looked.eq(was_valid), looked.page.eq(before.index[PAGE_BITS:])]
        with m.Switch(looked.page):
            for n, page in enumerate(pages):
                number = Signal(len(read.addr), name=f"number{n}", reset_less=True)
                m.d.comb += page.addr.eq(before.index[:PAGE_BITS])
                m.d.sync += number.eq(page.data)
                with m.Case(n):
                    m.d.sync += found.number.eq(number)
        m.d.comb += read.addr.eq(found.number)
        m.d.sync += [was_found.eq(was_looked), valid.eq(was_found), stage.range.eq(read.data)]
        m.d.sync += [into[name].eq(source[name])
                     for into, source in ((looked, before), (found, looked), (stage, found)) for name in part]
        return valid, stage

    def _compare(self, m, before):
        was_valid, before = before
        kept = {name: before[name].shape() for name in ("word", "header", "wait", "last", "opcode")}
        flags = ("below", "above", "digest", "sync", "unknown", "order", "control_waits", "zero")
        layout = data.StructLayout({**kept, "to": len(ADDRESSEES), **dict.fromkeys(flags, 1)})
        stage, valid = Signal(layout, reset_less=True), Signal()
        word, header = before.word, before.header
        number = word ^ Cat(Const(0, 15), before.range.signed)
        to, known = Signal(len(ADDRESSEES)), Signal()
        with m.Switch(before.opcode):
            for code in opcodes(self.geometry):
                with m.Case(code):
                    m.d.comb += [to.eq(1 << ADDRESSEES.index(QUEUE_OF[code])), known.eq(1)]
        m.d.sync += [stage[name].eq(before[name]) for name in kept]
        m.d.sync += [
            valid.eq(was_valid), stage.to.eq(to), stage.digest.eq(before.range.digest), stage.below.eq(number < before.range.low),
            stage.above.eq(number > before.range.high), stage.sync.eq(header & (word[8:] != SYNC)),
            stage.unknown.eq(header & ~known), stage.order.eq(header & (before.first ^ (before.opcode == Opcode.START))),
            stage.control_waits.eq(header & to[-1] & word[4:8].any()), stage.zero.eq(before.wait & (word == 0))]
        return valid, stage

    def _judge(self, m, before, queue, failed):
        was_valid, before = before
        code, bad = Signal(Fault, reset_less=True), Signal(reset_less=True)
        outside = ~before.header & ~before.wait & (before.below | before.above)
        m.d.sync += bad.eq(before.sync | before.unknown | before.order | before.control_waits | before.zero | outside)
        m.d.sync += code.eq(Mux(before.digest, Fault.GEOMETRY, Fault.RANGE))
        for name, fault in (("zero", Fault.NO_TOKENS), ("control_waits", Fault.CONTROL_WAITS), ("order", Fault.ORDER),
                            ("unknown", Fault.OPCODE), ("sync", Fault.SYNC)):
            with m.If(before[name]):
                m.d.sync += code.eq(fault)
        valid, opcode = Signal(), Signal(4, reset_less=True)
        o = Signal(checked_layout(), reset_less=True)
        m.d.sync += [valid.eq(was_valid), opcode.eq(before.opcode), o.word.eq(before.word), o.header.eq(before.header),
                     o.last.eq(before.last), o.to.eq(before.to)]
        # What is counted, is a cycle later.
        good, passed, headers, words = Signal(), Signal(), Signal(24), Signal(24)
        header, bad_header = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += [good.eq(valid & ~bad & ~failed), queue.w_en.eq(good), queue.w_data.eq(o), self.found.word.eq(words)]
        m.d.sync += [passed.eq(good), header.eq(o.header), self.found.valid.eq(failed)]
        with m.If(passed):
            m.d.sync += [words.eq(words + 1), headers.eq(headers + header)]
        with m.If(valid & bad & ~failed):
            m.d.sync += [failed.eq(1), self.found.code.eq(code), self.found.opcode.eq(opcode), bad_header.eq(o.header)]
        # `headers` counts those before this word: its own instruction's is among them, if it is none itself.
        m.d.sync += self.found.index.eq(headers - ~bad_header)
