"""Runs a program: fetches and checks its words, and hands commands to the units when their tokens are there."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.hdl import DomainRenamer
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import control
from arch.control import Fault
from arch.geometry import Geometry
from arch.instruction import QUEUES, Opcode, Start, opcodes
from arch.record import STORAGE
from arch.transfer import TransferFault
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.reset import own_reset
from hw.sequencer.check import Checker
from hw.sequencer.command_queue import TOKENS, CommandQueue, instruction_word_layout, queue_layout
from hw.sequencer.counters import BITS, WHAT, Counters
from hw.sequencer.program_fetch import ProgramFetch, fetch_layout
from hw.storage.arbiter import word_layout

__all__ = ["Sequencer", "error_layout", "fault_layout", "region_layout"]


def error_layout() -> data.StructLayout:
    """Why the machine stopped: an `arch.control.Fault`, and which command.

    A word of the program: `queue` is NO_QUEUE, `opcode` its instruction's, `index` the number of the instruction and `word` of
    the word in the program, from 0. Anything else: `index` is the number of the command in its queue; for a damaged block
    `word` is its `arch.weight_stream.Fault`.
    """
    return data.StructLayout({"valid": 1, "code": 5, "queue": 3, "opcode": 4, "index": 24, "word": 24})


def fault_layout(geometry: Geometry) -> data.StructLayout:
    """A unit refuses the command that it runs, see `arch.transfer.TransferFault`; or a block is damaged, and `what` of it, see
    `arch.weight_stream.Fault`."""
    what = {"what": 4} if Opcode.LOAD_CODED in opcodes(geometry) else {}
    return data.StructLayout({"valid": 1, "code": range(max(TransferFault) + 1), **what})


def region_layout(storage_bits: int) -> data.StructLayout:
    """Words of storage that a program may write: `words` from `base` on."""
    return data.StructLayout({"base": storage_bits, "words": storage_bits + 1})


class Sequencer(wiring.Component):
    """Fetch -> check -> four queues -> units, as `arch.instruction` has it; cycles are in `golden.cycles.sequencer`.

    Each word is checked before it goes to a queue, in the order of the program; a full queue holds up all that follows. A
    program is over when its end was read and each command that was given has given its token. It stops with an error, readable
    until reset, at an illegal word, when a unit reports a fault, when all commands left wait for tokens that nobody will
    give, and when units that run are silent for `silence` cycles.
    A reset must last three cycles: most parts are reset a cycle later than the rest, and units must not take anything meanwhile.
    Addresses of storage have `storage_bits`: a program with a wider one has an illegal word.

    Members
    -------
    start : ``In(1)``
        A pulse, once after a reset.
    program : ``In(storage_bits)``
        Address of the program in storage, when it starts.
    fetch, fetched
        Stream of `fetch_layout(storage_bits)`, and the words that were asked for; nobody can refuse them.
    load, store, gather, compute : ``Out(stream.Signature(queue_layout(geometry, name, storage_bits)))``
        A payload stays for three cycles after it was taken.
    done : ``In(4)``
        A bit for each of `QUEUES`: a command is through.
    fault : ``In(fault_layout(geometry))``
    alive : ``In(1)``
        Something moves in a unit that runs.
    region : ``Out(region_layout(storage_bits))``
        Set before the first command.
    running, finished : ``Out(1)``
    error : ``Out(error_layout())``
    cycles : ``Out(32)``
        From `start` to `finished` or `error`.
    index, counter : ``In(range(12))``, ``Out(32)``
        The count of a queue (times 3) and one of `WHAT`, a cycle later: see `hw.sequencer.counters`.
    """

    def __init__(self, geometry: Geometry, *, storage_bits: int = STORAGE, silence: int = control.SILENCE):
        self.geometry, self.storage_bits, self.silence = geometry, storage_bits, silence
        super().__init__({
            "start": In(1), "program": In(storage_bits), "fetch": Out(stream.Signature(fetch_layout(storage_bits))),
            "fetched": In(word_layout()),
            **{name: Out(stream.Signature(queue_layout(geometry, name, storage_bits))) for name in QUEUES},
            "done": In(len(QUEUES)), "fault": In(fault_layout(geometry)), "alive": In(1),
            "region": Out(region_layout(storage_bits)), "running": Out(1), "finished": Out(1),
            "error": Out(error_layout()), "cycles": Out(32),
            "index": In(range(len(QUEUES) * len(WHAT))), "counter": Out(BITS)})
        self.queues = {name: CommandQueue(geometry, name, storage_bits=storage_bits) for name in QUEUES}

    def elaborate(self, platform):
        m = Module()
        own_reset(m, "fetcher", fetch := ProgramFetch(self.storage_bits))
        own_reset(m, "check", check := Checker(self.geometry, self.storage_bits))
        for name, queue in self.queues.items():
            own_reset(m, name, queue)
        connect(m, flipped(self.fetch), fetch.fetch)
        connect(m, fetch.o, check.i)
        m.d.comb += [fetch.start.eq(delayed(m, self.start, 1, "started")), fetch.program.eq(self.program),
                     fetch.fetched.eq(self.fetched),
                     fetch.stop.eq(check.over | self.error.valid)]
        ended, blocked, given = self._spread(m, check.o)
        tokens = data.View(data.ArrayLayout(TOKENS, len(QUEUES)), Signal(TOKENS * len(QUEUES)))
        pending, flying = self._queues(m, given, tokens)
        self._status(m, check.found, ended, blocked, pending, flying, tokens)
        return m

    def _spread(self, m, words):
        """Words to their queues; returns whether the end came, whether a full queue holds up the rest, and whether a new
        instruction was given to each queue."""
        word = Signal(instruction_word_layout(), reset_less=True)
        ended, blocked, ready = Signal(), Signal(), [words.payload.to[-1]]
        m.d.sync += [word.word.eq(words.payload.word), word.header.eq(words.payload.header), word.last.eq(words.payload.last)]
        given = []
        for n, (name, queue) in enumerate(self.queues.items()):
            m.submodules[f"{name}_places"] = DomainRenamer(name)(places := Credits(control.QUEUE_WORDS, control.QUEUE_WORDS))
            go = words.payload.to[n] & places.any
            # Queues may be far from each other: each has registers of its own on both ways.
            give, freed, new = Signal(name=f"{name}_give"), Signal(name=f"{name}_freed"), Signal(name=f"{name}_new")
            own = Signal(instruction_word_layout(), name=f"{name}_word", reset_less=True)
            m.d.sync += [give.eq(words.valid & go), queue.w_en.eq(give), freed.eq(queue.leaves), new.eq(give & word.header)]
            with m.If(give):
                m.d.sync += own.eq(word)
            m.d.comb += [places.take.eq(words.valid & go), places.give.eq(freed), queue.w_data.eq(own)]
            ready.append(go)
            given.append(new)
        m.d.comb += words.ready.eq(Cat(ready).any())
        m.d.sync += blocked.eq(words.valid & ~words.ready)

        # The last four words of START stay in a shift register: nothing else for the control has any behind its header.
        control_word = words.valid & words.payload.to[-1]
        with m.If(control_word & words.payload.header & (words.payload.word[:4] == Opcode.END)):
            m.d.sync += ended.eq(1)
        parts = [Signal(16, name=f"start{n}", reset_less=True) for n in range(4)]
        assert [entry.name for entry in Start.fields()][4:] == ["store_base", "store_words"]
        with m.If(delayed(m, control_word & ~words.payload.header, 1, "shift")):
            m.d.sync += Cat(*parts).eq(Cat(*parts[1:], word.word))
        m.d.comb += [self.region.base.eq(Cat(parts[0], parts[1])), self.region.words.eq(Cat(parts[2], parts[3]))]
        return ended, blocked, given

    def _queues(self, m, given, tokens):
        """Queues and their tokens; returns for each whether instructions are not yet through, and whether one is with the
        unit."""
        pending, flying, conditions = [], [], []
        for n, (name, queue) in enumerate(self.queues.items()):
            m.submodules[f"{name}_pending"] = DomainRenamer(name)(waits := Credits(2 * control.QUEUE_WORDS))
            m.submodules[f"{name}_flying"] = DomainRenamer(name)(flight := Credits(64))
            o, done = getattr(self, name), self.done[n]
            connect(m, flipped(o), queue.o)
            begun, through = Signal(name=f"{name}_begun"), Signal(name=f"{name}_through")
            m.d.sync += [begun.eq(o.valid & o.ready), through.eq(done)]
            m.d.comb += [queue.tokens.eq(tokens), queue.halt.eq(self.error.valid), waits.give.eq(given[n]), waits.take.eq(done),
                         flight.give.eq(begun), flight.take.eq(through)]
            conditions += [flight.any, queue.waiting & self.running, o.valid & ~o.ready & self.running]
            with m.If(done & ~tokens[n][-1]):
                m.d.sync += tokens[n].eq(tokens[n] + 1)
            pending.append(waits.any)
            flying.append(flight.any)
        own_reset(m, "counters", counters := Counters(len(conditions)))
        m.d.comb += [counters.i.eq(Cat(conditions)), counters.index.eq(self.index), self.counter.eq(counters.o)]
        return pending, flying

    def _status(self, m, found, ended, blocked, pending, flying, tokens):
        cycles = Signal(32, reset_less=True)
        m.d.comb += self.cycles.eq(cycles)
        with m.If(self.start | ResetSignal()):          # one line for both
            m.d.sync += cycles.eq(0)
        with m.Elif(self.running):
            m.d.sync += cycles.eq(cycles + 1)

        # A deadlock: nothing runs, nothing more can come, and the heads that there are wait. All of it for long enough that no
        # token and no word is on its way.
        still, quiet = Signal(), Signal(range(control.QUIET + 1))
        calm, left = Signal(len(QUEUES)), Signal()
        m.d.sync += [calm[n].eq(~has | queue.waiting & ~runs)
                     for n, (has, runs, queue) in enumerate(zip(pending, flying, self.queues.values(), strict=True))]
        m.d.sync += [left.eq((ended | blocked) & Cat(pending).any() & self.running), still.eq(calm.all() & left)]
        with m.If(~still):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != control.QUIET):
            m.d.sync += quiet.eq(quiet + 1)
        # The first queue with commands left, but of those with a command that runs, if there are any.
        waiting, waiting_number = Signal(range(len(QUEUES)), reset_less=True), Signal(16, reset_less=True)
        for some in (pending, flying):
            for n in reversed(range(len(QUEUES))):
                with m.If(some[n]):
                    m.d.sync += waiting.eq(n)
        m.d.sync += waiting_number.eq(tokens[waiting][:16])

        fault = self.fault
        silent = Signal(range(self.silence + 1))
        with m.If(self.alive | ~self.running | flying[QUEUES.index("compute")] | fault.valid):
            m.d.sync += silent.eq(0)
        with m.Elif(silent != self.silence):
            m.d.sync += silent.eq(silent + 1)

        dead, stalled, over = Signal(), Signal(), Signal()
        m.d.sync += [dead.eq(quiet == control.QUIET), stalled.eq(silent == self.silence), over.eq(ended & ~Cat(pending).any())]
        store, coded = fault.code >= TransferFault.STORE_CHIP, fault.code == TransferFault.LOAD_CODED
        decodes = Opcode.LOAD_CODED in opcodes(self.geometry)
        if decodes:
            store &= ~coded
        transfer = Mux(store, QUEUES.index("store"), QUEUES.index("load"))
        # The DMA checks a command while words of the ones before pass: it is the one that was taken last.
        last = []
        for name in ("load", "store"):
            number, o = Signal(16, name=f"{name}_number", init=(1 << 16) - 1), getattr(self, name)
            m.d.sync += (taken := Signal(name=f"{name}_taken")).eq(o.valid & o.ready)
            with m.If(taken):
                m.d.sync += number.eq(number + 1)
            last.append(number)
        # What would stop the machine is put together in one cycle, and stays when it does in the next.
        error, stop, failed, reason = Signal(error_layout(), reset_less=True), Signal(), Signal(), Signal(error_layout())
        m.d.comb += [self.error.eq(error), self.error.valid.eq(failed)]
        m.d.sync += stop.eq(found.valid | fault.valid | dead | stalled)
        with m.If(~(stop | failed)):
            m.d.sync += error.eq(reason)
        with m.If(found.valid):
            m.d.comb += [reason.code.eq(found.code), reason.queue.eq(control.NO_QUEUE), reason.opcode.eq(found.opcode),
                         reason.index.eq(found.index), reason.word.eq(found.word)]
        with m.Elif(fault.valid):
            m.d.comb += [reason.code.eq(control.TRANSFER | fault.code), reason.queue.eq(transfer),
                         reason.index.eq(Mux(store, last[1], last[0]))]
            if decodes:         # found when its turn came: all loads before it are through
                with m.If(coded):
                    m.d.comb += [reason.index.eq(tokens[QUEUES.index("load")][:16]), reason.word.eq(fault.what)]
        with m.Elif(dead | stalled):
            m.d.comb += [reason.code.eq(Mux(dead, Fault.DEADLOCK, Fault.STALLED)), reason.queue.eq(waiting),
                         reason.index.eq(waiting_number)]
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.If(self.running):
            with m.If(stop):
                m.d.sync += [failed.eq(1), self.running.eq(0)]
            with m.Elif(over):
                m.d.sync += [self.finished.eq(1), self.running.eq(0)]
