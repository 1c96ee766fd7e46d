"""From a network's output to what every command shows: the best classes, or, where it classifies nothing, the output's numbers.

Autoencoders, filters of images and networks that find things in them classify nothing. A network is taken for one if its output
is a map of more than one pixel; or has as many values as its input, without labels or a softmax that would make them classes.
"""
from collections.abc import Sequence
from dataclasses import dataclass
import io
import math
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from cli import OutputError, bar, write_bytes
from nets.endings import applied, finish, scores_of
from nets.graph import Graph, Shape, Softmax
from nets.int8.network import QNetwork, QSoftmax, TensorType
from nets.preprocess import TENSOR_SUFFIX

__all__ = ["Result", "check_output_name", "classifies", "classifies_float", "entries", "probabilities", "ranking", "result_of",
           "save_outputs", "score_table", "squared_error", "stand_for_classes", "top", "values_of"]

BAR = 30        # columns of a probability of 1
VALUES = frozenset({"Sigmoid"})         # endings that choose between nothing


def ranking(scores: np.ndarray) -> np.ndarray:
    """Classes from the best score down; of equal scores the lower class is first."""
    return np.argsort(-scores.ravel().astype(np.float64), kind="stable")


def probabilities(network: QNetwork, q: np.ndarray) -> np.ndarray:
    """float64 (classes,) from the output tensor, as `nets.endings.finish` has them: of a network of one output its value."""
    kind = network.tensors[network.output]          # float32 might not hold the offset beside the differences of scores
    values = ((q.astype(np.int32) - kind.zero_point) * kind.scale).astype(np.float32).astype(np.float64) + network.offset
    bare = isinstance(network.by_name[network.output], QSoftmax)
    return (values if bare else finish(values, network.endings)).ravel()


def top(network: QNetwork, q: np.ndarray, count: int = 5) -> list[dict]:
    """The best classes of an output tensor, as `entries` lists them."""
    return entries(probabilities(network, q), ranking(q)[:count], network.labels)


def entries(scores: np.ndarray, order: np.ndarray, labels: Sequence[str]) -> list[dict]:
    """For each class of `order`: `class`, `label` (the number as text where the network has none), `score`. A network of one
    output has no classes to choose from: its score is a value, not a share."""
    return [{"class": int(k), "label": labels[k] if k < len(labels) else str(k), "score": float(scores[k])} for k in order]


def score_table(found: list[dict]) -> Table:
    """What `top` gives, as rows with bars; a single value as it is."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for column in ("right", "left", "right", "left"):
        grid.add_column(justify=column, no_wrap=column == "right", overflow="ellipsis")
    if len(found) == 1:
        grid.add_row("", Text("value" if found[0]["label"] == "0" else found[0]["label"]), f"{found[0]['score']:.6g}", "")
        return grid
    for entry in found:
        grid.add_row(str(entry["class"]), Text(entry["label"]), f"{entry['score']:.1%}", bar(entry["score"], BAR))
    return grid


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Of one frame. `values`: float32 (features,) or (channels, height, width), the network's output with its endings, such as a
    softmax; `top5`: the best classes (`nets.scores.entries`), none where it classifies nothing; `error`: the mean square of what
    such an output differs from the input, where both have one shape."""

    values: np.ndarray
    top5: Sequence[dict] = ()
    error: float | None = None

    @property
    def record(self) -> dict:
        """For JSON: `top5`, and `output`, which is None where there are classes."""
        values, output = self.values, None
        if not self.top5:
            output = {"shape": list(values.shape), "least": float(values.min()), "largest": float(values.max()),
                      "mean": float(values.mean(dtype=np.float64)), "squared_error": self.error}
        return {"top5": list(self.top5), "output": output}

    def table(self) -> Table:
        """For a terminal."""
        if self.top5:
            return score_table(self.top5)
        grid, found = Table(box=None, show_header=False, pad_edge=False), self.record["output"]
        grid.add_row("output", f"{'x'.join(map(str, found['shape']))} numbers, {found['least']:.6g} to {found['largest']:.6g}, "
                               f"mean {found['mean']:.6g}")
        if self.error is not None:
            grid.add_row("error", f"{self.error:.6g}, mean square of the output less the input")
        return grid


def stand_for_classes(output: Shape, source: Shape, chooses: bool) -> bool:
    """Whether an output's values stand for classes, as above, where the input has the shape `source`. `chooses`: there are
    labels, or a softmax."""
    return math.prod(output[1:]) == 1 and (chooses or math.prod(output) != math.prod(source))


def classifies(network: QNetwork) -> bool:
    """Whether a network's output stands for classes, as above."""
    output, source = (network.tensors[name].shape for name in (network.output, network.input.name))
    chooses = set(network.endings) - VALUES or isinstance(network.by_name[network.output], QSoftmax)
    return stand_for_classes(output, source, bool(network.labels or chooses))


def classifies_float(graph: Graph, labels: Sequence[str]) -> bool:
    """The same of a float network."""
    scores, endings = scores_of(graph)
    chooses = set(endings) - VALUES or isinstance(scores, Softmax)
    return stand_for_classes(graph.shapes[scores.name], graph.shapes[graph.input.name], bool(labels or chooses))


def values_of(q: np.ndarray, *, scale: float, zero_point: int, offset: float, endings: Sequence[str], shape: Shape) -> np.ndarray:
    """float32 values of an output tensor of this `shape`, as (features,) if that is one pixel, behind the `endings`."""
    values = (q.reshape(shape).astype(np.int64) - zero_point) * scale + offset
    values = applied(values, endings).astype(np.float32)
    return values.reshape(len(values)) if values.shape[1:] == (1, 1) else values


def squared_error(values: np.ndarray, source: np.ndarray, kind: TensorType) -> float | None:
    """Mean square of an output's values less those of the input tensor `source`, of type `kind`, if their shapes are the same but
    for sides of 1."""
    if [side for side in values.shape if side > 1] != [side for side in source.shape if side > 1]:
        return None
    wanted = (source.astype(np.int64) - kind.zero_point) * kind.scale
    return float(np.square(values.ravel().astype(np.float64) - wanted.ravel()).mean())


def result_of(network: QNetwork, source: np.ndarray, q: np.ndarray) -> Result:
    """Of a frame's input and output tensors."""
    kind = network.tensors[network.output]
    values = values_of(q, scale=kind.scale, zero_point=kind.zero_point, offset=network.offset, endings=network.endings,
                       shape=kind.shape)
    if classifies(network):
        return Result(values=values, top5=top(network, q))
    return Result(values=values, error=squared_error(values, source, network.tensors[network.input.name]))


def check_output_name(path: Path | None) -> None:
    """Raises OutputError for a name that NumPy would not keep."""
    if path is not None and path.suffix.lower() != TENSOR_SUFFIX:
        raise OutputError(f"{path}: must end in {TENSOR_SUFFIX}")


def save_outputs(path: Path, results: Sequence[Result]) -> None:
    """Writes the values of frames as a NumPy file, float32 (frames, ...). Raises OutputError."""
    data = io.BytesIO()
    np.save(data, np.stack([result.values for result in results]))
    write_bytes(path, data.getvalue())
