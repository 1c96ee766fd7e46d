"""The small networks of FIRELINE_DATA/cases, each of which stands for a kind that once went wrong."""
from pathlib import Path

import numpy as np
import onnx
import pytest

from golden import values
from nets.endings import finish, scores_of
from nets.float_run import run
from nets.graph import Graph, GraphError
from nets.load import load_model
from nets.onnx.importer import import_onnx
from nets.quantise import quantise_with, synthetic_images
from nets.scores import probabilities, ranking
from tests.conftest import DEFAULT_DATA
from tests.nets.onnx.cases import runtime

# Without an operator here, a line says so.
REFUSED = {"se_block": r"r2 \(Mul\): Mul of two computed tensors is not"}
WIDE_RANGES = {"q_channel_ranges_100", "q_concat_ranges_1000"}      # tests/nets/int8/test_equalise.py has their accuracy
LEAST_DB = 25
NAMES = sorted(path.stem for path in (DEFAULT_DATA / "cases").glob("*.onnx"))


COMPUTED = [name for name in NAMES if name not in REFUSED and name not in WIDE_RANGES]


def found(data: Path, name: str | None) -> Path:
    if name is None or not (data / "cases" / f"{name}.onnx").exists():
        pytest.skip("needs the folder cases/ of FIRELINE_DATA")
    return data / "cases" / f"{name}.onnx"


@pytest.fixture(params=NAMES or [None])
def path(request, data) -> Path:
    return found(data, request.param)


@pytest.fixture(params=COMPUTED or [None])
def computed(request, data) -> Path:
    return found(data, request.param)


def judged(path: Path, graph: Graph, x: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of an image, given with its channels first."""
    sizes = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    return runtime(path, x if sizes[1] == len(x) else x.transpose(1, 2, 0), graph.input.name)


def test_float_reference_computes_what_onnx_runtime_does(path):
    if path.stem in REFUSED:
        with pytest.raises(GraphError, match=f"^[^\n]*{REFUSED[path.stem]}[^\n]*$"):
            import_onnx(path)
        return
    graph = import_onnx(path)
    x = np.random.default_rng(0).normal(size=graph.input.shape).astype(np.float32)
    got, wanted = run(graph, x)[graph.output], judged(path, graph, x)
    assert got.size == wanted.size
    span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    assert np.abs(got.ravel() - wanted.ravel()).max() <= 1e-4 * span


def test_integers_follow_the_float_network_and_rank_its_classes(computed):
    model = load_model(computed)
    network = quantise_with(model)
    x = model.spec.normalise(synthetic_images(model.spec, count=1, seed=5)[0])
    last, endings = scores_of(model.graph)
    assert network.endings == endings
    exact = run(model.graph, x, keep=(last.name,))[last.name]
    q = values.run(network, network.quantise_input(x))[network.output]
    close = network.dequantise(network.output, q)
    noise = float(np.square(exact.ravel() - close.ravel()).mean())
    assert 10 * np.log10(float(np.square(exact).mean()) / max(noise, 1e-30)) >= LEAST_DB
    shown = probabilities(network, q)
    np.testing.assert_allclose(shown, finish(exact, endings).ravel(), atol=0.1 * max(1.0, float(np.abs(exact).max())))
    if computed.stem == "end_argmax":
        wanted = run(model.graph, x)[model.graph.output]
        assert abs(shown[ranking(q)[0]] - shown[int(wanted[0])]) < 0.02
