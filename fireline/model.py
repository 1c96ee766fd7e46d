"""Networks: `load` one, classify with it, quantise it, measure its accuracy, compile it."""
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.geometry import Geometry
from boards import Board
from fireline.image import Picture, name_of, pixels_of
from fireline.program import Program, compile_for
from fireline.results import Accuracy, Classification, Layer, Score, top_classes
from golden import values
from golden.evaluate import evaluate
from nets import float_run
from nets import model as float_model
from nets.graph import Softmax
from nets.int8 import file as quantised_file
from nets.int8.network import Loss, QNetwork
from nets.labelled import labelled_images, own_images
from nets.load import load_model
from nets.model import ModelError
from nets.quantise import CALIBRATION_LIMIT, quantise, quantise_with, spread
from nets.scores import classifies, classifies_float, entries, probabilities, ranking, result_of

__all__ = ["Model", "QuantisedModel", "load"]

TOP = 5


def load(source: str | Path, *, side_file: str | Path | None = None, size: tuple[int, int] | None = None,
         channels: str | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
         scale: float | None = None, resize: int | None = None, labels: str | Path | None = None) -> "Model | QuantisedModel":
    """The network that `source` names: of the zoo ("digits", "squeezenet1_1", "squeezenet:sr=0.25,bypass=simple"), an ONNX file,
    a Deep Compression `.net` file, or a `.fln` file, which is quantised.

    Of a file, preparation of images and labels come from `side_file`, or the file's name with `.json` if that is there. The other
    arguments override single fields of it: `size` (height, width) in pixels, `channels` "RGB", "BGR" or "L", `mean` and `std`, a
    number a channel, in units of pixel * `scale` with pixels in 0..255, `resize` the pixels that the shorter side gets before the
    crop, `labels` a file with a label a line.

    Raises ModelError, GraphError or PreprocessError, in one line with the name or file.

    >>> load("digits")
    Model('digits': 1x32x32 to 10 classes, 38 layers, 40,346 parameters, 0.89 million MACs)
    """
    fields = {"side_file": side_file, "size": size, "channels": channels, "mean": mean, "std": std, "scale": scale,
              "resize": resize, "labels": labels}
    if Path(source).suffix != quantised_file.SUFFIX:
        return Model(load_model(source, **fields))
    if given := [name for name, value in fields.items() if value is not None]:
        raise ModelError(f"{source}: is quantised already: {given[0]} cannot change it")
    return QuantisedModel(quantised_file.load(source))


NOTHING = np.zeros(0)            # probabilities of a network that classifies nothing


