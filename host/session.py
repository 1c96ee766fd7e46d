"""A conversation with a board: every request answered or an error, whatever the line does in between."""
from collections import deque
from collections.abc import Callable, Sequence
import random
import time

import numpy as np

from arch.memory.calibration import PHASE_WORDS, Calibrated
from arch.protocol import DATA_WORDS, FLAG, LINE_COUNTS, REFUSED, REPLY, VERSION, Kind, Refusal
from host.link import Link, LinkError
from host.protocol import OTHER_VERSION, Deframer, Info, Message, ProtocolError, Status, checksum, counters, number, pair

__all__ = ["BoardReset", "Refused", "Session", "Silent"]

_WINDOW = 16                    # writes on their way
_SINGLE = 64                    # of a word each
_SCAN_S = 0.01                  # that a board takes for a sector of its flash, at most
_TRIES = 8                      # without any progress


_WHY = {Refusal.MEMORY: "no phase of its SDRAM's clock gives right words: python -m host.info shows what it found, "
                        "docs/boards.md says what to try",
        Refusal.RANGE: "it has less storage than that: compile for this board (python -m host.info shows which it is)",
        Refusal.BUSY: "it runs a program, or copies one from its flash: wait for it, or reset the board"}


class Refused(LinkError):
    """The board refuses a request that arrived undamaged; `reason` says why."""

    def __init__(self, kind: Kind, reason: int):
        name = Refusal(reason).name if reason in list(Refusal) else str(reason)
        super().__init__(f"The board refuses {kind.name}, {name}: {_WHY.get(reason, OTHER_VERSION)}")
        self.reason = reason


class BoardReset(LinkError):
    """The board was reset since `connect`: what it did is lost, storage may be too."""

    def __init__(self):
        super().__init__("The board was reset meanwhile, and what it did is lost: start the command again")


class Silent(LinkError):
    """The board does not answer a request."""


