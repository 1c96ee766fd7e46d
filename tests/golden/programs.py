"""Programs of a single layer, made by hand: input from storage whole, through a ring or through the gather, output to storage."""
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arch.command import Command
from arch.gather import bands, words_per_pixel
from arch.geometry import Geometry
from arch.instruction import (
    END,
    CodedTransfer,
    Instruction,
    Opcode,
    PixelTransfer,
    Start,
    Transfer,
    Waits,
    encode,
    storage_words,
)
from arch.program import Part, Program, Tensor
from arch.unit.pool import POOL_NONE, PoolConfig
from arch.weight_stream import EIGHTS
from compiler.coding.blocks import encode_blocks, encode_table
from compiler.coding.tables import fit
from compiler.layer import LayerPlan, Phase, plan_layer
from compiler.maps import Map
from golden import values
from nets.graph import Window
from nets.int8.network import QAvgPool, QGlobalAvgPool, QMaxPool
from sim.cases import Case, gathered

__all__ = ["coded_program", "golden_output", "layer_program", "stored_words", "with_base"]


def golden_output(case: Case) -> np.ndarray:
    """The layer's output tensor, from golden.values."""
    q = values.conv(case.x, case.conv, case.zero_point)
    zero = case.conv.requantise.zero_point
    match case.pool:
        case QMaxPool():
            return values.max_pool(q, case.pool)
        case QAvgPool():
            return values.avg_pool(q, case.pool, zero)
        case QGlobalAvgPool():
            return values.global_avg_pool(q, case.pool, zero)
    return q


def stored_words(geometry: Geometry, phase: Phase) -> tuple[np.ndarray, np.ndarray]:
    """Weights and parameters of a phase as they lie in storage: uint16 (words, storage words of one)."""
    weights = np.ascontiguousarray(phase.weights).view("<u2").reshape(len(phase.weights), -1)
    parameters = np.zeros((len(phase.biases), 6), np.uint16)
    parameters[:, :4] = phase.biases.astype("<i4").view("<u2")
    for column, values_ in ((4, phase.multipliers), (5, phase.shifts)):
        parameters[:, column] = values_[:, 0] | values_[:, 1] << 8
    return weights, parameters


class _Storage:
    """Blocks of storage, one behind the other."""

    def __init__(self):
        self.blocks, self.size = [], 0

    def add(self, words: np.ndarray) -> int:
        self.blocks.append(words.reshape(-1))
        self.size += words.size
        return self.size - words.size


class _Writer:
    """Instructions, and the tokens that they will have given."""

    def __init__(self, start: Start):
        self.instructions = [Instruction(opcode=Opcode.START, body=start)]
        self.given = dict.fromkeys(("load", "store", "gather", "compute"), 0)

    def add(self, opcode: Opcode, body, **waits: int) -> int:
        """Appends an instruction; the number of its token."""
        self.instructions.append(Instruction(opcode=opcode, body=body, waits=Waits(**waits)))
        queue = self.instructions[-1].queue
        self.given[queue] += 1
        return self.given[queue]


def _rows_read(command: Command) -> range:
    window = command.window
    last = window.first_row + (window.rows - 1) * window.stride_y + window.kernel_y
    return range(max(window.first_row, 0), min(last, window.height))


def _late_rows(command: Command) -> set[int]:
    """Rows that a command may still read when it has given its token: the last tap's, behind the last vector written."""
    window, pool = command.window, command.pool
    if not command.writer.rows:
        return set(_rows_read(command))
    last, used = pool.rows - 1, pool.columns
    if pool.mode != POOL_NONE:
        last = pool.lead + (pool.out_rows - 1) * pool.stride_y
        used = (pool.out_columns - 1) * pool.stride_x - pool.left + pool.kernel_x

    def seen(columns: range) -> bool:
        return any(0 <= window.first_column + x * window.stride_x + window.kernel_x - 1 < window.width for x in columns)
    rows = {y for y in range(last, window.rows) if seen(range(used if y == last else 0, window.columns))}
    return {row for y in rows if 0 <= (row := window.first_row + y * window.stride_y + window.kernel_y - 1) < window.height}


def _following(commands: Sequence[Command], number: int) -> int:
    """The first command behind this one that writes, counted from 0; one more than there are where none does."""
    return next((n for n in range(number + 1, len(commands)) if commands[n].writer.rows), len(commands))


def _least_ring(commands: Sequence[Command]) -> int:
    """Rows such that what is brought for a command replaces none that may still be read until a command from it on is through."""
    least = 0
    for number in range(len(commands)):
        open_ = [_rows_read(other).start for n, other in enumerate(commands[:number + 1]) if _following(commands, n) >= number]
        least = max(least, max(_rows_read(other).stop for other in commands[:number + 1]) - min(open_))
    return least


