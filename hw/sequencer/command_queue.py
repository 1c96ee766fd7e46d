"""A queue of commands: words in block RAM, one record unpacked, and a head that waits for tokens."""
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch import control
from arch.geometry import Geometry
from arch.instruction import QUEUES, CodedTransfer, Opcode, PixelTransfer, Transfer, opcodes, records, word_ranges
from arch.record import STORAGE
from arch.unit.gather import GatherConfig
from hw.parts.delay import delayed
from hw.parts.layout import command_layout, record_layout
from hw.parts.queue import Queue
from hw.parts.word_fifo import WordFifo
from hw.primitives import Copy

__all__ = ["CommandQueue", "TOKENS", "queue_layout", "instruction_word_layout"]

TOKENS = 17             # bits of a count of tokens; it stays where its upper bit is set, above any that is waited for
PLACES_PER_COPY = 16    # words of a record that share a copy of what they take


def queue_layout(geometry: Geometry, queue: str, storage_bits: int = STORAGE) -> data.StructLayout:
    """What a queue offers: a unit's record; with `load` one of some in the same bits, and the `opcode` that says which."""
    transfer = record_layout(Transfer, storage_bits)
    coded = {"coded": record_layout(CodedTransfer, storage_bits)} if Opcode.LOAD_CODED in opcodes(geometry) else {}
    loads = data.UnionLayout({"transfer": transfer, "pixels": record_layout(PixelTransfer, storage_bits), **coded})
    return {"load": data.StructLayout({"opcode": 4, "body": loads}),
            "store": transfer, "gather": record_layout(GatherConfig), "compute": command_layout(geometry)}[queue]


def instruction_word_layout() -> data.StructLayout:
    """A word of an instruction, whether it is the header, and whether it is the last."""
    return data.StructLayout({"word": 16, "header": 1, "last": 1})


def _places(geometry: Geometry, queue: str, storage_bits: int) -> list[list[tuple[int, int]]]:
    """For each kind of record that a queue offers, of each word: bits of the payload that it brings, and how many of these are
    ever used in this geometry."""
    kinds = {"load": (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS), "pixels": (Opcode.LOAD_PIXELS,),
             "coded": (Opcode.LOAD_CODED,), "store": (Opcode.STORE,), "gather": (Opcode.GATHER,), "compute": (Opcode.COMPUTE,)}
    result, loads = [], ("load", "pixels", *(("coded",) if Opcode.LOAD_CODED in opcodes(geometry) else ()))
    for kind in loads if queue == "load" else (queue,):
        fields = [entry.within(storage_bits)
                  for record in records(geometry, kinds[kind][0]).values() for entry in record.fields()]
        bits = [part for entry in fields for part in ([16, entry.bits - 16] if entry.bits > 16 else [entry.bits])]
        used = [max(part if limits.low < 0 else min(part, limits.high.bit_length()) for limits in same)
                for part, *same in zip(bits, *(word_ranges(geometry, opcode, storage_bits) for opcode in kinds[kind]),
                                       strict=True)]
        result.append(list(zip(bits, used, strict=True)))
    return result


