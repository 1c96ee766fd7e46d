# amaranth: UnusedElaboratable=no
"""The calibrator with controller and chip, on boards of any delays: what it finds, and every cycle."""
from dataclasses import replace
from random import Random

from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect
import numpy as np
import pytest

from arch.memory.calibration import Calibrated, Calibration, Turn
from arch.pll import solve
from arch.sdram import CHIPS
from boards.phase import best_phase
from golden.calibration import calibrate
from golden.calibration_cycles import calibration_cycles
from hw.storage.calibrator import Calibrator, phase_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.sdram import Sdram
from sim.models.sdram import BEHAVIOUR, ChipTiming, SdramChip, SdramDesign, behaviour_bits, chip_timing
from sim.models.sdram_delays import Behaviour, sampled
from sim.verilog.export import Boundary, SimulationError

MHZ = 140
PLL = solve(25, MHZ)
PHASE = best_phase(PLL, CHIPS["as4c16m16sa-7"], "6")
PLL = replace(PLL, phase_steps=PHASE.steps)
TURN = Turn.of(PLL)
# A chip of few rows, that is soon started.
TIMING = replace(CHIPS["as4c16m16sa-7"].timing(MHZ, pin_registers=2, late=PHASE.late), row_bits=4, power_up=300)
BITS = TIMING.address_bits


class System(wiring.Component):
    """`found` is what the calibrator says; `renews` whether the controller hears that it is to set the mode."""

    def __init__(self):
        self.calibrator = Calibrator(TURN, TIMING, BITS)
        self.sdram, self.chip = Sdram(TIMING, renews=True), SdramChip(TIMING, TURN)
        super().__init__({"timing": In(ChipTiming), "turn": In(data.ArrayLayout(BEHAVIOUR, TURN.steps)),
                          "renews": In(1), "busy": Out(1), "found": Out(phase_layout(TURN))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.calibrator, m.submodules.sdram, m.submodules.chip = one, sdram, chip = self.calibrator, self.sdram, self.chip
        m.submodules.words = words = PulledWords()
        connect(m, sdram.pins, chip.pins)
        connect(m, one.request, sdram.request)
        connect(m, one.w, words.i)
        m.d.comb += [
            words.take.eq(sdram.take), sdram.w.eq(words.word), one.r.eq(sdram.r), sdram.renew.eq(one.busy & self.renews),
            chip.timing.eq(self.timing), chip.turn.eq(self.turn), chip.step.eq(one.step), chip.load.valid.eq(0),
            self.busy.eq(one.busy), self.found.eq(one.found)]
        return m

    def probes(self) -> dict[str, Boundary]:
        one = self.calibrator
        return {"steps": Boundary(one.go, one.go), "requests": Boundary(one.request.valid & one.request.ready, one.request.ready)}


@pytest.fixture(scope="module")
def bench() -> SdramDesign:
    system = System()
    return SdramDesign(system, probes=system.probes)


def started(bench, turn: list[Behaviour], renews: int = 1):
    sim = bench.simulate()
    sim.set("renews", renews)
    sim.set("timing", chip_timing(TIMING))
    sim.set("turn", behaviour_bits(turn))
    return sim


def found(sim) -> Calibrated:
    view = phase_layout(TURN).from_bits(sim.get("found"))
    return Calibrated(state=Calibration(view.state), steps=TURN.steps, chosen=view.chosen, width=view.width, last=view.last,
                      mask=view.mask)


def check(bench, turn: list[Behaviour]) -> Calibrated:
    """One calibration, as predicted in all."""
    right = [one.right(TIMING.late) for one in turn]
    expected = calibrate(TURN, lambda step, _: right[step])
    times = calibration_cycles(TURN, TIMING, expected, bits=BITS)
    with started(bench, turn) as sim:
        sim.step(times.over - 1)
        assert sim.get("busy") == 1
        sim.step(1)
        got = found(sim)
        steps, requests = sim.beats("steps").cycle, sim.beats("requests").cycle
        assert got == expected and sim.get("busy") == 0
        for name, seen, predicted in (("steps", steps, times.steps), ("requests", requests, times.requests)):
            assert np.array_equal(seen, predicted), f"{name}: {seen.tolist()}, not {predicted}"
        sim.step(3000)
        assert sim.get("busy") == 0 and found(sim) == expected
    return got


def board(number: int) -> list[Behaviour]:
    random = Random(number)
    chip = random.choice([chip for chip in CHIPS.values() if 1000 / chip.cycle_ns[1] >= MHZ])
    return sampled(random, chip, MHZ, "6").turn(PLL, TURN.steps)


@pytest.mark.parametrize("number", range(6))
def test_boards_of_any_delays(bench, number):
    assert check(bench, board(number)).state is Calibration.DONE


GOOD, EARLY, LATE = (Behaviour(lag=0, back=1 + TIMING.late + by, lost=False, garbled=False) for by in (0, -1, 1))
LOST, GARBLED = replace(GOOD, lost=True), replace(GOOD, garbled=True)


@pytest.mark.parametrize(("bad", "good"), [
    (LOST, range(0)), (GARBLED, range(0)), (EARLY, range(10, 12)), (LATE, [39, 0, 1]), (LOST, range(15, 19)),
    (GARBLED, [38, 39, 0, 1, 20, 21, 22]), (EARLY, range(40)), (GARBLED, [n for n in range(40) if n != 17])])
def test_windows(bench, bad, good):
    """None, too narrow, around the turn's end, two of them, everywhere."""
    turn = [GOOD if n in good else bad for n in range(TURN.steps)]
    result = check(bench, turn)
    assert (result.state is Calibration.DONE) == (len(good) >= 3)


def test_a_reset_in_the_middle(bench):
    """Of anything, a step included: the PLL goes on, the calibration begins anew, and finds the same."""
    turn = board(1)
    with started(bench, turn) as sim:
        sim.run_until(beats=("steps", 70), deadline=200_000)
        first = found(sim)
        for after in (1, 5, 20, 40, 3000, 90_000):
            sim.step(after)
            sim.set("rst", 1)
            sim.step(2)
            sim.set("rst", 0)
        while sim.get("busy"):
            sim.step(100)
        right = [one.right(TIMING.late) for one in turn]
        assert found(sim) == calibrate(TURN, lambda step, _: right[step]) != first


def test_words_that_go_wrong_afterwards(bench):
    """The chosen step fails when it is tested again."""
    turn = board(2)
    with started(bench, turn) as sim:
        sim.run_until(beats=("steps", 40 + 40 - TURN.first), deadline=200_000)
        chosen = calibrate(TURN, lambda step, _: turn[step].right(TIMING.late)).chosen
        sim.set("turn", behaviour_bits([GARBLED if step == chosen else one for step, one in enumerate(turn)]))
        while sim.get("busy"):
            sim.step(100)
        assert (found(sim).state, found(sim).chosen) == (Calibration.NO_WINDOW, chosen)


def test_the_mode_is_set_anew(bench, capfd):
    """A chip that has lost its mode at a wrong phase is not used before it has one again: without that the run stops."""
    with pytest.raises(SimulationError, match="an assertion of the design failed"), started(bench, board(0), renews=0) as sim:
        sim.step(100_000)
    assert "SDRAM: activate before the start is complete," in "".join(capfd.readouterr())
