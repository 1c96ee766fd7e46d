"""Why nobody answers: nothing at all, something else, another rate, or frames that come damaged."""
from collections.abc import Callable, Iterable
from dataclasses import dataclass
import random
import time

from arch.protocol import FLAG, REFUSED, REPLY, Kind
from boards import BOARDS
from host.link import Link, LinkError
from host.protocol import Deframer, Message, pair

__all__ = ["Heard", "RATES", "listen", "why_silent"]

_ASKED, _WAIT_S = 4, 0.15        # times that a rate is tried, and for how long each
# Those of boards first, then others that adapters and chips are often set to.
RATES = tuple(dict.fromkeys([*sorted({board.baud for board in BOARDS.values()}, reverse=True), 2_000_000, 1_000_000, 460_800,
                             230_400, 57_600, 9_600]))
_LIGHTS = "the board's LEDs say more (docs/first_light.md)"


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What came back for `_ASKED` requests: answers, damaged frames, and the first bytes of all."""

    answers: int
    damaged: int
    first: bytes


def listen(link: Link) -> Heard:
    """Says hello some times, and listens. Raises LinkError as the link does."""
    deframer, answers, damaged, back = Deframer(), 0, 0, b""
    for _ in range(_ASKED):
        link.write(bytes([FLAG]) + Message.of(Kind.INFO, 0, pair(random.getrandbits(32))).to_bytes())
        end = time.monotonic() + _WAIT_S            # others may talk without an end
        while (left := end - time.monotonic()) > 0 and (data := link.read(left)):
            back = (back + data)[:16]
            for message in deframer.feed(data):
                if message is None:
                    damaged += 1
                elif message.kind in (Kind.INFO | REPLY, REFUSED):
                    answers += 1
    return Heard(answers=answers, damaged=damaged, first=back)


def why_silent(open_: Callable[[int], Link], baud: int, rates: Iterable[int] = RATES) -> LinkError:
    """What to say of a board that did not answer at a rate: other ones are tried, by `open_`, which gives the line at a rate.
    Raises LinkError as that does."""
    def heard_at(rate: int) -> Heard:
        link = open_(rate)
        try:
            return listen(link)
        finally:
            link.close()
    here = heard_at(baud)
    if here.answers:
        return LinkError(f"The board answers at {baud:,} baud, but only {here.answers} of {_ASKED} times, {here.damaged} frames "
                         "came damaged: the line is bad; try another cable or hub, and count with python -m host.selftest")
    for rate in rates:
        if rate != baud and heard_at(rate).answers:
            return LinkError(f"The board answers at {rate:,} baud, not at {baud:,}: give --baud {rate}")
    if here.damaged:
        return LinkError(f"Frames come back at {baud:,} baud, and all {here.damaged} are damaged: noise, or a rate that is some "
                         f"percent off; another cable or hub, and is the oscillator that of the board's record? {_LIGHTS}")
    if here.first:
        return LinkError(f"What comes back at {baud:,} baud is no frame (it begins with {here.first!r}), and nothing answers at "
                         f"other rates: something else is on this port, or the board holds another bitstream; {_LIGHTS}")
    return LinkError(f"Nothing at all comes back, at {baud:,} baud or any other: another port, no bitstream, or a clock that "
                     f"does not run; {_LIGHTS}")
