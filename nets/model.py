"""A model as the commands take it: a graph with its input preparation and labels, found by zoo name or by file."""
from dataclasses import dataclass
from pathlib import Path

from cli import RequestError
from nets.graph import Graph
from nets.preprocess import InputSpec

__all__ = ["Model", "ModelError", "read_bytes"]

MAX_BYTES = (1 << 31) - 1   # of a protobuf, and of a flatbuffer


class ModelError(RequestError):
    """A model cannot be found or read; the message names it and says what to do."""


def read_bytes(path: Path, what: str, *, larger: str = "") -> bytes:
    """The bytes of a model's file, 1 to `MAX_BYTES`. Raises ModelError; `what`: what it should be, "an ONNX file"; `larger`: what
    to do about one that is larger."""
    try:
        if path.is_dir():
            raise ModelError(f"{path}: is a folder, not {what}")
        if path.exists() and not path.is_file():        # a device or pipe may never end
            raise ModelError(f"{path}: is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: is larger than 2 GiB{larger}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:      # ValueError: a NUL in the name
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise ModelError(f"{path}: is empty")
    return data


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A float network ready to run: `labels` may be empty (classes are then shown by number). Files of images count
    classes from 0, which is output `first_class`: 1 where output 0 is none of them, as "background"."""

    graph: Graph
    spec: InputSpec
    labels: tuple[str, ...] = ()
    first_class: int = 0

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
