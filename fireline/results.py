"""What the Python API gives back: records that say what they hold. Arrays in them are to be read, not written."""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Accuracy", "BoardInfo", "BoardRun", "Classification", "Layer", "LayerPrediction", "LayerRun", "Prediction",
           "Resource", "Run", "Score", "TopClass", "top_classes"]


@dataclass(frozen=True)
class Layer:
    """A layer of a network: `inputs` are the names of the layers that it reads, `shape` that of its output (channels, height,
    width) or (features,), `macs` multiply-accumulates an image."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class TopClass:
    """A class that an image may show: its number `index` from 0, `label` (the number as text where the network has no labels),
    `probability` 0..1."""

    index: int
    label: str
    probability: float

    def __repr__(self) -> str:
        return f"<{self.label} {self.probability:.1%}>"


def top_classes(found: Iterable[Mapping]) -> tuple[TopClass, ...]:
    """Of what `nets.scores.entries` lists."""
    return tuple(TopClass(entry["class"], entry["label"], entry["score"]) for entry in found)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Classification:
    """What a network sees in an image.

    - `image`: the file's name, "image" for one that came from no file.
    - `top5`: the five best classes (fewer where the network has fewer), the best first; none where it classifies nothing, as an
      autoencoder.
    - `probabilities`: float64 (classes,), 0..1; empty where it classifies nothing.
    - `values`: float32 (features,) or (channels, height, width), what the network's file gives.
    """

    image: str
    top5: tuple[TopClass, ...]
    probabilities: np.ndarray
    values: np.ndarray

    def __repr__(self) -> str:
        seen = ", ".join(map(repr, self.top5)) or (f"{'x'.join(map(str, self.values.shape))} numbers, {self.values.min():.6g} to "
                                                   f"{self.values.max():.6g}")
        return f"{type(self).__name__}({self.image}: {seen}{self._more()})"

    def _more(self) -> str:
        return ""


@dataclass(frozen=True)
class Score:
    """Shares of images, 0..1, whose right class is the first (`top1`) or among the first five (`top5`)."""

    top1: float
    top5: float


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a network is right on so many `images`: in integers, as the chip computes, and in `float` (None for a network
    that came quantised)."""

    images: int
    int8: Score
    float: Score | None

    def __repr__(self) -> str:
        parts = [f"{name} top-1 {score.top1:.2%}, top-5 {score.top5:.2%}" for name, score in
                 (("int8", self.int8), ("float", self.float)) if score is not None]
        return f"Accuracy({self.images} images: {'; '.join(parts)})"


@dataclass(frozen=True)
class Resource:
    """Cells of one kind that a chip uses, of those that there are."""

    used: int
    available: int

    @property
    def share(self) -> float:
        """Used, of those available."""
        return self.used / max(self.available, 1)


@dataclass(frozen=True, kw_only=True)
class LayerPrediction:
    """A convolution layer in a predicted frame.

    `macs` multiply-accumulates; `cycles` from the end of the command before to the end of its own, summed; `bytes` of weights,
    parameters and activations that it loads from storage; `utilisation` of the multipliers, 0..1; what it is `bound` by.
    """

    name: str
    macs: int
    cycles: int
    bytes: int
    utilisation: float
    bound: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction:
    """What a board will make of a network, computed in seconds; cycles are those that it will count.

    - `model`, `board`: their names.
    - `cycles` and `latency_ms` of the first frame, `cycles_again` of those behind it, which are fewer if all weights stay on the
      chip; `clock_mhz`, `frames_per_s` of the chip, without the serial line; `line_ms` that the line takes for an image and its
      result at the board's rate, `frames_per_s_line` with both.
    - `macs` of a frame, `utilisation` of the multipliers 0..1.
    - `layers`: the convolutions in the order in which they are computed.
    - `resources`: by name ("lut4", "ff", "block_ram", "multipliers"); hard blocks exactly, the others within some percent.
    - `storage_bytes`: bytes between storage and chip a frame, by kind.
    - `timeline`: for each queue of commands ("load", "store", "gather", "compute") int64 (commands, 2), the cycle in which each
      began and the one in which it was through, from the start of the program.
    """

    model: str
    board: str
    cycles: int
    cycles_again: int
    clock_mhz: float
    frames_per_s: float
    latency_ms: float
    line_ms: float
    frames_per_s_line: float
    macs: int
    utilisation: float
    layers: tuple[LayerPrediction, ...]
    resources: Mapping[str, Resource]
    storage_bytes: Mapping[str, int]
    timeline: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        return (f"Prediction({self.model} on {self.board}: {self.cycles:,} cycles at {self.clock_mhz:g} MHz, "
                f"{self.frames_per_s:,.1f} frames/s on the chip, {self.frames_per_s_line:,.1f} with the line, "
                f"{self.utilisation:.1%} of the multipliers)")


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """A convolution layer of a simulated frame: measured `cycles` and those that were `predicted`, `macs`, `utilisation` and
    `busy` (share of its cycles in which the array multiplies) 0..1, what it is `bound` by, and `mismatches`: elements that differ
    from the reference."""

    name: str
    macs: int
    cycles: int
    predicted: int
    utilisation: float
    busy: float
    bound: str
    mismatches: int


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run(Classification):
    """A frame on the simulated RTL, held against the reference.

    - `cycles` measured, `predicted_cycles` by the cycle model.
    - `mismatches`: elements of any layer that differ from the integer reference. `late_commands`: commands that began or ended in
      another cycle than predicted. `exact`: none of either, and the cycles as predicted.
    - `layers`: the convolutions in the order in which they are computed.
    - `output`: uint8 tensor of the network's output (channels, height, width).
    """

    cycles: int
    predicted_cycles: int
    mismatches: int
    late_commands: int
    layers: tuple[LayerRun, ...]
    output: np.ndarray

    @property
    def exact(self) -> bool:
        return not self.mismatches and not self.late_commands and self.cycles == self.predicted_cycles

    def _more(self) -> str:
        found = "exact" if self.exact else f"{self.mismatches} mismatches, {self.late_commands} late commands"
        return f"; {self.cycles:,} cycles, {found}"


@dataclass(frozen=True, kw_only=True)
class BoardInfo:
    """What a board says of itself: `name` in the registry, `title` for people, `clock_mhz`, `storage_bytes`, and the `engine`'s
    multiply-accumulates a cycle, None where it is no engine of the registry."""

    name: str
    title: str
    clock_mhz: float
    storage_bytes: int
    engine: int | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BoardRun(Classification):
    """A frame on a board: `cycles` by the chip's own counter, `latency_ms` and `frames_per_s` at its clock, without the serial
    line; `line_ms` that the line takes beside it, `frames_per_s_line` with both; `output`: uint8 tensor that the chip left."""

    cycles: int
    latency_ms: float
    frames_per_s: float
    line_ms: float
    frames_per_s_line: float
    output: np.ndarray

    def _more(self) -> str:
        return f"; {self.cycles:,} cycles, {self.latency_ms:.2f} ms, {self.line_ms:.2f} ms on the line"
