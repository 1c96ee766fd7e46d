"""A small float network that classifies nothing of note, and images for it."""
import numpy as np

from nets.graph import Concat, Flatten, GlobalAvgPool, Graph, Input, Linear, MaxPool, Relu, Window
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import synthetic_images
from tests.nets.operators import conv

CLASSES = 10


def small_model() -> Model:
    """Convolutions of 3x3, 1x1 and depthwise, branches, and a fully connected layer; one channel far larger than the others."""
    rng = np.random.default_rng(7)
    layers = [
        Input(name="image", shape=(3, 16, 16)),
        conv("stem", "image", 8, 3, padding=(1, 1, 1, 1)), Relu(name="stem/relu", inputs=("stem",)),
        MaxPool(name="pool", inputs=("stem/relu",), window=Window(kernel=(2, 2), stride=(2, 2))),
        conv("depthwise", "pool", 8, 1, groups=8, padding=(1, 1, 1, 1)), Relu(name="depthwise/relu", inputs=("depthwise",)),
        conv("left", "depthwise/relu", 16, 8, kernel=1), conv("right", "depthwise/relu", 16, 8, padding=(1, 1, 1, 1)),
        Concat(name="both", inputs=("left", "right")), Relu(name="both/relu", inputs=("both",)),
        GlobalAvgPool(name="mean", inputs=("both/relu",)), Flatten(name="flat", inputs=("mean",)),
        Linear(name="classes", inputs=("flat",), weight=rng.normal(0, 1, (CLASSES, 32)).astype(np.float32),
               bias=rng.normal(0, 0.1, CLASSES).astype(np.float32))]
    layers[1].weight[0] *= 50
    spec = InputSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3, crop="none")
    return Model(graph=Graph(name="small", layers=tuple(layers), output="classes"), spec=spec)


def images_for(model: Model, count: int = 24) -> list[np.ndarray]:
    return synthetic_images(model.spec, count=count, seed=3)
