"""Random networks of every operator that is read, in random operator sets, against ONNX Runtime."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from onnx import TensorProto, helper

from nets.float_run import run
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import model, node, runtime, save


class Maker:
    """Adds random nodes to a network; `shapes` holds every image made so far, each of (channels, height, width)."""

    def __init__(self, random, opset: int):
        self.random, self.opset = random, opset
        self.nodes, self.constants = [], {}
        self.shapes = {"x": (random.choice((2, 3, 4)), random.randint(6, 11), random.randint(6, 11))}
        self.rng = np.random.default_rng(random.randrange(1 << 30))
        self.count = 0

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def constant(self, *shape: int, low=-1.0, high=1.0) -> str:
        name = self.fresh()
        self.constants[name] = self.rng.uniform(low, high, shape).astype(np.float32)
        return name

    def integers(self, values: list[int]) -> str:
        """As an initializer or as the output of a Constant node."""
        name = self.fresh()
        if self.random.random() < 0.5:
            self.constants[name] = values
        else:
            value = helper.make_tensor("", TensorProto.INT64, [len(values)], values)
            self.nodes.append(node("Constant", "", name, value=value))
        return name

    def add(self, op: str, inputs: str, shape: tuple[int, ...], **attributes) -> str:
        name = self.fresh()
        named = {"name": f"node_{name}"} if self.random.random() < 0.5 else {}
        self.nodes.append(node(op, inputs, name, **named, **attributes))
        self.shapes[name] = shape
        return name

    def window(self, shape, *, pool: bool) -> tuple[dict, tuple[int, int]]:
        kernel = [self.random.randint(1, min(3, size)) for size in shape[1:]]
        stride = [self.random.randint(1, 2) for _ in kernel]
        fits = all(k >= s for k, s in zip(kernel, stride, strict=True))       # else Runtime's padding is negative
        auto = self.random.choice(("NOTSET", "VALID", *(("SAME_UPPER", "SAME_LOWER") if fits else ())))
        attributes = {"kernel_shape": kernel, "strides": stride}
        if auto != "NOTSET":
            size = [-(-n // s) if auto.startswith("SAME") else (n - k) // s + 1
                    for n, k, s in zip(shape[1:], kernel, stride, strict=True)]
            return attributes | {"auto_pad": auto}, tuple(size)
        pads = [self.random.randint(0, k - 1 if pool else 2) for k in kernel * 2]
        size = [(n + pads[a] + pads[a + 2] - k) // s + 1
                for a, (n, k, s) in enumerate(zip(shape[1:], kernel, stride, strict=True))]
        return attributes | {"pads": pads}, tuple(size)

    def step(self) -> None:
        name = self.random.choice(list(self.shapes)[-3:])
        getattr(self, self.random.choice(STEPS))(name, self.shapes[name])

    def conv(self, name, shape):
        attributes, size = self.window(shape, pool=False)
        group = self.random.choice([g for g in (1, 2, shape[0]) if shape[0] % g == 0])
        outputs = group * self.random.randint(1, 3)
        weight = self.constant(outputs, shape[0] // group, *attributes["kernel_shape"])
        bias = self.random.choice(("", self.constant(outputs)))
        self.add("Conv", f"{name} {weight} {bias}", (outputs, *size), group=group, **attributes)

    def padded_conv(self, name, shape):
        pads = [self.random.randint(int(min(shape[1:]) < 3), 2) for _ in range(4)]
        full = [0, 0, *pads[:2], 0, 0, *pads[2:]]
        padded = self.fresh()
        if self.opset < 11:
            self.nodes.append(node("Pad", name, padded, pads=full))
        else:
            self.nodes.append(node("Pad", f"{name} {self.integers(full)}", padded))
        weight = self.constant(2, shape[0], 2, 3)
        self.add("Conv", f"{padded} {weight}", (2, shape[1] + pads[0] + pads[2] - 1, shape[2] + pads[1] + pads[3] - 2))

    def norm(self, name, shape):
        scale, bias, mean = (self.constant(shape[0]) for _ in range(3))
        variance = self.constant(shape[0], low=0.5, high=2.0)
        self.add("BatchNormalization", f"{name} {scale} {bias} {mean} {variance}", shape)

    def arithmetic(self, name, shape):
        constant = self.constant(*self.random.choice(((), (1,), (shape[0], 1, 1), (1, shape[0], 1, 1))), low=0.5)
        op = self.random.choice(("Add", "Sub", "Mul", "Div"))
        first, second = (name, constant) if op == "Div" or self.random.random() < 0.6 else (constant, name)
        self.add(op, f"{first} {second}", shape)

    def add_two(self, name, shape):
        other = self.random.choice([other for other, there in self.shapes.items() if there == shape])
        self.add(self.random.choice(("Add", "Sum")), f"{name} {other}", shape)

    def concat(self, name, shape):
        others = [other for other, there in self.shapes.items() if there[1:] == shape[1:]]
        chosen = [name, *self.random.choices(others, k=self.random.randint(0, 2))]
        self.add("Concat", " ".join(chosen), (sum(self.shapes[one][0] for one in chosen), *shape[1:]),
                 axis=self.random.choice((1, -3)) if self.opset >= 11 else 1)

    def max_pool(self, name, shape):
        attributes, size = self.window(shape, pool=True)
        self.add("MaxPool", name, (shape[0], *size), **attributes)

    def average_pool(self, name, shape):
        attributes, size = self.window(shape, pool=True)
        self.add("AveragePool", name, (shape[0], *size), count_include_pad=self.random.randint(0, 1), **attributes)

    def simple(self, name, shape):
        op = self.random.choice(("Relu", "Identity", "Dropout", "LRN", "Clip"))
        attributes = {"size": 3} if op == "LRN" else {"min": -0.5, "max": 0.5} if op == "Clip" and self.opset < 11 else {}
        if op == "Clip" and self.opset >= 11:
            low, high = self.fresh(), self.fresh()
            self.constants |= {low: np.float32(-0.5), high: np.float32(0.5)}
            name = f"{name} {low} {high}"
        self.add(op, name, shape, **attributes)

    def shuffle(self, name, shape):
        channels, height, width = shape
        groups = self.random.choice([g for g in (1, 2, 3, channels) if channels % g == 0])
        first, second = self.fresh(), self.fresh()
        target = self.integers([1, groups, channels // groups, height, width])
        self.nodes += [node("Reshape", f"{name} {target}", first), node("Transpose", first, second, perm=[0, 2, 1, 3, 4])]
        self.add("Reshape", f"{second} {self.integers([0, -1, height, width])}", shape)

    def finish(self) -> None:
        """A classifier, by one of the ways to flatten, or nothing."""
        name, shape = list(self.shapes.items())[-1]
        match self.random.randrange(4):
            case 0:
                return self.nodes.append(node("Relu", name))
            case 1:
                self.nodes += [node("GlobalAveragePool", name, "p"), node("Flatten", "p", "f")]
                count = shape[0]
            case 2:
                self.nodes += [node("Shape", name, "s"), node("Gather", f"s {self.integers([0])}", "n"),
                               node("Concat", f"n {self.integers([-1])}", "t", axis=0), node("Reshape", f"{name} t", "f")]
                count = shape[0] * shape[1] * shape[2]
            case 3:
                axes, more = ({"axes": [2, 3]}, "") if self.opset < 18 else ({}, self.integers([2, 3]))
                self.nodes.append(node("ReduceMean", f"{name} {more}", "f", keepdims=0, **axes))
                count = shape[0]
        weight, bias = self.constant(count, 5), self.constant(5)
        if self.random.random() < 0.5:
            self.nodes += [node("MatMul", f"f {weight}", "l"), node("Add", f"l {bias}", "b")]
        else:
            self.nodes.append(node("Gemm", f"f {weight} {bias}", "b", alpha=0.5))
        self.nodes.append(node("Softmax", "b", axis=1))


STEPS = ("conv", "conv", "padded_conv", "norm", "arithmetic", "add_two", "concat", "max_pool", "average_pool", "simple",
         "shuffle")


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), st.sampled_from((7, 9, 10, 11, 12, 13, 15, 18, 20, 22)), st.integers(1, 9))
def test_random_networks(tmp_path_factory, random, opset, steps):
    maker = Maker(random, opset)
    for _ in range(steps):
        maker.step()
    maker.finish()
    proto = model(maker.nodes, maker.constants, shape=(1, *maker.shapes["x"]), opset=opset)
    path = save(tmp_path_factory.getbasetemp(), proto, "random.onnx")
    graph = import_onnx(path)
    x = maker.rng.normal(size=graph.input.shape).astype(np.float32)
    wanted = runtime(path, x)
    tensors = run(graph, x, keep=graph.by_name)
    span = max(1.0, *(float(np.abs(tensor).max()) for tensor in tensors.values()))      # of what may have cancelled
    np.testing.assert_allclose(tensors[graph.output].ravel(), wanted.ravel(), rtol=1e-4, atol=2e-6 * span)
