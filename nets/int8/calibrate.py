"""What calibration measures on a handful of images: the values of every tensor, the inputs of every convolution."""
from collections.abc import Iterable

import numpy as np

from nets import float_run
from nets.graph import Affine, Conv, Graph, GraphError, Linear, Problem
from nets.int8.fuse import Plan, as_conv
from nets.int8.rounding import InputMoments

__all__ = ["HALF", "Histogram", "Statistics", "measure"]

HALF = 4096                 # bins on each side of zero; the reach doubles, so at least half of one side is used


class Histogram:
    """Counts of values in 2 * HALF equal bins over -reach..reach, reach a power of two that grows with the data; exact
    minimum and maximum (with 0 among the values). The order of the data does not matter."""

    def __init__(self):
        self.reach = 2.0 ** -100
        self.counts = np.zeros(2 * HALF, np.int64)
        self.low = self.high = 0.0

    def add(self, values: np.ndarray) -> None:
        """Counts every value of a float32 tensor; all must be finite."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.reach:
            self._widen()
        index = np.multiply(values, np.float32(HALF / self.reach))
        index = np.floor(index, out=index).astype(np.int32).ravel()
        index += HALF
        self.counts += np.bincount(index, minlength=2 * HALF)

    def merged(self, other: "Histogram") -> "Histogram":
        """The histogram of both."""
        both = Histogram()
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        for one in (self, other):
            part = Histogram()
            part.reach, part.counts = one.reach, one.counts
            while part.reach < max(self.reach, other.reach):
                part._widen()
            both.reach, both.counts = part.reach, both.counts + part.counts
        return both

    @property
    def centres(self) -> np.ndarray:
        """float64 value at the middle of each bin."""
        return (np.arange(-HALF, HALF) + 0.5) * (self.reach / HALF)

    def _widen(self) -> None:
        self.reach *= 2
        self.counts = np.pad(self.counts.reshape(-1, 2).sum(1), HALF // 2)


class Statistics:
    """What the calibration images told: `histograms` of the measured steps' values and `moments` of the inputs of every
    convolution (linear and affine layers too), by name of the step."""

    def __init__(self, plan: Plan):
        self.images = 0
        self.histograms = {name: Histogram() for name in plan.measured}
        self.moments = {step.name: InputMoments() for step in plan.steps if isinstance(step.layer, Conv | Linear | Affine)}

    def add(self, plan: Plan, tensors: dict[str, np.ndarray]) -> None:
        """Counts one image's float tensors, given by float layer name; all must be finite."""
        values = {step.name: tensors[step.value] for step in plan.steps}
        for name, histogram in self.histograms.items():
            histogram.add(values[name])
        for step in plan.steps:
            if step.name in self.moments:
                x = values[step.inputs[0]]
                self.moments[step.name].add(as_conv(step.layer), x.reshape(-1, 1, 1) if x.ndim == 1 else x)
        self.images += 1


def measure(graph: Graph, plan: Plan, images: Iterable[np.ndarray]) -> Statistics:
    """Runs the float network on prepared images (float32, of the input's shape).

    Raises GraphError naming the first layer whose values are not finite, ValueError without any image.
    """
    statistics = Statistics(plan)
    keep = {step.value for step in plan.steps}
    for x in images:
        tensors = float_run.run(graph, x, keep=keep)
        for step in plan.steps:
            if not np.isfinite(tensors[step.value]).all():
                reason = "values are not finite on a calibration image"
                raise GraphError(graph.name, [Problem(step.name, step.layer.op, reason)])
        statistics.add(plan, tensors)
    if not statistics.images:
        raise ValueError("images must be at least one, not none")
    return statistics
