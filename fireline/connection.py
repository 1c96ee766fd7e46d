"""Boards: `connect` to one on a serial port, or to a simulated one, load a network, classify with it."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arch.program import Program as MachineProgram
from boards import BOARDS, find
from compiler import program_file
from compiler.build import compile_network
from fireline.image import Picture, name_of, pixels_of
from fireline.model import QuantisedModel
from fireline.program import Program
from fireline.results import BoardInfo, BoardRun, top_classes
from host.engine import engine_of
from host.link import Link, LinkError, SerialLink
from host.runner import Runner
from host.session import Session
from host.tensors import quantised_input, result_of, scores
from nets.preprocess import InputSpec

__all__ = ["Connection", "connect"]

_BOOT_S = 60            # to copy 32 MB from flash
_SIMULATED = {"patience_s": 10.0, "slowness": 1000.0}       # of a session with a simulated board: it is slow


def connect(port: str | None = None, *, baud: int = 3_000_000, virtual: str | None = None, units: Sequence[str] = ()
            ) -> "Connection":
    """A board on a serial port, as "/dev/ttyUSB0", with the baud rate that `fireline boards` lists; or a `virtual` one: the whole
    chip of the board of that name, simulated in this process cycle by cycle. Its model is built at its first use, which takes
    minutes and g++; then it is kept. `units`: names of optional units that its engine has.

    Use it in a `with` statement, or `close` it. Raises LinkError if nobody answers, ProtocolError if somebody else does,
    ValueError for a board that there is not.
    """
    if (port is None) == (virtual is None):
        raise ValueError("connect must have a port or the name of a virtual board: one of the two")
    if port is not None:
        link = SerialLink(port, baud)
        return Connection(link, patience_s=link.patience_s, slowness=link.slowness)
    # Not above: it brings the gateware, for which a real board need not wait.
    from sim.board import BoardLink, VirtualBoard
    board = find(virtual)
    return Connection(BoardLink(VirtualBoard(board, board.geometry.with_options(units))), **_SIMULATED)


class Connection:
    """A board that answers. Every method raises LinkError when the line is gone, the board is silent or was reset meanwhile."""

    def __init__(self, link: Link, *, patience_s: float, slowness: float):
        self._link = link
        self._session = Session(link, patience_s=patience_s, slowness=slowness)
        self._runner: Runner | None = None
        try:
            if isinstance(link, SerialLink):
                link.drain()
            self._session.connect()
            self._session.boot(_BOOT_S)
        except BaseException:
            link.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        loaded = f", {self._runner.program.name} loaded" if self._runner else ""
        return f"Connection({self.info.title}, {self.info.clock_mhz:g} MHz{loaded})"

    def close(self) -> None:
        """Gives the port back, or ends the simulation."""
        self._link.close()

    @property
    def info(self) -> BoardInfo:
        """What the board says of itself."""
        identity = self._session.info.identity
        board = BOARDS.get(identity.name)
        try:
            engine = engine_of(identity.digest).macs
        except LinkError:
            engine = None
        return BoardInfo(name=identity.name, title=board.title if board else identity.name, clock_mhz=identity.clock_khz / 1000,
                         storage_bytes=2 * identity.storage_words, engine=engine)

    def load(self, network: QuantisedModel | Program | str | Path) -> bool:
        """Puts a network into the board's storage and verifies it: a quantised one, which is compiled for this board, a program,
        or a `.flp` file. True if it had to be uploaded, False if it was there already.

        Raises NetworkError with all that stands against the network on this board, ProgramFileError for a damaged file, LinkError
        for a program that was compiled for another engine, or if storage does not hold what was written.
        """
        runner = Runner(self._session, self._program(network))
        fresh = not runner.loaded()
        if fresh:
            runner.load()
        self._runner = runner
        return fresh

    def classify(self, image: Picture) -> BoardRun:
        """What the network that was loaded sees in an image, computed on the board; images as for `Model.classify`.

        Raises PreprocessError for an image that cannot be read, LinkError if no network was loaded, MachineError when the
        machine stops.
        """
        if self._runner is None:
            raise LinkError("The board has no network yet: load one first")
        program = self._runner.program
        q = quantised_input(program, pixels_of(image, InputSpec.from_json(program.meta["spec"])))
        frame = self._runner.run(q)
        found = result_of(program, q, frame.output)
        return BoardRun(image=name_of(image), top5=top_classes(found.top5), values=found.values,
                        probabilities=scores(program, frame.output) if found.top5 else np.zeros(0), cycles=frame.cycles,
                        latency_ms=1000 * frame.chip_s, frames_per_s=1 / frame.chip_s, line_ms=1000 * frame.line_s,
                        frames_per_s_line=1 / (frame.chip_s + frame.line_s), output=frame.output)

    def counters(self) -> dict[str, int]:
        """Cycles of the last frame by what the chip's queues did: "compute_busy", "load_waiting", "gather_stalls" and so on."""
        return self._session.counters()

    def _program(self, network: QuantisedModel | Program | str | Path) -> MachineProgram:
        if isinstance(network, Program):
            return network.compiled.program
        if isinstance(network, str | Path):
            return program_file.load(network)
        identity = self._session.info.identity
        return compile_network(network.network, engine_of(identity.digest), storage_words=identity.storage_words).program
