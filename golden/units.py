"""What the units of the engine do to values, each from its own record of a command and the memory that it owns."""
import numpy as np

from arch.command import Command
from arch.gather import line_bytes, line_memory, words_per_pixel
from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.average import AverageConfig
from arch.unit.gather import GatherConfig
from arch.unit.load import LoadConfig
from arch.unit.pool import POOL_AVERAGE, POOL_NONE, PoolConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from golden import places, values
from nets.int8.network import Requantise

__all__ = ["Gather", "GlobalAverage", "Parameters", "Pool", "UnitError", "convolve", "run"]


class UnitError(ValueError):
    """A record that a unit cannot carry out, or that disagrees with another unit's."""


def _require(condition, message: str):
    if not condition:
        raise UnitError(message)


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


def convolve(geometry: Geometry, window: WindowConfig, load: LoadConfig, rule: RequantiseConfig, activations: np.ndarray,
             weights: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Requantised vectors of a command: uint8 (output blocks, PO, rows, columns).

    `activations` uint8 (words, PI), `weights` int8 (words, PI, 2).
    """
    _require(load.passes == window.passes, f"passes of weights must be the window's {window.passes}, not {load.passes}")
    _require(window.pixels <= geometry.band_pixels, f"pixels must be at most {geometry.band_pixels}, not {window.pixels}")
    _require(max(window.row_start + 1, window.row_words, window.row_step) <= window.ring_words,
             f"row_start, row_words and row_step must lie inside the ring of {window.ring_words} words")
    weight_places, parameter_places = places.load_places(geometry, load)
    weight = weights[weight_places]
    _require((weight != -128).all(), "weights must be -127..127, not -128")
    weight = weight.reshape(load.output_blocks, load.passes, geometry.pairs, geometry.input_lanes, 2)[:, :, ::-1]
    weight = weight.transpose(0, 2, 4, 1, 3).reshape(load.output_blocks * geometry.output_lanes, -1)
    shift = _channels(parameters.shifts[parameter_places], geometry)
    _require(((shift >= 1) & (shift <= 39)).all(), f"shifts must be 1..39, not {shift.min()}..{shift.max()}")
    how = Requantise(multiplier=_channels(parameters.multipliers[parameter_places], geometry), shift=shift,
                     zero_point=rule.zero_point, low=rule.low, high=rule.high)
    number = values.exact_float(weight)
    acc = weight.astype(number) @ _columns(window, activations).astype(number).T
    acc = acc.astype(np.int64) + _channels(parameters.biases[parameter_places], geometry)[:, None]
    _require(np.abs(acc).max() < 1 << 31, "accumulators must stay within 32 bits")
    q = values.requantise(acc, how)
    return q.reshape(load.output_blocks, geometry.output_lanes, window.rows, window.columns)


def _columns(window: WindowConfig, activations: np.ndarray) -> np.ndarray:
    """What the array is fed: uint8 (rows * columns, passes * PI)."""
    line, column, inside_y, inside_x = places.taps(window)
    word = (line[:, None, :, None, None] + column[None, :, None, :, None] + np.arange(window.blocks)) % (1 << ADDRESS)
    inside = np.broadcast_to((inside_y[:, None, :, None] & inside_x[None, :, None, :])[..., None], word.shape)
    used = word[inside]
    _require(not used.size or used.max() < len(activations), f"words read must be below {len(activations)}, "
                                                             f"not {used.max() if used.size else 0}")
    if inside.all():
        read = activations[word]
    else:
        read = np.full((*word.shape, activations.shape[1]), window.zero_point, np.uint8)
        read[inside] = activations[used]
    return read.reshape(window.pixels, -1)


class Pool:
    """The streaming pool, with the results of the last two rows at each place of its line memory.

    A place before which no row has come holds what the last command there left, as the chip's does.
    """

    def __init__(self, geometry: Geometry):
        self.lines = np.zeros((geometry.pool_words, 2, geometry.output_lanes), np.int32)     # a row ago, two rows ago

    def step(self, config: PoolConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out: uint8 (output blocks, PO, out rows, out columns)."""
        _require((config.output_blocks, config.rows, config.columns) == (len(q), *q.shape[2:]),
                 f"pool must take {(len(q), *q.shape[2:])} blocks, rows and columns, "
                 f"not {(config.output_blocks, config.rows, config.columns)}")
        if config.mode == POOL_NONE:
            return q
        average = config.mode == POOL_AVERAGE
        across = np.arange(config.out_columns) * config.stride_x - config.left
        rows = self._horizontal(config, q, across, average)
        real = np.arange(-2, config.rows + config.overhang_rows)        # rows -2 and -1 are those of the memory
        real = np.where(real < 0, real >= -config.history, real < config.rows)
        done = config.lead + np.arange(config.out_rows) * config.stride_y + 2
        _require(not done.size or done[-1] < len(real), f"pooled rows must be complete after {len(real) - 2} rows, "
                                                        f"not after {done[-1] - 1 if done.size else 0}")
        combine = np.add if average else np.maximum
        total = np.zeros((*rows.shape[:2], len(done), config.out_columns), np.int32)
        for back in range(config.kernel_y):
            combine(total, rows[:, :, done - back] * real[done - back, None], out=total)
        return self._mean(config, total, real, done, across).astype(np.uint8) if average else total.astype(np.uint8)

    def _horizontal(self, config: PoolConfig, q: np.ndarray, across: np.ndarray, average: bool) -> np.ndarray:
        """Results along the rows, two of the memory in front: int32 (blocks, PO, 2 + rows + overhang, out columns)."""
        blocks, lanes = q.shape[:2]
        most = max(config.columns, int(across[-1]) + config.kernel_x)
        padded = np.zeros((blocks, lanes, config.rows + config.overhang_rows, config.left + most), np.int32)
        padded[:, :, :config.rows, config.left:config.left + config.columns] = q
        rows = np.zeros((*padded.shape[:3], config.out_columns), np.int32)
        combine = np.add if average else np.maximum
        for tap in range(config.kernel_x):
            combine(rows, padded[..., across + config.left + tap], out=rows)
        stop = config.base + blocks * config.out_columns
        _require(stop <= len(self.lines), f"places of the pool must end at {len(self.lines)}, not at {stop}")
        kept = self.lines[config.base:stop].reshape(blocks, config.out_columns, 2, lanes).transpose(0, 3, 2, 1)
        rows = np.concatenate([kept[:, :, ::-1], rows], axis=2)
        if config.kernel_y > 1:
            kept = rows[:, :, :-3:-1].transpose(0, 3, 2, 1).reshape(-1, 2, lanes)
            self.lines[config.base:stop] = kept
        return rows

    @staticmethod
    def _mean(config: PoolConfig, total: np.ndarray, real: np.ndarray, done: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Sums divided by what counts in them, halves rounded up."""
        counted = real.copy()
        columns = np.arange(-1, max(config.columns, int(across[-1]) + config.kernel_x) + 1)
        in_map = (columns >= 0) & (columns < config.columns)
        counts = in_map.copy()
        if config.include_padding:
            counts |= (columns == -1) & bool(config.left) | (columns == config.columns) & bool(config.padded_right)
            if config.top:
                counted[1 - config.history:2 - config.history] = True
            if config.overhang_rows and config.padded_bottom:
                counted[config.rows + 2] = True

        def positions(rows, columns):
            down = sum(rows[done - back].astype(np.int32) for back in range(config.kernel_y))
            return down[:, None] * sum(columns[across + 1 + tap].astype(np.int32) for tap in range(config.kernel_x))
        count = np.maximum(positions(counted, counts), 1)
        padding = positions(counted, counts) - positions(real, in_map)
        return (total + config.zero_point * padding + count // 2) // count


class GlobalAverage:
    """The sums of a map, kept from band to band."""

    def __init__(self, geometry: Geometry):
        self.sums = np.zeros(geometry.output_lanes, np.int64)

    def step(self, config: AverageConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out: (output blocks, PO, rows, columns) as they came, or (results, PO, 1, 1)."""
        pixels = q.shape[2] * q.shape[3]
        _require(config.pixels == pixels, f"pixels of the average must be {pixels}, not {config.pixels}")
        _require(not pixels or config.output_blocks == len(q),
                 f"blocks of the average must be {len(q)}, not {config.output_blocks}")
        if not config.enable or not pixels:
            return q[:0] if config.enable else q
        results = []
        for block in q:
            total = block.sum((1, 2), dtype=np.int64)
            self.sums = total if config.first else self.sums + total
            if config.last:
                how = Requantise(multiplier=np.array([config.multiplier]), shift=np.array([config.shift]),
                                 zero_point=config.zero_point, low=config.low, high=config.high)
                results.append(values.requantise(self.sums + config.start, how))
        return np.array(results, np.uint8).reshape(-1, q.shape[1], 1, 1)


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
        _require(config.next_row + config.image_rows - following <= config.lines,
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
            _require(holds, rule)

    def _fill(self, config: GatherConfig, pixels: np.ndarray, filled: int, wanted: int) -> int:
        """Rows of the image into the ring of lines, until `wanted` rows of this command are in."""
        _require(wanted <= config.image_rows, f"image rows must be at least {wanted}, not {config.image_rows}")
        for row in range(filled, wanted):
            line = np.full((config.left + config.width + config.right, config.channels), config.zero_point, np.uint8)
            line[config.left:config.left + config.width] = pixels[row]
            whole = np.zeros(config.line_words * self.size, np.uint8)
            whole[:line.size] = line.reshape(-1)
            first = (config.write_start + row * config.line_words) % config.line_ring
            self.lines[first:first + config.line_words] = whole.reshape(-1, self.size)
        return max(filled, wanted)


def run(geometry: Geometry, command: Command, activations: np.ndarray, weights: np.ndarray, parameters: Parameters, pool: Pool,
        average: GlobalAverage) -> np.ndarray:
    """Vectors that a command writes: uint8 (output blocks, PO, rows, columns)."""
    window, writer = command.window, command.writer
    for name in ("load", "pool", "writer"):
        blocks = getattr(command, name).output_blocks
        _require(blocks == window.output_blocks,
                 f"output blocks of {name} must be the window's {window.output_blocks}, not {blocks}")
    q = convolve(geometry, window, command.load, command.requantise, activations, weights, parameters)
    q = average.step(command.average, pool.step(command.pool, q))
    vectors = writer.output_blocks * writer.rows * writer.columns
    _require(len(q) * q.shape[2] * q.shape[3] == vectors,
             f"writer must take {len(q) * q.shape[2] * q.shape[3]} vectors, not {vectors}")
    _require(writer.row_start < writer.ring_words >= writer.row_words,
             "writer's row_start and row_words must lie inside the ring")
    return q.reshape(writer.output_blocks, geometry.output_lanes, writer.rows, writer.columns)
