"""The value of every beat at every boundary of the engine, from golden's tensors and the maps in memory alone."""
from dataclasses import replace

import numpy as np

from arch.geometry import Geometry
from compiler.layer import LayerPlan
from compiler.maps import Map
from golden import values
from golden.unit.rules import fraction
from nets.int8.network import SHIFT_MAX, QAvgPool, QConv, QGlobalAvgPool, QMaxPool, Requantise
from sim.cases import Case

__all__ = ["Expected", "Pool", "pack_columns"]

Pool = QMaxPool | QAvgPool | QGlobalAvgPool


class Expected:
    """What a layer's plan makes pass, beat by beat.

    `output` is the tensor that ends in map `target`. Of the plan only the order is used (which rows and output blocks each
    command has), so values and addresses owe nothing to it; and, of sums that go on from command to command, which input words
    each adds: what is made so far is that of as many blocks more, behind those of the whole.
    """

    def __init__(self, geometry: Geometry, plan: LayerPlan, case: Case, target: Map):
        self.geometry, self.target = geometry, target
        conv, pool = _whole_blocks(case.conv, geometry.output_lanes), case.pool
        zero, self._blocks_of = conv.requantise.zero_point, len(conv.weight) // geometry.output_lanes
        self._portions = 1 + max(phase.portion for phase in plan.phases)
        if self._portions > 1:
            conv = _so_far(conv, [sum(phase.commands[0].window.blocks for phase in plan.phases[:n]) * geometry.input_lanes
                                  for n in range(1, self._portions)])
        self._acc = values.accumulate(case.x, conv, case.zero_point)
        self._vectors = self._mapped = _bytes(self._acc, conv.requantise)
        if conv.requantise.fraction:            # the array makes each sum twice
            self._acc = self._acc.repeat(2, axis=2)
        if case.table is not None:
            self._mapped, zero = case.table.table[self._vectors], case.table_zero_point
        pooled = output = self._mapped
        if isinstance(pool, QMaxPool):
            pooled = output = values.max_pool(self._mapped, pool)
        elif isinstance(pool, QAvgPool):
            pooled = output = values.avg_pool(self._mapped, pool, zero)
        elif pool is not None:
            acc = self._mapped.sum((1, 2), dtype=np.int64, keepdims=True) - zero * self._mapped[0].size
            output = _bytes(acc, pool.requantise)
        self._pooled, self._output = pooled, output
        self._order = self._walk(plan, conv, pool)

    @property
    def output(self) -> np.ndarray:
        """The layer's output tensor."""
        return self._output[:self.target.channels]

    def _completed(self, rows: int, pool: Pool | None) -> int:
        """Rows behind the pool that the first `rows` rows of the convolution complete."""
        if not isinstance(pool, QMaxPool | QAvgPool):
            return rows
        window, most = pool.window, self._pooled.shape[1]
        if rows == self._vectors.shape[1]:
            return most
        return min(max((rows + window.padding[0] - window.kernel[0]) // window.stride[0] + 1, 0), most)

    def _walk(self, plan: LayerPlan, conv: QConv, pool: Pool | None) -> dict[str, np.ndarray]:
        """For each kind of tensor the (output block, row, column) of its vectors, in the order in which they pass."""
        made, pooled, last = [], [], []
        whole = isinstance(pool, QGlobalAvgPool)
        for phase in plan.phases:
            done, more = 0, self._blocks_of * ((phase.portion + 1) % self._portions)
            blocks = range(phase.blocks.start + more, phase.blocks.stop + more)
            for c in phase.commands:
                first = (c.window.first_row + conv.window.padding[0]) // conv.window.stride[0]
                if self._portions > 1:          # a band of a phase, and no pool
                    done = first
                made.append(_grid(blocks, range(first, first + c.window.rows), self._vectors.shape[2]))
                rows = range(done, self._completed(first + c.window.rows, pool))
                pooled.append(_grid(blocks, rows, self._pooled.shape[2]))
                done = rows.stop
                if not whole:
                    last.append(pooled[-1])
                elif done == self._pooled.shape[1]:
                    last.append(_grid(blocks, range(1), self._output.shape[2]))
        return {name: np.concatenate(parts, axis=1) for name, parts in (("made", made), ("pooled", pooled), ("last", last))}

    def payload(self, boundary: str) -> np.ndarray:
        """Payloads at a boundary: uint8 (beats, bytes), as `sim.verilog.native` records them."""
        order = self._order[{"pooled": "pooled", "normalised": "pooled", "averaged": "last", "written": "last"}.get(
            boundary, "made")]
        match boundary:
            case "array":
                block, row, column = order
                return self._acc[block * self.geometry.output_lanes, row, column].astype("<i4")[:, None].view(np.uint8)
            case "requantised" | "fifo":
                return self._blocks(self._vectors, order)
            case "mapped":
                return self._blocks(self._mapped, order)
            case "pooled" | "normalised":
                return self._blocks(self._pooled, order)
            case "averaged":
                return self._blocks(self._output, order)
            case "written":
                return self._writes(order)
        raise ValueError(f"boundary must be one of the engine's, not {boundary!r}")

    def _blocks(self, tensor: np.ndarray, order: np.ndarray) -> np.ndarray:
        block, row, column = order
        return tensor.reshape(-1, self.geometry.output_lanes, *tensor.shape[1:])[block, :, row, column]

    def _writes(self, order: np.ndarray) -> np.ndarray:
        """Lane group, word and data of each write, as the writer's port has them: the data is repeated in all groups."""
        geometry, target = self.geometry, self.target
        block, row, column = order
        position = target.offset // geometry.output_lanes + block % self._blocks_of
        word = (target.base + row % target.ring_rows * target.row_words + column * target.pixel_words
                + position // geometry.blocks_per_word)
        enable = 1 << position % geometry.blocks_per_word
        data = np.tile(self._blocks(self._output, order), (1, geometry.blocks_per_word))
        bits = (geometry.activation_words - 1).bit_length()
        return pack_columns((enable, geometry.blocks_per_word), (word, bits), (data, 0))


def _bytes(acc: np.ndarray, how: Requantise) -> np.ndarray:
    """What the chip makes of accumulators: of scores two bytes, side by side."""
    if not how.fraction:
        return values.requantise(acc, how)
    whole = values.requantise(acc, replace(how, low=how.low - 1, high=how.high + 1, fraction=False))
    return np.concatenate([whole, fraction(acc.astype(np.int64), how)], axis=2)


def _whole_blocks(conv: QConv, lanes: int) -> QConv:
    """The convolution with idle channels behind its own: weights, bias and multiplier 0."""
    out = len(conv.weight)
    idle = -out % lanes
    how = conv.requantise
    multiplier, shift = (np.concatenate([np.broadcast_to(np.asarray(value), out), np.full(idle, fill)])
                         for value, fill in ((how.multiplier, 0), (how.shift, SHIFT_MAX)))
    return replace(conv, weight=np.concatenate([conv.weight, np.zeros((idle, *conv.weight.shape[1:]), np.int8)]),
                   bias=np.concatenate([conv.bias, np.zeros(idle, conv.bias.dtype)]),
                   requantise=replace(how, multiplier=multiplier, shift=shift))


def _so_far(conv: QConv, stops: list[int]) -> QConv:
    """The convolution with as many channels again for each of `stops`, which read only the input channels below it."""
    weight, how = np.concatenate([conv.weight] * (1 + len(stops))), conv.requantise
    for n, stop in enumerate(stops, start=1):
        weight[n * len(conv.weight):(n + 1) * len(conv.weight), stop:] = 0
    multiplier, shift, bias = (np.tile(value, 1 + len(stops)) for value in (how.multiplier, how.shift, conv.bias))
    return replace(conv, weight=weight, bias=bias, requantise=replace(how, multiplier=multiplier, shift=shift))


def _grid(blocks: range, rows: range, columns: int) -> np.ndarray:
    """Indices (block, row, column) of each vector, blocks outermost: int64 (3, vectors)."""
    return np.stack(np.meshgrid(blocks, rows, np.arange(columns), indexing="ij")).reshape(3, -1)


def pack_columns(*columns: tuple[np.ndarray, int]) -> np.ndarray:
    """Rows of values as beats: uint8 (n, bytes), the first column in the lowest bits.

    A column is (values, bits), int64 (n,), taken modulo 2**bits; or uint8 (n, bytes), with 0 for bits.
    """
    planes = []
    for column, bits in columns:
        column = np.asarray(column)
        if column.ndim == 1:
            planes.append((column[:, None].astype(np.int64) >> np.arange(bits) & 1).astype(np.uint8))
        else:
            planes.append(np.unpackbits(np.ascontiguousarray(column), axis=1, bitorder="little"))
    return np.packbits(np.concatenate(planes, axis=1), axis=1, bitorder="little")
