"""Operators on integers, QLinearConv and the like, spelt out: floats between DequantizeLinear and QuantizeLinear.

So ONNX Runtime's quantiser writes them in its format QOperator, some of them in its own domain. Operators:
https://onnx.ai/onnx/operators/onnx__QLinearConv.html,
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import helper

from nets.onnx.file import printable
from nets.onnx.quantised import LINEAR

__all__ = ["QOPERATORS", "spell_out"]

MICROSOFT = "com.microsoft"


@dataclass(frozen=True, kw_only=True)
class _Form:
    """Which inputs an operator has: where its tensors begin, each with a scale and a zero point behind it, where the scale and
    the zero point of the output stand, and the biases. `axis`: along which the scales of its weights, the second tensor, lie."""

    op: str
    tensors: tuple[int, ...]
    output: int
    bias: int | None = None
    axis: int = 1


_ONE = {"tensors": (0,), "output": 3}
_TWO = {"tensors": (0, 3), "output": 6}
QOPERATORS = {
    "QGemm": _Form(op="Gemm", tensors=(0, 3), bias=6, output=7),
    "QLinearAdd": _Form(op="Add", **_TWO),
    "QLinearAveragePool": _Form(op="AveragePool", **_ONE),
    "QLinearConv": _Form(op="Conv", **_TWO, bias=8, axis=0),
    "QLinearGlobalAveragePool": _Form(op="GlobalAveragePool", **_ONE),
    "QLinearLeakyRelu": _Form(op="LeakyRelu", **_ONE),
    "QLinearMatMul": _Form(op="MatMul", **_TWO),
    "QLinearMul": _Form(op="Mul", **_TWO),
    "QLinearSigmoid": _Form(op="Sigmoid", **_ONE),
    "QLinearSoftmax": _Form(op="Softmax", **_ONE),
    "QLinearConcat": _Form(op="Concat", tensors=(), output=0),
}
STANDARD = ("QLinearConv", "QLinearMatMul")
OWN = ("channels_last", "opset")        # attributes that the operators of floats do not have


def spell_out(graph: onnx.GraphProto) -> dict[str, tuple[str, str]]:
    """Replaces such operators in the graph. Gives name and operator of what stood there, by the outputs of what stands there now.

    What has other inputs than its operator, or its channels last, is left; so is what is in another domain.
    """
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    nodes, origins = [], {}
    for node in graph.node:
        if node.domain == MICROSOFT and node.op_type in LINEAR:
            node.domain = ""
        if not _known(node):
            nodes.append(node)
            continue
        spelling = _Spelling(node, taken)
        made = list(spelling.nodes())
        origins |= {name: (printable(node.name or node.output[0]), node.op_type) for one in made for name in one.output}
        nodes += made
    if origins:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    return origins


def _known(node: onnx.NodeProto) -> bool:
    form = QOPERATORS.get(node.op_type)
    if form is None or node.domain != ("" if node.op_type in STANDARD else MICROSOFT) or len(node.output) != 1:
        return False
    if any(one.name == "channels_last" and one.i for one in node.attribute):
        return False
    count = len(node.input)
    if node.op_type == "QLinearConcat":
        return count >= 5 and count % 3 == 2
    return form.output + 1 <= count <= max(form.output + 2, (form.bias or 0) + 1) or node.op_type == "QGemm" and count >= 6


class _Spelling:
    """The nodes that stand for one; `taken` are the names of tensors that there are."""

    def __init__(self, node: onnx.NodeProto, taken: set[str]):
        self.node, self.taken, self.form = node, taken, QOPERATORS[node.op_type]

    def nodes(self) -> Iterator[onnx.NodeProto]:
        node, form = self.node, self.form
        starts = range(2, len(node.input), 3) if node.op_type == "QLinearConcat" else form.tensors
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute if one.name not in OWN}
        axis = 0 if attributes.get("transB") else form.axis
        inputs = []
        for number, start in enumerate(starts):
            inputs.append(self._fresh("input"))
            yield self._linear("DequantizeLinear", node.input[start:start + 3], inputs[-1], axis=axis if number else 1)
        if form.bias is not None and self._input(form.bias):
            unit = self._fresh("unit")
            yield helper.make_node("Mul", [node.input[1], node.input[4]], [unit])
            inputs.append(self._fresh("bias"))
            yield self._linear("DequantizeLinear", [node.input[form.bias], unit], inputs[-1], axis=0)
            if "alpha" in attributes:           # of the sum, biases and all
                attributes["beta"] = attributes["alpha"]
        scale = self._input(form.output)
        result = self._fresh("floats") if scale else node.output[0]
        yield helper.make_node(form.op, inputs, [result], name=node.name or node.output[0], **attributes)
        if scale:
            yield self._linear("QuantizeLinear", [result, *node.input[form.output:form.output + 2]], node.output[0])

    def _input(self, index: int) -> str:
        return self.node.input[index] if index < len(self.node.input) else ""

    def _linear(self, op: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
        return helper.make_node(op, list(inputs), [output], **attributes)

    def _fresh(self, what: str) -> str:
        number, name = 1, f"{self.node.output[0]}/{what}"
        while name in self.taken:
            number += 1
            name = f"{self.node.output[0]}/{what}{number}"
        self.taken.add(name)
        return name
