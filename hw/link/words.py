"""The words of replies that are neither storage's nor the flash's."""
from functools import reduce
from operator import or_

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch import protocol
from arch.memory.calibration import PHASE_WORDS
from arch.protocol import COUNTERS, LINE_COUNTS, Identity, State
from hw.primitives import Copy

__all__ = ["LENGTHS", "LinkWords", "status_layout"]

# Words of each kind of reply behind its header.
LENGTHS = {"NOTHING": 0, "COUNTERS": 2 * len(COUNTERS), "REFUSED": 2, "CHECKSUM": 2, "INFO": protocol.INFO_WORDS,
           "STATUS": protocol.STATUS_WORDS, "SCAN": 2, "LINE": len(LINE_COUNTS), "PHASE": PHASE_WORDS}


def status_layout() -> data.StructLayout:
    """State of the machine, as `host.protocol.Status` tells it."""
    return data.StructLayout({"running": 1, "finished": 1, "failed": 1, "fault": 8, "queue": 4, "opcode": 4, "index": 24,
                              "word": 24, "cycles": 32, "booting": 1, "booted": 1, "program": 24, "outcome": 16, "calibrating": 1,
                              "no_window": 1})


class LinkWords(wiring.Component):
    """Word `place` of a reply of kind `which`, a number in the order of `LENGTHS`: `LATENCY` cycles later, from steady inputs.

    Parameters
    ----------
    identity : Identity

    Members
    -------
    which, place : ``In``
    reason, awaited : ``In(4)``, ``In(8)``
        Of a refusal.
    crc, scanned, nonce : ``In(32)``
        The checksum of storage, and of flash; the nonce of the frame that asks for the identity.
    status : ``In(status_layout())``
    counter : ``In(32)``
        That of half the place, up to a cycle after `place`.
    line : ``In(data.ArrayLayout(16, len(LINE_COUNTS)))``
    phase : ``In(data.ArrayLayout(16, PHASE_WORDS))``
        Words of an `arch.memory.calibration.Calibrated`.
    word : ``Out(16)``
    """

    LATENCY = 3

    def __init__(self, identity: Identity):
        self.identity = identity
        super().__init__({
            "which": In(range(len(LENGTHS))), "place": In(range(max(LENGTHS.values()))), "reason": In(4), "awaited": In(8),
            "crc": In(32), "scanned": In(32), "nonce": In(32), "status": In(status_layout()), "counter": In(32),
            "line": In(data.ArrayLayout(16, len(LINE_COUNTS))), "phase": In(data.ArrayLayout(16, PHASE_WORDS)), "word": Out(16)})

    def elaborate(self, platform):
        m = Module()
        status, place = self.status, self.place
        state = Cat(status[bit.name.lower()] for bit in State)
        assert [1 << n for n in range(len(State))] == list(State)
        numbers = (status.index, status.word, status.cycles, status.program)
        fixed = [Const(one, 16) for one in self.identity.words(len(COUNTERS))]
        tables = {
            "COUNTERS": [self.counter[:16], self.counter[16:]], "REFUSED": [self.reason, self.awaited],
            "CHECKSUM": [self.crc[:16], self.crc[16:]], "SCAN": [self.scanned[:16], self.scanned[16:]],
            "INFO": [self.nonce[:16], self.nonce[16:]], "LINE": list(self.line),
            "PHASE": list(self.phase),
            "STATUS": [state, Cat(status.fault, status.queue, status.opcode),
                       *(part for number in numbers for part in (number[:16], number[16:])), status.outcome]}
        assert len(tables["INFO"]) + len(fixed) == LENGTHS["INFO"] and len(tables["STATUS"]) == LENGTHS["STATUS"]
        gates = []

        def choose(name, low, value, here):
            """The `value` is the word, if it is this kind's and `here` is true."""
            one, mine = Signal(16, name=f"{name}{low}", reset_less=True), Signal(name=f"is_{name}{low}", reset_less=True)
            m.d.sync += [one.eq(value), mine.eq((self.which == list(LENGTHS).index(name)) & here)]
            gates.append(one & mine.replicate(16))

        # Of each four words one, by copies of the place that are their own.
        for name, words in tables.items():
            for low in range(0, len(words), 4):
                bits, four = [], words[low:low + 4]
                four += [Const(0, 16)] * (len(four) == 3)
                for bit in range((len(four) - 1).bit_length()):
                    m.submodules[f"{name}{low}_{bit}"] = copy = Copy()
                    m.d.comb += copy.d.eq(place[bit])
                    bits.append(copy.q)
                while len(four) > 1:
                    bit, *bits = bits
                    four = [Mux(bit, high, low_) for low_, high in zip(four[::2], four[1::2], strict=True)]
                behind = place[1 if len(words) == 2 else 2:]
                choose(name, low, four[0], Const(1) if name == "COUNTERS" else behind == low // 4)      # these are two all along
        late = Signal.like(place, reset_less=True)
        m.d.sync += late.eq(place)
        fixed = [Const(0, 16)] * len(tables["INFO"]) + fixed
        for low in range(0, len(fixed), 16):        # a lookup table's worth
            choose("INFO", f"_fixed{low}", Array(fixed[low:low + 16])[late[:4]], place[4:] == low // 16)
        word = Signal(16, reset_less=True)
        m.d.sync += word.eq(reduce(or_, gates))
        m.d.comb += self.word.eq(word)
        return m
