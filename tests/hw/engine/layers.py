"""Random layers for the engine's tests."""
from dataclasses import dataclass, replace

from hypothesis import strategies as st
import numpy as np

from arch.geometry import Geometry
from compiler.layer import LayerPlan, plan_layer
from compiler.maps import Map
from nets.graph import Window
from nets.int8.network import QAvgPool, QConv, QGlobalAvgPool, QMaxPool, QTable, Requantise
from sim.cases import Case

__all__ = ["Grouped", "conv_of", "layers", "own_inputs", "with_table"]

ZERO_POINTS = (0, 128, 255)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouped(Case):
    """A layer of groups of whole blocks of channels, as commands whose output blocks read their own group each."""

    def place(self, geometry: Geometry, *, base: int = 0) -> tuple[LayerPlan, Map, np.ndarray]:
        """As of any case; what is neither map holds 77. The weights must fit the weight memory: a second phase of commands would
        have to begin in another output block."""
        inputs, outputs = self.conv.weight.shape[1], len(self.conv.weight) // self.conv.groups
        source = Map.whole(geometry, self.x.shape, base)
        target = Map.whole(geometry, self.shape, base + source.words)
        memory = np.full((geometry.activation_words, geometry.input_lanes), 77, np.uint8)
        source.store(geometry, memory, self.x)
        # To an output block all inputs are those of its group.
        plan = plan_layer(geometry, replace(self.conv, groups=1), source=replace(source, channels=inputs), target=target,
                          zero_point=self.zero_point, pool=self.pool)
        own = {"block_step": inputs // geometry.input_lanes, "block_repeat": outputs // geometry.output_lanes}
        phases = tuple(replace(phase, commands=tuple(
            replace(command, window=replace(command.window, **own)) for command in phase.commands)) for phase in plan.phases)
        return replace(plan, phases=phases), target, memory


def conv_of(rng: np.random.Generator, channels: int, out: int, window: Window, extreme: int | None = None) -> QConv:
    """A convolution whose results spread over 0..255; all weights `extreme`, if given."""
    weight = rng.integers(-127, 128, (out, channels, *window.kernel)).astype(np.int8)
    if extreme is not None:
        weight[:] = extreme
    spread = 127 * 255 * np.sqrt(weight[0].size) / 2
    shift = int(np.log2(spread * 160 / 256)) + rng.integers(-2, 3, out)
    how = Requantise(multiplier=rng.integers(0, 256, out), shift=np.clip(shift, 1, 39), zero_point=int(rng.choice(ZERO_POINTS)),
                     **dict(zip(("low", "high"), sorted(map(int, rng.integers(0, 256, 2))), strict=True))
                     if rng.integers(4) == 0 else {})
    return QConv(name="conv", inputs=("x",), weight=weight, bias=rng.integers(-1 << 16, 1 << 16, out).astype(np.int32),
                 window=window, groups=1, requantise=how)


@st.composite
def windows(draw, kernel: int, stride: int, padding: int) -> Window:
    size = draw(st.tuples(*[st.one_of(st.sampled_from([1, min(3, kernel)]), st.integers(1, kernel))] * 2))
    # No window may hold padding alone.
    around = tuple(min(draw(st.integers(0, padding)), size[n % 2] - 1) for n in range(4))
    return Window(kernel=size, stride=draw(st.tuples(*[st.integers(1, stride)] * 2)), padding=around)


@st.composite
def pools(draw, size: tuple[int, int], rng: np.random.Generator):
    """A pool for a map of `size`, or None."""
    kind = draw(st.sampled_from([None, QMaxPool, QMaxPool, QAvgPool, QGlobalAvgPool]))
    common = dict(name="pool", inputs=("conv",))
    if kind is None:
        return None
    if kind is QGlobalAvgPool:
        shift = 8 + int(np.log2(size[0] * size[1]))
        return kind(**common, requantise=Requantise(multiplier=np.array(int(rng.integers(100, 256))), shift=np.array(shift),
                                                    zero_point=int(rng.choice(ZERO_POINTS))))
    window, ceil_mode = draw(windows(3, 3, 1)), draw(st.booleans())
    try:
        window.output_size(*size, ceil_mode=ceil_mode)
    except ValueError:
        return None
    extra = {"count_include_pad": draw(st.booleans())} if kind is QAvgPool else {}
    return kind(**common, window=window, ceil_mode=ceil_mode, **extra)


@st.composite
def own_inputs(draw, *, lanes: tuple[int, int]) -> Grouped:
    """Layers of 1 to 4 groups, each of whole blocks of `lanes` input and output channels."""
    window = draw(windows(3, 3, 2))
    groups, inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 2)) * lanes[0], draw(st.integers(1, 3)) * lanes[1]
    least = [max(1, window.kernel[axis] - window.padding[axis] - window.padding[axis + 2]) for axis in range(2)]
    sides = draw(st.tuples(st.integers(least[0], 11), st.integers(least[1], 11)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    conv = replace(conv_of(rng, inputs, groups * outputs, window), groups=groups)
    return Grouped(name="drawn", x=rng.integers(0, 256, (groups * inputs, *sides), np.uint8), conv=conv,
                   zero_point=draw(st.sampled_from(ZERO_POINTS)), pool=draw(pools(window.output_size(*sides), rng)))


def with_table(case: Case, rng: np.random.Generator) -> Case:
    """The layer with a table of any bytes behind its convolution."""
    table = QTable(name="table", inputs=("conv",), table=rng.integers(0, 256, 256, np.uint8))
    return replace(case, table=table, table_zero_point=int(rng.choice(ZERO_POINTS)))


@st.composite
def layers(draw, *, words: int, lanes: int, width: int, macs: int) -> Case:
    """Layers whose maps together take at most `words` words of `lanes` bytes, with rows of at most `width` output pixels and at
    most `macs` multiply-accumulates."""
    window = draw(windows(draw(st.sampled_from([3, 3, 5, 11])), 4, 10))
    channels, out = draw(st.integers(1, 3 * lanes)), draw(st.integers(1, 3 * lanes))
    most = max(1, int((words * lanes / (2 * max(channels, out) + 2 * lanes)) ** 0.5))
    sides = []
    for axis in range(2):
        least = max(1, window.kernel[axis] - window.padding[axis] - window.padding[axis + 2])
        sides.append(draw(st.integers(least, max(least, most))))
    size = window.output_size(*sides)
    while size[1] > width or size[0] * size[1] * out * channels * window.kernel[0] * window.kernel[1] > macs or (
            -(-channels // lanes) * sides[0] * sides[1] + -(-out // lanes) * size[0] * size[1] > words):
        channels, out = max(1, channels // 2), max(1, out // 2)
        window = Window(kernel=window.kernel, stride=window.stride)
        sides = [max(window.kernel[axis], side * 2 // 3) for axis, side in enumerate(sides)]
        if (size := window.output_size(*sides)) == (1, 1) and channels == out == 1:
            break
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(0, 256, (channels, *sides), np.uint8)
    extreme = draw(st.sampled_from([None, None, None, -127, 127]))
    if draw(st.integers(0, 3)) == 0:
        x[:] = draw(st.sampled_from(ZERO_POINTS))
    return Case(name="drawn", x=x, zero_point=draw(st.sampled_from(ZERO_POINTS)),
                conv=conv_of(rng, channels, out, window, extreme), pool=draw(pools(size, rng)))
