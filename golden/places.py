"""Which words of each memory an instruction reads and writes: addresses straight from its fields, nothing from a plan."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch.command import Command
from arch.gather import words_per_pixel
from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Instruction, Opcode, PixelTransfer, Transfer, storage_words
from arch.record import ADDRESS
from arch.unit.gather import GatherConfig
from arch.unit.load import LoadConfig
from arch.unit.window import WindowConfig
from arch.unit.writer import WriterConfig

__all__ = ["ACTIVATIONS", "Access", "LOADED", "MEMORIES", "PARAMETERS", "STORED", "WEIGHTS", "accesses", "block_offsets",
           "coded_places", "gather_places", "inside_ring", "load_places", "memory_words", "pixel_places", "taps",
           "transfer_places", "unfinished", "writer_places", "writes", "written_places", "written_shape"]

STORED, ACTIVATIONS, WEIGHTS, PARAMETERS = MEMORIES = ("storage", "activations", "weights", "parameters")
LOADED = {Opcode.LOAD_WEIGHTS: WEIGHTS, Opcode.LOAD_PARAMETERS: PARAMETERS, Opcode.LOAD_ACTIVATIONS: ACTIVATIONS}


def memory_words(geometry: Geometry) -> dict[str, int]:
    """Words of each memory on the chip."""
    return {ACTIVATIONS: geometry.activation_words, WEIGHTS: geometry.weight_words, PARAMETERS: geometry.parameter_places}


def taps(window: WindowConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows (rows, ky) and columns (columns, kx) of a command's taps: offsets in words, and whether they are inside the map.

    Input block b of a tap is, for an output block, word (row + column + offset + b) mod 2**15, see `block_offsets`.
    """
    y, ky = np.ogrid[:window.rows, :window.kernel_y]
    x, kx = np.ogrid[:window.columns, :window.kernel_x]
    line = (window.row_start + y * window.row_step + ky * window.row_words) % window.ring_words
    column = window.start + x * window.column_step + kx * window.pixel_words
    iy = window.first_row + y * window.stride_y + ky
    ix = window.first_column + x * window.stride_x + kx
    return line, column, (iy >= 0) & (iy < window.height), (ix >= 0) & (ix < window.width)


def block_offsets(window: WindowConfig) -> np.ndarray:
    """How many words further on each output block reads: (output blocks,)."""
    return np.arange(window.output_blocks) // window.block_repeat * window.block_step


def _window_words(window: WindowConfig) -> np.ndarray:
    """Activation words that a command reads, padding left out."""
    line, column, inside_y, inside_x = taps(window)
    blocks = np.unique(block_offsets(window)[:, None] + np.arange(window.blocks))
    first = np.unique(column[inside_x])
    return (np.unique(line[inside_y])[:, None, None] + first[:, None] + blocks).ravel() % (1 << ADDRESS)


def load_places(geometry: Geometry, load: LoadConfig) -> tuple[np.ndarray, np.ndarray]:
    """Words of the weight and of the parameter memory that a command reads, in order."""
    weights = load.passes * load.output_blocks * geometry.pairs
    parameters = load.output_blocks * geometry.pairs
    return ((load.weights + np.arange(weights)) % geometry.weight_words,
            (load.parameters + np.arange(parameters)) % geometry.parameter_words)


def _constant_places(geometry: Geometry, command: Command) -> np.ndarray:
    """Words that optional units read, as loads of parameters count them."""
    places = [np.zeros(0, np.int64)]
    for name, record in command.present().items():
        if hasattr(record, "constants"):
            words = record.constants(geometry) if callable(record.constants) else record.constants
            places.append(geometry.option_words(name).start + np.array(words, np.int64))
    return np.concatenate(places)


def writes(command: Command) -> bool:
    """Whether a command writes anything."""
    return command.writer.rows > 0


def unfinished(commands: Sequence[Command]) -> list[bool]:
    """Of the commands of a program in order, which write sums that the one behind them goes on with."""
    return [bool(command.window.goes_on) for command in commands[1:]] + [False] * bool(commands)


def written_shape(command: Command) -> tuple[int, int, int]:
    """Output blocks, rows and columns of the vectors that a command writes."""
    return command.writer.output_blocks, command.writer.rows, command.writer.columns


def inside_ring(command: Command) -> bool:
    """Whether what is written keeps to the words of its ring."""
    return command.writer.row_start < command.writer.ring_words >= command.writer.row_words


def written_places(geometry: Geometry, command: Command) -> tuple[np.ndarray, np.ndarray]:
    """`writer_places` of a command."""
    return writer_places(geometry, command.writer)


