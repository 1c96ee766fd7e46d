"""The subcommands of `fireline`: which module does each of them. The modules are commands of their own (`python -m MODULE`)."""
import argparse
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

__all__ = ["COMMANDS", "Command", "GROUPS", "parser_of"]


@dataclass(frozen=True)
class Command:
    """A subcommand: `module` has `get_parser()` and `main(argv, parser)`, `summary` is what `fireline --help` says of it."""

    name: str
    module: str
    summary: str

    def load(self) -> ModuleType:
        """The module, imported now: `fireline --help` imports none of them."""
        return import_module(self.module)


GROUPS: dict[str, tuple[Command, ...]] = {
    "Networks": (
        Command("model", "nets.info", "layers, shapes, parameters, multiply-accumulates of a network"),
        Command("quantise", "nets.quantise", "turn a float network into an int8 one, calibrated on images"),
        Command("compress", "nets.compress.__main__", "prune a float network and share its weights, without training"),
        Command("run", "golden.run", "classify an image in integers, bit for bit as the chip does"),
        Command("evaluate", "golden.evaluate", "accuracy of the float and the int8 network on labelled images"),
        Command("export", "nets.export_qdq", "write the int8 network as ONNX, for other tools"),
    ),
    "Programs": (
        Command("compile", "compiler.compile", "compile a network for a board, explain and draw its schedule"),
        Command("bundle", "host.bundle", "put a network and a self-test into one signed file"),
        Command("disasm", "compiler.disasm", "show a program as text"),
    ),
    "Simulation": (
        Command("simulate", "sim.run", "run a network on the RTL and check every layer and every cycle"),
        Command("board", "sim.board", "simulate a whole board behind a serial port"),
    ),
    "Chips": (
        Command("boards", "boards.list", "list the boards with their devices, clocks and engines"),
        Command("build", "hw.build", "estimate a board's chip, or build its bitstream and report"),
    ),
    "On the board": (
        Command("info", "host.info", "show what answers on a serial port: board, engine, clock"),
        Command("selftest", "host.selftest.__main__", "test a board's line, memory, flash and engine, and say what to try"),
        Command("load", "host.load", "put a network into the board's storage or flash"),
        Command("update", "host.update", "replace the model on a board by a bundle, over any line"),
        Command("classify", "host.classify", "classify images on the board"),
        Command("bench", "host.bench", "measure cycles and frames a second"),
    ),
    "Shell": (
        Command("completion", "fireline.completion", "print what makes bash, zsh or fish complete this command"),
    ),
}
COMMANDS = {command.name: command for commands in GROUPS.values() for command in commands}


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The command line of a subcommand, under its name here."""
    parser = command.load().get_parser()
    parser.prog = f"fireline {command.name}"
    return parser