class Session:
    """One conversation. Addresses and counts are in words of 16 bits.

    `patience_s`: how long the board may be silent beyond the time that the bytes need on the line; damaged or lost frames are
    sent again after that at the latest. `slowness`: how many times as long as a chip the board takes, if simulated. `clock`
    tells seconds, as `link` keeps them; `numbers` makes the first sequence number and nonces.

    `held`: the program that ran last, and to its end, so that its constants are on the chip.

    Every method raises LinkError when the line is gone or the board silent for good, BoardReset after a reset of the board,
    Refused if it will not obey, and ProtocolError if it speaks another version.
    """

    def __init__(self, link: Link, patience_s: float = 0.1, clock: Callable[[], float] = time.monotonic,
                 numbers: random.Random | None = None, slowness: float = 1.0):
        self.slowness = slowness
        self.link, self.patience_s, self._clock, self._numbers = link, patience_s, clock, numbers or random.SystemRandom()
        self.info: Info | None = None
        self.held: object = None
        self.sent_again = self.damaged = 0          # frames, for whoever wants to know how good the line is; damaged replies
        self._deframer, self._next = Deframer(), self._numbers.randrange(256)

    def now(self) -> float:
        """Seconds, as the session's clock has them."""
        return self._clock()

    def connect(self) -> Info:
        """Says hello; must come first, and again after `BoardReset`."""
        self.held, nonce = None, self._numbers.getrandbits(32)
        # Ends whatever another session left half sent.
        self.link.write(bytes([FLAG]))
        reply = self._ask(Kind.INFO, pair(nonce), accept=lambda words: len(words) >= 2 and number(words[:2]) == nonce)
        if len(reply) < 3 or reply[2] != VERSION:
            raise ProtocolError(f"Protocol of the board must be version {VERSION}, not {reply[2] if len(reply) > 2 else 'none'}: "
                                f"{OTHER_VERSION}")
        self.info = Info.of(reply)
        return self.info

    def write(self, address: int, words: np.ndarray, progress: Callable[[int], None] = lambda words: None) -> None:
        """Writes storage; `progress` hears how many words have arrived."""
        words = np.ascontiguousarray(words, "<u2")
        frames = []
        for start in range(0, len(words), DATA_WORDS):
            part = words[start:start + DATA_WORDS]
            frames.append((np.concatenate([pair(address + start), part]).astype("<u2"), len(part)))
        self._send(Kind.WRITE, frames, progress)

    def write_packed(self, frames: Sequence[np.ndarray]) -> None:
        """Writes storage by frames of `host.packing`, on a board that unpacks them."""
        self._send(Kind.PACKED, [(words, 0) for words in frames])

    def read(self, address: int, count: int) -> np.ndarray:
        """Words of storage, uint16."""
        parts = [self._ask(Kind.READ, [*pair(start), min(DATA_WORDS, address + count - start)])
                 for start in range(address, address + count, DATA_WORDS)]
        return np.concatenate(parts) if parts else np.zeros(0, "<u2")

    def write_each(self, addresses: Sequence[int], words: Sequence[int]) -> None:
        """Writes a word to each address, in this order."""
        frames = [([*pair(int(address)), int(word)], 1) for address, word in zip(addresses, words, strict=True)]
        self._send(Kind.WRITE, frames, window=_SINGLE)

    def read_each(self, addresses: Sequence[int]) -> np.ndarray:
        """The word at each address, uint16, read in this order."""
        frames = [([*pair(int(address)), 1], 1) for address in addresses]
        replies = self._send(Kind.READ, frames, accept=lambda words: len(words) == 1, window=_SINGLE)
        # Where a reply was lost, later ones say only that it was sent.
        return np.array([words[0] if len(words) else self.read(int(address), 1)[0]
                         for words, address in zip(replies, addresses, strict=True)], "<u2")

    def checksum(self, address: int, count: int) -> int:
        """CRC-32 of words of storage, computed by the board."""
        # Ten cycles for each word, at a slow clock, are no silence.
        return number(self._ask(Kind.CHECKSUM, [*pair(address), *pair(count)], extra_s=self.slowness * count * 10 / 25e6))

    def verify(self, address: int, words: np.ndarray) -> bool:
        """Whether storage holds these words."""
        return not len(words) or self.checksum(address, len(words)) == checksum(words)

    def start(self, address: int) -> None:
        """Starts the program at a word of storage."""
        self.held = None
        self._ask(Kind.START, pair(address))

    def status(self) -> Status:
        return Status.of(self._ask(Kind.STATUS))

    def status_each(self, count: int) -> None:
        """Asks so many times for the status, many requests on their way at a time: for those who test the line."""
        self._send(Kind.STATUS, [((), 0)] * count, window=_SINGLE)

    def wait(self, timeout_s: float) -> Status:
        """Status once no program runs. Raises LinkError if one still does after `timeout_s` seconds."""
        end = self._clock() + timeout_s
        while (status := self.status()).running:
            if self._clock() > end:
                raise LinkError(f"The program does not end within {timeout_s:g} s: reset the board, and load the program again")
        return status

    def reboot(self, timeout_s: float) -> Status:
        """Has the board try the slots in its flash as after a reset; the status after that, as `boot`."""
        self.held = None
        self._ask(Kind.BOOT)
        return self.boot(timeout_s)

    def boot(self, timeout_s: float) -> Status:
        """Status once no slot in flash is tried any more. Raises LinkError if that is not over after `timeout_s` seconds."""
        end = self._clock() + timeout_s
        while (status := self.status()).booting:
            if self._clock() > end:
                raise LinkError(f"The board still tries the slots in its flash after {timeout_s:g} s: reset it, and write the "
                                "program to its flash again (python -m host.load --flash)")
        return status

    def exchange(self, data: bytes) -> bytes:
        """Bytes for the board's flash, at most `DATA_WORDS`, which is selected meanwhile; returns those that come back."""
        back = self._ask(Kind.EXCHANGE, list(data), accept=lambda words: len(words) == len(data))
        return back.astype(np.uint8).tobytes()

    def scan(self, address: int) -> int:
        """CRC-32 of a sector of flash, 4,096 bytes from an address on that is a multiple of that, computed by the board."""
        return number(self._ask(Kind.SCAN, pair(address), accept=lambda words: len(words) == 2, extra_s=self.slowness * _SCAN_S))

    def phase(self) -> Calibrated:
        """What the board's calibration of its SDRAM's clock has found."""
        return Calibrated.of(self._ask(Kind.PHASE, accept=lambda words: len(words) == PHASE_WORDS))

    def counters(self) -> dict[str, int]:
        """Counters of the last run by name."""
        return counters(self._ask(Kind.COUNTERS))

    def line(self) -> dict[str, int]:
        """What the board's receiver heard since its reset, by the names in `arch.protocol.LINE_COUNTS`; this request counts."""
        words = self._ask(Kind.LINE, accept=lambda words: len(words) == len(LINE_COUNTS))
        return dict(zip(LINE_COUNTS, map(int, words), strict=True))

    def clear(self) -> None:
        """Ends a program that runs, and forgets its end and fault."""
        self._ask(Kind.CLEAR)

    def _ask(self, kind: Kind, words=(), accept: Callable[[np.ndarray], bool] = lambda words: True,
             extra_s: float = 0) -> np.ndarray:
        replies = self._send(kind, [(words, 0)], accept=accept, extra_s=extra_s)
        return replies[0]

    def _send(self, kind: Kind, frames: list, progress: Callable[[int], None] = lambda words: None,
              accept: Callable[[np.ndarray], bool] = lambda words: True, extra_s: float = 0,
              window: int = _WINDOW) -> list[np.ndarray]:
        """Sends requests of one kind, a `window` of them on their way, until all are answered; returns the replies' words (of the
        last one only, where a later reply answers for earlier ones)."""
        first = self._next
        encoded = [Message.of(kind, (first + n) % 256, words).to_bytes() for n, (words, _) in enumerate(frames)]
        done = sent = arrived = 0                   # frames answered and sent
        went_back, tries, replies = -1, 0, {}
        deadline = 0.0
        while done < len(frames):
            while sent < min(done + window, len(frames)):
                self.link.write(encoded[sent])
                sent += 1
                deadline = self._deadline(encoded[done:sent], extra_s)
            back, before = None, done
            for message in self._receive(deadline):
                if message is None:
                    self.damaged += 1
                    continue                        # the deadline decides: it may have been any reply
                if message.kind == REFUSED and len(message.words) == 2:
                    ahead = self._refused(kind, message, first, done, sent)
                    if ahead is None:
                        continue
                    # A single request whose number is taken is asked again for its reply.
                    done = max(done, min(ahead, len(frames) - (kind not in (Kind.WRITE, Kind.PACKED))))
                    if sent > done != went_back:
                        back = done
                elif message.kind == kind | REPLY:
                    ahead = (message.sequence - first - done) % 256
                    if ahead < sent - done and accept(message.words):
                        replies[done + ahead] = message.words
                        done += ahead + 1
            if done > before:
                tries, went_back = 0, -1
                deadline = self._deadline(encoded[done:sent], extra_s)
                for _, count in frames[before:done]:
                    arrived += count
                progress(arrived)
            if back is not None and back >= done:
                went_back, sent = done, done
                self.sent_again += 1
            elif done < len(frames) and self._clock() >= deadline:
                tries += 1
                if tries == _TRIES:
                    raise Silent(f"The board does not answer ({kind.name}): is this its port, is its bitstream loaded, and "
                                    f"are {self.link.baud:,} baud its own (python -m boards.list shows them)?")
                went_back, sent = -1, done
                self.sent_again += 1
        self._next = (first + len(frames)) % 256
        return [replies.get(n, np.zeros(0, "<u2")) for n in range(len(frames))]

    def _deadline(self, waiting: list[bytes], extra_s: float) -> float:
        line = 10 / self.link.baud * (sum(map(len, waiting)) + 2200)        # and a reply of the greatest length
        return self._clock() + line + self.patience_s + extra_s

    def _refused(self, kind: Kind, message: Message, first: int, done: int, sent: int) -> int | None:
        """Which frame (of those that are sent) the board awaits; None if it says nothing about them."""
        reason, awaited = (int(word) for word in message.words)
        if reason == Refusal.UNCONNECTED:
            if kind is Kind.INFO:
                return done
            raise BoardReset
        ahead = (awaited - first - done) % 256
        known = ahead <= sent - done
        if reason in (Refusal.DAMAGED, Refusal.SEQUENCE):
            if kind is Kind.INFO:                   # is obeyed with any number
                return done if reason == Refusal.DAMAGED else None
            return done + ahead if known else None
        if known and message.sequence == awaited:
            self._next = awaited
            raise Refused(kind, reason)
        return None

    def _receive(self, deadline: float) -> deque:
        """Messages that arrive until the deadline; returns with the first of them."""
        while True:
            data = self.link.read(max(0.0, deadline - self._clock()))
            messages = deque(self._deframer.feed(data))
            if messages or not data or self._clock() >= deadline:
                return messages
