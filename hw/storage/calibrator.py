"""Finds the phase of the SDRAM's clock at which words are right, after each reset; `golden.calibration` says which."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.memory.calibration import (
    BURST_WORDS,
    BURSTS,
    FEEDBACK,
    LEAST_WINDOW,
    PROOFS,
    PULSE,
    SALT_BITS,
    Turn,
    address_bit,
    seed,
    settling,
)
from arch.sdram import Timing
from hw.parts.states import States
from hw.storage.arbiter import request_layout, word_layout

__all__ = ["Calibrator", "phase_layout"]

_STATES = ("SEED", "HOME", "PULSE", "SETTLE", "GIVE", "ASK", "AWAIT", "NEXT", "JUDGE", "LOOK", "TELL", "CHOOSE", "CHOSEN", "GO",
           "OVER")


def phase_layout(turn: Turn) -> data.StructLayout:
    """What it found, as `arch.memory.calibration.Calibrated` has it."""
    return data.StructLayout({"state": 2, "chosen": range(turn.steps), "width": range(turn.steps + 1), "last": range(turn.steps),
                              "mask": turn.steps})


class Calibrator(wiring.Component):
    """Waits until the SDRAM has started, with a test where its clock is. Then takes that to step 0, sweeps a turn with a test at
    each step, goes to the middle of the window, and tests again. `golden.calibration_cycles` has its cycles.

    Where the clock is outlives a reset, and so does a step that is under way: the PLL knows no reset.

    Parameters
    ----------
    turn : Turn
    timing : Timing
        Of the SDRAM.
    storage_bits : int
        Of a word's address; bits above them are not met.

    Members
    -------
    request, w, r : ``Out(stream.Signature(request_layout(bits)))``, ``Out(stream.Signature(16))``, ``In(word_layout())``
        Storage; only while `busy`. Up to `BURST_WORDS` words are given before they are asked for.
    step : ``Out(1)``
        Of the PLL: its falling edge makes the SDRAM's clock a step later. A register.
    busy, fails : ``Out(1, init=1)``, ``Out(1)``
        From the reset on; then whether there is no window. Registers.
    found : ``Out(phase_layout(turn))``
    """

    def __init__(self, turn: Turn, timing: Timing, storage_bits: int):
        self.turn, self.timing, self.storage_bits = turn, timing, storage_bits
        super().__init__({
            "request": Out(stream.Signature(request_layout(storage_bits))), "w": Out(stream.Signature(16)),
            "r": In(word_layout()), "step": Out(1), "busy": Out(1, init=1), "fails": Out(1), "found": Out(phase_layout(turn))})

    def elaborate(self, platform):
        m = Module()
        steps = self.turn.steps
        # Of the clock: where it is, and the pulse that brings it on, 32 cycles of which the first half is high.
        self.position = Signal(range(steps), init=self.turn.first, reset_less=True)
        self.pulse, self.go, self.home = Signal(6, reset_less=True), Signal(), Signal(init=self.turn.first == 0, reset_less=True)
        position, pulse = self.position, self.pulse
        assert PULSE == 16
        end = Signal(init=self.turn.first == steps - 1, reset_less=True)
        m.d.sync += [self.step.eq(pulse[5] & ~pulse[4]), end.eq(position == steps - 1), self.home.eq(position == 0)]
        with m.If(self.go):
            m.d.sync += [pulse.eq(2 * PULSE), position.eq(Mux(end, 0, position + 1))]
        with m.Elif(pulse[5]):
            m.d.sync += pulse.eq(pulse + 1)

        self.mask = Signal(steps, name="mask", reset_less=True)
        self.width, self.last = Signal(range(steps + 1), name="width"), Signal(range(steps), name="last")
        self.swept, self.homed = Signal(), Signal()
        m.d.comb += [self.found.state.eq(Cat(self.busy | self.fails, ~self.busy)), self.found.chosen.eq(position),
                     self.found.width.eq(self.width), self.found.last.eq(self.last), self.found.mask.eq(self.mask)]
        with States(m, _STATES) as self.states:
            self._steps(m)
            self._test(m)
            self._search(m)
        return m

    def _steps(self, m):
        """On to the next step, and the time until all is steady."""
        states, still = self.states, ~self.pulse[5]
        cycles = settling(self.timing)
        clocks = Signal(range(-1, cycles))                  # its sign says: over
        self.left = Signal(range(self.turn.steps), reset_less=True)
        m.d.sync += clocks.eq(cycles - 2)
        with states.at("HOME"):
            with m.If(still & self.home):
                m.d.sync += self.homed.eq(1)
                states.go("SETTLE")
            with m.Elif(still):
                self._on(m)
        with states.at("PULSE"):
            with m.If(still):
                states.go("HOME")
                with m.If(self.swept):
                    states.go("GO")
                with m.Elif(self.homed):
                    states.go("SETTLE")
                    with m.If(self.home):
                        states.go("LOOK")
        with states.at("SETTLE"):
            m.d.sync += clocks.eq(clocks - 1)
            with m.If(clocks[-1]):
                states.go("SEED")
        with states.at("GO"):
            m.d.sync += self.left.eq(self.left - 1)
            self._on(m)
            with m.If(self.left == 0):
                m.d.comb += self.go.eq(0)
                states.go("SETTLE")
                with m.If(self.fails):
                    states.go("OVER")

    def _on(self, m):
        m.d.comb += self.go.eq(1)
        self.states.go("PULSE")

    def _test(self, m):
        """Bursts are written one after the other, and read from the last one on."""
        states, request = self.states, self.request.payload
        salt, burst, reads = Signal(SALT_BITS), Signal(range(BURSTS)), Signal()
        state, flip, n = Signal(16, reset_less=True), Signal(reset_less=True), Signal(range(BURST_WORDS), reset_less=True)
        differs, compared, wrong = Signal(16, reset_less=True), Signal(), Signal()
        proofs = Signal(range(PROOFS))
        word, moves = state ^ flip.replicate(16), Signal()
        # The address's bits are four functions of the burst, by turns.
        bits = Signal(4, reset_less=True)
        m.d.sync += bits.eq(Cat(burst[0] ^ (burst[1] if bit & 1 else 0) ^ (burst[2] if bit & 2 else 0) for bit in range(4)))
        assert [address_bit(bit, 5) for bit in range(4)] == [1, 1, 0, 0] and BURST_WORDS == 16
        m.d.comb += [
            self.w.payload.eq(word), request.length.eq(BURST_WORDS), request.write.eq(~reads),
            request.address.eq(Cat(Const(0, 4), *(bits[bit % 4] for bit in range(4, self.storage_bits))))]
        with m.If(moves):
            m.d.sync += [n.eq(n + 1), flip.eq(~flip)]
            with m.If(flip):
                m.d.sync += state.eq(Cat(state[1:], Const(0, 1)) ^ Mux(state[0], FEEDBACK, 0))
        m.d.sync += [differs.eq(self.r.data ^ word), compared.eq(0), wrong.eq(wrong | compared & differs.any())]
        with states.at("SEED"):
            m.d.sync += [state.eq(Cat(salt, burst, Const(seed(0, 0) >> SALT_BITS + 3, 5))), flip.eq(0), n.eq(0)]
            states.go("GIVE")
            with m.If(reads):
                states.go("ASK")
        with states.at("GIVE"):
            m.d.comb += [self.w.valid.eq(1), moves.eq(self.w.ready)]
            with m.If(self.w.ready & n.all()):
                states.go("ASK")
        with states.at("ASK"):
            m.d.comb += self.request.valid.eq(1)
            with m.If(self.request.ready):
                states.go("NEXT")
                with m.If(reads):
                    states.go("AWAIT")
        with states.at("AWAIT"):
            m.d.comb += moves.eq(self.r.valid)
            m.d.sync += compared.eq(self.r.valid)
            with m.If(self.r.valid & n.all()):
                states.go("NEXT")
        with states.at("NEXT"):
            states.go("SEED")
            with m.If(reads & (burst == 0)):
                states.go("JUDGE")
            with m.Elif(~reads & burst.all()):
                m.d.sync += reads.eq(1)
            with m.Else():
                m.d.sync += burst.eq(burst + Cat(1, reads.replicate(2)))
        with states.at("JUDGE"):
            m.d.sync += [salt.eq(salt + self.homed), reads.eq(0), wrong.eq(0)]
            with m.If(~self.homed):
                states.go("HOME")
            with m.Elif(~self.swept):
                m.d.sync += self.mask.eq(Cat(self.mask[1:], ~wrong))
                self._on(m)
            with m.Else():
                m.d.sync += proofs.eq(proofs + 1)
                states.go("SEED")
                with m.If(wrong | proofs.all()):
                    m.d.sync += self.fails.eq(wrong)
                    states.go("OVER")
        assert PROOFS & PROOFS - 1 == 0
        with states.at("OVER"):
            m.d.sync += self.busy.eq(0)

    def _search(self, m):
        """The longest run in the mask, which is looked through twice as it turns; the middle of it."""
        states, steps = self.states, self.turn.steps
        width, last = self.width, self.last
        at, run, second = Signal(range(steps)), Signal.like(width), Signal()
        record, full, end = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        middle = Signal(range(-steps, steps), reset_less=True)
        with states.at("LOOK"):
            m.d.sync += [record.eq(run == width), full.eq(width == steps), end.eq(at == steps - 1)]
            states.go("TELL")
        with states.at("TELL"):
            m.d.sync += [self.mask.eq(Cat(self.mask[1:], self.mask[0])), at.eq(Mux(end, 0, at + 1)), second.eq(second | end)]
            with m.If(~self.mask[0]):
                m.d.sync += run.eq(0)
            with m.Elif(~full):
                m.d.sync += run.eq(run + 1)
                with m.If(record):
                    m.d.sync += [width.eq(width + 1), last.eq(at)]
            states.go("LOOK")
            with m.If(second & end):
                states.go("CHOOSE")
        with states.at("CHOOSE"):
            m.d.sync += [middle.eq(last - (width >> 1)), full.eq(width >= LEAST_WINDOW), self.swept.eq(1)]
            states.go("CHOSEN")
        with states.at("CHOSEN"):
            m.d.sync += self.left.eq(Mux(middle[-1], middle + steps, middle))
            states.go("GO")
            with m.If(~full):                   # where the board is most likely to work, for who tests it
                m.d.sync += [self.fails.eq(1), self.left.eq(self.turn.first)]
