"""Latencies of DMA and storage in cycles, and the sizes of their bursts: shared by hardware and reference, as `arch.pipeline`."""
from enum import IntEnum

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import Opcode, storage_words
from arch.sdram import PULL

__all__ = [
    "BURST_WORDS", "CODED_BACK", "CODED_BURST", "CODED_COMMAND", "CODED_PORT", "CODED_WORD", "CODED_WORDS", "DECIDE",
    "FETCHED", "FIRST_BURST", "FIRST_RUN", "JOINED", "LOADED", "LOADS_AT_ONCE", "LOAD_BACK", "NEXT_BURST", "NEXT_RUN",
    "NEXT_TRANSFER", "PIXEL", "PIXELS", "PIXEL_BACK", "RAM_READ", "ROUTED", "STORED", "STORE_BACK", "STORE_READ",
    "STORE_REQUEST", "STORE_WORDS", "TransferFault", "WRITE", "burst_words", "places"]


class TransferFault(IntEnum):
    """Why a transfer stopped; none of the offending run's words was moved, but for those of a damaged block before the damage."""

    LOAD_CHIP = 1           # beyond the end of a memory on the chip
    LOAD_STORAGE = 2        # beyond the end of storage
    STORE_CHIP = 3
    STORE_STORAGE = 4       # outside the region that `Start` gives, or beyond the end of storage
    LOAD_CODED = 5          # a block of compressed weights is damaged, see `arch.weight_stream.Fault`


BURST_WORDS = 512       # of storage asked for at once by a load, at most
STORE_WORDS = 8         # of activation memory stored at once, at most; as many more are read meanwhile

# Command of a transfer taken -> its first run checked against the ends of both memories.
FIRST_RUN = 7
# A run checked -> its first burst offered.
FIRST_BURST = 3
# Last burst of a run taken -> the next run checked.
NEXT_RUN = 3
# Burst taken -> the next one of the same run offered.
NEXT_BURST = 4
# Last burst of a transfer taken -> the next transfer may be.
NEXT_TRANSFER = 2
# Pixels that the DMA holds at most: a row reserves room for its own when it is checked.
PIXELS = 1024
# A pixel taken -> its place may be reserved again.
PIXEL_BACK = 3

# Word read from storage -> routed by the arbiter.
ROUTED = 3
# The same -> at the sequencer.
FETCHED = ROUTED + 1
# The same -> written to a memory on the chip, if it completes a word there.
WRITE = ROUTED + 2 + pipeline.WRITE_GRANT
# The same -> its command completed: the word can be read.
LOADED = WRITE + pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ
# Word read from storage -> pixels that it completes are offered: gearbox, RAM (write, then 2 to read), the queue behind it, and a
# register.
PIXEL = ROUTED + 7

# With a decoder of compressed weights: words of storage asked for at once by a coded load, at most; words that wait for the
# decoder, in block RAM. A burst is offered when there is room for as many as one may be.
CODED_BURST = 256
CODED_WORDS = 1024
# Coded load checked -> its block's command offered to the decoder.
CODED_COMMAND = 2
# Word read from storage -> offered to the decoder: a register, and the queue's block RAM.
CODED_WORD = ROUTED + 5
# Word taken by the decoder -> a burst offered that waited for its place.
CODED_BACK = 4
# Word of weights given, plain or decoded -> at the engine's port, which they share.
CODED_PORT = 1
# Loads that are under way at most, and a load completed -> the next one may be taken.
LOADS_AT_ONCE = 16
LOAD_BACK = 2
# A load's words can be read, or its block is decoded -> it is completed, if those before are: loads are in the queue's order.
JOINED = 2

# Burst of a store taken -> its first word is read.
STORE_READ = 3
# The same -> its request offered to the arbiter: that word is there, and will be queued, cut, and queued before storage asks
# for it.
STORE_REQUEST = STORE_READ + pipeline.WINDOW + pipeline.ACTIVATION_READ + 2
# Last word asked for by storage -> its store completed.
STORED = 2
# The same -> its half of the buffer free for the next burst but one.
STORE_BACK = 3

# Arbiter: burst chosen -> taken. In the cycle after that it is offered to storage; the next one may be chosen in the cycle after
# that in which storage takes it.
DECIDE = 1

# Block RAM storage: word's turn, in which it is asked for if it is to be written -> on the read stream.
RAM_READ = PULL + pipeline.ACTIVATION_READ


def places(geometry: Geometry, opcode: Opcode) -> int:
    """Words of storage that a word on the chip takes; one, for pixels and what is to be decoded."""
    return 1 if opcode in (Opcode.LOAD_PIXELS, Opcode.LOAD_CODED) else storage_words(geometry, opcode)


def burst_words(geometry: Geometry, opcode: Opcode) -> int:
    """Words on the chip of a transfer's burst, at most; of storage, for pixels and what is to be decoded."""
    if opcode is Opcode.LOAD_CODED:
        return CODED_BURST
    return STORE_WORDS if opcode is Opcode.STORE else BURST_WORDS // places(geometry, opcode)
