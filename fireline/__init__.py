"""Fireline from Python: a trained network in, an accelerator on an ECP5 board out. docs/api.md tells it from end to end.

>>> import fireline
>>> net = fireline.load("digits").quantise()
>>> net
QuantisedModel('digits': 1x32x32 to 10 classes, 23 layers)
>>> net.classify("nets/digits/images/3_1602.png").top5[0].label
'3'
>>> net.compile("versa-ecp5").predict().cycles
40297
"""
from importlib import import_module
from typing import TYPE_CHECKING

from cli import interrupt

interrupt.guard_start()

if TYPE_CHECKING:       # editors read this; Python imports what is asked for, when it is asked for
    from arch.geometry import Geometry
    from boards import BOARDS, Board
    from cli import OutputError, RequestError, WorkError
    from compiler.program_file import ProgramFileError
    from compiler.stages import NetworkError
    from fireline.connection import Connection, connect
    from fireline.model import Model, QuantisedModel, load
    from fireline.program import Program
    from fireline.results import (
        Accuracy,
        BoardInfo,
        BoardRun,
        Classification,
        Layer,
        LayerPrediction,
        LayerRun,
        Prediction,
        Resource,
        Run,
        Score,
        TopClass,
    )
    from host.link import LinkError
    from host.protocol import ProtocolError
    from host.runner import MachineError
    from nets.graph import GraphError
    from nets.int8.network import Loss
    from nets.model import ModelError
    from nets.preprocess import PreprocessError
    from sim.verilog.export import SimulationError

_MODULES = {
    "fireline.model": ("load", "Model", "QuantisedModel"),
    "fireline.program": ("Program",),
    "fireline.connection": ("connect", "Connection"),
    "fireline.results": ("Accuracy", "BoardInfo", "BoardRun", "Classification", "Layer", "LayerPrediction", "LayerRun",
                         "Prediction", "Resource", "Run", "Score", "TopClass"),
    "arch.geometry": ("Geometry",),
    "boards": ("BOARDS", "Board"),
    "compiler.program_file": ("ProgramFileError",),
    "compiler.stages": ("NetworkError",),
    "host.link": ("LinkError",),
    "host.protocol": ("ProtocolError",),
    "host.runner": ("Loss", "MachineError",),
    "cli": ("OutputError", "RequestError", "WorkError"),
    "nets.graph": ("GraphError",),
    "nets.int8.network": ("Loss",),
    "nets.model": ("ModelError",),
    "nets.preprocess": ("PreprocessError",),
    "sim.verilog.export": ("SimulationError",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["BOARDS", "Accuracy", "Board", "BoardInfo", "BoardRun", "Classification", "Connection", "Geometry", "GraphError",
           "Layer", "LayerPrediction", "LayerRun", "LinkError", "Loss", "MachineError", "Model", "ModelError", "NetworkError",
           "OutputError", "Prediction", "PreprocessError", "Program", "ProgramFileError", "ProtocolError", "QuantisedModel",
           "RequestError", "Resource", "Run", "Score", "SimulationError", "TopClass", "WorkError", "connect", "load"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fireline' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
