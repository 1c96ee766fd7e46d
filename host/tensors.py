"""Tensors as words of storage, and outputs as classes."""
import numpy as np

from arch.program import Program, Tensor
from arch.scores import joined
from nets.endings import finish
from nets.int8.network import TensorType, softmax_table
from nets.preprocess import InputSpec
from nets.scores import Result, entries, ranking, squared_error, values_of

__all__ = ["output_of", "pixels_of", "quantised_input", "result_of", "scores", "tensor_of", "top", "words_of"]


def words_of(tensor: Tensor, q: np.ndarray, input_lanes: int) -> np.ndarray:
    """Words (uint16) of storage for values `q` (uint8 of the tensor's shape, or any as large for one of a single pixel); bytes
    between the values are 0."""
    q = q.reshape(tensor.shape) if q.size == tensor.shape[0] else q
    if q.dtype != np.uint8 or q.shape != tensor.shape:
        raise ValueError(f"{tensor.name} must be uint8 {tensor.shape}, not {q.dtype} {q.shape}")
    data = np.zeros(2 * tensor.words, np.uint8)
    pixels_of(tensor, data, input_lanes)[...] = q.transpose(1, 2, 0)
    return data.view("<u2")


def tensor_of(tensor: Tensor, words: np.ndarray, input_lanes: int) -> np.ndarray:
    """Inverse of `words_of`."""
    return pixels_of(tensor, np.ascontiguousarray(words, "<u2").view(np.uint8), input_lanes).transpose(2, 0, 1).copy()


def pixels_of(tensor: Tensor, data: np.ndarray, input_lanes: int) -> np.ndarray:
    """The values in a tensor's bytes: a view (height, width, channels)."""
    channels, height, width = tensor.shape
    if tensor.layout == "pixels":               # rows are whole words
        row = -(-width * channels // 2) * 2
        return data[:height * row].reshape(height, row)[:, :width * channels].reshape(height, width, channels)
    size = tensor.pixel_words * input_lanes
    return data[:height * width * size].reshape(height, width, size)[..., :channels]


def quantised_input(program: Program, pixels: np.ndarray) -> np.ndarray:
    """uint8 input tensor from a picture's pixels, as the network's quantisation has it (`nets.int8.network`)."""
    spec, kind = InputSpec.from_json(program.meta["spec"]), program.meta["input"]
    x = spec.normalise(pixels)
    return np.clip(np.floor(x / np.float32(kind["scale"]) + np.float32(0.5)) + kind["zero_point"], 0, 255).astype(np.uint8)


def output_of(program: Program, words: np.ndarray) -> np.ndarray:
    """The output tensor from its words of storage: uint8, or scores in sub-steps, uint16. A program of a single layer, which says
    nothing of its output, gives bytes."""
    q, pairs = tensor_of(program.output, words, program.geometry.input_lanes), program.meta.get("output", {}).get("pairs")
    return joined(q, **pairs) if pairs else q


def scores(program: Program, q: np.ndarray) -> np.ndarray:
    """float64 (classes,) from the output tensor, as `nets.endings.finish` has them.

    A softmax in integers is done here in those of `nets.int8.network.QSoftmax`, so that equal scores are equal.
    """
    kind, flat = program.meta["output"], q.ravel().astype(np.int64)
    if kind["softmax"]:
        table = softmax_table(kind["scale"]).astype(np.int64)
        powers = table[flat.max() - flat]
        return np.minimum((512 * powers + powers.sum()) // (2 * powers.sum()), 255) / 256
    values = ((q.astype(np.int64) - kind["zero_point"]) * kind["scale"]).astype(np.float32).astype(np.float64) + kind["offset"]
    return finish(values, kind["endings"]).ravel()


def result_of(program: Program, source: np.ndarray, q: np.ndarray) -> Result:
    """Of a frame's input and output tensors."""
    kind = program.meta["output"]
    if kind["softmax"]:
        return Result(values=scores(program, q).astype(np.float32), top5=top(program, q))
    shape = tuple(kind.get("numbers", kind["shape"]))
    values = values_of(q, scale=kind["scale"], zero_point=kind["zero_point"], offset=kind["offset"], endings=kind["endings"],
                       shape=shape)
    if "numbers" not in kind:
        return Result(values=values, top5=top(program, q))
    return Result(values=values, error=squared_error(values, source, TensorType(shape=source.shape, **program.meta["input"])))


def top(program: Program, q: np.ndarray, count: int = 5) -> list[dict]:
    """The best classes, as `nets.scores.entries` lists them."""
    found = scores(program, q)
    order = ranking(found if program.meta["output"]["softmax"] else q.ravel())
    return entries(found, order[:count], program.meta["labels"])
