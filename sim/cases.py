"""Real layers as cases for the engine: each convolution of a network with its input, and the table and pool fused behind it."""
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from arch.gather import bands
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from compiler.layer import LayerError, LayerPlan, plan_layer
from compiler.maps import Map
from nets.graph import Window
from nets.int8.network import QAvgPool, QConcat, QConv, QGlobalAvgPool, QInput, QMaxPool, QNetwork, QTable

__all__ = ["Case", "cases_of", "gathered"]

_POOLS = QMaxPool | QAvgPool | QGlobalAvgPool


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A convolution, the table and the pool behind it, and its input uint8 (channels, height, width) with zero point
    `zero_point`.

    `table_zero_point`: of what the table gives. `raster`: what a `gathered` layer was before.
    """

    name: str
    conv: QConv
    x: np.ndarray
    zero_point: int
    pool: QMaxPool | QAvgPool | QGlobalAvgPool | None = None
    table: QTable | None = None
    table_zero_point: int = 0
    raster: "Case | None" = None

    def __repr__(self) -> str:
        pool = self.pool and (self.pool.op, *(getattr(self.pool, name, None) for name in ("window", "ceil_mode")))
        table = "table, " if self.table else ""
        return f"Case({self.name}: x {self.x.shape}, weight {self.conv.weight.shape}, {self.conv.window}, {table}pool {pool})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the convolution's output."""
        return self.conv.window.output_size(*self.x.shape[1:])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the output, after the pool; of scores two columns, for their bytes."""
        out = len(self.conv.weight)
        if self.pool is None:
            return (out, 1, 2) if self.conv.requantise.fraction else (out, *self.size)
        if isinstance(self.pool, QGlobalAvgPool):
            return out, 1, 1 + self.pool.requantise.fraction
        return out, *self.pool.window.output_size(*self.size, ceil_mode=self.pool.ceil_mode)

    def place(self, geometry: Geometry, *, base: int = 0, weight_base: int = 0,
              parameter_base: int = 0) -> tuple[LayerPlan, Map, np.ndarray]:
        """The layer's plan, the map of its output, and activation memory (uint8, words x PI) with its input.

        The input lies whole in memory from `base` on, the output behind it, in a ring if it does not fit. Raises
        compiler.layer.LayerError when the layer cannot run on this geometry.
        """
        source = Map.whole(geometry, self.x.shape, base)
        target = Map.whole(geometry, self.shape, base + source.words)
        spare = geometry.activation_words - target.base
        target = replace(target, ring_rows=min(target.height, spare // target.row_words))
        plan = plan_layer(geometry, self.conv, source=source, target=target, zero_point=self.zero_point, pool=self.pool,
                          table=self.table, table_zero_point=self.table_zero_point, weight_base=weight_base,
                          parameter_base=parameter_base)
        memory = np.zeros((geometry.activation_words, geometry.input_lanes), np.uint8)
        source.store(geometry, memory, self.x)
        return plan, target, memory

    def gather(self, geometry: Geometry, plan: LayerPlan, *, base: int = 0) -> tuple[list[GatherConfig], np.ndarray]:
        """What makes the input of a `gathered` layer from its image: a command for each of a phase of `plan`, and the pixels,
        uint8 (n, 4). The input lies whole in memory from `base` on. Raises LayerError where the image's lines are too long."""
        raster, (height, width) = self.raster, self.size
        window, (channels, *_) = raster.conv.window, raster.x.shape
        try:
            commands = bands(geometry, shape=raster.x.shape, kernel=window.kernel[0], stride=window.stride[0],
                             padding=window.padding[:2], rows=[command.window.rows for command in plan.phases[0].commands],
                             columns=width, zero_point=self.zero_point, base=base, ring_rows=height)
        except ValueError as error:
            raise LayerError(f"{self.name}: {error}") from None
        pixels = np.zeros((raster.x[0].size, 4), np.uint8)
        pixels[:, :channels] = raster.x.reshape(channels, -1).T
        return commands, pixels


def gathered(case: Case) -> Case:
    """The same layer as the gather leaves it: a 1x1 convolution whose input channels are kernel rows, columns and channels."""
    conv, (height, width) = case.conv, case.size
    window = conv.window
    top, left, bottom, right = window.padding
    padded = np.pad(case.x, ((0, 0), (top, bottom), (left, right)), constant_values=case.zero_point)
    taps = [padded[:, y:y + (height - 1) * window.stride[0] + 1:window.stride[0],
                   x:x + (width - 1) * window.stride[1] + 1:window.stride[1]]
            for y in range(window.kernel[0]) for x in range(window.kernel[1])]
    weight = conv.weight.transpose(0, 2, 3, 1).reshape(len(conv.weight), -1, 1, 1)
    return replace(case, conv=replace(conv, weight=weight, window=Window(kernel=(1, 1))), x=np.concatenate(taps), raster=case)


def cases_of(network: QNetwork, tensors: Mapping[str, np.ndarray], *, few_channels: int = 4) -> Iterator[Case]:
    """Each ungrouped convolution of a network in order, with its input from `tensors` (by layer name).

    A table that is the only reader of a convolution is fused; so is a pool behind either, or behind a concatenation of them. A
    convolution of the image, of at most `few_channels` channels and with a square window, is `gathered`.
    """
    readers = {name: [layer for layer in network.layers if name in layer.inputs] for name in network.by_name}
    for conv in network.layers:
        if not isinstance(conv, QConv) or conv.groups != 1:
            continue
        following, table = readers[conv.name], None
        if len(following) == 1 and isinstance(following[0], QTable):
            table, following = following[0], readers[following[0].name]
        if len(following) == 1 and isinstance(following[0], QConcat):
            following = readers[following[0].name]
            if any(isinstance(layer, QGlobalAvgPool) for layer in following):
                following = []
        pool = following[0] if len(following) == 1 and isinstance(following[0], _POOLS) else None
        source = conv.inputs[0]
        case = Case(name=conv.name, conv=conv, x=tensors[source], zero_point=network.tensors[source].zero_point, pool=pool,
                    table=table, table_zero_point=network.tensors[table.name].zero_point if table else 0)
        image = isinstance(network.by_name[source], QInput) and len(case.x) <= few_channels and _square(conv.window)
        yield gathered(case) if image else case


def _square(window: Window) -> bool:
    """Whether the gather makes such windows."""
    (kernel, other), (stride, along) = window.kernel, window.stride
    return (kernel == other <= GatherConfig.most("kernel") and stride == along <= GatherConfig.most("stride")
            and window.dilation == (1, 1))
