"""What the units of the engine do to values, each from its own record of a command and the memory that it owns.

Those that vectors pass as streams have a file each in `golden/unit`.
"""
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from arch import units
from arch.command import Command
from arch.gather import line_bytes, line_memory, words_per_pixel
from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.gather import GatherConfig
from arch.unit.load import LoadConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from golden import places, values
from golden.unit.rules import UnitError, fraction, require
from nets.int8.network import FRACTION_BITS, Requantise

__all__ = ["Gather", "Parameters", "Sums", "UnitError", "convolve", "load", "problems", "queued", "rows", "run"]


class Parameters:
    """The parameter memory: `biases` int64, `multipliers` and `shifts`, each (words, 2)."""

    def __init__(self, words: int):
        self.biases, self.multipliers, self.shifts = np.zeros((3, words, 2), np.int64)

    def write(self, words: np.ndarray, stored: np.ndarray):
        """Put words of storage, uint16 (n, 6), where they belong."""
        stored = np.ascontiguousarray(stored, "<u2")
        self.biases[words] = stored[:, :4].copy().view("<i4")
        for memory, column in ((self.multipliers, 4), (self.shifts, 5)):
            memory[words] = stored[:, column, None] >> [0, 8] & 0xFF


def _channels(words: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Values of column pairs, the last pair of a block first, as one value a channel: (blocks * PO,)."""
    return words.reshape(-1, geometry.pairs, 2)[:, ::-1].reshape(-1)


class Sums:
    """What the array holds behind a command, for one that goes on with it: `acc` int64 (PO, pixels) of its last output block."""

    def __init__(self, geometry: Geometry):
        self.acc = np.zeros((geometry.output_lanes, 0), np.int64)

    def start(self, window: WindowConfig, biases: np.ndarray) -> np.ndarray:
        """What a command's sums start from, (output blocks * PO, 1 or pixels): `biases`, or what is there."""
        if not window.goes_on:
            return biases[:, None]
        require(window.output_blocks == 1, f"output blocks must be 1 where sums go on, not {window.output_blocks}")
        require(self.acc.shape[1] == window.pixels,
                f"pixels must be those of the command before, {self.acc.shape[1]}, where sums go on, not {window.pixels}")
        return self.acc


def convolve(geometry: Geometry, window: WindowConfig, load: LoadConfig, rule: RequantiseConfig, activations: np.ndarray,
             weights: np.ndarray, parameters: Parameters, sums: Sums) -> np.ndarray:
    """Requantised vectors of a command: uint8 (output blocks, PO, rows, columns).

    `activations` uint8 (words, PI), `weights` int8 (words, PI, 2). `sums` are those of the command before, and then its own.
    """
    require(load.passes == window.passes, f"passes of weights must be the window's {window.passes}, not {load.passes}")
    require(window.pixels <= geometry.band_pixels, f"pixels must be at most {geometry.band_pixels}, not {window.pixels}")
    require(max(window.row_start + 1, window.row_words, window.row_step) <= window.ring_words,
             f"row_start, row_words and row_step must lie inside the ring of {window.ring_words} words")
    weight_places, parameter_places = places.load_places(geometry, load)
    weight = weights[weight_places]
    require((weight != -128).all(), "weights must be -127..127, not -128")
    weight = weight.reshape(load.output_blocks, load.passes, geometry.pairs, geometry.input_lanes, 2)[:, :, ::-1]
    weight = weight.transpose(0, 2, 4, 1, 3).reshape(load.output_blocks * geometry.output_lanes, -1)
    shift = _channels(parameters.shifts[parameter_places], geometry)
    require(((shift >= 1) & (shift <= 39)).all(), f"shifts must be 1..39, not {shift.min()}..{shift.max()}")
    how = Requantise(multiplier=_channels(parameters.multipliers[parameter_places], geometry), shift=shift,
                     zero_point=rule.zero_point, low=rule.low, high=rule.high)
    require(not rule.fraction or (shift > FRACTION_BITS).all(), f"shifts must be 9..39 with a fraction, not {shift.min()}")
    number = values.exact_float(weight)
    # One product for all output blocks that read the same words.
    offsets, blocks = np.unique(places.block_offsets(window), return_inverse=True)
    rows = np.repeat(blocks, geometry.output_lanes)
    acc = np.concatenate([weight[rows == n].astype(number) @ _columns(window, activations, offset).astype(number).T
                          for n, offset in enumerate(offsets)])
    acc = acc.astype(np.int64) + sums.start(window, _channels(parameters.biases[parameter_places], geometry))
    require(np.abs(acc).max() < 1 << 31, "accumulators must stay within 32 bits")
    sums.acc = acc[-geometry.output_lanes:]
    q = values.requantise(acc, how)
    if rule.fraction:
        q[:, 1::2] = fraction(acc[:, 1::2], how)
    return q.reshape(load.output_blocks, geometry.output_lanes, window.rows, window.columns)


def _columns(window: WindowConfig, activations: np.ndarray, offset: int) -> np.ndarray:
    """What the array is fed for an output block that reads `offset` words further on: uint8 (rows * columns, passes * PI)."""
    line, column, inside_y, inside_x = places.taps(window)
    blocks = offset + np.arange(window.blocks)
    word = (line[:, None, :, None, None] + column[None, :, None, :, None] + blocks) % (1 << ADDRESS)
    inside = np.broadcast_to((inside_y[:, None, :, None] & inside_x[None, :, None, :])[..., None], word.shape)
    used = word[inside]
    require(not used.size or used.max() < len(activations), f"words read must be below {len(activations)}, "
                                                             f"not {used.max() if used.size else 0}")
    if inside.all():
        read = activations[word]
    else:
        read = np.full((*word.shape, activations.shape[1]), window.zero_point, np.uint8)
        read[inside] = activations[used]
    return read.reshape(window.pixels, -1)


class Gather:
    """The gather's line memory, and what it holds between commands."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.size = line_bytes(geometry) if geometry.input_lanes % 4 == 0 else 4
        self.lines = np.zeros((line_memory(geometry), self.size), np.uint8)

    def step(self, config: GatherConfig, pixels: np.ndarray) -> np.ndarray:
        """Words of a band, uint8 (rows, columns, words of a pixel, PI), from the next rows of the image, uint8
        (image rows, width, channels)."""
        self._check(config)
        words = words_per_pixel(self.geometry, channels=config.channels, kernel=config.kernel)
        result = np.zeros((config.rows, config.columns, words * self.geometry.input_lanes), np.uint8)
        reach = np.arange(config.columns)[:, None] * config.step_bytes + np.arange(config.tap_bytes)
        filled = 0
        for row in range(config.rows):
            top = config.first_row + row * config.stride
            # The filling side is never further ahead than it must be, and no line is overwritten that is still wanted.
            wanted = min(top + config.kernel, config.height) - config.next_row
            filled = self._fill(config, pixels, filled, wanted)
            for tap in range(config.kernel):
                part = slice(tap * config.tap_bytes, (tap + 1) * config.tap_bytes)
                if 0 <= top + tap < config.height:
                    first = (config.read_start + row * config.line_step + tap * config.line_words) % config.line_ring
                    result[row, :, part] = self.lines[first:first + config.line_words].reshape(-1)[reach]
                else:
                    result[row, :, part] = config.zero_point
        following = config.first_row + config.rows * config.stride
        require(config.next_row + config.image_rows - following <= config.lines,
                 f"lines must hold {config.next_row + config.image_rows - following} rows that wait, not {config.lines}")
        self._fill(config, pixels, filled, config.image_rows)
        return result.reshape(config.rows, config.columns, words, -1)

    def _check(self, config: GatherConfig):
        line = (config.left + config.width + config.right) * config.channels
        reach = (config.columns - 1) * config.step_bytes + config.tap_bytes
        rules = {
            "input_lanes must be a multiple of 4": self.geometry.input_lanes % 4 == 0,
            "tap_bytes must be kernel * channels": config.tap_bytes == config.kernel * config.channels,
            "step_bytes must be stride * channels": config.step_bytes == config.stride * config.channels,
            f"line_words must be {-(-line // self.size)}": config.line_words == -(-line // self.size),
            f"windows of a row must reach at most {line} bytes, not {reach}": reach <= line,
            "line_ring must be lines * line_words": config.line_ring == config.lines * config.line_words,
            f"line_ring must be at most {len(self.lines)} words": config.line_ring <= len(self.lines),
            "lines must be at least kernel": config.lines >= config.kernel,
            "line_step must be (stride mod lines) * line_words":
                config.line_step == config.stride % config.lines * config.line_words,
            "read_start must be (first_row mod lines) * line_words":
                config.read_start == config.first_row % config.lines * config.line_words,
            "write_start must be (next_row mod lines) * line_words":
                config.write_start == config.next_row % config.lines * config.line_words,
            "row_start and row_words must lie inside the ring":
                config.row_start < config.ring_words >= config.row_words}
        for rule, holds in rules.items():
            require(holds, rule)

    def _fill(self, config: GatherConfig, pixels: np.ndarray, filled: int, wanted: int) -> int:
        """Rows of the image into the ring of lines, until `wanted` rows of this command are in."""
        require(wanted <= config.image_rows, f"image rows must be at least {wanted}, not {config.image_rows}")
        for row in range(filled, wanted):
            line = np.full((config.left + config.width + config.right, config.channels), config.zero_point, np.uint8)
            line[config.left:config.left + config.width] = pixels[row]
            whole = np.zeros(config.line_words * self.size, np.uint8)
            whole[:line.size] = line.reshape(-1)
            first = (config.write_start + row * config.line_words) % config.line_ring
            self.lines[first:first + config.line_words] = whole.reshape(-1, self.size)
        return max(filled, wanted)


def _classes(geometry: Geometry) -> dict[str, Any]:
    """By name and in order: the units that vectors pass as streams, but for the queue in front and the writer at the end."""
    return {unit.name: import_module(f"golden.unit.{unit.name}").UNIT for unit in units.queued(geometry)[1:-1]}


def queued(geometry: Geometry) -> dict[str, Any]:
    """These units, each with what it keeps between commands."""
    return {name: unit(geometry) for name, unit in _classes(geometry).items()}


def load(geometry: Geometry, parameters: Parameters, chain: Mapping[str, Any], words: np.ndarray, stored: np.ndarray) -> None:
    """Put words of storage, uint16 (n, 6), into the parameter memory, or into optional units behind it. `chain`: as `queued` has
    it."""
    own = words < geometry.parameter_words
    parameters.write(words[own], stored[own])
    for name in geometry.options:
        if place := geometry.option_words(name):
            inside = (words >= place.start) & (words < place.stop)
            chain[name].write(words[inside] - place.start, stored[inside])


def rows(geometry: Geometry, command: Command) -> int:
    """Rows of vectors that come out of them all; 0: the command writes nothing."""
    count = command.window.rows
    for name, unit in _classes(geometry).items():
        count = unit.rows(getattr(command, name), count)
    return count


def problems(geometry: Geometry, command: Command) -> Iterator[str]:
    """What is wrong with records by themselves, one unit after the other."""
    for name, unit in _classes(geometry).items():
        yield from unit.problems(getattr(command, name))


def run(geometry: Geometry, command: Command, activations: np.ndarray, weights: np.ndarray, parameters: Parameters, sums: Sums,
        chain: Mapping[str, Any]) -> np.ndarray:
    """Vectors that a command writes: uint8 (output blocks, PO, rows, columns). `chain`: as `queued` has it."""
    for problem in problems(geometry, command):
        require(False, problem)
    window, (blocks, high, wide) = command.window, places.written_shape(command)
    for name, count in (("load", command.load.output_blocks), ("writer", blocks)):
        require(count == window.output_blocks,
                f"output blocks of {name} must be the window's {window.output_blocks}, not {count}")
    q = convolve(geometry, window, command.load, command.requantise, activations, weights, parameters, sums)
    for name, unit in chain.items():
        q = unit.step(getattr(command, name), q)
    vectors = len(q) * q.shape[2] * q.shape[3]
    require(vectors == blocks * high * wide, f"writer must take {vectors} vectors, not {blocks * high * wide}")
    require(places.inside_ring(command), "writer's row_start and row_words must lie inside the ring")
    return q.reshape(blocks, geometry.output_lanes, high, wide)
