"""The machine in NumPy: executes a program's instructions one after the other, as the records say and nothing else.

Storage, the memories on the chip and what the units keep between commands are arrays; addresses come from the fields of the
instructions, values from `golden.units`. Waits are not looked at: `golden.hazards` proves that they leave no other result.
"""
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arch.geometry import Geometry
from arch.instruction import OPTION_OF, CodedTransfer, Instruction, Opcode, PixelTransfer, Transfer, opcodes, storage_words
from arch.program import Program, Tensor
from golden import places, units, weight_stream

__all__ = ["Machine", "MachineError", "Result", "execute", "get_tensor", "put_tensor"]

OnWrite = Callable[[int, Instruction, np.ndarray], None]


class MachineError(ValueError):
    """An instruction that the machine refuses; `index` is its number in the program."""

    def __init__(self, index: int, instruction: Instruction, reason: str):
        super().__init__(f"instruction {index} ({instruction.opcode.name}): {reason}")
        self.index, self.instruction, self.reason = index, instruction, reason


def put_tensor(geometry: Geometry, storage: np.ndarray, tensor: Tensor, q: np.ndarray) -> None:
    """Writes tensor `q` (uint8) into storage (uint16). Raises ValueError where its type or shape is not the tensor's; one of a
    single pixel may have any."""
    q = q.reshape(tensor.shape) if q.size == tensor.shape[0] else q
    if q.dtype != np.uint8 or q.shape != tensor.shape:
        raise ValueError(f"{tensor.name} must be uint8 {tensor.shape}, not {q.dtype} {q.shape}")
    part = storage[tensor.address:tensor.address + tensor.words].view("<u1")
    if tensor.layout == "pixels":
        channels, height, width = tensor.shape
        part.reshape(height, -1)[:, :width * channels] = q.transpose(1, 2, 0).reshape(height, -1)
    else:
        _pixels(geometry, tensor, part)[:] = q.transpose(1, 2, 0)


