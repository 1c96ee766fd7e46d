"""A quantised TFLite file computed by golden, by LiteRT's reference kernels and by XNNPACK's, on the same inputs.

What is compared is the tensor before the softmax, in whole steps of the file: a softmax hides most of what differs.
"""
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tflite

from cli import needs_extra
from golden import values
from nets.int8.network import QNetwork
from nets.preprocess import find_images, load_image
from nets.quantise import spread, synthetic_images

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

__all__ = ["JUDGE", "compare", "inputs_of", "interpreters", "without_softmax"]

JUDGE = "ai_edge_litert.interpreter", "bench", "the comparison with LiteRT"
SEED = 1                # of inputs that are no photographs
SIGNED = 128            # of our steps to those of int8


def without_softmax(data: bytes) -> bytes:
    """The file with what its last softmax reads for its output; one without a softmax as it is. The file must have been imported
    (`nets.tflite`), which checks it."""
    changed = bytearray(data)
    model = tflite.Model.GetRootAs(changed)
    graph = model.Subgraphs(0)
    outputs = graph.OutputsAsNumpy()                    # a view of the bytes
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        if code.BuiltinCode() == tflite.BuiltinOperator.SOFTMAX and operator.Outputs(0) == outputs[0]:
            outputs[0] = operator.Inputs(0)
            break
    return bytes(changed)


def interpreters(data: bytes) -> tuple["Interpreter", "Interpreter"]:
    """LiteRT on one thread with its reference kernels, and with XNNPACK's, which are what it takes unless told otherwise. Raises
    WorkError where it is not installed."""
    litert = needs_extra(*JUDGE)
    kinds = litert.OpResolverType
    found = tuple(litert.Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
                  for kind in (kinds.BUILTIN_REF, kinds.AUTO))
    for judge in found:
        judge.allocate_tensors()
    return found


def inputs_of(network: QNetwork, images: Path | None, count: int) -> list[np.ndarray]:
    """At most `count` uint8 inputs (channels, height, width) in the network's steps: of photographs, evenly spread over a folder,
    or of seeded noise where there is none."""
    pixels: Iterable[np.ndarray] = synthetic_images(network.spec, count=count, seed=SEED)
    if images is not None:
        pixels = (load_image(path, network.spec) for path in spread(find_images(images), count))
    return [network.quantise_input(network.spec.normalise(one)) for one in pixels]


def _golden(network: QNetwork, q: np.ndarray) -> np.ndarray:
    """int64 (values,): golden's output, whose steps are the file's, as it brings their scale."""
    return values.run(network, q)[network.output].astype(np.int64).ravel()


def _judged(judge: "Interpreter", q: np.ndarray) -> np.ndarray:
    """int64 (values,): LiteRT's output of an input in our steps, in our steps."""
    source, result = judge.get_input_details()[0], judge.get_output_details()[0]
    x = q.transpose(1, 2, 0) if len(source["shape"]) == 4 else q
    if source["dtype"] == np.int8:
        x = (x.astype(np.int16) - SIGNED).astype(np.int8)
    judge.set_tensor(source["index"], x.reshape(source["shape"]))
    judge.invoke()
    return judge.get_tensor(result["index"]).astype(np.int64).ravel() + (SIGNED if result["dtype"] == np.int8 else 0)


def _distance(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], classes: bool) -> dict:
    apart = np.abs(np.stack(found) - np.stack(wanted))
    return {"equal": float((apart == 0).mean()), "steps": int(apart.max()),
            "same_class": sum(int(a.argmax() == b.argmax()) for a, b in zip(found, wanted, strict=True)) if classes else None}


def compare(network: QNetwork, data: bytes, inputs: Iterable[np.ndarray], classes: bool) -> dict:
    """How far golden and XNNPACK are from the reference kernels: `golden` and `xnnpack`, each with `equal`, the share of
    elements, `steps`, the most that one is off, and `same_class`, of how many `inputs` the best class is the same (None where
    there are no `classes`)."""
    judges, found = interpreters(without_softmax(data)), []
    for q in inputs:
        found.append([_golden(network, q), *(_judged(judge, q) for judge in judges)])
    golden, reference, xnnpack = zip(*found, strict=True)
    return {"inputs": len(found), "golden": _distance(golden, reference, classes),
            "xnnpack": _distance(xnnpack, reference, classes)}
