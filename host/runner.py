"""A program on a board: upload, verify, run, counters."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arch.control import NO_QUEUE, Fault
from arch.instruction import QUEUES, Opcode
from arch.line import frame_exchange, input_bytes
from arch.program import Program
from arch.weight_stream import Fault as BlockFault
from host.engine import engine_of
from host.link import LinkError
from host.packing import packed_frames
from host.protocol import Status
from host.session import Session
from host.tensors import output_of, words_of

__all__ = ["Frame", "MachineError", "Runner"]

_LONGEST_S = 3600               # of a frame, simulated ones too; the machine itself stops when nothing moves


_WHY = {Fault.GEOMETRY: "the program is for another engine", Fault.DEADLOCK: "its commands wait for each other",
        Fault.STALLED: "nothing moved for a long time", Fault.LOAD_CHIP: "a load goes beyond the chip's memory",
        Fault.LOAD_STORAGE: "a load goes beyond storage", Fault.STORE_CHIP: "a store goes beyond the chip's memory",
        Fault.STORE_STORAGE: "a store goes beyond storage", Fault.LOAD_CODED: "compressed weights in storage are damaged"}


class MachineError(LinkError):
    """The machine stopped; the message says why and at which command."""

    def __init__(self, status: Status):
        fault = Fault(status.fault).name if status.fault in list(Fault) else str(status.fault)
        if status.queue == NO_QUEUE:
            name = Opcode(status.opcode).name if status.opcode in list(Opcode) else "?"
            where = f"word {status.word} of the program, in instruction {status.index} ({name})"
        else:
            where = f"command {status.index} of the queue {QUEUES[status.queue] if status.queue < len(QUEUES) else status.queue}"
        why = _WHY.get(status.fault, "storage holds no program there")
        if status.fault == Fault.LOAD_CODED and status.word in list(BlockFault):
            why += f" ({BlockFault(status.word).name.lower()}, docs/weight_stream.md)"
        super().__init__(f"The machine stopped with {fault} at {where}, after {status.cycles:,} cycles: {why}; load the program "
                         "again, and tell us if it stops again")
        self.status = status


def _refuse_without(program: Program, digest: int) -> None:
    """Raises LinkError if the engine of this digest is known to lack units that the program's has."""
    try:
        missing = sorted(set(program.geometry.options) - set(engine_of(digest).options))
    except LinkError:
        return
    if missing:
        raise LinkError(f"The program is for an engine with {', '.join(missing)}, which the board's has not: build its chip with "
                        f"hw.build --units {','.join(missing)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """What a run left: the output tensor (uint8), the cycles that the chip took, and seconds: those of these cycles, and all
    others until the result was here, which are the line's. `packed_bytes`: of the frames that brought the input, None if it went
    as it is."""

    output: np.ndarray
    cycles: int
    chip_s: float
    line_s: float
    kept: bool
    packed_bytes: int | None = None


class Runner:
    """Runs a program on the board of a session that is connected.

    Raises LinkError if it cannot be for this board.
    """

    def __init__(self, session: Session, program: Program):
        identity = session.info.identity
        if not identity.digest:
            engine_of(identity.digest)                      # says why not
        if program.geometry.digest != identity.digest:
            _refuse_without(program, identity.digest)
            raise LinkError(f"The program is for engine {program.geometry.digest:016x}, the board holds {identity.digest:016x}: "
                            "compile it for this board (python -m host.info shows which it is)")
        if program.storage_words > identity.storage_words:
            need, have = 2 * program.storage_words, 2 * identity.storage_words
            raise LinkError(f"The program needs {need:,} bytes of storage, the board has {have:,}: {need - have:,} are missing; "
                            "take a smaller network, or a board with more")
        self.session, self.program = session, program

    @property
    def simulated(self) -> bool:
        """Whether the board is slower than a chip, so that no clock on the wall says how long its line takes."""
        return self.session.slowness > 1

    def loaded(self) -> bool:
        """Whether storage holds the program and its weights already."""
        program, storage = self.program, self.program.storage
        part = slice(program.program, program.program + program.program_words)
        # The code alone first: most other programs differ there.
        return self.session.verify(part.start, storage[part]) and self.session.verify(0, storage)

    def load(self, progress: Callable[[int], None] = lambda words: None) -> None:
        """Uploads and verifies. Raises LinkError if storage does not hold afterwards what was written."""
        self.session.clear()
        self.session.write(0, self.program.storage, progress)
        if not self.session.verify(0, self.program.storage):
            raise LinkError("Storage does not hold what was written: its chip or the phase of its clock is at fault, "
                            "see docs/boards.md")

    def _send(self, q: np.ndarray) -> list[int] | None:
        """Brings an input tensor to storage; words of each frame's arguments if they were packed, which is done where the chip
        unpacks and they are less."""
        program, session = self.program, self.session
        words = words_of(program.input, q, program.geometry.input_lanes)
        frames = packed_frames(program.input, words) if session.info.identity.packing else None
        sizes = frames and [len(frame) for frame in frames]
        if not sizes or input_bytes(len(words), packed=sizes) >= input_bytes(len(words)):
            session.write(program.input.address, words)
            return None
        session.write_packed(frames)
        return sizes

    def run(self, q: np.ndarray) -> Frame:
        """One frame: input tensor (uint8) in, output tensor out; behind another frame of the program, constants that the chip's
        memories hold all are not loaded again. Raises MachineError if the machine stops.

        The line's seconds are measured, but for a simulated board, which has none: then they are `arch.line`'s.
        """
        program, session = self.program, self.session
        begun = session.now()
        packed = self._send(q)
        kept = session.held is program and program.again is not None
        session.start((program.again if kept else program).program)
        status = session.wait(_LONGEST_S)
        if status.failed:
            raise MachineError(status)
        if not status.finished:
            raise LinkError("The program was ended from outside: does another program use this board? End it, and start again")
        session.held, output = program, program.output
        words = session.read(output.address, output.words)
        chip_s = status.cycles / (1000 * session.info.identity.clock_khz)
        if self.simulated:
            line_s = frame_exchange(program.input.words, output.words, baud=session.link.baud, chip_s=chip_s,
                                    packed=packed).seconds
        else:
            line_s = max(0.0, session.now() - begun - chip_s)
        return Frame(output=output_of(program, words), cycles=status.cycles, chip_s=chip_s, line_s=line_s, kept=kept,
                     packed_bytes=packed and 2 * sum(packed))
