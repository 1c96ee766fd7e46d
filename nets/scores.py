"""From a network's output to classes and probabilities, as every command shows them."""
import numpy as np
from rich.table import Table
from rich.text import Text

from cli import bar
from nets.int8.network import QNetwork, QSoftmax

__all__ = ["probabilities", "ranking", "score_table", "top"]

BAR = 30        # columns of a probability of 1


def ranking(scores: np.ndarray) -> np.ndarray:
    """Classes from the best score down; of equal scores the lower class is first."""
    return np.argsort(-scores.ravel().astype(np.float64), kind="stable")


def probabilities(network: QNetwork, q: np.ndarray) -> np.ndarray:
    """float64 (classes,) from the output tensor: its values where the network ends in a softmax, else their softmax."""
    kind = network.tensors[network.output]          # the offset is left out: softmax ignores it, and float32 might not hold it
    values = ((q.ravel().astype(np.int32) - kind.zero_point) * kind.scale).astype(np.float32).astype(np.float64)
    if isinstance(network.by_name[network.output], QSoftmax):
        return values
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def top(network: QNetwork, q: np.ndarray, count: int = 5) -> list[dict]:
    """The best classes of an output tensor: `class`, `label` (the number as text where the network has none), `score`."""
    scores = probabilities(network, q)
    names = network.labels
    return [{"class": int(k), "label": names[k] if k < len(names) else str(k), "score": float(scores[k])}
            for k in ranking(q)[:count]]


def score_table(entries: list[dict]) -> Table:
    """What `top` gives, as rows with bars."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for column in ("right", "left", "right", "left"):
        grid.add_column(justify=column, no_wrap=column == "right", overflow="ellipsis")
    for entry in entries:
        grid.add_row(str(entry["class"]), Text(entry["label"]), f"{entry['score']:.1%}", bar(entry["score"], BAR))
    return grid
