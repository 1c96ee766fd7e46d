"""The sequencer's sizes, latencies and errors: shared by hardware, reference and host.

Latencies count clock edges, as in `arch.pipeline`.
"""
from enum import IntEnum
from functools import cache

from arch.geometry import Geometry
from arch.instruction import QUEUES, Opcode, Waits, records
from arch.transfer import TransferFault

__all__ = [
    "BURST", "CHECK", "CHECK_PLACES", "Fault", "FETCH_AGAIN", "FETCH_FIRST", "FETCH_FREE", "FIFO", "FIFO_PLACES", "FINISH",
    "NO_QUEUE", "PROGRAM_WORDS", "QUEUE_WORDS", "QUIET", "SILENCE", "SPREAD", "SPREAD_FREE", "TOKEN", "TRANSFER", "UNPACK",
    "body_words", "instruction_words"]

# Words of the program that wait for the checker, and of a request for more; words of instructions that wait in each queue. Each
# is one block RAM.
PROGRAM_WORDS = 512
BURST = 128
QUEUE_WORDS = 1024

# `start` -> first request offered; last word of a request in, or enough places free, -> next request offered.
FETCH_FIRST = 3
FETCH_AGAIN = 2
FETCH_FREE = 2
# Word written to a queue in block RAM -> offered by it, and words that may have left the RAM and not the queue.
FIFO = 4
FIFO_PLACES = 16
# Word taken by the checker -> offered to the queues, and words that may be under way between the two.
CHECK = 8
CHECK_PLACES = 16
# Word given to a queue -> written to its RAM; word gone from the RAM -> another one given.
SPREAD = 2
SPREAD_FREE = 2
# Last word of an instruction taken from the queue's RAM -> command offered; token given -> a command that waits for it offered.
UNPACK = 3
TOKEN = 3
# Last token given, or END given to the queues, -> `finished`.
FINISH = 3

# Cycles in which nothing moves before it is called a deadlock: longer than any way through the sequencer. And cycles without a
# word from storage or a step of the gather before the machine is called stalled: longer than an SDRAM takes to start.
QUIET = 32
SILENCE = 1 << 16

TRANSFER = 16           # a transfer's fault is this and its code


class Fault(IntEnum):
    """Why a machine stopped. Codes below DEADLOCK are about a word of the program."""

    NONE = 0
    SYNC = 1                # a header does not begin with `instruction.SYNC`
    OPCODE = 2              # no such opcode
    ORDER = 3               # START is not the first instruction, or another one is
    CONTROL_WAITS = 4       # START or END waits for something
    NO_TOKENS = 5           # a wait for 0 tokens
    RANGE = 6               # a field out of its range
    GEOMETRY = 7            # compiled for another geometry
    DEADLOCK = 8            # commands wait for tokens that nobody will give
    STALLED = 9             # commands run, but nothing moved for a long time: pixels that never come, or nobody takes
    # A transfer, see `arch.transfer.TransferFault`.
    LOAD_CHIP = TRANSFER + TransferFault.LOAD_CHIP
    LOAD_STORAGE = TRANSFER + TransferFault.LOAD_STORAGE
    STORE_CHIP = TRANSFER + TransferFault.STORE_CHIP
    STORE_STORAGE = TRANSFER + TransferFault.STORE_STORAGE
    LOAD_CODED = TRANSFER + TransferFault.LOAD_CODED


NO_QUEUE = len(QUEUES)      # in place of a queue's number: the fault is in the program's words


@cache
def body_words(geometry: Geometry, opcode: Opcode) -> int:
    """Words behind an instruction's header and waits."""
    return sum(record.encoded_words() for record in records(geometry, opcode).values())


def instruction_words(geometry: Geometry, opcode: Opcode, waits: Waits) -> int:
    """Words of an instruction, whatever its body says: header, waits, fields."""
    return 1 + sum(getattr(waits, queue) > 0 for queue in QUEUES) + body_words(geometry, opcode)
