"""Latencies of DMA and storage in cycles, and the sizes of their bursts: shared by hardware and reference, as `arch.pipeline`."""
from enum import IntEnum

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import Opcode, storage_words
from arch.sdram import PULL

__all__ = [
    "BURST_WORDS", "CHECK", "DECIDE", "FETCHED", "FIRST_BURST", "LOADED", "NEXT_BURST", "NEXT_RUN", "NEXT_TRANSFER", "PIXEL",
    "PIXELS", "PIXEL_BACK", "RAM_READ", "ROUTED", "STORED", "STORE_BACK", "STORE_READ", "STORE_REQUEST", "STORE_WORDS",
    "TransferFault", "WRITE", "burst_words", "places"]


class TransferFault(IntEnum):
    """Why a transfer stopped; none of the offending run's words was moved."""

    LOAD_CHIP = 1           # beyond the end of a memory on the chip
    LOAD_STORAGE = 2        # beyond the end of storage
    STORE_CHIP = 3
    STORE_STORAGE = 4       # outside the region that `Start` gives, or beyond the end of storage


BURST_WORDS = 512       # of storage asked for at once by a load, at most
STORE_WORDS = 8         # of activation memory stored at once, at most; as many more are read meanwhile

# Command of a transfer taken -> its first run checked; a run checked -> its first burst offered; last burst of a run taken ->
# the next run checked (all but the first); burst taken -> the next one of the run offered; last burst of a transfer taken -> the
# next transfer may be.
FIRST_BURST, CHECK, NEXT_RUN, NEXT_BURST, NEXT_TRANSFER = 7, 3, 3, 4, 2
# Pixels reserve room when their row is checked. A pixel taken -> its place may be reserved again.
PIXELS, PIXEL_BACK = 1024, 3

# Word read from storage -> routed by the arbiter; at the sequencer; written to a memory on the chip, if it completes a word
# there; its command completed, since the word can be read.
ROUTED = 3
FETCHED = ROUTED + 1
WRITE = ROUTED + 2 + pipeline.WRITER
LOADED = WRITE + pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ
# Word read from storage -> pixels that it completes are offered: gearbox, RAM (write, then 2 to read), the queue behind it, and a
# register.
PIXEL = ROUTED + 7

# Burst of a store taken -> its first word is read; its request offered to the arbiter: that word is there, and will be queued,
# cut, and queued before storage asks for it.
STORE_READ = 3
STORE_REQUEST = STORE_READ + pipeline.WINDOW + pipeline.ACTIVATION_READ + 2
# Last word asked for by storage -> its store completed; its half of the buffer free for the next burst but one.
STORED, STORE_BACK = 2, 3

# Arbiter: burst chosen -> taken. In the cycle after that it is offered to storage; the next one may be chosen in the cycle after
# that in which storage takes it.
DECIDE = 1

# Block RAM storage: word's turn, in which it is asked for if it is to be written -> on the read stream.
RAM_READ = PULL + pipeline.ACTIVATION_READ


def places(geometry: Geometry, opcode: Opcode) -> int:
    """Words of storage that a word on the chip takes; one, for pixels."""
    return 1 if opcode is Opcode.LOAD_PIXELS else storage_words(geometry, opcode)


def burst_words(geometry: Geometry, opcode: Opcode) -> int:
    """Words on the chip of a transfer's burst, at most."""
    return STORE_WORDS if opcode is Opcode.STORE else BURST_WORDS // places(geometry, opcode)