def layer_program(geometry: Geometry, case: Case, *, through: str = "whole", ring: int = 0, target_ring: int = 0,
                  offset: int = 0, base: int = 0) -> Program:
    """A program that loads the input, computes the layer and stores its output.

    `through`: "whole", the input is loaded at once; "ring", row by row into a ring of `ring` rows (or as many as a command
    needs); "gather", as pixels. `target_ring` likewise for the output. Rings are only used by layers of a single phase. The
    output lies `offset` channels into its pixels, the maps from word `base` on.
    """
    image, conv_case = case.x, gathered(case) if through == "gather" else case
    shape = (conv_case.x.shape[0], *conv_case.x.shape[1:])
    source = Map.whole(geometry, shape, base)
    out, height, width = case.shape
    target = Map(base=base + source.words, channels=out, height=height, width=width, ring_rows=height, offset=offset,
                 pixel_words=-(-(offset + out) // geometry.input_lanes))
    plan = _plan(geometry, conv_case, source, target)
    single = len(plan.phases) == 1
    if single and through != "whole":
        least = _least_ring(plan.commands)
        source = replace(source, ring_rows=min(max(ring, least), source.height))
    if single and target_ring:
        least = max(max(c.writer.rows for c in plan.commands), 1)
        target = replace(target, ring_rows=min(max(target_ring, least), height))
    target = replace(target, base=base + source.words)
    plan = _plan(geometry, conv_case, source, target)
    return _assemble(geometry, case, conv_case, plan, source, target, image, through)


def _plan(geometry: Geometry, case: Case, source: Map, target: Map) -> LayerPlan:
    return plan_layer(geometry, case.conv, source=source, target=target, zero_point=case.zero_point, pool=case.pool)


def _assemble(geometry, case, conv_case, plan, source, target, image, through) -> Program:
    storage = _Storage()
    phases = [tuple(storage.add(words) for words in stored_words(geometry, phase)) for phase in plan.phases]
    if through == "gather":
        row_words = -(-image.shape[0] * image.shape[2] // 2)
        tensor = Tensor(name="x", address=storage.size, words=row_words * image.shape[1], shape=image.shape, layout="pixels")
    else:
        words = source.height * source.row_words * (geometry.input_lanes // 2)
        tensor = Tensor(name="x", address=storage.size, words=words, shape=image.shape, layout="map",
                        pixel_words=source.pixel_words)
    out = Tensor(name="conv", address=tensor.address + tensor.words, shape=case.shape, layout="map",
                 words=target.height * target.row_words * geometry.input_lanes // 2, pixel_words=target.pixel_words)
    writer = _Writer(Start.of(geometry, out.address, out.words))
    _Layer(geometry, conv_case, plan, source, target, writer, phases, tensor, out, through, case).emit()
    writer.instructions.append(Instruction(opcode=Opcode.END, body=END))
    words = [word for instruction in writer.instructions for word in encode(instruction)]
    program = out.address + out.words
    whole = np.zeros(program + len(words), np.uint16)
    at = 0
    for block in storage.blocks:
        whole[at:at + block.size] = block
        at += block.size
    whole[program:] = words
    return Program(name="layer", geometry=geometry, instructions=tuple(writer.instructions),
                   parts=tuple(_parts(geometry, case, plan)), storage=whole, program=program, program_words=len(words),
                   store_base=out.address, store_words=out.words, input=tensor, output=_view(out, target))


def _view(out: Tensor, target: Map) -> Tensor:
    """The output as if its offset were idle channels in front."""
    return replace(out, shape=(target.offset + out.shape[0], *out.shape[1:]))


def _parts(geometry, case: Case, plan: LayerPlan):
    window, first, pooled = case.conv.window, 0, 0
    for phase in plan.phases:
        blocks, pooled = phase.commands[0].window.output_blocks, 0
        for c in phase.commands:
            top = (c.window.first_row + (window.padding[0] if c.window.kernel_y > 1 or window.kernel == (1, 1) else 0))
            rows = range(top // c.window.stride_y, top // c.window.stride_y + c.window.rows)
            last = range(pooled, pooled + (c.writer.rows if isinstance(case.pool, QGlobalAvgPool) else c.pool.out_rows))
            pooled = last.stop
            yield Part(layer="conv", writes=case.pool.name if case.pool else "conv", rows=rows, pooled=last,
                       channels=range(first, min(first + blocks * geometry.output_lanes, len(case.conv.weight))))
        first += blocks * geometry.output_lanes


class _Layer:
    """Emits the instructions of one layer."""

    def __init__(self, geometry, case, plan, source, target, writer, phases, tensor, out, through, original):
        self.geometry, self.case, self.plan, self.source, self.target = geometry, case, plan, source, target
        self.writer, self.phases, self.tensor, self.out, self.through = writer, phases, tensor, out, through
        self.original = original
        self.readers: dict[int, int] = {}           # compute token of the last reader of each source row
        self.row_stored: dict[int, int] = {}        # store token of each target row
        self.weight_readers = np.zeros(geometry.weight_words, int)
        self.parameter_readers = np.zeros(geometry.parameter_words, int)
        self.present, self.token = 0, {}            # source rows that were brought, and by which token of which queue

    def emit(self):
        average = isinstance(self.case.pool, QGlobalAvgPool)
        halves = self.plan.phases
        for number, phase in enumerate(halves):
            token = self._load(phase, self.phases[number])
            done = 0
            for command in phase.commands:
                needed = _rows_read(command)
                self._bring(needed)
                stop = done + command.writer.rows
                reused = [self.row_stored[row - self.target.ring_rows] for row in range(done, stop)
                          if row - self.target.ring_rows in self.row_stored]
                waits = {"load": token, "store": max(reused, default=0)}
                for queue, at in self._present(needed).items():
                    waits[queue] = max(waits.get(queue, 0), at)
                computed = self.writer.add(Opcode.COMPUTE, command, **waits)
                late = _late_rows(command)
                for row in needed:
                    free = self._following(computed) if row in late else computed
                    self.readers[row] = max(self.readers.get(row, 0), free)
                if len(halves) == 1 and stop > done and not average:
                    self._store(range(done, stop), computed)
                done = stop
            for used, places in self._chip(phase):
                used[places] = computed if command.writer.rows else self._following(computed)
        if len(halves) > 1 or average:
            self._store(range(self.target.height), computed)

    def _following(self, computed: int) -> int:
        return _following(self.plan.commands, computed - 1) + 1

    def _chip(self, phase: Phase):
        """Of the weight and of the parameter memory: compute tokens of the last readers, and the phase's words."""
        return [(used, (base + np.arange(count)) % len(used)) for used, base, count in (
            (self.weight_readers, phase.weight_base, len(phase.weights)),
            (self.parameter_readers, phase.parameter_base, len(phase.biases)))]

    def _load(self, phase: Phase, places: tuple[int, int]) -> int:
        for opcode, storage, (used, words) in zip((Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS), places, self._chip(phase),
                                                  strict=True):
            first = min(len(words), len(used) - int(words[0]))
            for part, skip in ((words[:first], 0), (words[first:], first)):
                if len(part):
                    token = self.writer.add(opcode, Transfer(
                        storage=storage + skip * storage_words(self.geometry, opcode), storage_step=0, chip=int(part[0]),
                        chip_step=0, words=len(part), runs=1), compute=int(used[part].max()))
        return token

    def _bring(self, needed: range):
        """Source rows up to those needed."""
        stop = self.source.height if self.through == "whole" else needed.stop
        if stop <= self.present:
            return
        rows = range(self.present, stop)
        if self.through == "gather":
            self._gather(rows)
        elif self.through == "whole":
            self._load_rows(rows)
        else:
            for row in rows:
                self._load_rows(range(row, row + 1))
        self.present = stop

    def _read(self, rows: range) -> int:
        """Token of the last command that reads the rows which these ones replace."""
        return max(self.readers.get(row - self.source.ring_rows, 0) for row in rows)

    def _load_rows(self, rows: range):
        source = self.source
        token = self.writer.add(Opcode.LOAD_ACTIVATIONS, Transfer(
            storage=self.tensor.address + rows.start * source.row_words * self.geometry.input_lanes // 2,
            storage_step=source.row_words * self.geometry.input_lanes // 2,
            chip=source.base + rows.start % source.ring_rows * source.row_words, chip_step=source.row_words,
            words=source.row_words, runs=len(rows)), compute=self._read(rows))
        self.token.update({row: ("load", token) for row in rows})

    def _gather(self, rows: range):
        window: Window = self.original.conv.window
        shape = self.original.x.shape
        if not hasattr(self, "gathers"):
            steps, before = [], 0
            for command in self.plan.phases[0].commands:
                stop = max(_rows_read(command).stop, before)
                if stop > before:
                    steps.append(stop - before)
                before = stop
            self.gathers = iter(bands(
                self.geometry, shape=shape, kernel=window.kernel[0], stride=window.stride[0], padding=window.padding[:2],
                rows=steps, columns=self.source.width, zero_point=self.case.zero_point, base=self.source.base,
                ring_rows=self.source.ring_rows))
        config = next(self.gathers)
        assert config.rows == len(rows) and words_per_pixel(
            self.geometry, channels=shape[0], kernel=window.kernel[0]) == self.source.pixel_words
        step = self.tensor.words // shape[1]
        if config.image_rows:
            self.writer.add(Opcode.LOAD_PIXELS, PixelTransfer(
                storage=self.tensor.address + config.next_row * step, storage_step=step, width=shape[2], channels=shape[0],
                rows=config.image_rows))
        token = self.writer.add(Opcode.GATHER, config, compute=self._read(rows))
        self.token.update({row: ("gather", token) for row in rows})

    def _present(self, needed: range) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in needed:
            queue, token = self.token[row]
            found[queue] = max(found.get(queue, 0), token)
        return found

    def _store(self, rows: range, computed: int):
        target, size = self.target, self.geometry.input_lanes // 2
        for first, count in self._pieces(rows):
            token = self.writer.add(Opcode.STORE, Transfer(
                storage=self.out.address + first * target.row_words * size, storage_step=target.row_words * size,
                chip=target.base + first % target.ring_rows * target.row_words, chip_step=target.row_words,
                words=target.row_words, runs=count), compute=computed)
            self.row_stored.update({row: token for row in range(first, first + count)})

    def _pieces(self, rows: range):
        """Rows that lie one behind the other in the ring."""
        at = rows.start
        while at < rows.stop:
            count = min(rows.stop - at, self.target.ring_rows - at % self.target.ring_rows)
            yield at, count
            at += count


def with_base(program: Program, places: int) -> Program:
    """The same program, its pools at other places of the line memory."""
    def moved(instruction: Instruction) -> Instruction:
        if instruction.opcode is not Opcode.COMPUTE:
            return instruction
        pool: PoolConfig = replace(instruction.body.pool, base=places)
        return replace(instruction, body=replace(instruction.body, pool=pool))
    instructions = tuple(map(moved, program.instructions))
    storage = program.storage.copy()
    storage[program.program:] = [word for instruction in instructions for word in encode(instruction)]
    return replace(program, instructions=instructions, storage=storage)


def coded_program(program: Program, rng: np.random.Generator, share: float = 0.8) -> Program:
    """The same program with its weights compressed, each load of them in pieces of any size: blocks, and plain ones. Tables come
    before the first piece and now and then before others."""
    geometry, row = program.geometry, storage_words(program.geometry, Opcode.LOAD_WEIGHTS)
    loads = [instruction.body for instruction in program.instructions if instruction.opcode is Opcode.LOAD_WEIGHTS]
    everything = np.concatenate([program.storage[body.storage:body.storage + body.words * row] for body in loads])
    masked = bool(rng.integers(2))
    values = fit(np.bincount(everything.view(np.uint8), minlength=256))
    parts = [values, fit(np.ones(16, np.int64))] if masked else [values]
    storage, table = _Storage(), encode_table(*parts)
    storage.add(program.storage[:program.program])
    where = storage.add(table)
    instructions, tokens = [], [0]                      # of loads: for each token of the program, the one that it is here
    given = 0
    for instruction in program.instructions:
        waits = replace(instruction.waits, load=tokens[instruction.waits.load])
        instruction, body = replace(instruction, waits=waits), instruction.body
        pieces = [instruction]
        if instruction.opcode is Opcode.LOAD_WEIGHTS:
            pieces, done = [], 0
            if not given or rng.random() < 0.3:
                pieces.append(Instruction(opcode=Opcode.LOAD_CODED, body=CodedTransfer(
                    storage=where, words=len(table), chip=0, chip_words=0)))
            while done < body.words:
                count = int(rng.integers(1, min(body.words - done, EIGHTS * 4 // geometry.input_lanes) + 1))
                at = body.storage + done * row
                piece: Transfer | CodedTransfer = replace(body, storage=at, chip=body.chip + done, words=count)
                opcode = Opcode.LOAD_WEIGHTS
                if rng.random() < share:
                    block, = encode_blocks([program.storage[at:at + count * row].view(np.int8)], *parts)
                    opcode, piece = Opcode.LOAD_CODED, CodedTransfer(
                        storage=storage.add(block), words=len(block), chip=body.chip + done, chip_words=count)
                pieces.append(replace(instruction, opcode=opcode, body=piece))
                done += count
        instructions += pieces
        if instruction.queue == "load":
            given += len(pieces)
            tokens.append(given)
    words = np.array([word for instruction in instructions for word in encode(instruction)], np.uint16)
    at = storage.add(words)
    return replace(program, instructions=tuple(instructions), storage=np.concatenate(storage.blocks), program=at,
                   program_words=len(words))
