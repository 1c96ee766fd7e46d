"""Cycles of the calibration of an SDRAM's phase: its steps and its requests, and when it is over."""
from dataclasses import dataclass, field

from arch.memory.calibration import BURST_WORDS, BURSTS, LEAST_WINDOW, PROOFS, PULSE, Calibrated, Turn, address_bit, settling
from arch.sdram import PULL, Timing
from golden.cycles.sdram import Request, SdramCycles

__all__ = ["CalibrationTimes", "calibration_cycles"]

_STEP = 2 * PULSE + 2           # from one step, or from the cycle that decides for it, to the next state
_LOOKED = 4                     # cycles for each step in which the mask is looked through, twice


@dataclass
class CalibrationTimes:
    """Cycles since the end of the reset in which the clock is told to step on, and in which requests are taken; `over` is the
    first in which storage is others'."""

    steps: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    over: int = 0


class _Storage:
    """The SDRAM behind a queue of words that are to be written."""

    def __init__(self, timing: Timing, bits: int):
        self.sdram, self.bits = SdramCycles(timing, renews=True), bits
        self.asked: list[int] = []              # for each word of the burst before, when it was asked for

    def _request(self, write: bool, burst: int, offered: int):
        address = sum(address_bit(bit, burst) << bit for bit in range(4, self.bits))
        served = self.sdram.request(Request(write=write, address=address, length=BURST_WORDS, offered=offered))
        self.sdram.finish()
        return served

    def write(self, burst: int, cycle: int):
        """A burst whose first word is given from `cycle` on; a word can be given when the one as many places ahead has left."""
        given = cycle - 1
        for n in range(BURST_WORDS):
            given = max(given + 1, self.asked[n] + PULL if self.asked else 0)
        served = self._request(True, burst, given + 1)
        self.asked = [int(one) for one in served.words]
        return served

    def read(self, burst: int, cycle: int):
        return self._request(False, burst, cycle)


def calibration_cycles(turn: Turn, timing: Timing, found: Calibrated, *, bits: int, proofs: int = PROOFS) -> CalibrationTimes:
    """For what is found in the end, from step `turn.first` on, with addresses of so many bits. `proofs`: tests at the chosen
    step, the last of which may have failed. Calibrator, `hw.storage.pulled_words` and SDRAM are side by side."""
    times, storage = CalibrationTimes(), _Storage(timing, bits)

    def test(cycle: int) -> int:
        """From the cycle in which its first burst is begun to that in which it is judged."""
        for burst in range(BURSTS):
            served = storage.write(burst, cycle + 1)
            times.requests.append(served.taken)
            cycle = served.taken + 2
        for burst in reversed(range(BURSTS)):
            served = storage.read(burst, cycle + 1)
            times.requests.append(served.taken)
            cycle = served.last + 2
        return cycle

    cycle = test(0) + 1
    for _ in range(-turn.first % turn.steps):
        times.steps.append(cycle)
        cycle += _STEP
    cycle += 1
    for _ in range(turn.steps):
        judged = test(cycle + settling(timing))
        times.steps.append(judged)
        cycle = judged + _STEP
    cycle += _LOOKED * turn.steps + 2
    for _ in range(found.chosen):
        times.steps.append(cycle)
        cycle += _STEP
    if found.width < LEAST_WINDOW:
        times.over = cycle + 2
        return times
    cycle += 1 + settling(timing)
    for _ in range(proofs):
        cycle = test(cycle) + 1
    times.over = cycle + 1
    return times
