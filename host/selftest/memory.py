"""Storage under test: lines first, then rows and banks, then words that must keep what they hold."""
from collections.abc import Callable
import time

import numpy as np

from arch.protocol import DATA_WORDS
from host.selftest import lines
from host.selftest.cells import Suspects
from host.selftest.finding import Check, Finding
from host.selftest.lines import Places
from host.session import Session

__all__ = ["HOLD_S", "test_memory"]

HOLD_S = 0.5                    # between writing and reading: eight times what a cell must hold without a refresh
_ALL = 0xFFFF
_BYTES = ((0x00FF, "DQML"), (0xFF00, "DQMU"))
_SWEEP, _BLOCKS = 0.6, 0.35     # of the seconds, for rows and banks, and for blocks of words
_REGIONS = 8
_CABLE = "look at the solder joints of the SDRAM and of the FPGA at these lines, and for bridges between neighbours"
_CLOCK = "build with the SDRAM that is on the board (hw.build --sdram NAME), or at a lower clock (--freq)"


def test_memory(session: Session, places: Places | None, *, seconds: float = 20, seed: int = 1, whole: bool = False,
                pause: Callable[[float], None] = time.sleep) -> list[Check]:
    """The checks of the storage behind a session that is connected, in about so many seconds of a real line; with `whole` each
    word of it is tested, however long that takes. What storage held is lost. Raises LinkError as the session does.

    `places`: None for block RAM, which has no lines outside the FPGA."""
    test = _Test(session, places, seconds=seconds, seed=seed, whole=whole, pause=pause)
    data = test.data()
    checks = [data]
    if test.healthy.bit_count() >= 8:
        checks.append(address := test.address())
        if data.good and address.good:
            checks += [test.rows()] if places else []
            checks.append(test.blocks())
    return checks


