"""From a network's output to classes and probabilities, as every command shows them."""
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from cli import bar
from nets.endings import finish
from nets.int8.network import QNetwork, QSoftmax

__all__ = ["entries", "probabilities", "ranking", "score_table", "top"]

BAR = 30        # columns of a probability of 1


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
