"""Programs: a network compiled for a board; what it will take there, and what it does on the simulated RTL."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from arch.geometry import Geometry
from arch.line import frame_exchange
from boards import Board, find
from compiler.build import Compiled, compile_network
from compiler.figures import figures
from compiler.listing import lines, text_of
from compiler.lowering.needs import needed
from compiler.program_file import save
from fireline.image import Picture, name_of, pixels_of
from fireline.results import LayerPrediction, LayerRun, Prediction, Resource, Run, top_classes
from nets.int8.network import QNetwork
from nets.scores import probabilities, result_of

__all__ = ["Program", "compile_for"]


def compile_for(network: QNetwork, board: str | Board, engine: Geometry | None = None, storage_mb: int | None = None,
                units: Sequence[str] = ()) -> "Program":
    """What `QuantisedModel.compile` says."""
    found = find(board) if isinstance(board, str) else board
    if storage_mb is not None:
        found = found.with_storage(storage_mb)
    geometry = found.geometry.with_options(needed(network, found.geometry)) if engine is None else engine
    found = replace(found, geometry=geometry.with_options(units))
    compiled = compile_network(network, found.geometry, storage_words=found.storage_words, timing=found.timing)
    return Program(compiled, network, found)


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """A network compiled for a board. `compiled` is what Fireline's other modules work with."""

    compiled: Compiled
    network: QNetwork
    board: Board

    @property
    def name(self) -> str:
        """Of the network."""
        return self.network.name

    @property
    def instructions(self) -> int:
        return len(self.compiled.program.instructions)

    @property
    def storage_bytes(self) -> int:
        """Bytes of storage that it needs on the board: weights, instructions, image, results."""
        return 2 * self.compiled.program.storage_words

    def __repr__(self) -> str:
        options = self.board.geometry.options
        on = f"{self.board.name} with {', '.join(options)}" if options else self.board.name
        return (f"Program({self.name!r} for {on}: {self.instructions:,} instructions, "
                f"{self.storage_bytes:,} bytes of storage)")

    def predict(self) -> Prediction:
        """What the board will make of it. The cycles are exact; a few thousand of a frame with an SDRAM depend on when it is
        refreshed, by some tens. Takes seconds, once."""
        return self._prediction

    @cached_property
    def _prediction(self) -> Prediction:
        # Not above: gateware need not be imported to classify.
        from hw.tools.bitstream import part_of
        from hw.tools.estimate import resources
        board = self.board
        data = figures(self.compiled, self.network, board.timing, board.storage_words)
        used = resources(board.geometry, part_of(board.platform()).die, None if board.chips else board.storage_words,
                         packing=board.packing)
        clock_mhz, cycles = float(board.pll.clock_mhz), data["cycles"]
        first_s, chip_s = cycles / (clock_mhz * 1e6), data["cycles_again"] / (clock_mhz * 1e6)
        line_s = frame_exchange(data["input_words"], data["output_words"], baud=board.baud, chip_s=chip_s).seconds
        layers = tuple(LayerPrediction(**{name: layer[name] for name in LayerPrediction.__dataclass_fields__})
                       for layer in data["layers"])
        return Prediction(
            model=self.name, board=board.name, cycles=cycles, cycles_again=data["cycles_again"], clock_mhz=clock_mhz,
            frames_per_s=1 / chip_s,
            latency_ms=1000 * first_s, line_ms=1000 * line_s, frames_per_s_line=1 / (chip_s + line_s), macs=data["macs"],
            utilisation=data["utilisation"], layers=layers,
            resources={name: Resource(**entry) for name, entry in used.items()}, storage_bytes=data["storage_bytes"],
            timeline={queue: np.array(spans, np.int64).reshape(-1, 2) for queue, spans in data["timeline"].items()})

    def simulate(self, image: Picture, *, status: Callable[[int], None] | None = None) -> Run:
        """A frame on the RTL of the whole machine, held against the reference: every element of every layer, every cycle.

        The model of the machine is built at its first use, which takes minutes and g++; then it is kept. `status` is called with
        the cycles done so far, now and then. Raises PreprocessError for an image that cannot be read, SimulationError when the
        machine stops with an error.
        """
        from golden.account import layers_of
        from sim.frame import FrameBench, predict
        from sim.run import check_frame
        network, program, board = self.network, self.compiled.program, self.board
        q = network.quantise_input(network.spec.normalise(pixels_of(image, network.spec)))
        with FrameBench(program.geometry, timing=board.timing, words=board.storage_words) as bench:
            bench.load(program)
            checked = check_frame(network, program, q, bench.run(q, status=status))
        frame = checked.frame
        foretold = predict(program, timing=board.timing, words=board.storage_words, start=frame.start)
        accounts = layers_of(program, network, frame, mismatches=checked.wrong, predicted=foretold.done)
        layers = tuple(LayerRun(name=one.name, macs=one.macs, cycles=one.cycles, predicted=one.predicted,
                                utilisation=one.utilisation(program.geometry), busy=one.busy, bound=one.bound,
                                mismatches=one.mismatches) for one in accounts)
        found = result_of(network, q, checked.output)
        return Run(image=name_of(image), top5=top_classes(found.top5), values=found.values,
                   probabilities=probabilities(network, checked.output) if found.top5 else np.zeros(0), cycles=frame.cycles,
                   predicted_cycles=foretold.cycles, mismatches=checked.mismatches,
                   late_commands=sum(foretold.late(frame).values()), layers=layers, output=checked.output)

    def disassemble(self) -> str:
        """The instructions as text, a line each: word of storage, name, tokens, fields."""
        program = self.compiled.program
        found = lines(program.storage[program.program:], program.geometry, base=program.program, parts=program.parts)
        return "\n".join(map(text_of, found))

    def save(self, path: str | Path) -> None:
        """Writes program and memory images into a `.flp` file. Raises ProgramFileError for another ending, OutputError if it
        cannot be written."""
        save(self.compiled.program, path)
