"""What the calibration of an SDRAM's phase finds on a board."""
from collections.abc import Callable

from arch.memory.calibration import LEAST_WINDOW, PROOFS, Calibrated, Calibration, Turn

__all__ = ["calibrate", "longest"]


def longest(mask: int, steps: int) -> tuple[int, int]:
    """Number of steps, and the last of them, of the longest run of bits in a mask that begins anew behind its end; of several the
    one that ends first, if the run that goes on from the end to the beginning ends last."""
    run = width = last = 0
    for at in range(2 * steps):
        run = min(run + 1, steps) if mask >> at % steps & 1 else 0
        if run > width:
            width, last = run, at % steps
    return width, last


def calibrate(turn: Turn, passes: Callable[[int, int], bool]) -> Calibrated:
    """Sweeps a turn from step 0 on, with a test at each step; then goes to the middle of the longest window and tests again. If
    that is too narrow it goes to the turn's first step: there a board that is to be examined most likely works.

    `passes(step, number)` says whether test `number`, counted from 0, passes at a step.
    """
    mask = sum(passes(step, step) << step for step in range(turn.steps))
    width, last = longest(mask, turn.steps)
    if width < LEAST_WINDOW:
        return Calibrated(state=Calibration.NO_WINDOW, steps=turn.steps, chosen=turn.first, width=width, last=last, mask=mask)
    chosen = (last - width // 2) % turn.steps
    proved = all(passes(chosen, turn.steps + n) for n in range(PROOFS))
    return Calibrated(state=Calibration.DONE if proved else Calibration.NO_WINDOW, steps=turn.steps, chosen=chosen, width=width,
                      last=last, mask=mask)
