"""A model as the commands take it: a graph with its input preparation and labels, found by zoo name or by file."""
from dataclasses import dataclass

from cli import RequestError
from nets.graph import Graph
from nets.preprocess import InputSpec

__all__ = ["Model", "ModelError"]


class ModelError(RequestError):
    """A model cannot be found or read; the message names it and says what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A float network ready to run: `labels` may be empty (classes are then shown by number)."""

    graph: Graph
    spec: InputSpec
    labels: tuple[str, ...] = ()

    def __post_init__(self):
        if self.graph.input.shape != self.spec.shape:
            raise ModelError(f"{self.graph.name}: reads {self.graph.input.shape}, "
                             f"but its images are prepared as {self.spec.shape}")

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What every command tells its user about the model, e.g. that its weights are not trained."""
        return self.graph.notes