def writer_places(geometry: Geometry, writer: WriterConfig) -> tuple[np.ndarray, np.ndarray]:
    """Word (output blocks, rows, columns) and lane group (output blocks,) of each vector."""
    position = writer.lane + np.arange(writer.output_blocks)
    line = (writer.row_start + np.arange(writer.rows) * writer.row_words) % writer.ring_words
    word = (writer.base + (position // geometry.blocks_per_word)[:, None, None] + line[:, None]
            + np.arange(writer.columns) * writer.pixel_words)
    return word, position % geometry.blocks_per_word


def gather_places(geometry: Geometry, config: GatherConfig) -> np.ndarray:
    """Words that a gather command writes: (rows, columns, words of a pixel)."""
    words = words_per_pixel(geometry, channels=config.channels, kernel=config.kernel)
    line = (config.row_start + np.arange(config.rows) * config.row_words) % config.ring_words
    return config.base + line[:, None, None] + np.arange(config.columns * words).reshape(config.columns, words)


def transfer_places(geometry: Geometry, opcode: Opcode, transfer: Transfer) -> tuple[np.ndarray, np.ndarray]:
    """Chip words (runs * words,) of a transfer, and the words of storage of each: (runs * words, storage words of one)."""
    size = storage_words(geometry, opcode)
    run, word = np.ogrid[:transfer.runs, :transfer.words]
    chip = transfer.chip + run * transfer.chip_step + word
    first = transfer.storage + run * transfer.storage_step + word * size
    return chip.ravel(), first.ravel()[:, None] + np.arange(size)


def pixel_places(transfer: PixelTransfer) -> np.ndarray:
    """Words of storage that a transfer of pixels reads: (rows, words of a row)."""
    return transfer.storage + np.arange(transfer.rows)[:, None] * transfer.storage_step + np.arange(transfer.row_words)


def coded_places(transfer: CodedTransfer) -> tuple[np.ndarray, np.ndarray]:
    """Words of storage that a load of compressed weights reads, and words of weight memory that it writes, if any."""
    return transfer.storage + np.arange(transfer.words), transfer.chip + np.arange(transfer.chip_words)


@dataclass(frozen=True, eq=False)
class Access:
    """Words of a memory that an instruction reads or writes, in no order. `late`: it may still read them when it has given its
    token."""

    memory: str
    writes: bool
    words: np.ndarray
    late: bool = False


def accesses(geometry: Geometry, instruction: Instruction) -> tuple[Access, ...]:
    """All that an instruction reads and writes in storage and in the memories on the chip."""
    body = instruction.body
    match instruction.opcode:
        case Opcode.LOAD_PIXELS:
            return (Access(STORED, False, pixel_places(body).ravel()),)
        case Opcode.LOAD_CODED:
            stored, chip = coded_places(body)
            return Access(STORED, False, stored), Access(WEIGHTS, True, chip)
        case Opcode.STORE:
            chip, stored = transfer_places(geometry, Opcode.STORE, body)
            return Access(ACTIVATIONS, False, chip), Access(STORED, True, stored.ravel())
        case Opcode.GATHER:
            return (Access(ACTIVATIONS, True, gather_places(geometry, body).ravel()),)
        case Opcode.COMPUTE:
            return _command(geometry, body)
        case Opcode.START | Opcode.END:
            return ()
    chip, stored = transfer_places(geometry, instruction.opcode, body)
    return Access(STORED, False, stored.ravel()), Access(LOADED[instruction.opcode], True, chip)


def _trailing_words(command: Command) -> np.ndarray:
    """Activation words that are read behind the beat of the last vector written: the last output block's last pass, where a pool
    leaves the end of the band unused or keeps it for the next one."""
    window = command.window
    first, used = next(filter(None, (getattr(record, "completing", None) for record in command.present().values())),
                       (window.rows, window.columns))
    line, column, inside_y, inside_x = taps(window)
    line, column = line[:, -1], column[:, -1] + block_offsets(window)[-1] + window.blocks - 1
    places = [(line[rows] + column[columns, None])[inside_x[columns, -1]][:, inside_y[rows, -1]].ravel() for rows, columns in (
        (slice(first, first + 1), slice(used, None)), (slice(first + 1, None), slice(None)))]
    return np.unique(np.concatenate(places)) % (1 << ADDRESS)


def _command(geometry: Geometry, command: Command) -> tuple[Access, ...]:
    weights, parameters = load_places(geometry, command.load)
    parameters = np.concatenate([parameters, _constant_places(geometry, command)])
    written = written_places(geometry, command)[0].ravel()
    silent = not writes(command)                # its token comes at once
    trailing = () if silent else (Access(ACTIVATIONS, False, _trailing_words(command), late=True),)
    return (Access(ACTIVATIONS, False, _window_words(command.window), silent), Access(WEIGHTS, False, weights, silent),
            Access(PARAMETERS, False, parameters, silent), *trailing, Access(ACTIVATIONS, True, written))
