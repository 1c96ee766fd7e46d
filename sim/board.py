"""The whole chip in Verilator behind a pseudo-terminal: give its path to --port of the host commands.

Link, machine, storage controller and SDRAM chip are simulated cycle by cycle. The serial line is not: bytes are exchanged at the
frame layer's door, as fast as the chip takes them, so that an upload takes seconds. Time stands still while nothing happens.
"""
import argparse
from collections.abc import Sequence
from dataclasses import replace
import os
from pathlib import Path
from random import Random
import select
import sys
import tty

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np

from arch.geometry import PRESETS, Geometry
from arch.memory.calibration import Turn
from arch.protocol import Identity
from arch.sdram import Timing
from boards import ALIASES, BOARDS, Board, find
from cli import Parser, positive, run_command, waiting, write_json
from compiler.target import add_units_argument
from hw.accelerator import Accelerator
from hw.link.uart import byte_layout
from sim.models.flash import SpiFlash, with_flash
from sim.models.sdram import ChipTiming, SdramChip, SdramDesign, behaviour_bits, chip_timing
from sim.models.sdram_delays import Behaviour, sampled
from sim.verilog.cache import kept
from sim.verilog.export import Rtl, convert

__all__ = ["BoardLink", "BoardTop", "PtyServer", "VirtualBoard", "get_parser", "main"]

_BURST = 4000                   # cycles between looks at the line
_PIECE = 4096                   # bytes taken from the line at once


class BoardTop(wiring.Component):
    """Accelerator and, with a `timing`, the SDRAM chip, with slots in the identity a flash. Members: `rx`, `tx`, `idle`, `busy`
    as `Accelerator` has them."""

    def __init__(self, geometry: Geometry | None, identity: Identity, timing: Timing | None, turn: Turn | None = None):
        self.turn = turn
        self.timing, self.flash = timing, None if identity.slots is None else SpiFlash()
        self.accelerator = Accelerator(geometry, identity, timing, turn)
        self.chip = None if timing is None else SdramChip(timing, turn)
        figures = {} if timing is None else {"chip_timing": In(ChipTiming)}
        figures |= {} if turn is None else {"delays": In(self.chip.turn.shape())}
        super().__init__({"rx": In(stream.Signature(byte_layout())), "tx": Out(stream.Signature(8)), "idle": Out(1),
                          "busy": Out(1), **figures})

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        connect(m, flipped(self.rx), accelerator.rx)
        connect(m, accelerator.tx, flipped(self.tx))
        m.d.comb += [self.idle.eq(accelerator.idle), self.busy.eq(accelerator.busy)]
        if self.chip is not None:
            m.submodules.chip = self.chip
            connect(m, accelerator.pins, self.chip.pins)
            m.d.comb += [self.chip.timing.eq(self.chip_timing), self.chip.load.valid.eq(0)]
            if self.turn is not None:
                m.d.comb += [self.chip.turn.eq(self.delays), self.chip.step.eq(accelerator.step)]
        if self.flash is not None:
            m.submodules.flash = self.flash
            connect(m, accelerator.flash, self.flash.pins)
            m.d.comb += self.flash.load.valid.eq(0)
        return m


class BoardDesign(SdramDesign):
    """With the models of both chips."""

    def _compile(self, rtl: Rtl, build: Path, waves: str):
        super()._compile(with_flash(rtl), build, waves)


