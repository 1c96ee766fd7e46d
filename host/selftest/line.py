"""The serial line under test: a thousand frames, and what both ends count."""
import numpy as np

from arch.protocol import DATA_WORDS, LINE_MOST
from host.selftest.finding import Check, Finding
from host.selftest.phase import without_memory
from host.session import Session

__all__ = ["test_line"]

_STATUS, _SINGLE, _WRITES, _READS = 400, 400, 100, 100
_PORT = "a shorter USB cable, another hub or port, a lower --baud that the chip was built for (boards.list)"


def test_line(session: Session, *, seed: int = 1) -> Check:
    """STATUS, WRITEs of a word, and WRITEs and READs of the greatest length, 1,000 together; what storage held is lost. STATUS
    alone where there is no memory to be had. Raises LinkError as the session does."""
    rng, words = np.random.default_rng(seed), session.info.identity.storage_words
    before, again, damaged, begun = session.line(), session.sent_again, session.damaged, session.now()
    session.status_each(_STATUS)
    if without_memory(session):
        session.status_each(_SINGLE + _WRITES + _READS)
    else:
        session.write_each(rng.integers(0, words, _SINGLE), rng.integers(0, 1 << 16, _SINGLE))
        most = min(DATA_WORDS, words)
        for _ in range(_WRITES):
            session.write(0, rng.integers(0, 1 << 16, most, dtype=np.uint16))
        for _ in range(_READS):
            session.read(0, most)
    seconds, after = session.now() - begun, session.line()
    there = {name: after[name] - before[name] for name in after}
    here = {"damaged": session.damaged - damaged, "again": session.sent_again - again}
    covered = f"{_STATUS + _SINGLE + _WRITES + _READS:,} frames in {seconds:.1f} s, {here['again']} times sent again"
    if LINE_MOST in after.values():
        covered += "; the board's counts are full: reset it to count anew"
    return Check(name="line", covered=covered, findings=_findings(there, here))


def _findings(there: dict[str, int], here: dict[str, int]) -> list[Finding]:
    found = []
    if there["lost"] and there["lost"] >= there["damaged"] // 2:
        found.append(Finding(
            names=("rate of the line", "bytes lost on the way to the board"),
            seen=f"the board lost {there['lost']} bytes or found their stop bit low, in {there['damaged']} damaged frames",
            means="the rates of both ends differ by some percent, or the board's clock is not what it says",
            try_="the rate of the board (boards.list) as --baud; the board's oscillator against its record; a shorter cable"))
    elif there["damaged"]:
        found.append(Finding(names=("noise on the way to the board",), seen=f"{there['damaged']} frames came damaged there",
                             means="bits were turned on the line, or the PC's driver lost bytes", try_=_PORT))
    if here["damaged"]:
        found.append(Finding(names=("noise on the way to the PC",), seen=f"{here['damaged']} replies came damaged",
                             means="bits were turned on the line, or the PC's driver lost bytes", try_=_PORT))
    if here["again"] and not found:
        found.append(Finding(names=("replies are late or lost",),
                             seen=f"{here['again']} times requests were sent again, though none came damaged",
                             means="replies do not arrive in time, or another program reads from the port",
                             try_=f"end other programs that use the port; {_PORT}"))
    return found