class _Test:
    def __init__(self, session: Session, places: Places | None, *, seconds: float, seed: int, whole: bool,
                 pause: Callable[[float], None]):
        self.session, self.places, self.seconds, self.whole, self.pause = session, places, seconds, whole, pause
        self.words, self.healthy, self.word_s = session.info.identity.storage_words, _ALL, 0.0
        self.random = np.random.default_rng(seed)
        self.suspects = Suspects(session, places, self.words, lambda: pause(HOLD_S))

    def data(self) -> Check:
        """Patterns in a word, with their opposites in one whose address has all other bits."""
        patterns = [*(1 << n for n in range(16)), 0, 0xAAAA, 0x00FF, *map(int, self.random.integers(0, 1 << 16, 12))]
        patterns = [word for one in patterns for word in (one, one ^ _ALL)]
        seen, far = [], []
        for word in patterns:
            self.session.write(0, np.array([word]))
            self.session.write(self.words - 1, np.array([word ^ _ALL]))
            seen.append(int(self.session.read(0, 1)[0]))
            self.session.write(0, np.array([word]))             # a line that floats may hold what it carried last
            far.append(int(self.session.read(self.words - 1, 1)[0]))
        sent, seen, far = np.array(patterns), np.array(seen), np.array(far)
        wrong, there = lines.data_faults(sent, seen), lines.data_faults(sent ^ _ALL, far)
        # A line's bit is wrong in both words; another one is its word's.
        wrong = {n: name for n, name in wrong.items() if n in there}
        bad = sum(1 << n for n in wrong)
        self.healthy = self.suspects.healthy = _ALL ^ bad
        for address, differs in ((0, sent ^ seen), (self.words - 1, sent ^ _ALL ^ far)):
            self.suspects.add(np.array([address]), np.array([np.bitwise_or.reduce(differs) & self.healthy]))
        covered = f"{len(patterns)} patterns in two words: each of 16 lines alone, all but each, random ones"
        return Check(name="data lines", covered=covered, findings=self._of_data(bad, wrong) if wrong else [])

    def _of_data(self, bad: int, wrong: dict[int, str]) -> list[Finding]:
        if bad == _ALL:
            return [self._nothing()]
        findings = []
        for byte, mask in _BYTES:
            if bad & byte == byte:
                first = 0 if byte == 0xFF else 8
                findings.append(Finding(
                    names=(f"{mask} stuck high or not connected", f"all of DQ{first} to DQ{first + 7}"),
                    seen=f"nothing of the {'low' if first == 0 else 'high'} byte of a word is kept",
                    means="its mask is on all the time, or none of its lines reaches the SDRAM", try_=_CABLE))
                wrong = {n: name for n, name in wrong.items() if not byte >> n & 1}
        for name in dict.fromkeys(wrong.values()):
            findings.append(Finding(names=(name,), seen="bits of words are other than they were written",
                                    means="lines between FPGA and memory are at fault, or the memory's pins", try_=_CABLE))
        return findings

    def _nothing(self) -> Finding:
        """No bit is right: words come a clock early or late, words are there and cannot be changed, or there are none."""
        sent = self.random.integers(0, 1 << 16, 8, dtype=np.uint16)
        self.session.write(0, sent)
        seen = self.session.read(0, len(sent))
        for early, here, there in ((True, seen[:-1], sent[1:]), (False, seen[1:], sent[:-1])):
            if np.array_equal(here, there):
                way = "early" if early else "late"
                stuck = f"A4 stuck {'low' if early else 'high'}, shorted or swapped"
                return Finding(names=(stuck, f"words come a clock {way}"),
                               seen=f"words that are read in a row come one clock too {way}",
                               means="the SDRAM has taken another CAS latency than ours (A4 to A6 bring it at the start), or the "
                                     "phase of its clock is a whole clock off", try_=f"{_CLOCK}; else {_CABLE}")
        spread = [self.words * n // 16 for n in range(16)]
        first, second = self.session.read_each(spread), self.session.read_each(spread)
        if np.array_equal(first, second) and len(set(map(int, first))) > 8:
            return Finding(names=("WE stuck high or not connected",),
                           seen="every word reads the same each time, words differ, and nothing that is written changes them",
                           means="the memory answers, but takes no word", try_=_CABLE)
        names = ("CLK", "CKE", "CS", "RAS", "CAS", "WE stuck low", "both DQM stuck high", "A4", "A5", "A6")
        return Finding(names=names, seen="no bit of any word is what was written",
                       means="the memory gets no clock, no commands, or another mode than it was told (A4 to A6 bring the CAS "
                             "latency); or the phase of its clock is far off",
                       try_=f"{_CLOCK}; measure its supply and its clock; {_CABLE}")

    def address(self) -> Check:
        """A word of its own at address 0, at each address with one bit, and at each with two."""
        bits = [1 << n for n in range((self.words - 1).bit_length())]
        addresses = np.array([one for one in (0, *bits, *(a | b for a in bits for b in bits if a < b)) if one < self.words])
        written, begun = lines.tags(len(addresses)), self.session.now()
        self.session.write_each(addresses, written)
        seen = self.session.read_each(addresses)
        self.word_s = max((self.session.now() - begun) / (2 * len(addresses)), 1e-6)
        wrong = (seen ^ written) & self.healthy
        covered = f"{len(addresses)} addresses with no, one and two bits"
        findings = []
        if wrong.any():
            names = lines.address_faults(self.places, addresses, written, seen, self.healthy) if self.places else ()
            if names:
                findings = [Finding(
                    names=names, seen=f"{np.count_nonzero(wrong)} of {len(addresses)} addresses reach words of other addresses",
                    means="an address line, or one of those that choose a bank, is at fault", try_=_CABLE)]
            elif np.count_nonzero(wrong) > len(addresses) // 2:
                findings = [Finding(
                    names=("several address lines",),
                    seen=f"{np.count_nonzero(wrong)} of {len(addresses)} addresses hold other words than were written there, and "
                         "no single line at fault explains it",
                    means="several lines are at fault, or words are lost at random", try_=f"{_CABLE}; or {_CLOCK}")]
        self.suspects.add(addresses, wrong)             # a damaged row or cell, if it is none of the lines
        return Check(name="address lines", covered=covered, findings=findings)

    def rows(self) -> Check:
        """A word in each row of each bank, in another column each, and then its opposite."""
        places = self.places
        chosen = np.arange(places.rows)
        most = max(int(_SWEEP * self.seconds / (4 * self.word_s)), 64)
        if len(chosen) > most and not self.whole:
            powers = [1 << n for n in range((places.rows - 1).bit_length())]
            chosen = np.unique([0, *powers, *(places.rows * n // most for n in range(most))])
        row, bank = chosen >> 2, chosen & 3
        addresses = places.address(row, bank, (37 * row + 11 * bank) & (1 << places.column_bits) - 1)
        addresses = addresses[addresses < self.words]
        words = self.random.integers(0, 1 << 16, len(addresses), dtype=np.uint16)
        for one in (words, words ^ np.uint16(_ALL)):
            self.session.write_each(addresses, one)
            self.pause(HOLD_S)
            self.suspects.add(addresses, (self.session.read_each(addresses) ^ one) & self.healthy)
        covered = f"a word and its opposite in {len(addresses):,} of {places.rows:,} rows of 4 banks, kept for {HOLD_S:g} s each"
        return Check(name="rows and banks", covered=covered, findings=self.suspects.findings())

    def blocks(self) -> Check:
        """Random words and their opposites in blocks all over storage, or in all of it."""
        each = self._block_words()
        starts = [0] if each == self.words else [(self.words - each) * n // (_REGIONS - 1) for n in range(_REGIONS)]
        images = [self.random.integers(0, 1 << 16, each, dtype=np.uint16) for _ in starts]
        for turned in (0, _ALL):
            images = [image ^ np.uint16(turned) for image in images]
            for start, image in zip(starts, images, strict=True):
                self.session.write(start, image)
            self.pause(HOLD_S)
            for start, image in zip(starts, images, strict=True):
                self._compare(start, image)
        size = 2 * each * len(starts)
        share = "all" if each == self.words else f"{len(starts)} blocks"
        covered = f"random words in {share} of storage, {size >> 10:,} KB, written twice, kept for {HOLD_S:g} s"
        return Check(name="words", covered=covered, findings=self.suspects.findings())

    def _block_words(self) -> int:
        """Of each block; all of storage where there is time for it, or where it is wanted."""
        line = 2.1 * 10 / self.session.link.baud            # seconds a word, with what goes around it
        words = int(_BLOCKS * self.seconds / (2 * line))
        return self.words if self.whole or words >= self.words else max(words // _REGIONS, DATA_WORDS)

    def _compare(self, start: int, image: np.ndarray) -> None:
        """By the board's checksums; only what differs is read."""
        step = max(DATA_WORDS, len(image) // 64)
        if self.session.verify(start, image):
            return
        for first in range(0, len(image), step):
            part = image[first:first + step]
            if not self.session.verify(start + first, part):
                seen = self.session.read(start + first, len(part))
                if self.suspects.full:
                    return
                self.suspects.add(np.arange(len(part)) + start + first, (seen ^ part) & self.healthy)


