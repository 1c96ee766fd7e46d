"""Runs a layer on an engine with the inverter, in a copy of the sources that has it: RTL against values and cycles.

Arguments: folder for what is built, seed.
"""
from dataclasses import replace
import math
from pathlib import Path
import sys

from arch.unit.invert import InvertConfig
import numpy as np

from arch.command import Command
from arch.geometry import PRESETS, Geometry
from arch.units import boundaries
from compiler.layer import plan_layer
from compiler.maps import Map
from golden import places, units
from nets.graph import Window
from nets.int8.network import QConv, QMaxPool, Requantise
from sim.engine import EngineBench, predicted

PLAIN = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64, fifo_words=32)
GEOMETRY = replace(PLAIN, options=("invert",))
ORDER = ["window", "load", "requantise", "pool", "average", "writer"]


def main() -> None:
    build, rng = Path(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
    assert list(Command.records(PLAIN)) == ORDER and list(Command.records(GEOMETRY)) == [*ORDER[:-1], "invert", "writer"]
    assert PRESETS["85f"].to_json().find("options") < 0 and boundaries(GEOMETRY)[-2:] == ("inverted", "written")

    conv = QConv(name="conv", inputs=("x",), weight=rng.integers(-127, 128, (7, 4, 1, 1), np.int8),
                 bias=rng.integers(-1000, 1000, 7, np.int32), window=Window(kernel=(1, 1)), groups=1,
                 requantise=Requantise(multiplier=np.array(200), shift=np.array(15), zero_point=9))
    pool = QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=True)
    source = Map.whole(GEOMETRY, (4, 17, 9), 0)
    target = Map.whole(GEOMETRY, (7, 8, 4), source.words)
    plan = plan_layer(GEOMETRY, conv, source=source, target=target, zero_point=3, pool=pool)
    plan = replace(plan, phases=tuple(replace(phase, commands=tuple(
        replace(command, invert=InvertConfig(enable=n % 2, vectors=math.prod(places.written_shape(command))))
        for n, command in enumerate(phase.commands))) for phase in plan.phases))
    memory = rng.integers(0, 256, (GEOMETRY.activation_words, GEOMETRY.input_lanes), np.uint8)

    bench, grants = EngineBench(GEOMETRY, build), {}
    for round_number in range(3):
        run = bench.run(plan, memory, **grants)
        line = predicted(GEOMETRY, plan, run.offered, **grants)
        for name, when in line.passed.items():
            np.testing.assert_array_equal(run.beats[name].cycle, when, name)
        np.testing.assert_array_equal(run.memory, written(plan, memory))
        grants = {name: np.append(rng.random(97) < 0.2 + 0.3 * round_number, True) for name in ("read_grant", "write_grant")}
    print(len(plan.commands), "commands are as expected")


def written(plan, memory: np.ndarray) -> np.ndarray:
    """Activation memory after the plan, by the values of all units."""
    weights = np.zeros((GEOMETRY.weight_words, GEOMETRY.input_lanes, 2), np.int8)
    parameters, chain, memory = units.Parameters(GEOMETRY.parameter_words), units.queued(GEOMETRY), memory.copy()
    sums = units.Sums(GEOMETRY)
    for phase in plan.phases:
        weights[phase.weight_base:phase.weight_base + len(phase.weights)] = phase.weights
        part = slice(phase.parameter_base, phase.parameter_base + len(phase.biases))
        parameters.biases[part], parameters.multipliers[part], parameters.shifts[part] = (
            phase.biases, phase.multipliers, phase.shifts)
        for command in phase.commands:
            q = units.run(GEOMETRY, command, memory, weights, parameters, sums, chain)
            words, groups = places.written_places(GEOMETRY, command)
            grouped = memory.reshape(len(memory), GEOMETRY.blocks_per_word, GEOMETRY.output_lanes)
            grouped[words, groups[:, None, None]] = q.transpose(0, 2, 3, 1)
    return memory


if __name__ == "__main__":
    main()