def get_tensor(geometry: Geometry, storage: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The tensor in storage (uint16): uint8 of its shape."""
    part = storage[tensor.address:tensor.address + tensor.words].view("<u1")
    channels, height, width = tensor.shape
    if tensor.layout == "pixels":
        return part.reshape(height, -1)[:, :width * channels].reshape(height, width, channels).transpose(2, 0, 1).copy()
    return _pixels(geometry, tensor, part).transpose(2, 0, 1).copy()


def _pixels(geometry: Geometry, tensor: Tensor, part: np.ndarray) -> np.ndarray:
    """A view (height, width, channels) of a map in storage."""
    channels, height, width = tensor.shape
    size = height * width * tensor.pixel_words * geometry.input_lanes
    return part[:size].reshape(height, width, -1)[..., :channels]


@dataclass(frozen=True, eq=False)
class Result:
    """What a program leaves: storage uint16, its output tensor uint8, and for each compute command the vectors it wrote, uint8
    (channels with the idle ones of the last block, rows, columns). `machine`: in the state in which it is then."""

    storage: np.ndarray
    output: np.ndarray
    written: tuple[np.ndarray, ...]
    machine: "Machine"


class Machine:
    """Memories and units of a geometry; `step` carries out an instruction. All memories are 0 at first.

    `storage` uint16 (words,), `activations` uint8 (words, PI), `weights` int8 (words, PI, 2).
    """

    def __init__(self, geometry: Geometry, storage: np.ndarray):
        self.geometry, self.storage = geometry, storage
        self.activations = np.zeros((geometry.activation_words, geometry.input_lanes), np.uint8)
        self.weights = np.zeros((geometry.weight_words, geometry.input_lanes, 2), np.int8)
        self.parameters, self.sums = units.Parameters(geometry.parameter_words), units.Sums(geometry)
        self.queued, self.gather = units.queued(geometry), units.Gather(geometry)
        self.table: np.ndarray | None = None    # of compressed weights, as words of storage
        self.foreseen: dict[tuple[bytes, bytes], np.ndarray] = {}
        self.pixels: deque[np.ndarray] = deque()        # rows (width, channels) that the gather has not taken
        self.region = range(0)

    def step(self, instruction: Instruction) -> np.ndarray | None:
        """Carries out an instruction; of a compute command the vectors that it wrote, as in `Result`. Raises UnitError, and
        writes nothing then."""
        body = instruction.body
        if instruction.opcode not in opcodes(self.geometry):
            raise units.UnitError(f"the engine must have the option {OPTION_OF[instruction.opcode]}")
        match instruction.opcode:
            case Opcode.START:
                self.region, self.table = range(body.store_base, body.store_base + body.store_words), None
                if body.digest != self.geometry.digest:
                    raise units.UnitError("the program was compiled for another geometry")
            case Opcode.LOAD_PIXELS:
                self._load_pixels(body)
            case Opcode.GATHER:
                self._gather(body)
            case Opcode.COMPUTE:
                return self._compute(body)
            case Opcode.LOAD_WEIGHTS | Opcode.LOAD_PARAMETERS | Opcode.LOAD_ACTIVATIONS | Opcode.STORE:
                self._transfer(instruction.opcode, body)
            case Opcode.LOAD_CODED:
                self._load_coded(body)
        return None

    def _inside(self, memory: str, words: np.ndarray) -> np.ndarray:
        size = len(self.storage) if memory == places.STORED else places.memory_words(self.geometry)[memory]
        if words.size and words.max() >= size:
            raise units.UnitError(f"words of {memory} must be below {size}, not {words.max()}")
        return words

    def _transfer(self, opcode: Opcode, transfer: Transfer):
        chip, stored = places.transfer_places(self.geometry, opcode, transfer)
        self._inside(places.STORED, stored)
        self._inside(places.LOADED.get(opcode, places.ACTIVATIONS), chip)
        if opcode is Opcode.STORE:
            if stored.min() < self.region.start or stored.max() >= self.region.stop:
                raise units.UnitError(f"words stored must be in {self.region.start}..{self.region.stop - 1}, "
                                      f"not {stored.min()}..{stored.max()}")
            self.storage[stored] = self.activations[chip].view("<u2").reshape(-1, storage_words(self.geometry, opcode))
            return
        words = self.storage[stored]
        if opcode is Opcode.LOAD_ACTIVATIONS:
            self.activations[chip] = words.view("<u1").reshape(-1, self.geometry.input_lanes)
        elif opcode is Opcode.LOAD_WEIGHTS:
            self.weights[chip] = words.view("<i1").reshape(-1, self.geometry.input_lanes, 2)
        else:
            units.load(self.geometry, self.parameters, self.queued, chip, words)

    def _load_coded(self, transfer: CodedTransfer):
        stored, chip = places.coded_places(transfer)
        self._inside(places.WEIGHTS, chip)
        words = self.storage[self._inside(places.STORED, stored)]
        try:
            if len(chip):
                self.weights[chip] = self._decoded(words, len(chip) * self.geometry.input_lanes // 4)
            else:
                weight_stream.decode_table(words)
                self.table = words
        except weight_stream.StreamError as error:
            raise units.UnitError(str(error)) from None

    def _decoded(self, words: np.ndarray, eights: int) -> np.ndarray:
        """So many weights of a block, (words on the chip, PI, 2)."""
        found = None if self.table is None else self.foreseen.get((self.table.tobytes(), words.tobytes()))
        if found is None or len(found) != 8 * eights:
            table = None if self.table is None else weight_stream.decode_table(self.table)
            found, = weight_stream.decode([words], table, [eights])
        return found.reshape(-1, self.geometry.input_lanes, 2)

    def foresee(self, instructions: Sequence[Instruction]) -> None:
        """Decodes the blocks of compressed weights that instructions load, all of a table at once, which takes a small part of
        the time: what a block holds depends on nothing but its words and its table's. Damaged ones wait for their load."""
        blocks: dict[bytes, dict[bytes, np.ndarray]] = {}
        found: dict[bytes, np.ndarray] = {}
        for body in (one.body for one in instructions if one.opcode is Opcode.LOAD_CODED):
            words = self.storage[body.storage:body.storage + body.words]
            if not body.chip_words:
                found = blocks.setdefault(words.tobytes(), {})
            elif len(words) == body.words:
                found[words.tobytes()] = words
        for table, found in blocks.items():
            try:
                ready = weight_stream.decode_table(np.frombuffer(table, np.uint16))
                weights = weight_stream.decode(list(found.values()), ready)
            except weight_stream.StreamError:
                continue
            self.foreseen |= {(table, block): one for block, one in zip(found, weights, strict=True)}

    def _load_pixels(self, transfer: PixelTransfer):
        words = self.storage[self._inside(places.STORED, places.pixel_places(transfer))]
        for row in words.view("<u1"):
            self.pixels.append(row[:transfer.width * transfer.channels].reshape(transfer.width, transfer.channels))

    def _gather(self, config):
        if len(self.pixels) < config.image_rows:
            raise units.UnitError(f"rows of pixels must be at least {config.image_rows}, not {len(self.pixels)}")
        rows = [self.pixels.popleft() for _ in range(config.image_rows)]
        if any(row.shape != (config.width, config.channels) for row in rows):
            raise units.UnitError(f"rows of pixels must be {config.width} pixels of {config.channels} bytes")
        words = self._inside(places.ACTIVATIONS, places.gather_places(self.geometry, config))
        self.activations[words] = self.gather.step(config, np.array(rows).reshape(-1, config.width, config.channels))

    def _compute(self, command) -> np.ndarray:
        geometry = self.geometry
        words, groups = places.written_places(geometry, command)
        self._inside(places.ACTIVATIONS, words)
        q = units.run(geometry, command, self.activations, self.weights, self.parameters, self.sums, self.queued)
        grouped = self.activations.reshape(len(self.activations), geometry.blocks_per_word, geometry.output_lanes)
        grouped[words, groups[:, None, None]] = q.transpose(0, 2, 3, 1)
        return q.reshape(len(q) * geometry.output_lanes, *q.shape[2:])


def execute(program: Program, q: np.ndarray, *, on_write: OnWrite | None = None, after: Result | None = None) -> Result:
    """Runs a program on input `q` (uint8, of `program.input`'s shape), on a machine after reset, or `after` another frame.

    `on_write` is called with each compute command's number, instruction and vectors, as soon as they are written. Raises
    MachineError, ValueError for an input of another shape.
    """
    storage = np.zeros(program.storage_words, np.uint16)
    storage[:len(program.storage)] = program.storage
    put_tensor(program.geometry, storage, program.input, q)
    machine, written = after.machine if after else Machine(program.geometry, storage), []
    machine.storage = storage
    machine.foresee(program.instructions)
    for index, instruction in enumerate(program.instructions):
        try:
            vectors = machine.step(instruction)
        except units.UnitError as error:
            raise MachineError(index, instruction, str(error)) from None
        if vectors is not None:
            if on_write:
                on_write(len(written), instruction, vectors)
            written.append(vectors)
    return Result(storage, get_tensor(program.geometry, storage, program.output), tuple(written), machine)