def _named(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _gives(shape: tuple[int, ...], classes: bool) -> str:
    return f"{shape[0]} classes" if classes else f"{_named(tuple(side for side in shape if side > 1) or (1,))} numbers"


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A float network. `model` is what Fireline's other modules work with (`nets.model.Model`)."""

    model: float_model.Model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the image that the network reads."""
        return self.model.graph.input.shape

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where they have none."""
        return self.model.labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know of the network, as that its weights are not trained."""
        return self.model.notes

    @property
    def parameters(self) -> int:
        return self.model.graph.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates an image."""
        return self.model.graph.total_macs

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed, the input first."""
        graph = self.model.graph
        return tuple(Layer(layer.name, layer.op, layer.inputs, graph.shapes[layer.name], layer.parameters, graph.macs(layer))
                     for layer in graph.layers)

    def __repr__(self) -> str:
        graph = self.model.graph
        gives = _gives(graph.shapes[graph.output], classifies_float(graph, self.labels))
        return (f"Model({self.name!r}: {_named(self.input_shape)} to {gives}, {len(self.layers)} layers, "
                f"{self.parameters:,} parameters, {self.macs / 1e6:,.2f} million MACs{_noted(self.notes)})")

    def tensors(self, image: Picture) -> dict[str, np.ndarray]:
        """float32 tensor of every layer by name, (channels, height, width) or (features,). Raises PreprocessError for an image
        that cannot be read."""
        graph, spec = self.model.graph, self.model.spec
        return float_run.run(graph, spec.normalise(pixels_of(image, spec)), keep=graph.by_name)

    def classify(self, image: Picture) -> Classification:
        """What the network sees in an image: a file, a Pillow image, or a uint8 array (height, width) or (height, width, 3).

        Raises PreprocessError for an image that cannot be read.
        """
        graph, spec = self.model.graph, self.model.spec
        output = float_run.run(graph, spec.normalise(pixels_of(image, spec)))[graph.output].astype(np.float32)
        values = output.ravel() if output.shape[1:] == (1, 1) else output
        if not classifies_float(graph, self.labels):
            return Classification(image=name_of(image), top5=(), probabilities=NOTHING, values=values)
        scores = output.ravel().astype(np.float64)
        powers = scores if isinstance(graph.by_name[graph.output], Softmax) else np.exp(scores - scores.max())
        chances = powers / powers.sum()
        best = top_classes(entries(chances, ranking(scores)[:TOP], self.labels))
        return Classification(image=name_of(image), top5=best, probabilities=chances, values=values)

    def quantise(self, images: str | Path | Iterable[Picture] | None = None, *,
                 limit: int = CALIBRATION_LIMIT) -> "QuantisedModel":
        """The network in int8, calibrated on images: those below a folder, at most `limit` of them evenly spread, or a list.

        Without images `digits` takes its own; others take noise with the spectrum of photographs, which costs accuracy, and
        `notes` say so. The same images always give the same network.

        Raises GraphError naming every layer that cannot be computed in integers, PreprocessError for an image that cannot be read
        or where there is none.
        """
        if images is None or isinstance(images, str | Path):
            return QuantisedModel(quantise_with(self.model, None if images is None else Path(images), limit=limit), self.model)
        return QuantisedModel(quantise(self.model, [pixels_of(image, self.model.spec) for image in images]), self.model)


@dataclass(frozen=True, eq=False, repr=False)
class QuantisedModel:
    """A network in int8, as the chip computes it. `network` is what Fireline's other modules work with (`QNetwork`), `model` the
    float network that it was made of, None where it came from a file.
    """

    network: QNetwork
    model: float_model.Model | None = None

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the image that the network reads."""
        return self.network.tensors[self.network.input.name].shape

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where they have none."""
        return self.network.labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know of the network, as that it was calibrated on noise."""
        return self.network.notes

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What rounding cost each layer but the input, in dB of signal to noise over calibration images."""
        return self.network.losses

    def __repr__(self) -> str:
        gives = _gives(self.network.tensors[self.network.output].shape, classifies(self.network))
        return (f"QuantisedModel({self.name!r}: {_named(self.input_shape)} to {gives}, "
                f"{len(self.network.layers)} layers{_noted(self.notes)})")

    def quantise(self) -> "QuantisedModel":
        """Itself, so that what `load` gave can be quantised whatever it was."""
        return self

    def tensors(self, image: Picture) -> dict[str, np.ndarray]:
        """uint8 tensor (channels, height, width) of every layer by name: what the chip computes, bit for bit.
        `network.dequantise(name, tensor)` makes it float. Raises PreprocessError for an image that cannot be read."""
        return values.run(self.network, self._input(image), keep=self.network.by_name)

    def classify(self, image: Picture) -> Classification:
        """What the network sees in an image, bit for bit as the chip does; images as for `Model.classify`. Raises
        PreprocessError for an image that cannot be read."""
        source = self._input(image)
        q = values.run(self.network, source)[self.network.output]
        found = result_of(self.network, source, q)
        return Classification(image=name_of(image), top5=top_classes(found.top5), values=found.values,
                              probabilities=probabilities(self.network, q) if found.top5 else NOTHING)

    def evaluate(self, images: str | Path | None = None, *, limit: int | None = None, jobs: int = 1) -> Accuracy:
        """Accuracy on labelled images: the class of an image is the number that its file's name begins with, or its folder's
        name, a number or a label. `digits` has images of its own.

        `limit`: at most so many, evenly spread. `jobs`: processes to share the work; with more than one, a script needs
        `if __name__ == "__main__":`. Raises PreprocessError for images that are missing, unreadable or without a class.
        """
        folder = own_images(self.network, "images") if images is None else Path(images)
        classes = self.network.tensors[self.network.output].shape[0]
        found = labelled_images(folder, classes, self.labels, self.network.first_class)
        found = spread(found, limit or len(found))
        record = evaluate(self.network, self.model, found, jobs=jobs)
        return Accuracy(images=record["images"], int8=Score(**record["int8"]),
                        float=Score(**record["float"]) if record["float"] else None)

    def compile(self, board: str | Board = "ulx3s", *, engine: Geometry | None = None, storage_mb: int | None = None,
                units: Sequence[str] = ()) -> Program:
        """The program of the network for a board: its name, or a record that differs from those of `fireline.BOARDS`; the board's
        engine has the optional units that the network needs. `engine`: another one, as it is. `storage_mb`: as if the board had
        so many MB of storage. `units`: names of optional units that the engine has anyway.

        Raises ValueError for a board that there is not or a size out of range, NetworkError with all that stands against the
        network on this engine.
        """
        return compile_for(self.network, board, engine, storage_mb, units)

    def save(self, path: str | Path) -> None:
        """Writes the network into a `.fln` file. Raises ModelError for another ending, OutputError if it cannot be written."""
        quantised_file.save(self.network, path)

    def export_onnx(self, path: str | Path, *, integers: bool = False) -> None:
        """Writes the network as ONNX, whose results in ONNX Runtime are nearly the same, or with `integers` the same bit for bit.

        Raises OutputError if it cannot be written.
        """
        from cli import write_bytes
        from nets.export_qdq import network_model
        write_bytes(path, network_model(self.network, integers=integers).SerializeToString(deterministic=True))

    def _input(self, image: Picture) -> np.ndarray:
        spec = self.network.spec
        return self.network.quantise_input(spec.normalise(pixels_of(image, spec)))


def _noted(notes: tuple[str, ...]) -> str:
    return "".join(f"; note: {note}" for note in notes)
