"""The phase of the SDRAM's clock under test: what the board's own calibration found."""
from arch.memory.calibration import Calibrated, Calibration
from host.selftest.finding import Check, Finding
from host.session import Session

__all__ = ["NARROW", "test_phase", "told_phase", "without_memory"]

NARROW = 4              # steps: so few and drift may lead out of a window
NAME = "memory clock"


def without_memory(session: Session) -> bool:
    """Whether the board found no phase, and so gives nothing of its memory; the chip of the self-test does all the same."""
    return session.status().no_window and session.info.identity.digest != 0


def test_phase(session: Session) -> Check:
    """Raises LinkError as the session does."""
    found = session.phase()
    told = told_phase(found, session.info.identity.clock_khz)
    match found.state:
        case Calibration.NONE:
            return Check(name=NAME, skipped="this chip calibrates no clock of an SDRAM")
        case Calibration.RUNNING:
            return Check(name=NAME, findings=[Finding(
                names=("no end",), seen="the calibration does not end", means="the SDRAM's start or its answers never come",
                try_="reset the board; look at the SDRAM's joints")])
        case Calibration.NO_WINDOW:
            return Check(name=NAME, covered=told, findings=[Finding(
                names=("no window",), seen=told,
                means="at no phase of its clock the SDRAM gives what it was given: a line is bad, or the clock too high for it",
                try_="build with --selftest: that chip tests the memory's lines all the same; then at a lower clock (--freq)")])
    if found.width <= NARROW:
        return Check(name=NAME, covered=told, findings=[Finding(
            names=("narrow window",), seen=told, means="words may become wrong when the board gets warm",
            try_="build at a lower clock (--freq), and for the SDRAM that is on the board (--sdram)")])
    return Check(name=NAME, covered=told)


def told_phase(phase: Calibrated, clock_khz: int) -> str:
    """What the calibration of the SDRAM's clock found, for people; empty without one."""
    def at(step: int) -> str:
        return f"{phase.degrees(step):.0f}"

    def ns(steps: int) -> str:
        return f"{1e6 / clock_khz * steps / phase.steps:.2f} ns"
    match phase.state:
        case Calibration.NONE:
            return ""
        case Calibration.RUNNING:
            return "being calibrated"
        case Calibration.NO_WINDOW if not phase.width:
            return "no phase of it gives right words"
    window = f"right words from {at(phase.first)} to {at(phase.last)} degrees, {ns(phase.width)}"
    if phase.state is Calibration.NO_WINDOW:
        return f"no safe phase: {window}"
    return f"{at(phase.chosen)} degrees later, {ns(phase.chosen)}; {window}"
