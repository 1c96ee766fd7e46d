"""Makes everything in this folder: trains the digits network, exports it, writes its images.

Data: the 1797 greyscale images of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak, Optical
Recognition of Handwritten Digits, UCI, 1998). Needs the `train` extra: PyTorch and scikit-learn.
The same seed and versions give the same files.
"""
import argparse
from collections.abc import Iterator
import math
from pathlib import Path
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

from cli import Parser, run_command, write_bytes, write_json
from nets.digits import CONFIG, FOLDER
from nets.graph import Concat, Conv, Dropout, Flatten, GlobalAvgPool, Graph, Input, MaxPool, Relu
from nets.preprocess import InputSpec
from nets.zoo.squeezenet import squeezenet
from nets.zoo.weights import convolutions, initialise, with_weights

try:
    import sklearn
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError as missing:
    sys.exit(f"error: training needs {missing.name}: pip install -e '.[train]'")

__all__ = ["main"]

HELD_OUT, CALIBRATION = 360, 64
SPEC = InputSpec(size=(32, 32), channels="L", mean=(0.0,), std=(1.0,), resize=32)
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 240, 32, 2e-3, 2e-2


def greyscale(values: np.ndarray) -> Image.Image:
    """Picture of one digit, ink white; the data set counts ink from 0 to 16."""
    return Image.fromarray(np.round(values * (255 / 16)).astype(np.uint8))


def split(targets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and held-out indices, every class in its share."""
    train, held_out = train_test_split(np.arange(len(targets)), test_size=HELD_OUT,
                                       random_state=seed, stratify=targets)
    return np.sort(train), np.sort(held_out)


def distort(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Turns by up to 12 degrees, scales and shears by 12 %, shifts by 3 pixels, varies the ink."""
    count = len(images)
    turn, wide, high, shear, x, y, ink = (
        torch.rand(7, count, generator=random) * 2 - 1).unbind()
    angle = turn * math.radians(12)
    cos, sin = torch.cos(angle), torch.sin(angle)
    wide, high, shear = 1 + 0.12 * wide, 1 + 0.12 * high, 0.12 * shear
    shift = 3 / (SPEC.size[0] / 2)
    matrix = torch.stack([torch.stack([cos * wide, shear - sin, x * shift], 1),
                          torch.stack([sin, cos * high, y * shift], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return (moved * (1 + 0.15 * ink)[:, None, None, None]).clamp(0, 1)


class Network(torch.nn.Module):
    """A graph, executed by PyTorch, its convolutions trainable."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph
        self.values = torch.nn.ParameterList(
            torch.from_numpy(array.copy()) for conv in convolutions(graph)
            for array in (conv.weight, conv.bias))

    def forward(self, images: torch.Tensor, *, last: str) -> torch.Tensor:
        values, tensors = iter(self.values), {}
        for layer in self.graph.layers:
            x = [tensors[name] for name in layer.inputs]
            match layer:
                case Input():
                    y = images
                case Conv(window=window):
                    y = F.conv2d(x[0], next(values), next(values), window.stride, window.padding[:2])
                case Relu():
                    y = F.relu(x[0])
                case MaxPool(window=window):
                    y = F.max_pool2d(x[0], window.kernel, window.stride, ceil_mode=layer.ceil_mode)
                case Concat():
                    y = torch.cat(x, 1)
                case Dropout():
                    y = F.dropout(x[0], 0.3, self.training)
                case GlobalAvgPool():
                    y = x[0].mean((2, 3), keepdim=True)
                case Flatten():
                    y = x[0].flatten(1)
            tensors[layer.name] = y
        return tensors[last]

    def trained(self) -> Graph:
        """The graph with the weights as they are now."""
        arrays = [value.detach().numpy() for value in self.values]
        names = [conv.name for conv in convolutions(self.graph)]
        return with_weights(self.graph, dict(zip(names, zip(arrays[::2], arrays[1::2], strict=True),
                                                 strict=True)))


def batches(count: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    yield from torch.randperm(count, generator=random).split(BATCH)


def train(graph: Graph, images: torch.Tensor, targets: torch.Tensor, seed: int) -> Graph:
    """The trained graph. Looks at nothing but the images given: a fixed number of epochs."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)                         # dropout draws from the global generator
    random = torch.Generator().manual_seed(seed)
    network = Network(graph)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in batches(len(images), random):
            logits = network(distort(images[chosen], random), last="logits")
            loss = F.cross_entropy(logits, targets[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(images):.4f}", file=sys.stderr)
    return network.trained()


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The graph as ONNX, opset 17; every tensor is called as its layer."""
    nodes, weights = [], []
    for layer in graph.layers:
        attributes, inputs, op = {}, list(layer.inputs), layer.op
        match layer:
            case Input():
                continue
            case Conv(window=window):
                for kind, value in (("weight", layer.weight), ("bias", layer.bias)):
                    inputs.append(f"{layer.name}.{kind}")
                    weights.append(numpy_helper.from_array(value, inputs[-1]))
                attributes = dict(kernel_shape=window.kernel, strides=window.stride,
                                  pads=window.padding)
            case MaxPool(window=window):
                attributes = dict(kernel_shape=window.kernel, strides=window.stride,
                                  ceil_mode=int(layer.ceil_mode))
            case Concat():
                attributes = dict(axis=1)
            case GlobalAvgPool():
                op = "GlobalAveragePool"
        nodes.append(helper.make_node(op, inputs, [layer.name], layer.name, **attributes))
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *graph.shapes[name]])
            for name in (graph.input.name, graph.output)]
    model = helper.make_model(
        helper.make_graph(nodes, graph.name, ends[:1], ends[1:], weights), ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)], producer_name="fireline")
    onnx.checker.check_model(model, full_check=True)
    return model


def make(folder: Path, seed: int) -> None:
    """Writes the network, its side file and its images into a folder."""
    data = load_digits()
    pictures = [greyscale(values) for values in data.images]
    fit, held_out = split(data.target, seed)
    for where, indices in (("images", held_out), ("calibration", fit[:CALIBRATION])):
        (folder / where).mkdir(parents=True, exist_ok=True)
        for index in indices:
            pictures[index].save(folder / where / f"{data.target[index]}_{index:04}.png")

    x = np.stack([SPEC.normalise(SPEC.pixels(picture)) for picture in pictures])
    x, y = torch.from_numpy(x), torch.from_numpy(data.target)
    graph = squeezenet(CONFIG, name="digits")
    graph = train(initialise(graph, seed), x[fit], y[fit], seed)
    write_bytes(folder / "digits.onnx", to_onnx(graph).SerializeToString())

    with torch.no_grad():
        guesses = Network(graph).eval()(x[held_out], last="logits").argmax(1)
    right = int((guesses == y[held_out]).sum())
    write_json(folder / "digits.json", {
        "input": SPEC.to_json(), "labels": [str(digit) for digit in range(10)],
        "training": {"script": "python -m nets.digits.train", "seed": seed, "trained_on": len(fit),
                     "held_out": len(held_out), "held_out_right": right,
                     "versions": {"torch": torch.__version__, "sklearn": sklearn.__version__}}})
    print(f"{right} of {len(held_out)} held-out images right ({right / len(held_out):.2%})")


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nets.digits.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="split, weights, distortions (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    return run_command(lambda args: make(args.out, args.seed), args)


if __name__ == "__main__":
    sys.exit(main())
