"""What a frame costs on the serial line: bytes in each direction, and the time that they take beside the chip's."""
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from arch.protocol import DATA_WORDS, STATUS_WORDS

__all__ = ["Exchange", "frame_exchange", "input_bytes", "message_bytes"]

BYTE_BITS = 10                  # with start and stop bit
ESCAPED = 2 / 256               # of bytes at random: those that are a flag or an escape take two on the line


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What goes over the line for a frame: bytes to the board (`sent`) and from it (`received`), STATUS requests (`polls`), and
    `seconds` until the result is there, beyond those in which the chip computes."""

    sent: float
    received: float
    polls: int
    seconds: float


def message_bytes(words: int, escaped: float = ESCAPED) -> float:
    """Bytes of a message with so many words of arguments, on the line: two flags around kind, number, words and CRC-32, of which
    a share `escaped` takes two bytes."""
    return 2 + (2 + 2 * words + 4) * (1 + escaped)


def frame_exchange(input_words: int, output_words: int, *, baud: int, chip_s: float, escaped: float = ESCAPED,
                   packed: Sequence[int] | None = None) -> Exchange:
    """A frame as `host.runner` has it done, on a line that loses nothing and a PC that answers at once.

    WRITEs of the input, or PACKED frames with `packed` words of arguments each, one after the other, their replies meanwhile;
    START; STATUS again and again until the chip is through, which takes it `chip_s` seconds; READs of the output, each after the
    reply to the last.
    """
    byte_s, ask, answer = BYTE_BITS / baud, message_bytes(0, escaped), message_bytes(STATUS_WORDS, escaped)
    writes = _inputs(input_words, escaped, packed)
    reads = [message_bytes(count, escaped) for count in _parts(output_words)]
    start, read = message_bytes(2, escaped), message_bytes(3, escaped)
    # From the end of START: its reply and the first STATUS, then reply and STATUS in turn.
    polls = 1 + max(0, ceil((chip_s / byte_s - 2 * ask) / (ask + answer)))
    upload = sum(writes) + ask if writes else 0
    download = sum(read + part for part in reads)
    waited = ask + polls * (ask + answer)
    return Exchange(sent=sum(writes) + start + polls * ask + len(reads) * read,
                    received=len(writes) * ask + ask + polls * answer + sum(reads), polls=polls,
                    seconds=(upload + start + waited + download) * byte_s - chip_s)


def input_bytes(input_words: int, *, escaped: float = ESCAPED, packed: Sequence[int] | None = None) -> float:
    """Bytes on the line of the messages that bring the input, as `frame_exchange` has them."""
    return sum(_inputs(input_words, escaped, packed))


def _inputs(words: int, escaped: float, packed: Sequence[int] | None) -> list[float]:
    parts = [2 + count for count in _parts(words)] if packed is None else packed
    return [message_bytes(count, escaped) for count in parts]


def _parts(words: int) -> list[int]:
    """Words of each message that carries a part of so many."""
    return [min(DATA_WORDS, words - start) for start in range(0, words, DATA_WORDS)]