class CommandQueue(wiring.Component):
    """Holds `words` words of instructions, and `places` more in a short queue behind them, and offers their records, in order,
    each when its tokens are there.

    A word a cycle is unpacked, into a register for each word of the record, whose enables are a register with a single one.
    The next record is unpacked when the present one has been taken: engines have short queues of their own, and words do not
    come faster than that either. A record is offered `control.UNPACK` cycles after its last word left the queue of words, and
    in cycle t + `control.TOKEN` if the last token it waits for is given in cycle t. Its payload stays for three cycles more.
    Addresses of storage have `storage_bits`.

    Members
    -------
    w_en : ``In(1)``
    w_data : ``In(instruction_word_layout())``
    leaves : ``Out(1)``
        A place for a word is free again.
    tokens : ``In(ArrayLayout(17, 4))``
        Counts of tokens, for each of `QUEUES`.
    halt : ``In(1)``
        Nothing new is offered.
    o : ``Out(stream.Signature(queue_layout(geometry, queue, storage_bits)))``
    waiting : ``Out(1)``
        A record is there, its tokens are not.
    """

    def __init__(self, geometry: Geometry, queue: str, *, storage_bits: int = STORAGE, words: int = control.QUEUE_WORDS,
                 places: int = Queue.PLACES):
        self.geometry, self.queue, self.storage_bits, self.words, self.places = geometry, queue, storage_bits, words, places
        super().__init__({"w_en": In(1), "w_data": In(instruction_word_layout()), "leaves": Out(1),
                          "tokens": In(data.ArrayLayout(TOKENS, len(QUEUES))), "halt": In(1),
                          "o": Out(stream.Signature(queue_layout(geometry, queue, storage_bits))), "waiting": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = WordFifo(depth=self.words, width=instruction_word_layout().size, places=self.places)
        m.d.comb += [words.w_en.eq(self.w_en), words.w_data.eq(self.w_data), self.leaves.eq(words.leaves)]

        full, taken = Signal(), Signal()
        head = data.View(instruction_word_layout(), words.o.payload)
        m.d.comb += [words.o.ready.eq(~full), taken.eq(words.o.valid & ~full)]
        sent = self.o.valid & self.o.ready
        with m.If(taken & head.last):
            m.d.sync += full.eq(1)
        with m.Elif(sent):
            m.d.sync += full.eq(0)
        came = delayed(m, taken, 1, "came", reset=True)
        word = Signal(instruction_word_layout(), reset_less=True)
        m.d.sync += word.eq(head)

        needs, ready = self._unpack(m, taken, came, word)

        # Tokens only ever become more, so what is enough stays enough. A sign needs nothing behind the carry chain.
        missing = Signal(len(QUEUES), reset_less=True)
        for n, (need, there) in enumerate(zip(needs, ready, strict=True)):
            tokens = self.tokens[n]
            m.d.sync += missing[n].eq((Cat(tokens[:-1], tokens[-1] | ~there) - need)[-1])
        complete = Signal()
        offer = complete & ~missing.any() & ~self.halt
        m.d.sync += [complete.eq(full & ~sent), self.o.valid.eq((offer | self.o.valid) & ~sent),
                     self.waiting.eq(complete & missing.any())]
        return m

    def _unpack(self, m, taken, came, word):
        """Registers of the record; returns those of the waits, and which of them count."""
        bodies = _places(self.geometry, self.queue, self.storage_bits)
        most = max(map(len, bodies))
        # A header, the first word after a reset, sets what counts of these. What else there may be in `place` is ahead of the
        # record's words, each of which comes to its own place in the end.
        place, first = Signal(most, reset_less=True), Signal(reset_less=True)
        left, place_wait = Signal(len(QUEUES), reset_less=True), Signal(len(QUEUES), reset_less=True)
        there = Signal(len(QUEUES), reset_less=True)
        opcode = Signal(4, reset_less=True)
        wait = left.any()
        # Until the next word comes a place keeps taking the same one, which does no harm.
        values = []
        for n in range(0, most, PLACES_PER_COPY):
            m.submodules[f"came{n}"] = here = Copy()
            m.d.comb += here.d.eq(taken)
            span, value = slice(n, min(n + PLACES_PER_COPY, most)), []
            with m.If(here.q):
                m.d.sync += place[span].eq(Cat(place[n - 1] if n else first & ~wait, place[span][:-1]))
            for bit in range(16):
                m.submodules[f"value{n}_{bit}"] = copy = Copy()
                m.d.comb += copy.d.eq(Mux(here.q, word.word[bit], copy.q))
                value.append(copy.q)
            values.append(Cat(value))
        with m.If(came):
            with m.If(word.header):
                m.d.sync += [place_wait.eq(0), first.eq(1), left.eq(word.word[4:8]), there.eq(word.word[4:8]),
                             opcode.eq(word.word[:4])]
            with m.Elif(wait):
                m.d.sync += [place_wait.eq(left & ~(left - 1)), left.eq(left & (left - 1))]
            with m.Else():
                m.d.sync += [place_wait.eq(0), first.eq(0)]
        needs = []
        for n in range(len(QUEUES)):
            need = Signal(16, name=f"need{n}", reset_less=True)
            with m.If(place_wait[n]):
                m.d.sync += need.eq(values[0])
            needs.append(need)
        # A register for each word, as wide as the widest field that it fills: what is checked to be 0 has none.
        stores = []
        for n in range(most):
            store = Signal(max(body[n][1] for body in bodies if n < len(body)), name=f"word{n}", reset_less=True)
            with m.If(place[n]):
                m.d.sync += store.eq(values[n // PLACES_PER_COPY])
            stores.append(store)
        payloads = [Cat(Cat(store[:used], Const(0, bits - used)) for store, (bits, used) in zip(stores, body, strict=False))
                    for body in bodies]
        payload = self.o.payload
        if self.queue == "load":
            pixels = Signal(reset_less=True)
            m.d.sync += pixels.eq(opcode == Opcode.LOAD_PIXELS)
            body = payloads[0]
            if len(payloads) > 2:
                coded = Signal(reset_less=True)
                m.d.sync += coded.eq(opcode == Opcode.LOAD_CODED)
                body = Mux(coded, payloads[2], body)
            m.d.comb += [payload.opcode.eq(opcode), Value.cast(payload.body).eq(Mux(pixels, payloads[1], body))]
        else:
            m.d.comb += Value.cast(payload).eq(payloads[0])
            assert len(payloads[0]) == payload.shape().size
        return needs, there