class VirtualBoard:
    """A simulated board; `sim.models.line.Board`. `geometry` stands in for the board's own; without an `engine` its chip is the
    self-test's."""

    def __init__(self, board: Board, geometry: Geometry | None = None, *, engine: bool = True):
        self.board = board
        geometry = geometry or board.geometry if engine else None
        self.timing = board.timing
        flash = {"flash_offset": board.flash_offset, "flash_bytes": board.flash_bytes} if board.flash else {}
        identity = Identity(digest=geometry.digest if geometry else 0, storage_words=board.storage_words, name=board.name,
                            clock_khz=round(board.pll.clock_mhz * 1000), packing=board.packing and engine, **flash)
        parameters = geometry, identity, self.timing, board.turn
        self.sim = BoardDesign.of(kept(repr(parameters), lambda: convert(BoardTop(*parameters)))).simulate()
        if self.timing is not None:
            self.sim.set("chip_timing", chip_timing(self.timing))
        if board.turn is not None:
            delays = sampled(Random(0), board.sdram, float(board.pll.clock_mhz), board.speed)
            self.behave(delays.turn(board.pll, board.turn.steps))
        self.reset()

    def close(self) -> None:
        self.sim.close()

    def behave(self, turn: Sequence[Behaviour]) -> None:
        """What happens at each step of the SDRAM's clock, from now on."""
        self.sim.set("delays", behaviour_bits(turn))
        self.turn = turn

    def reset(self) -> None:
        """Presses the button: block RAM stays, everything else begins anew; bytes on their way to the board are lost."""
        self.sim.set("rst", 1)
        while self.sim.pending("rx"):
            self.sim.step(1)
        self.sim.step(2)
        self.sim.set("rst", 0)
        self.sim.beats("tx")

    def send(self, data: bytes) -> None:
        """Bytes for the board."""
        self.sim.feed("rx", np.stack([np.frombuffer(data, np.uint8), np.zeros(len(data), np.uint8)], 1))

    def step(self, cycles: int = _BURST) -> bytes:
        """Bytes that the board sent in so many cycles."""
        self.sim.step(cycles)
        return self.sim.beats("tx").payload[:, 0].tobytes()

    @property
    def idle(self) -> bool:
        """Nothing will happen without more bytes."""
        return not self.sim.pending("rx") and bool(self.sim.get("idle"))

    def feed(self, data: bytes) -> bytes:
        """Takes bytes and returns what came back when nothing more happens but a program that runs."""
        self.send(data)
        back = self.step(50)
        while self.sim.pending("rx") or not (self.sim.get("idle") or self.sim.get("busy")):
            back += self.step(200)
        return back + self.step(50 if not self.sim.get("busy") else _BURST)


class BoardLink:
    """A `host.link.Link` to a board in this process: time passes for the board while somebody writes or reads."""

    def __init__(self, board: VirtualBoard):
        self.board, self.baud = board, board.board.baud
        self._back = b""

    def write(self, data: bytes) -> None:
        self._back += self.board.feed(data)

    def read(self, timeout_s: float) -> bytes:
        back = self._back or self.board.feed(b"")
        self._back = b""
        return back

    def close(self) -> None:
        self.board.close()


class PtyServer:
    """A board behind a pseudo-terminal, whose path is `path`."""

    def __init__(self, board: VirtualBoard):
        self.board = board
        self._master, self._slave = os.openpty()        # the slave stays open, so that hosts may come and go
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._back = b""

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)

    def serve(self, patience_s: float = 0.5) -> None:
        """Exchanges bytes while there are any, or a program runs; returns after `patience_s` seconds without."""
        board = self.board
        while True:
            idle = board.idle and not self._back
            wanted = [self._master] if board.sim.pending("rx") < _PIECE else []
            readable, *_ = select.select(wanted, [], [], patience_s if idle else 0)
            if readable:
                board.send(os.read(self._master, _PIECE))
            elif idle:
                return
            self._back += board.step()
            if self._back:
                try:
                    self._back = self._back[os.write(self._master, self._back):]
                except BlockingIOError:         # nobody reads: bytes wait here
                    pass


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m sim.board", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="ulx3s", metavar="B", help=f"{', '.join([*ALIASES, *BOARDS])} (%(default)s)")
    parser.add_argument("--engine", choices=PRESETS, help="another engine than the board's, to simulate faster")
    add_units_argument(parser, "optional units of the engine")
    parser.add_argument("--selftest", action="store_true", help="the chip of hw.build --selftest, without an engine")
    parser.add_argument("--flash-mb", type=positive, metavar="N", help="size of its flash, instead of the board's")
    parser.add_argument("--packing", action="store_true", help="a chip that unpacks images which the host packs for the line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write board and port as JSON, once the port is there")
    return parser


def _run(args: argparse.Namespace) -> None:
    board = find(args.board)
    if args.flash_mb is not None:
        board = board.with_flash(args.flash_mb)
    if args.packing:
        board = replace(board, packing=True)
    print(f"building the simulation of {board.title} ...", file=sys.stderr)
    with waiting(f"building the simulation of {board.title}"):
        geometry = PRESETS[args.engine] if args.engine else board.geometry
        virtual = VirtualBoard(board, geometry.with_options(args.units), engine=not args.selftest)
    server = PtyServer(virtual)
    if args.json:
        write_json(args.json, {"board": board.name, "port": server.path})
    print(server.path, flush=True)
    print(f"python -m host.classify --port {server.path} IMAGE talks to it; stop with Ctrl-C", file=sys.stderr)
    try:
        while True:
            server.serve()
    finally:
        server.close()
        virtual.close()


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run the command line; 1 if it cannot be simulated, 2 bad request, 130 interrupted."""
    return run_command(_run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
